//! The pages. `routes.rs` is the whole address table; a handler in `pages/` or `panes/` reads what it needs, calls one function of the
//! noun and answers a page struct that askama renders. Start at `routes.rs`.

pub mod asked;
pub mod assets;
pub mod cells;
pub mod client_address;
pub mod error_page;
pub mod forms;
pub mod ops;
pub mod page;
pub mod pages;
pub mod panes;
pub mod parts;
pub mod person;
pub mod routes;
pub mod security;
pub mod words;

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
use parts::Chrome;

/// What the pages' handlers need. Cheap to clone.
#[derive(Clone)]
pub struct Web(Arc<Parts>);

/// See `Web`.
pub struct Parts {
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
    /// Of pages that follow a run.
    pub event_streams: Quota,
    /// Fires when the server stops: streams end.
    pub stop: CancellationToken,
}

impl Deref for Web {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Where a message for the next page waits in the session.
const TOAST: &str = "toast";

impl Web {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// What the frame around a page shows. `section`: datasets, accounts, activity, settings or "".
    pub async fn chrome(&self, actor: &Actor, session: &Session, section: &'static str) -> Chrome {
        let toast = session.remove(TOAST).await.ok().flatten();
        let failing = match self.datasets.lately(actor).await {
            Ok(lately) => lately.values().filter(|l| l.failed_in_a_row > 0 || l.damaged).count(),
            Err(_) => 0,
        };
        Chrome {
            user_name: actor.name.clone(),
            user_email: actor.email.clone(),
            user_initials: words::initials(&actor.name),
            role: actor.role.word().to_owned(),
            failing: failing as u64,
            section,
            asset_version: assets::version().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            q: String::new(),
            toast,
        }
    }

    /// A sentence that the next page shows once.
    pub async fn say_next(&self, session: &Session, sentence: impl Into<String>) {
        let _ = session.insert(TOAST, sentence).await;
    }
}
