//! The settings of a product that runs in the process of a test.

use std::path::PathBuf;

use chatlake::config::{Config, LogFormat};

/// The host and port of all URLs. Nothing listens there: requests go to the router.
pub const HOST_NAME: &str = "127.0.0.1:8080";

/// The settings with this data directory. They allow vendors and mail servers on this machine.
pub fn test_config(data: PathBuf) -> Config {
    Config {
        data,
        listen: HOST_NAME.parse().unwrap(),
        public_url: format!("http://{HOST_NAME}").parse().unwrap(),
        has_explicit_public_url: false,
        insecure_http: false,
        allow_upstream: vec!["127.0.0.1".parse().unwrap()],
        workers: 2,
        min_transfer_rate: 1_024,
        max_run_hours: 12,
        shortest_interval: 5,
        keep_versions: 10,
        keep_days: 30,
        scrub_percent: 10,
        keep_free_mib: 0,
        downloads_per_person: 8,
        downloads: 64,
        audit_days: 365,
        audit_max_rows: 1_000_000,
        mail_hello: None,
        connections_per_address: 0,
        metrics_listen: None,
        allow_mail_server: vec!["127.0.0.1".parse().unwrap()],
        trusted_proxy: Vec::new(),
        log: "warn".to_owned(),
        log_format: LogFormat::Human,
    }
}
