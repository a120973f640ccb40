//! Chatlake pulls chat-support data from LiveChat and LiveLeader into typed, versioned DataSets and
//! serves it. Start reading at `web/routes.rs` (a page), `puller/worker/mod.rs` (a pull) or
//! `connectors/livechat/reports/mod.rs` (a report).

/// Vendor accounts: their fields, sealed credentials, checks and health.
pub mod accounts;
/// The actor of a request and its permissions.
pub mod actor;
/// The JSON API that programs use.
pub mod api;
/// Builds the application from its settings; starts and stops its parts in order.
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
/// The connectors: the reports of each vendor and how they are pulled.
pub mod connectors;
/// DataSets: their columns, segments, versions, previews and exports.
pub mod datasets;
/// The catalogue: pools and migrations.
pub mod db;
/// The error type: a public message, and a cause for the log.
pub mod error;
/// One type per kind of id.
pub mod ids;
/// Metrics for monitoring.
pub mod metrics;
/// Notifications: outbox, mail, webhooks.
pub mod notifications;
/// Runs: scheduler, queue, workers, and the ledger of date ranges.
pub mod puller;
/// Limits of concurrent work per person and in total.
pub mod quota;
/// The simulated vendors.
pub mod sandbox;
/// The one type that holds a plaintext secret.
pub mod secret;
/// Characters that names may contain.
pub mod text;
/// Encrypts and decrypts secrets.
pub mod vault;
/// The web pages.
pub mod web;
