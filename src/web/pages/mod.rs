//! One page, one file; the template has the same name.

pub mod connect;
pub mod dataset_settings;
