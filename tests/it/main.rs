//! The one integration binary: stories over real sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod architecture;
mod archive;
mod binary;
mod connectors;
mod crash;
mod datasets;
mod docs;
mod process;
mod upstream;
mod vendor;
