//! Merges the sources of the settings: flags and environment, `chatlake.toml`, and defaults. Checks
//! the range of each value.

use std::ops::RangeInclusive;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::file::SettingsFile;
use super::{AllowUpstream, Config, DEFAULT_LISTEN, GlobalArgs, ServeArgs, mail_hello};
use crate::error::{Error, Result};

/// The maximum of the minimum transfer rate, in bytes per minute. A larger one would cut vendors
/// that are merely slow.
pub(super) const MAX_TRANSFER_RATE: u64 = 1 << 20;
/// See `default_connections_per_address`.
const MAX_DEFAULT_CONNECTIONS: usize = 256;

impl Config {
    /// Merges the sources. Also returns whether the public URL was set explicitly.
    pub(super) fn merge(global_args: &GlobalArgs, serve: &ServeArgs) -> Result<(Self, bool)> {
        let data = Self::data_dir(global_args);
        let read = SettingsFile::read(&data.join("chatlake.toml"))?;
        let file = &read.values;
        let listen = serve.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
        let insecure_http = serve.insecure_http || file.insecure_http.unwrap_or(false);
        let named_url = serve.public_url.clone().or(file.public_url.clone());
        let public_url = match &named_url {
            Some(url) if is_origin(url) => url.clone(),
            Some(_) => {
                let problem =
                    "must be scheme, host and port only, for example https://chatlake.example.com";
                return Err(invalid_setting(
                    &read,
                    "public_url",
                    serve.public_url.is_some(),
                    problem,
                ));
            }
            None => Url::parse(&format!("http://{listen}")).map_err(Error::internal)?,
        };
        let allow_upstream = allowed_hosts(
            &read,
            "allow_upstream",
            &global_args.allow_upstream,
            &file.allow_upstream,
        )?;
        let allow_mail_server = allowed_hosts(
            &read,
            "allow_mail_server",
            &serve.allow_mail_server,
            &file.allow_mail_server,
        )?;
        let mail_hello = match (&serve.mail_hello, &file.mail_hello) {
            (None, Some(text)) => {
                Some(mail_hello(text).map_err(|why| read.invalid_value("mail_hello", &why))?)
            }
            (flag, _) => flag.clone(),
        };
        let log = global_args
            .log
            .clone()
            .or(file.log.clone())
            .unwrap_or_else(|| "info".to_owned());
        if let Err(why) = EnvFilter::try_new(&log) {
            return Err(invalid_setting(
                &read,
                "log",
                global_args.log.is_some(),
                &format!("is not a log filter: {why}"),
            ));
        }
        let within = |key: &str,
                      flag: Option<u64>,
                      in_file: Option<u64>,
                      default_value: u64,
                      range: RangeInclusive<u64>,
                      unit: &str| {
            let value = flag.or(in_file).unwrap_or(default_value);
            if range.contains(&value) {
                return Ok(value);
            }
            let bounds = if *range.end() == u64::MAX {
                format!("at least {}", range.start())
            } else {
                format!("from {} to {}", range.start(), range.end())
            };
            Err(invalid_setting(
                &read,
                key,
                flag.is_some(),
                &format!("must be {bounds}{unit}, not {value}"),
            ))
        };
        let to_u64 = |value: Option<u32>| value.map(u64::from);
        let count = |value: Option<usize>| value.map(|value| value as u64);
        let workers = within(
            "workers",
            count(serve.workers),
            count(file.workers),
            4,
            1..=64,
            "",
        )?;
        let rates = 0..=MAX_TRANSFER_RATE;
        let min_transfer_rate = within(
            "min_transfer_rate",
            serve.min_transfer_rate,
            file.min_transfer_rate,
            1_024,
            rates,
            " bytes per minute",
        )?;
        let max_run_hours = within(
            "max_run_hours",
            to_u64(serve.max_run_hours),
            to_u64(file.max_run_hours),
            12,
            1..=720,
            "",
        )?;
        let shortest_interval = within(
            "shortest_interval",
            to_u64(serve.shortest_interval),
            to_u64(file.shortest_interval),
            5,
            1..=1_440,
            " minutes",
        )?;
        let keep_versions = within(
            "keep_versions",
            to_u64(serve.keep_versions),
            to_u64(file.keep_versions),
            10,
            1..=u64::MAX,
            "",
        )?;
        let scrub_percent = within(
            "scrub_percent",
            to_u64(serve.scrub_percent),
            to_u64(file.scrub_percent),
            10,
            0..=100,
            "",
        )?;
        let of_person = (
            count(serve.downloads_per_person),
            count(file.downloads_per_person),
        );
        let downloads_per_person = within(
            "downloads_per_person",
            of_person.0,
            of_person.1,
            8,
            1..=1_000,
            "",
        )?;
        let downloads = within(
            "downloads",
            count(serve.downloads),
            count(file.downloads),
            64,
            1..=1_000,
            "",
        )?;
        let audit_days = within(
            "audit_days",
            to_u64(serve.audit_days),
            to_u64(file.audit_days),
            365,
            1..=u64::MAX,
            "",
        )?;
        // The value fits, because its flag and its field in the file have this type.
        let to_u32 = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let config = Self {
            data,
            listen,
            public_url,
            has_explicit_public_url: named_url.is_some(),
            insecure_http,
            allow_upstream,
            workers: size(workers),
            min_transfer_rate,
            max_run_hours: to_u32(max_run_hours),
            shortest_interval: to_u32(shortest_interval),
            keep_versions: to_u32(keep_versions),
            keep_days: serve.keep_days.or(file.keep_days).unwrap_or(30),
            keep_free_mib: serve.keep_free_mib.or(file.keep_free_mib).unwrap_or(1_024),
            scrub_percent: to_u32(scrub_percent),
            downloads_per_person: size(downloads_per_person),
            downloads: size(downloads),
            audit_days: to_u32(audit_days),
            audit_max_rows: serve
                .audit_max_rows
                .or(file.audit_max_rows)
                .unwrap_or(1_000_000),
            mail_hello,
            connections_per_address: serve
                .connections_per_address
                .or(file.connections_per_address)
                .unwrap_or_else(default_connections_per_address),
            metrics_listen: serve.metrics_listen.or(file.metrics_listen),
            allow_mail_server,
            trusted_proxy: if serve.trusted_proxy.is_empty() {
                file.trusted_proxy.clone()
            } else {
                serve.trusted_proxy.clone()
            },
            log,
            log_format: global_args
                .log_format
                .or(file.log_format)
                .unwrap_or_default(),
        };
        Ok((config, named_url.is_some()))
    }
}

/// The default limit of connections per address: enough for an office behind one address, but never
/// all files that the process may open.
fn default_connections_per_address() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    MAX_DEFAULT_CONNECTIONS
        .min(usize::try_from(files / 4).unwrap_or(usize::MAX))
        .max(1)
}

/// The allowed hosts of the flag, or those of `key` in the file if the flag is not set.
fn allowed_hosts(
    read: &SettingsFile,
    key: &str,
    by_flag: &[AllowUpstream],
    in_file: &[String],
) -> Result<Vec<AllowUpstream>> {
    if !by_flag.is_empty() {
        return Ok(by_flag.to_vec());
    }
    in_file
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|why: String| read.invalid_value(key, &why))
        })
        .collect()
}

/// Whether the URL has only scheme, host and port.
fn is_origin(url: &Url) -> bool {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    plain && url.username().is_empty() && url.password().is_none()
}

/// The error for an invalid setting, naming the place where it was set.
fn invalid_setting(file: &SettingsFile, key: &str, by_flag: bool, problem: &str) -> Error {
    match by_flag {
        true => Error::conflict(
            "settings",
            format!("--{} {problem}.", key.replace('_', "-")),
        ),
        false => file.invalid_value(key, problem),
    }
}
