//! The web pages. `routes.rs` contains all routes. A handler in `pages/` or `panes/` reads its
//! input, calls one function of the domain module and returns a page struct that askama renders.
//! Start at `routes.rs`.

pub mod assets;
pub mod cells;
pub mod client_address;
pub mod components;
pub mod error_page;
pub mod forms;
pub mod humanize;
pub mod ops;
pub mod page;
pub mod pages;
pub mod panes;
pub mod person;
pub mod query;
pub mod routes;
pub mod security;

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::actor::Actor;
use crate::auth::passwords::Hasher;
use crate::auth::sessions::{Session, Sessions};
use crate::auth::throttle::Throttle;
use crate::clock::Clock;
use crate::config::Config;
use crate::datasets::Datasets;
use crate::datasets::download::Downloads;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::puller::Puller;
use crate::quota::Quota;
use components::Chrome;

/// The state of the page handlers. Cheap to clone.
#[derive(Clone)]
pub struct Web(Arc<WebState>);

/// The content of `Web`.
pub struct WebState {
    pub config: Arc<Config>,
    pub db: Db,
    pub clock: Clock,
    pub accounts: Accounts,
    pub datasets: Datasets,
    pub puller: Puller,
    pub metrics: Metrics,
    pub hasher: Hasher,
    pub throttle: Throttle,
    pub sessions: Sessions,
    pub downloads: Downloads,
    /// Limits the event streams of pages that follow a run.
    pub event_streams: Quota,
    /// Fires when the server stops; streams then end.
    pub stop: CancellationToken,
}

impl Deref for Web {
    type Target = WebState;

    fn deref(&self) -> &WebState {
        &self.0
    }
}

/// The session key of the flash message.
const FLASH_KEY: &str = "toast";
/// The session key that is set if the flash message is about a failure.
const FLASH_FAILED_KEY: &str = "toast_failed";

impl Web {
    pub fn new(state: WebState) -> Self {
        Self(Arc::new(state))
    }

    /// The data of the page frame. `section`: datasets, accounts, activity, settings or "".
    pub async fn chrome(&self, actor: &Actor, session: &Session, section: &'static str) -> Chrome {
        let toast = session.remove(FLASH_KEY).await.ok().flatten();
        let failed = session.remove(FLASH_FAILED_KEY).await.ok().flatten();
        let failing = match self.datasets.recent_runs(actor).await {
            Ok(recent_runs) => recent_runs
                .values()
                .filter(|recent| {
                    let is_failing =
                        recent.failed_in_a_row > 0 && recent.pending_approval.is_none();
                    is_failing || recent.damaged
                })
                .count(),
            Err(_) => 0,
        };
        Chrome {
            user_name: actor.name.clone(),
            user_email: actor.email.clone(),
            user_initials: humanize::initials(&actor.name),
            role: actor.role.word().to_owned(),
            failing: failing as u64,
            section,
            asset_version: assets::version().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            q: String::new(),
            toast,
            toast_failed: failed.is_some(),
        }
    }

    /// Stores a flash message, which the next page shows once.
    pub async fn flash(&self, session: &Session, sentence: impl Into<String>) {
        let _ = session.insert(FLASH_KEY, sentence).await;
    }

    /// Like `flash`, for an action that failed.
    pub async fn flash_failure(&self, session: &Session, sentence: impl Into<String>) {
        let _ = session.insert(FLASH_FAILED_KEY, "yes").await;
        self.flash(session, sentence).await;
    }
}
