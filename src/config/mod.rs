//! All settings in one place. The doc comments are the help text and the source of the reference
//! page. Flags take precedence over environment variables, these over `chatlake.toml` in the data
//! directory, and that over the defaults.

mod file;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

use crate::error::{Error, Result};
use file::SettingsFile;

/// The maximum of the minimum transfer rate, in bytes per minute. A larger one would cut vendors
/// that are merely slow.
const MAX_TRANSFER_RATE: u64 = 1 << 20;
/// See `default_connections_per_address`.
const MAX_DEFAULT_CONNECTIONS: usize = 256;
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Settings from the command line or the environment that every command takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Data directory: catalogue, segments, vault key and chatlake.toml. Default: ./chatlake-data
    #[arg(long, env = "CHATLAKE_DATA", value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Private or plain-http hosts that accounts and webhooks may use, on any port: an address, a
    /// network or a host name. Repeatable; separated by commas in the environment. Default: none
    #[arg(
        long,
        env = "CHATLAKE_ALLOW_UPSTREAM",
        value_name = "CIDR_OR_HOST",
        value_delimiter = ',',
        global = true
    )]
    pub allow_upstream: Vec<AllowUpstream>,
    /// Log filter, for example info, debug or chatlake=trace. Default: info for serve, error for
    /// demo, warn for other commands
    #[arg(long, env = "CHATLAKE_LOG", value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// Format of log lines. Default: human
    #[arg(
        long,
        env = "CHATLAKE_LOG_FORMAT",
        value_name = "human|json",
        global = true
    )]
    pub log_format: Option<LogFormat>,
}

/// Settings that only a server takes.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Address to listen on. Except on loopback, it needs --public-url with https, or with http and
    /// --insecure-http. Default: 127.0.0.1:8080
    #[arg(long, env = "CHATLAKE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// URL that people open in the browser, for example https://chatlake.example.com. Default: http
    /// on the listening address
    #[arg(long, env = "CHATLAKE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<Url>,
    /// Serve plain http to other machines. Passwords and data are then sent unencrypted
    #[arg(long, env = "CHATLAKE_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// Maximum number of runs at the same time; a run that waits for LiveChat or LiveLeader does
    /// not count. Default: 4
    #[arg(long, env = "CHATLAKE_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Minimum bytes per minute that LiveChat or LiveLeader must send, or the call fails; 0 for no
    /// minimum. Default: 1024
    #[arg(long, env = "CHATLAKE_MIN_TRANSFER_RATE", value_name = "BYTES")]
    pub min_transfer_rate: Option<u64>,
    /// Hours after which a run is stopped and fails. Default: 12
    #[arg(long, env = "CHATLAKE_MAX_RUN_HOURS", value_name = "HOURS")]
    pub max_run_hours: Option<u32>,
    /// Minimum number of minutes between two scheduled runs of a DataSet. Default: 5
    #[arg(long, env = "CHATLAKE_SHORTEST_INTERVAL", value_name = "MINUTES")]
    pub shortest_interval: Option<u32>,
    /// Number of versions to keep per DataSet; the current version is always kept. Default: 10
    #[arg(long, env = "CHATLAKE_KEEP_VERSIONS", value_name = "N")]
    pub keep_versions: Option<u32>,
    /// Number of days to keep an old version. Default: 30
    #[arg(long, env = "CHATLAKE_KEEP_DAYS", value_name = "DAYS")]
    pub keep_days: Option<u32>,
    /// Disk space to keep free, in MiB. Runs wait while less is free, or less than twice the size
    /// of the DataSet's last version. Default: 1024
    #[arg(long, env = "CHATLAKE_KEEP_FREE_MIB", value_name = "MIB")]
    pub keep_free_mib: Option<u64>,
    /// Percentage of the stored data that the integrity check compares with its checksums each day;
    /// 0 for none. Default: 10
    #[arg(long, env = "CHATLAKE_SCRUB_PERCENT", value_name = "PERCENT")]
    pub scrub_percent: Option<u32>,
    /// Maximum number of downloads of one person at the same time; the next download waits up to a
    /// minute. Default: 8
    #[arg(long, env = "CHATLAKE_DOWNLOADS_PER_PERSON", value_name = "N")]
    pub downloads_per_person: Option<usize>,
    /// Maximum number of downloads of all people at the same time. Default: 64
    #[arg(long, env = "CHATLAKE_DOWNLOADS", value_name = "N")]
    pub downloads: Option<usize>,
    /// Number of days to keep entries of the audit log. Default: 365
    #[arg(long, env = "CHATLAKE_AUDIT_DAYS", value_name = "DAYS")]
    pub audit_days: Option<u32>,
    /// Maximum number of entries in the audit log. Above it, the oldest refused attempts of people
    /// who are not signed in are deleted. Default: 1000000
    #[arg(long, env = "CHATLAKE_AUDIT_MAX_ROWS", value_name = "N")]
    pub audit_max_rows: Option<u32>,
    /// Host name in the EHLO greeting to mail servers; some servers require a fully qualified name.
    /// Default: the host of the public URL
    #[arg(long, env = "CHATLAKE_MAIL_HELLO", value_name = "HOST", value_parser = mail_hello)]
    pub mail_hello: Option<Host>,
    /// Maximum number of connections of one address at the same time; 0 for no limit. Connections
    /// of --trusted-proxy are not limited. Default: 256, or a quarter of the files that the process
    /// may open when that is less
    #[arg(long, env = "CHATLAKE_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub connections_per_address: Option<usize>,
    /// Second address to listen on. It serves only /metrics, without a token. Default: none
    #[arg(long, env = "CHATLAKE_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Private hosts that an admin may set as the mail server: an address, a network or a host
    /// name. Repeatable; separated by commas in the environment. Default: none
    #[arg(
        long,
        env = "CHATLAKE_ALLOW_MAIL_SERVER",
        value_name = "CIDR_OR_HOST",
        value_delimiter = ','
    )]
    pub allow_mail_server: Vec<AllowUpstream>,
    /// Networks of proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted.
    /// Repeatable; separated by commas in the environment. Default: none
    #[arg(
        long,
        env = "CHATLAKE_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxy: Vec<ipnet::IpNet>,
}

