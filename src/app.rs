//! Builds the product from its settings, starts web and puller, and stops them in order.

mod data_directory;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::routing::get;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::accounts::{Accounts, keys};
use crate::api::Api;
use crate::auth::audit::{self, Retention};
use crate::auth::export_passwords::Gate;
use crate::auth::invites;
use crate::auth::passwords::Hasher;
use crate::auth::sessions::Sessions;
use crate::auth::throttle::Throttle;
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::{Acceptor, PerAddress};
use crate::connectors::upstream::hosts::Hosts;
use crate::connectors::upstream::outgoing::Outgoing;
use crate::connectors::upstream::{Limits, SystemNames, Upstreams};
use crate::datasets::Datasets;
use crate::datasets::download::Downloads;
use crate::datasets::scrub::Scrub;
use crate::datasets::segments::Segments;
use crate::datasets::versions::{Keep, Versions};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::puller::live::Live;
use crate::puller::queue::Holder;
use crate::puller::scheduler::clock_set::Seen;
use crate::puller::slots::Slots;
use crate::puller::{Parts, Puller};
use crate::quota::Quota;
use crate::vault::{self, Vault};
use crate::web::security::Refuse;
use crate::web::{self, Web};
pub use data_directory::refuse_lost_catalogue;
use data_directory::{CATALOGUE, create_private, lock_directory, prepare_directory, refuse_strange, warn_of_network};

/// A request's head must be there within this, on a fresh connection and on a kept one alike.
const HEADER_READ: Duration = Duration::from_secs(10);
/// Downloads and streams under way get this long after the signal to stop.
const GRACE: Duration = Duration::from_secs(20);
/// Workers, too, and whatever else has not ended, get this long, counted from the signal.
const LAST_GRACE: Duration = Duration::from_secs(23);
/// Then the catalogue is closed; so long after the signal the process ends in any case.
const END_WITHIN: Duration = Duration::from_secs(27);
/// A request's head is at most this long.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// So many pages may follow a run by events at once, for one person and for all; the others ask now and then.
const EVENT_STREAMS_PER_PERSON: usize = 16;
const EVENT_STREAMS: usize = 256;

/// How often ended sessions are put away.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// How often the commit file is brought up to date.
const NOTE_COMMITS_EVERY: Duration = Duration::from_secs(1);

/// Why the start is refused.
#[derive(Debug)]
pub enum StartError {
    /// The vault's key is not as it must be; one line, exit code 78.
    Key(String),
    Other(Error),
}

impl<E: Into<Error>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// The product, ready to serve or to be asked by a command.
pub struct App {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub db: Db,
    pub accounts: Accounts,
    pub datasets: Datasets,
    pub puller: Puller,
    pub metrics: Metrics,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Held while this process serves from the directory.
    lock: Option<File>,
}

