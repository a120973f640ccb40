//! Parses `chatlake.toml`. Every error names the file, the line and the key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::LogFormat;
use crate::error::{Error, Result};

/// The file as read; empty if it does not exist.
#[derive(Default)]
pub(super) struct SettingsFile {
    path: PathBuf,
    text: String,
    pub values: FileSettings,
}

/// The settings in the file. They have the names of the flags, with underscores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSettings {
    pub listen: Option<SocketAddr>,
    pub public_url: Option<Url>,
    pub insecure_http: Option<bool>,
    #[serde(default)]
    pub allow_upstream: Vec<String>,
    pub workers: Option<usize>,
    pub min_transfer_rate: Option<u64>,
    pub max_run_hours: Option<u32>,
    pub shortest_interval: Option<u32>,
    pub keep_versions: Option<u32>,
    pub keep_days: Option<u32>,
    pub keep_free_mib: Option<u64>,
    pub scrub_percent: Option<u32>,
    pub downloads_per_person: Option<usize>,
    pub downloads: Option<usize>,
    pub audit_days: Option<u32>,
    pub audit_max_rows: Option<u32>,
    pub mail_hello: Option<String>,
    pub connections_per_address: Option<usize>,
    pub metrics_listen: Option<SocketAddr>,
    #[serde(default)]
    pub allow_mail_server: Vec<String>,
    #[serde(default)]
    pub trusted_proxy: Vec<ipnet::IpNet>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
}

impl SettingsFile {
    /// Reads the file at `path`. A missing file gives no settings.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(why) => {
                return Err(Error::conflict(
                    "settings",
                    format!("{} cannot be read: {why}.", path.display()),
                ));
            }
        };
        let file = Self {
            path: path.to_owned(),
            text,
            values: FileSettings::default(),
        };
        let parsed = toml::Deserializer::parse(&file.text).map_err(|why| (String::new(), why));
        let read = parsed.and_then(|whole| {
            serde_path_to_error::deserialize(whole)
                .map_err(|why| (why.path().to_string(), why.into_inner()))
        });
        match read {
            Ok(values) => Ok(Self { values, ..file }),
            Err((key, why)) => {
                let line = why.span().map(|span| {
                    file.text
                        .get(..span.start)
                        .unwrap_or_default()
                        .matches('\n')
                        .count()
                        + 1
                });
                Err(file.error_at(line, &key, &toml_message(why.message())))
            }
        }
    }

    /// The error for an invalid value of `key` in the file. `problem`: for example "must be at
    /// least 1".
    pub fn invalid_value(&self, key: &str, problem: &str) -> Error {
        let of_key = |line: &str| {
            line.trim_start()
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        self.error_at(
            self.text.lines().position(of_key).map(|index| index + 1),
            key,
            problem,
        )
    }

    fn error_at(&self, line: Option<usize>, key: &str, problem: &str) -> Error {
        let line = line
            .map(|line| format!(", line {line}"))
            .unwrap_or_default();
        let key = if key.is_empty() || key == "." {
            String::new()
        } else {
            format!("{key}: ")
        };
        Error::conflict(
            "settings",
            format!(
                "{}{line}: {key}{}.",
                self.path.display(),
                problem.trim_end_matches('.')
            ),
        )
    }
}

/// The message of the TOML parser on one line, without type names.
fn toml_message(problem: &str) -> String {
    let problem = problem.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    ["usize", "u64", "u32"]
        .iter()
        .fold(problem, |problem, kind| {
            problem.replace(&format!("expected {kind}"), "expected a whole number")
        })
}
