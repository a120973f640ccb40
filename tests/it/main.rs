//! The one integration binary: stories through the router (`house`) and over sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod archive;
mod connectors;
mod datasets;
mod house;
mod people;
mod upstream;
mod vendor;
