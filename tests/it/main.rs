//! The one integration binary: stories over real sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod catalogue;
mod connectors;
mod reports;
mod sandbox_reports;
mod upstream;
mod vendor;
