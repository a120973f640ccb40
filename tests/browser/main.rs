//! Journeys in headless Chromium, through the built binary, with the sandbox as vendor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod follow;
mod history;
mod journey;
mod layout;
mod leader;
mod machine;
mod reports;
mod schedules;
mod secrets;
mod told;
