//! Log format and filter. Libraries that handle addresses and raw bytes are capped at WARN whatever
//! the filter says, because their lines may contain secrets.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;
use crate::error::{Error, Result};

/// Targets whose lines below WARN may contain query strings, headers or bytes.
const CAPPED_TARGETS: [&str; 9] = [
    "memory_serve",
    "reqwest",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "tower_http",
    "axum",
    "sqlx",
];

fn is_line_allowed(line: &Metadata<'_>) -> bool {
    let root = line.target().split("::").next().unwrap_or_default();
    let root = root.strip_suffix("_core").unwrap_or(root);
    // sqlx writes a line for each wait for a connection, thousands of them while another process
    // locks the catalogue.
    if line.target() == "sqlx::pool::acquire" {
        return false;
    }
    *line.level() <= Level::WARN || !CAPPED_TARGETS.contains(&root)
}

/// Whether log lines are coloured: on a terminal without `NO_COLOR` (https://no-color.org).
fn is_coloured() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sends log lines to standard error, and logs panics without their payload.
pub fn start(filter: &str, format: LogFormat) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|why| Error::conflict("settings", format!("--log is not a log filter: {why}.")))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_coloured());
    let layer = match format {
        LogFormat::Human => lines.with_target(false).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    // A second start in one process (in tests) keeps the first one.
    let _ = tracing_subscriber::registry()
        .with(
            layer
                .with_filter(filter)
                .with_filter(filter_fn(is_line_allowed)),
        )
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(at, "a panic");
    }));
    Ok(())
}
