//! Chatlake pulls chat-support data from LiveChat and LiveLeader into typed, versioned DataSets and serves it.
//! Start reading at `web/routes.rs` (a page), `puller/worker.rs` (a pull) or `connectors/livechat/reports.rs` (a report).

/// The only reader of the system clock.
pub mod clock;
/// Every setting, in one struct.
pub mod config;
/// What each vendor can be asked for, and how to pull it.
pub mod connectors;
/// DataSets: columns, segments, versions, preview and export.
pub mod datasets;
/// The catalogue: pools and migrations.
pub mod db;
/// What can go wrong: a sentence for people, a cause for the log.
pub mod error;
/// One type per kind of id.
pub mod ids;
/// Our stand-in for the vendors.
pub mod sandbox;
/// The one type that holds a plaintext secret.
pub mod secret;