/// The settings in effect.
#[derive(Clone, Debug)]
pub struct Config {
    pub data: PathBuf,
    pub listen: SocketAddr,
    /// Scheme, host and port only.
    pub public_url: Url,
    /// Whether the public URL is set explicitly, so that people connect from other machines.
    pub has_explicit_public_url: bool,
    pub insecure_http: bool,
    pub allow_upstream: Vec<AllowUpstream>,
    pub workers: usize,
    /// Bytes per minute; 0 for no minimum.
    pub min_transfer_rate: u64,
    pub max_run_hours: u32,
    /// In minutes.
    pub shortest_interval: u32,
    pub keep_versions: u32,
    pub keep_days: u32,
    pub keep_free_mib: u64,
    pub scrub_percent: u32,
    pub downloads_per_person: usize,
    pub downloads: usize,
    pub audit_days: u32,
    pub audit_max_rows: u32,
    /// The host in the EHLO greeting; `None` for the host of `public_url`.
    pub mail_hello: Option<Host>,
    /// 0 for no limit.
    pub connections_per_address: usize,
    pub metrics_listen: Option<SocketAddr>,
    pub allow_mail_server: Vec<AllowUpstream>,
    pub trusted_proxy: Vec<ipnet::IpNet>,
    pub log: String,
    pub log_format: LogFormat,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// A host that may be private: of a vendor, then also with plain http, or of the mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowUpstream {
    Net(ipnet::IpNet),
    /// Lower case, without a port.
    Host(String),
}

