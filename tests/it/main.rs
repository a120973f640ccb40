//! The one integration binary: stories over real sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod connectors;
mod docs;
mod datasets;
mod upstream;
mod vendor;
