//! One page, one file; the template has the same name.

pub mod activity;
pub mod dataset;
pub mod dataset_acts;
pub mod dataset_data;
pub mod dataset_delete;
pub mod dataset_history;
pub mod dataset_overview;
pub mod dataset_rename;
pub mod dataset_schema;
pub mod dataset_status;
pub mod datasets;
mod datasets_attention;
pub mod download;
pub mod run;
pub mod run_live;
pub mod run_record;
pub mod spark;
pub mod connect;
pub mod dataset_settings;