impl App {
    /// Opens the data directory to serve from it. A second server on the same directory is refused.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::open_with(config, clock, Limits::default()).await
    }

    /// As `open`, with another patience with vendors; the minimum rate is that of the settings.
    pub async fn open_with(config: Config, clock: Clock, limits: Limits) -> Result<Self, StartError> {
        prepare_directory(&config.data)?;
        let lock = match lock_directory(&config.data)? {
            Ok(lock) => lock,
            Err(holder) => {
                let dir = config.data.display();
                let why = format!("Another Chatlake ({holder}) already uses {dir}. Stop it first, or choose another directory with --data.");
                return Err(Error::conflict("in_use", why).into());
            }
        };
        warn_of_network(&config.data);
        let has_only_key = config.data.join(vault::KEY_FILE).exists() && std::fs::metadata(config.data.join(CATALOGUE)).map_or(0, |about| about.len()) == 0;
        let mut app = Self::assemble(config, clock, limits).await?;
        app.lock = Some(lock);
        if let Err(damaged) = app.db.refuse_damaged().await {
            app.db.close().await;
            return Err(damaged.into());
        }
        if has_only_key {
            tracing::warn!("{} contains only vault.key. Chatlake starts as a new installation", app.config.data.display());
        }
        app.db.hold_commit_file().await;
        Ok(app)
    }

    /// As `open_beside`, for a command that makes no data directory. Errors: `no_data_directory`.
    pub async fn open_existing(config: Config, clock: Clock) -> Result<Self, StartError> {
        refuse_strange(&config.data)?;
        Self::open_beside(config, clock).await
    }

    /// Opens the data directory for a command, beside a server or without one; makes it when it is not there.
    pub async fn open_beside(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::assemble(config, clock, Limits::default()).await
    }

    async fn assemble(config: Config, clock: Clock, limits: Limits) -> Result<Self, StartError> {
        prepare_directory(&config.data)?;
        let catalogue = config.data.join(CATALOGUE);
        refuse_lost_catalogue(&config.data)?;
        create_private(&catalogue)?;
        let db = Db::open(&catalogue).await?;
        let vault = match open_vault(&config.data, &db, &clock).await {
            Ok(vault) => vault,
            Err(refused) => {
                // So that the directory is left as it was, without the catalogue's log files.
                db.close().await;
                return Err(refused);
            }
        };
        let limits = Limits { min_bytes: config.min_transfer_rate, ..limits };
        let upstreams = Upstreams::with(config.allow_upstream.clone(), clock.clone(), limits, Arc::new(SystemNames))?;
        let way = Outgoing::new(&config.allow_upstream)?;
        let mail_hosts = Hosts::new(&config.allow_mail_server, "--allow-mail-server");
        let notices = Notices::new(db.clone(), clock.clone(), vault.clone(), way, mail_hosts, config.public_url.clone(), config.mail_hello.clone());
        let accounts = Accounts::new(db.clone(), vault, clock.clone(), upstreams);
        let segments = Segments::new(config.data.join("segments"), db.clone(), clock.clone())?;
        segments.load_damage().await?;
        let keep = Keep { versions: config.keep_versions, days: config.keep_days };
        let versions = Versions::new(db.clone(), segments.clone(), clock.clone(), keep);
        let datasets = Datasets { db: db.clone(), clock: clock.clone(), segments, versions };
        let metrics = Metrics::new();
        let stop = CancellationToken::new();
        let puller = Puller::new(Parts {
            db: db.clone(),
            clock: clock.clone(),
            accounts: accounts.clone(),
            datasets: datasets.clone(),
            metrics: metrics.clone(),
            notices,
            live: Live::default(),
            keep_free: config.keep_free_mib.saturating_mul(1 << 20),
            holder: Holder::new(uuid::Uuid::now_v7().simple().to_string()),
            seen: Seen::default(),
            wake: tokio::sync::Notify::new(),
            rescheduled: tokio::sync::Notify::new(),
            kept: tokio::sync::Notify::new(),
            stop: stop.clone(),
            slots: Slots::new(config.workers),
            workers: config.workers,
            max_run: i64::from(config.max_run_hours) * 3_600_000,
            shortest_interval: config.shortest_interval,
        });
        Ok(Self { config: Arc::new(config), clock, db, accounts, datasets, puller, metrics, stop, tasks: TaskTracker::new(), lock: None })
    }

    /// Takes the directory for this process when no server has it. False when one has.
    pub async fn take_directory(&mut self) -> Result<bool> {
        self.lock = lock_directory(&self.config.data)?.ok();
        if self.lock.is_some() {
            self.db.hold_commit_file().await;
        }
        Ok(self.lock.is_some())
    }

    /// The link that makes the first admin; none once there is one.
    pub async fn set_up_link(&self) -> Result<Option<String>> {
        let code = invites::setup_link(&self.db, &self.clock).await?;
        Ok(code.map(|code| format!("{}set-up/{}", self.config.public_url, code.reveal())))
    }

    /// Takes the address that the settings name. A port left open (`:0`) is known from then on, in `config` too.
    pub async fn listen(&mut self) -> Result<TcpListener> {
        let listener = bind(self.config.listen, "--listen").await?;
        self.config = Arc::new(self.config.as_ref().clone().listening_on(listener.local_addr()?)?);
        self.puller.notices.is_reached_at(&self.config.public_url);
        Ok(listener)
    }

    /// Everything under `/`, as a service.
    pub fn router(&self) -> Result<axum::Router> {
        Ok(self.routers()?.0)
    }

    /// Everything under `/`, and what is served at `--metrics-listen`.
    fn routers(&self) -> Result<(axum::Router, axum::Router)> {
        let throttle = Throttle::new(self.clock.clone());
        let mut downloads = Downloads::new(self.clock.clone(), self.config.downloads_per_person, self.config.downloads);
        downloads.replaced_nul = self.metrics.replaced_nul.clone();
        let api = Api {
            db: self.db.clone(),
            clock: self.clock.clone(),
            accounts: self.accounts.clone(),
            datasets: self.datasets.clone(),
            puller: self.puller.clone(),
            throttle: throttle.clone(),
            metrics: self.metrics.clone(),
            gate: Gate::new(self.clock.clone()),
            downloads: downloads.clone(),
        };
        let web = Web::new(web::Parts {
            config: self.config.clone(),
            db: self.db.clone(),
            clock: self.clock.clone(),
            accounts: self.accounts.clone(),
            datasets: self.datasets.clone(),
            puller: self.puller.clone(),
            metrics: self.metrics.clone(),
            hasher: Hasher::new(std::thread::available_parallelism().map_or(2, usize::from)),
            throttle,
            sessions: Sessions::new(self.db.clone(), self.clock.clone()),
            downloads,
            event_streams: Quota::new(EVENT_STREAMS_PER_PERSON, EVENT_STREAMS),
            stop: self.stop.clone(),
        });
        let metrics = only_metrics(web.clone());
        Ok((web::routes::router(web, crate::api::router(api), refuse())?, metrics))
    }

    /// Starts claiming runs, and the scheduler.
    pub async fn start_pulling(&self) -> Result<()> {
        self.puller.start(&self.tasks).await
    }

    /// Serves until `ask` fires, then stops in order: no new runs, pulls given back, streams ended, downloads cut after a while. Everything
    /// has ended 28 seconds later.
    pub async fn serve(self, listener: TcpListener, ask: CancellationToken) -> Result<()> {
        self.start_pulling().await?;
        let keep = Retention { days: self.config.audit_days, max_rows: self.config.audit_max_rows };
        self.tasks.spawn(tidy_until_stopped(self.db.clone(), self.clock.clone(), keep, self.stop.clone()));
        self.tasks.spawn(note_commits_until_stopped(self.db.clone(), self.clock.clone(), self.stop.clone()));
        let scrub = Scrub {
            db: self.db.clone(),
            segments: self.datasets.segments.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            percent: self.config.scrub_percent,
        };
        self.tasks.spawn(scrub.run_until_stopped(self.stop.clone()));
        let address = listener.local_addr()?;
        let handle = axum_server::Handle::new();
        let (everything, metrics) = self.routers()?;
        if let Some(address) = self.config.metrics_listen {
            let listener = bind(address, "--metrics-listen").await?;
            tracing::info!(address = %listener.local_addr()?, "metrics are served without a token");
            self.tasks.spawn(self.serve_on(listener, metrics, &handle)?);
        }
        let serving = tokio::spawn(self.serve_on(listener, everything, &handle)?);
        tracing::info!(%address, url = %self.config.public_url, data = %self.config.data.display(), "serving");
        ask.cancelled().await;
        tracing::info!("stopping");
        let asked = tokio::time::Instant::now();
        self.stop.cancel();
        handle.graceful_shutdown(Some(GRACE));
        self.tasks.close();
        let ended = tokio::time::timeout_at(asked + LAST_GRACE, async { tokio::join!(serving, self.tasks.wait()) }).await;
        match ended {
            Ok((Ok(Err(why)), ())) => tracing::error!(%why, "the server stopped with an error"),
            Ok(_) => {}
            Err(_) => tracing::warn!("requests and tasks that are still in progress are stopped"),
        }
        let _ = tokio::time::timeout_at(asked + END_WITHIN, self.db.close()).await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Answers requests on this listener until `handle` says that it is over.
    fn serve_on(
        &self,
        listener: TcpListener,
        router: axum::Router,
        handle: &axum_server::Handle<SocketAddr>,
    ) -> Result<impl Future<Output = std::io::Result<()>> + Send + 'static> {
        let per_address = PerAddress::new(self.config.connections_per_address, self.config.trusted_proxy.clone());
        let acceptor = Acceptor::new(self.clock.clone(), self.metrics.clone(), per_address);
        let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle.clone()).http1_only();
        server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ).max_buf_size(MAX_HEAD_BYTES).max_headers(100);
        Ok(server.serve(router.into_make_service_with_connect_info::<SocketAddr>()))
    }

    /// Ends what `start_pulling` started.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.db.close().await;
    }
}

