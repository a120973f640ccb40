//! The one integration binary: stories through the router (`house`) and over sockets on the loopback address, never further.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod api;
mod architecture;
mod archive;
mod beside_the_schedule;
mod binary;
mod catalogue;
mod completeness;
mod connectors;
mod corpus;
mod crash;
mod crash_matrix;
mod datasets;
mod demo;
mod docs;
mod downloads;
mod export_api;
mod export_roundtrip;
mod history;
mod house;
mod integrity;
mod liveleader;
mod liveleader_panes;
mod notices;
mod pages_access;
mod panes;
mod panes_reports;
mod people;
mod process;
mod pulling;
mod records;
mod reports;
mod sandbox_reports;
mod schedules;
mod schedules_pane;
mod silent_vendors;
mod stopping;
mod unlost;
mod update_modes;
mod upkeep;
mod upstream;
mod vendor;
mod verify;
mod waiting;
