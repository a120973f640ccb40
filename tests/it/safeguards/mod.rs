//! Safeguards against the loss of existing rows, with the sandbox as vendor.

mod columns;
mod empty_answers;
mod lost_rows;
mod pending_versions;
