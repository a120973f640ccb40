//! One page, one file; the template has the same name.

pub mod account_delete;
pub mod account_edit;
pub mod accounts;
pub mod components;
pub mod connect;
pub mod dataset_settings;
pub mod help;
pub mod invite;
pub mod me;
pub mod person_new;
pub mod set_up;
pub mod settings;
pub mod sign_in;