/// What is served at `--metrics-listen`, to whoever reaches it: the counters.
fn only_metrics(web: Web) -> axum::Router {
    let fixed = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    axum::Router::new()
        .route("/metrics", get(web::ops::open_metrics))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .with_state(web)
}

/// Takes an address; `setting` is the flag that names it.
async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|why| {
        Error::conflict("listen", format!("Cannot listen on {address}: {why}."))
            .action(format!("Another program may use this address. Choose another address with {setting}."))
    })?;
    Ok(listener.into_std()?)
}

/// How a request that comes to no handler is answered: programs get what their API says, people a page.
pub fn refuse() -> Refuse {
    Arc::new(|uri, id, refusal| {
        let by_api = crate::api::refuse(uri.path(), refusal.status, refusal.code, refusal.message, id);
        by_api.unwrap_or_else(|| web::error_page::at_the_door(id, refusal))
    })
}

/// Now and then, what has ended and nobody reads any more goes: sessions, links, browsers that stayed away, old entries of the audit log.
async fn tidy_until_stopped(db: Db, clock: Clock, keep: Retention, stop: CancellationToken) {
    loop {
        if let Err(error) = audit::sweep(&db, &clock, keep).await {
            tracing::error!(cause = ?error.inside(), "old entries of the audit log could not be deleted: {error}");
        }
        if let Err(error) = crate::auth::sweep(&db, &clock).await {
            tracing::error!(cause = ?error.inside(), "expired sessions could not be deleted: {error}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.wait(TIDY_EVERY) => {}
        }
    }
}

/// Keeps the commit file up to date; see `db/commits.rs`.
async fn note_commits_until_stopped(db: Db, clock: Clock, stop: CancellationToken) {
    loop {
        db.note_commits().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.wait(NOTE_COMMITS_EVERY) => {}
        }
    }
}

