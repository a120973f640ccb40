//! Chatlake pulls chat-support data from LiveChat and LiveLeader into typed, versioned DataSets and serves it.
//! Start reading at `web/routes.rs` (a page), `puller/worker.rs` (a pull) or `connectors/livechat/reports.rs` (a report).

/// Users, passwords, sessions, tokens and roles; yields an `Actor`.
/// Vendor accounts: credentials, who may use them, and whether they work.
pub mod accounts;
/// People and programs that sign in, and what they may do.
pub mod auth;
/// The only reader of the system clock.
pub mod clock;
/// Every setting, in one struct.
pub mod config;
/// LiveChat and LiveLeader: what they can be asked for, and how.
pub mod connectors;
/// DataSets: their columns, segments, versions, previews and exports.
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
/// Seals and opens bytes.
pub mod vault;
/// Pages for people.
pub mod web;
