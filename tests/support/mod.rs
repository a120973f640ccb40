//! What more than one test file uses. Both test binaries include this module. A test imports from
//! here and never from another test.
//!
//! - `context::TestContext` runs the product in this process; `http::Browser` sends requests to its
//!   router.
//! - `data_dir::DataDir` and `server::Server` run the built binary; `api_server::ApiServer` adds a
//!   vendor, an account and a token.
//! - `sandbox` and `tls_vendor` are vendors; `pulls` pulls from them without the product.
//! - `datasets`, `exports`, `panes`, `mail` and `notifications` are fixtures of one subject each.
//!
//! `webdriver::Chromium` is the browser of `tests/browser`. It is a module of that binary only, so
//! that `tests/it` is built without a WebDriver client.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod api_server;
pub mod config;
pub mod context;
pub mod data_dir;
pub mod datasets;
pub mod exports;
pub mod http;
pub mod mail;
pub mod notifications;
pub mod panes;
pub mod process;
pub mod pulls;
pub mod sandbox;
pub mod server;
pub mod test_server;
pub mod tls_vendor;

use std::time::{Duration, Instant};

use chatlake::clock::{Clock, Millis};

/// No step of a test takes longer. A condition that is not true by then fails the test.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// The password of every person.
pub const PASSWORD: &str = "correct horse battery staple";

pub const MINUTE: Millis = 60_000;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;
/// 2026-11-20 12:00 UTC: the time of a stopped clock.
pub const NOON: Millis = 1_795_176_000_000;

/// Waits for `wait`, and fails the test after [`TIMEOUT`].
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: it hangs"))
}

/// Calls `check` until it returns a value.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    until_within(TIMEOUT, what, check).await
}

pub async fn until_within<T, F: Future<Output = Option<T>>>(
    timeout: Duration,
    what: &str,
    check: impl Fn() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(began.elapsed() < timeout, "waited {timeout:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The number of rounds of a test that finds more in more rounds. `bin/soak` sets `CHATLAKE_SOAK`
/// to `short` or `long`.
pub fn rounds<T>(usual: T, short: T, long: T) -> T {
    match std::env::var_os("CHATLAKE_SOAK") {
        Some(length) if length == "long" => long,
        Some(length) if length == "short" => short,
        _ => usual,
    }
}

/// A time zone in which it is about noon, so that no midnight passes during a test.
pub fn noon_zone() -> String {
    let hour = i64::from(
        Clock::system()
            .timestamp()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .hour(),
    );
    match 12 - hour {
        0 => "Etc/GMT".to_owned(),
        // These names count westwards.
        ahead => format!("Etc/GMT{:+}", -ahead),
    }
}
