//! Chatlake pulls chat-support data from LiveChat and LiveLeader into typed, versioned DataSets and serves it.
//! Start reading at `web/routes.rs` (a page), `puller/worker.rs` (a pull) or `connectors/livechat/reports/mod.rs` (a report).

/// Vendor accounts: their fields, sealed credentials, checks and health.
pub mod accounts;
/// Who is asking, and what that person may do.
pub mod actor;
/// The JSON API that programs use.
pub mod api;
/// Builds the product from its settings; starts and stops its parts in order.
pub mod app;
/// Users, passwords, sessions, tokens and roles; yields an `Actor`.
pub mod auth;
/// One file per command.
pub mod cli;
/// The only reader of the system clock.
pub mod clock;
/// Every setting, in one struct.
pub mod config;
/// The connection of a request: slow clients are cut off, and a handler can close it.
pub mod connection;
/// What each vendor can be asked for, and how.
pub mod connectors;
/// DataSets: their columns, segments, versions, previews and exports.
pub mod datasets;
/// The catalogue: pools and migrations.
pub mod db;
/// What can go wrong: a sentence for people, a cause for the log.
pub mod error;
/// One type per kind of id.
pub mod ids;
/// What is counted for whoever watches the server.
pub mod metrics;
/// Who is told of what: outbox, mail, webhooks.
pub mod notices;
/// Runs: when they are due, the queue, the worker, the ledger of windows.
pub mod puller;
/// How many of a kind of work there may be at once.
pub mod quota;
/// Our stand-in for the vendors.
pub mod sandbox;
/// The one type that holds a plaintext secret.
pub mod secret;
/// Characters that names may hold.
pub mod text;
/// Seals and opens bytes.
pub mod vault;
/// The pages.
pub mod web;
