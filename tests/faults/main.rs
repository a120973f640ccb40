//! Tests that take many seconds each: killed servers, failing disks, vendors that hang or send
//! anything, and waits for real time limits. `bin/test --group faults` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod corpus;
mod crash;
mod crash_matrix;
mod interrupted_pulls;
mod report_faults;
mod request_limits;
mod secrets_in_output;
mod shutdown;
mod storage;
mod stream_revocation;
mod unresponsive_vendors;