/// What a process does when its terminal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// It goes on: a server outlives the terminal in which it was started, and `systemctl reload` does it no harm.
    Ignored,
    /// It ends as by SIGTERM.
    Ends,
}

/// Fires on the first SIGTERM or SIGINT; the second one ends the process at once. From now on SIGHUP does what `hangup` says.
pub fn signalled(hangup: Hangup) -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup())) else {
        tracing::error!("signals cannot be handled: a signal ends the process at once");
        return token;
    };
    let fired = token.clone();
    tokio::spawn(async move {
        let mut round = 0;
        while round < 2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {
                    if hangup == Hangup::Ignored {
                        tracing::info!("SIGHUP is ignored");
                        continue;
                    }
                }
            }
            round += 1;
            fired.cancel();
        }
        #[expect(clippy::disallowed_methods, reason = "a second signal means: now")]
        std::process::exit(130);
    });
    token
}

/// The vault, once its key is the one that sealed what is stored here.
async fn open_vault(dir: &Path, db: &Db, clock: &Clock) -> Result<Vault, StartError> {
    let vault = Vault::open(dir, keys::anything_sealed(db).await?).map_err(|error| StartError::Key(error.to_string()))?;
    keys::hold_to(db, clock, &vault).await.map_err(|error| StartError::Key(error.message().to_owned()))?;
    Ok(vault)
}
