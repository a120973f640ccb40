//! The one integration binary: stories over real sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod binary;
mod connectors;
mod crash;
mod datasets;
mod docs;
mod process;
mod panes;
mod upstream;
mod vendor;
