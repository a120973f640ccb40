//! Pages for people. What stands before every page is in `security.rs`.

pub mod client_address;
pub mod security;
