//! The one integration binary: stories over real sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod connectors;
mod datasets;
mod docs;
mod upstream;
mod vendor;
