//! The one integration binary: stories through the router (`house`) and over sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod api;
mod architecture;
mod archive;
mod binary;
mod connectors;
mod crash;
mod datasets;
mod docs;
mod process;
mod panes;
mod house;
mod people;
mod datasets;
mod docs;
mod upstream;
mod vendor;
