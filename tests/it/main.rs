//! The integration tests. They send requests to the router of a product in this process and to
//! sockets on this machine, and use no other network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod account_unsharing;
mod accounts;
mod api;
mod api_and_cli;
mod architecture;
mod archive;
mod backfills;
mod binary;
mod catalogue;
mod completeness;
mod connectors;
mod corpus;
mod crash;
mod crash_matrix;
mod credential_rejections;
mod dataset_validation;
mod datasets;
mod demo;
mod docs;
mod downloads;
mod empty_days;
mod export_api;
mod export_roundtrip;
mod history;
mod integrity;
mod interrupted_pulls;
mod liveleader;
mod liveleader_panes;
mod lost_catalogue;
mod low_disk_space;
mod notifications;
mod pages_access;
mod pages_states;
mod panes;
mod panes_reports;
mod people;
mod pulling;
mod records;
mod reports;
mod retry_and_lateness;
mod run_cancellation;
mod safeguards;
mod sandbox_reports;
mod schedules;
mod schedules_pane;
mod security;
mod sql_statements;
mod storage;
mod stream_revocation;
mod unreadable_records;
mod unresponsive_vendors;
mod update_modes;
mod upgrades;
mod upstream;
mod vendor_quirks;
mod verify;
mod vocabulary;
