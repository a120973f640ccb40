//! `chatlake.toml`: what it may hold. Every error about it names the file, the line and the key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::LogFormat;
use crate::error::{Error, Result};

/// The file as it was read; empty when there is none.
#[derive(Default)]
pub(super) struct File {
    path: PathBuf,
    text: String,
    pub values: Values,
}

/// The settings it may hold: the same names as those of the flags, with underscores.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Values {
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

impl File {
    /// Reads the file at `path`; nothing when there is none.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(why) => return Err(Error::conflict("settings", format!("{} cannot be read: {why}.", path.display()))),
        };
        let file = Self { path: path.to_owned(), text, values: Values::default() };
        let parsed = toml::Deserializer::parse(&file.text).map_err(|why| (String::new(), why));
        let read = parsed.and_then(|whole| serde_path_to_error::deserialize(whole).map_err(|why| (why.path().to_string(), why.into_inner())));
        match read {
            Ok(values) => Ok(Self { values, ..file }),
            Err((key, why)) => {
                let line = why.span().map(|span| file.text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
                Err(file.wrong(line, &key, &in_words(why.message())))
            }
        }
    }

    /// The error for a value of `key`, which is in the file, that means nothing. `said`: such as "must be at least 1".
    pub fn refuse(&self, key: &str, said: &str) -> Error {
        let of_key = |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        self.wrong(self.text.lines().position(of_key).map(|index| index + 1), key, said)
    }

    fn wrong(&self, line: Option<usize>, key: &str, said: &str) -> Error {
        let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
        let key = if key.is_empty() || key == "." { String::new() } else { format!("{key}: ") };
        Error::conflict("settings", format!("{}{line}: {key}{}.", self.path.display(), said.trim_end_matches('.')))
    }
}

/// What the reader of TOML says, on one line and without the names of types.
fn in_words(said: &str) -> String {
    let said = said.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    ["usize", "u64", "u32"].iter().fold(said, |said, kind| said.replace(&format!("expected {kind}"), "expected a whole number"))
}
