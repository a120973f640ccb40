//! All settings in one place. The doc comments are the help text and the source of the reference
//! page. Flags take precedence over environment variables, these over `chatlake.toml` in the data
//! directory, and that over the defaults. `merge.rs` has the defaults and the ranges.

mod file;
mod merge;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use url::{Host, Url};

use crate::error::{Error, Result};

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
                "Listening on {} would send passwords and data over plain http to other machines. \
                 Put an https proxy in front and set --public-url https://..., or set --public-url \
                 http://... and --insecure-http.",
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

#[cfg(test)]
mod tests;
