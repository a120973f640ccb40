//! Backfills beside scheduled runs, safeguards and notifications.

mod chunks;
mod days;
mod isolation;
