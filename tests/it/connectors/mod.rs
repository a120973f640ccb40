//! The LiveChat connector against the sandbox.

mod checks_and_previews;
mod paging;
mod permanent_faults;
mod pulled_rows;
mod retries;
