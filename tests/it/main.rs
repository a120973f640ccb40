//! The integration tests. They send requests to the router of a product in this process and to
//! sockets on this machine, and use no other network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod account_unsharing;
mod accounts;
mod advisories;
mod api;
mod architecture;
mod backfills;
mod binary;
mod catalogue;
mod command_line;
mod completeness;
mod connectors;
mod credential_rejections;
mod damaged_records;
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
mod liveleader;
mod liveleader_panes;
mod locked_catalogue;
mod logs_and_metrics;
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
mod spreadsheet_formulas;
mod sql_statements;
mod unreadable_records;
mod update_modes;
mod upgrades;
mod upstream;
mod vendor_quirks;
mod verify;
mod vocabulary;
