//! Journeys in headless Chromium, through the built binary, with the sandbox as vendor.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/webdriver.rs"]
mod webdriver;

mod history;
mod journey;
mod layout;
mod live_updates;
mod liveleader;
mod notifications;
mod reports;
mod schedules;
mod secrets;