impl FromStr for AllowUpstream {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let text = text.trim();
        if let Ok(net) = text.parse() {
            return Ok(Self::Net(net));
        }
        if let Ok(address) = text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
        {
            return Ok(Self::Net(address.into()));
        }
        match url::Host::parse(text) {
            Ok(url::Host::Domain(host)) => Ok(Self::Host(host.to_ascii_lowercase())),
            _ => Err(format!(
                "{text} is neither an address, nor a network such as 10.0.0.0/8, nor a host name"
            )),
        }
    }
}

impl std::fmt::Display for AllowUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                write!(f, "{}", net.addr())
            }
            Self::Net(net) => write!(f, "{net}"),
            Self::Host(host) => f.write_str(host),
        }
    }
}

impl Config {
    /// The data directory from the flag or the environment, or the default.
    pub fn data_dir(global_args: &GlobalArgs) -> PathBuf {
        global_args
            .data
            .clone()
            .unwrap_or_else(|| PathBuf::from("./chatlake-data"))
    }

    /// Resolves the settings of a server from flags, environment, `chatlake.toml` and defaults.
    /// Refuses settings that would serve plain http to other machines by accident.
    pub fn resolve(global_args: &GlobalArgs, serve: &ServeArgs) -> Result<Self> {
        let (config, named) = Self::merge(global_args, serve)?;
        let is_meant = named && (config.https() || config.insecure_http);
        if config.listen.ip().is_loopback() || is_meant {
            return Ok(config);
        }
        Err(Error::conflict(
            "plain_http",
            format!(
                "Listening on {} would send passwords and data over plain http to other machines. Put an https proxy in front and set \
                 --public-url https://..., or set --public-url http://... and --insecure-http.",
                config.listen
            ),
        ))
    }

    /// Resolves the settings of a command that does not serve. The flags and environment of a
    /// server are unknown to it, so it does not validate the settings for listening.
    pub fn for_command(global_args: &GlobalArgs) -> Result<Self> {
        Ok(Self::merge(global_args, &ServeArgs::default())?.0)
    }

    /// The listening address of a server with these settings, even if other settings are invalid.
    /// For health checks.
    pub fn listen_address(global_args: &GlobalArgs, serve: &ServeArgs) -> SocketAddr {
        let in_file = || {
            let text =
                std::fs::read_to_string(Self::data_dir(global_args).join("chatlake.toml")).ok()?;
            let table: toml::Table = toml::from_str(&text).ok()?;
            table.get("listen")?.as_str()?.parse().ok()
        };
        serve.listen.or_else(in_file).unwrap_or(DEFAULT_LISTEN)
    }

    /// Merges the sources. Also returns whether the public URL was set explicitly.
    fn merge(global_args: &GlobalArgs, serve: &ServeArgs) -> Result<(Self, bool)> {
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

    /// The settings after the server has bound `address`: a port of 0 is replaced by the actual
    /// one.
    pub fn listening_on(mut self, address: SocketAddr) -> Result<Self> {
        if self.public_url.port() == Some(0) {
            self.public_url
                .set_port(Some(address.port()))
                .map_err(|()| Error::internal("a public address that takes no port"))?;
        }
        self.listen = address;
        Ok(self)
    }

    /// Whether `/metrics` is served without a token to clients on this machine. Only if no proxy
    /// can forward requests of other machines to this server.
    pub fn has_open_metrics(&self) -> bool {
        !self.has_explicit_public_url && self.trusted_proxy.is_empty()
    }

    /// Whether people use https, so that cookies can be Secure.
    pub fn https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

/// Parses the name for the EHLO greeting: a host name or an IP address.
fn mail_hello(text: &str) -> std::result::Result<Host, String> {
    let text = text.trim();
    let host = if text.parse::<std::net::Ipv6Addr>().is_ok() {
        Host::parse(&format!("[{text}]"))
    } else {
        Host::parse(text)
    };
    host.map_err(|_| {
        format!("{text:?} is neither a host name, such as chatlake.example.com, nor an IP address")
    })
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

#[cfg(test)]
mod tests;
