//! Builds the application from its settings, starts the web server and the puller, and stops them
//! in order.

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

use crate::accounts::{Accounts, vault_check};
use crate::api::Api;
use crate::auth::audit::{self, AuditRetention};
use crate::auth::export_passwords::ExportThrottle;
use crate::auth::invites;
use crate::auth::passwords::Hasher;
use crate::auth::sessions::Sessions;
use crate::auth::throttle::Throttle;
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::{Acceptor, AddressLimit};
use crate::connectors::upstream::allowed_hosts::AllowedHosts;
use crate::connectors::upstream::webhook_client::WebhookClient;
use crate::connectors::upstream::{Limits, SystemResolver, Upstreams};
use crate::datasets::Datasets;
use crate::datasets::download::Downloads;
use crate::datasets::scrub::Scrub;
use crate::datasets::segments::Segments;
use crate::datasets::versions::{Retention, Versions};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::notifications::Notifications;
use crate::puller::live::LiveProgress;
use crate::puller::queue::WorkerLeases;
use crate::puller::scheduler::clock_jump::ClockMonitor;
use crate::puller::slots::Slots;
use crate::puller::{Puller, RunContext};
use crate::quota::Quota;
use crate::vault::{self, Vault};
use crate::web::security::RejectionHandler;
use crate::web::{self, Web};
pub use data_directory::check_catalogue_not_lost;
use data_directory::{
    CATALOGUE, create_private, lock_data_directory, prepare_data_directory, require_catalogue,
    warn_if_network_file_system,
};

/// The time limit for receiving a request head, on new and on reused connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long downloads and streams in progress may continue after the signal to stop.
const STREAM_GRACE: Duration = Duration::from_secs(20);
/// How long workers and everything else may continue, counted from the signal.
const WORKER_GRACE: Duration = Duration::from_secs(23);
/// The process exits at the latest this long after the signal, after the catalogue was closed.
const EXIT_DEADLINE: Duration = Duration::from_secs(27);
/// The maximum size of a request head.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Event streams of run pages at once, per person and in total. Pages without a stream poll
/// instead.
const EVENT_STREAMS_PER_PERSON: usize = 16;
const EVENT_STREAMS: usize = 256;

/// The interval at which ended sessions are deleted.
const AUTH_SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The interval at which the commit file is updated.
const COMMIT_FILE_EVERY: Duration = Duration::from_secs(1);

/// Why the application cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The vault key is missing or invalid. One line; exit code 78.
    Key(String),
    Other(Error),
}

impl<E: Into<Error>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// The application, ready to serve or to run a command.
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
    /// The lock on the data directory, held while this process serves from it.
    lock: Option<File>,
}

impl App {
    /// Opens the data directory to serve from it. A second server on the same directory is refused.
    pub async fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::open_with_limits(config, clock, Limits::default()).await
    }

    /// Like `open`, with other limits for vendor requests. The minimum transfer rate comes from the
    /// settings.
    pub async fn open_with_limits(
        config: Config,
        clock: Clock,
        limits: Limits,
    ) -> Result<Self, StartError> {
        prepare_data_directory(&config.data)?;
        let lock = match lock_data_directory(&config.data)? {
            Ok(lock) => lock,
            Err(holder) => {
                let dir = config.data.display();
                let why = format!(
                    "Another Chatlake ({holder}) already uses {dir}. Stop it first, or choose another directory with --data."
                );
                return Err(Error::conflict("in_use", why).into());
            }
        };
        warn_if_network_file_system(&config.data);
        let has_only_key = config.data.join(vault::KEY_FILE).exists()
            && std::fs::metadata(config.data.join(CATALOGUE)).map_or(0, |about| about.len()) == 0;
        let mut app = Self::assemble(config, clock, limits).await?;
        app.lock = Some(lock);
        if let Err(damaged) = app.db.refuse_damaged().await {
            app.db.close().await;
            return Err(damaged.into());
        }
        if has_only_key {
            tracing::warn!(
                "{} contains only vault.key. Chatlake starts as a new installation",
                app.config.data.display()
            );
        }
        app.db.start_commit_file().await;
        Ok(app)
    }

    /// Like `open_for_command`, for a command that does not create the data directory. Errors:
    /// `no_data_directory`.
    pub async fn open_existing(config: Config, clock: Clock) -> Result<Self, StartError> {
        require_catalogue(&config.data)?;
        Self::open_for_command(config, clock).await
    }

    /// Opens the data directory for a command, with or without a running server. Creates the
    /// directory if it does not exist.
    pub async fn open_for_command(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::assemble(config, clock, Limits::default()).await
    }

    async fn assemble(config: Config, clock: Clock, limits: Limits) -> Result<Self, StartError> {
        prepare_data_directory(&config.data)?;
        let catalogue = config.data.join(CATALOGUE);
        check_catalogue_not_lost(&config.data)?;
        create_private(&catalogue)?;
        let db = Db::open(&catalogue).await?;
        let vault = match open_vault(&config.data, &db, &clock).await {
            Ok(vault) => vault,
            Err(refused) => {
                // Closing removes the WAL files, so that the directory is left unchanged.
                db.close().await;
                return Err(refused);
            }
        };
        let limits = Limits {
            min_bytes: config.min_transfer_rate,
            ..limits
        };
        let upstreams = Upstreams::with(
            config.allow_upstream.clone(),
            clock.clone(),
            limits,
            Arc::new(SystemResolver),
        )?;
        let http = WebhookClient::new(&config.allow_upstream)?;
        let mail_hosts = AllowedHosts::new(&config.allow_mail_server, "--allow-mail-server");
        let notifications = Notifications::new(
            db.clone(),
            clock.clone(),
            vault.clone(),
            http,
            mail_hosts,
            config.public_url.clone(),
            config.mail_hello.clone(),
        );
        let accounts = Accounts::new(db.clone(), vault, clock.clone(), upstreams);
        let segments = Segments::new(config.data.join("segments"), db.clone(), clock.clone())?;
        segments.load_damage().await?;
        let retention = Retention {
            versions: config.keep_versions,
            days: config.keep_days,
        };
        let versions = Versions::new(db.clone(), segments.clone(), clock.clone(), retention);
        let datasets = Datasets {
            db: db.clone(),
            clock: clock.clone(),
            segments,
            versions,
        };
        let metrics = Metrics::new();
        let stop = CancellationToken::new();
        let puller = Puller::new(RunContext {
            db: db.clone(),
            clock: clock.clone(),
            accounts: accounts.clone(),
            datasets: datasets.clone(),
            metrics: metrics.clone(),
            notifications,
            live: LiveProgress::default(),
            min_free_bytes: config.keep_free_mib.saturating_mul(1 << 20),
            leases: WorkerLeases::new(uuid::Uuid::now_v7().simple().to_string()),
            clock_monitor: ClockMonitor::default(),
            wake_dispatcher: tokio::sync::Notify::new(),
            wake_scheduler: tokio::sync::Notify::new(),
            wake_deadlines: tokio::sync::Notify::new(),
            stop: stop.clone(),
            slots: Slots::new(config.workers),
            workers: config.workers,
            max_run_ms: i64::from(config.max_run_hours) * 3_600_000,
            min_interval_minutes: config.shortest_interval,
        });
        Ok(Self {
            config: Arc::new(config),
            clock,
            db,
            accounts,
            datasets,
            puller,
            metrics,
            stop,
            tasks: TaskTracker::new(),
            lock: None,
        })
    }

    /// Locks the directory if no server holds the lock. Returns false if one does.
    pub async fn try_lock_data_directory(&mut self) -> Result<bool> {
        self.lock = lock_data_directory(&self.config.data)?.ok();
        if self.lock.is_some() {
            self.db.start_commit_file().await;
        }
        Ok(self.lock.is_some())
    }

    /// The link that creates the first admin. `None` once there is a person.
    pub async fn set_up_link(&self) -> Result<Option<String>> {
        let code = invites::setup_link(&self.db, &self.clock).await?;
        Ok(code.map(|code| format!("{}set-up/{}", self.config.public_url, code.reveal())))
    }

    /// Binds the configured address. A port that was 0 is written back to `config`.
    pub async fn listen(&mut self) -> Result<TcpListener> {
        let listener = bind(self.config.listen, "--listen").await?;
        self.config = Arc::new(
            self.config
                .as_ref()
                .clone()
                .listening_on(listener.local_addr()?)?,
        );
        self.puller
            .notifications
            .set_public_url(&self.config.public_url);
        Ok(listener)
    }

    /// All routes as one service.
    pub fn router(&self) -> Result<axum::Router> {
        Ok(self.routers()?.0)
    }

    /// All routes, and the routes of `--metrics-listen`.
    fn routers(&self) -> Result<(axum::Router, axum::Router)> {
        let throttle = Throttle::new(self.clock.clone());
        let mut downloads = Downloads::new(
            self.clock.clone(),
            self.config.downloads_per_person,
            self.config.downloads,
        );
        downloads.replaced_nul = self.metrics.replaced_nul.clone();
        let api = Api {
            db: self.db.clone(),
            clock: self.clock.clone(),
            accounts: self.accounts.clone(),
            datasets: self.datasets.clone(),
            puller: self.puller.clone(),
            throttle: throttle.clone(),
            metrics: self.metrics.clone(),
            export_throttle: ExportThrottle::new(self.clock.clone()),
            downloads: downloads.clone(),
        };
        let web = Web::new(web::WebState {
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
        let metrics = metrics_router(web.clone());
        Ok((
            web::routes::router(web, crate::api::router(api), rejection_handler())?,
            metrics,
        ))
    }

    /// Starts the workers and the scheduler.
    pub async fn start_pulling(&self) -> Result<()> {
        self.puller.start(&self.tasks).await
    }

    /// Serves until `shutdown` fires, then stops in order: starts no new runs, returns running
    /// pulls to the queue, ends streams, and cuts downloads after a grace period. Everything has
    /// ended 28 seconds after the signal.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        self.start_pulling().await?;
        let retention = AuditRetention {
            days: self.config.audit_days,
            max_rows: self.config.audit_max_rows,
        };
        self.tasks.spawn(sweep_auth_until_stopped(
            self.db.clone(),
            self.clock.clone(),
            retention,
            self.stop.clone(),
        ));
        self.tasks.spawn(update_commit_file_until_stopped(
            self.db.clone(),
            self.clock.clone(),
            self.stop.clone(),
        ));
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
        shutdown.cancelled().await;
        tracing::info!("stopping");
        let requested_at = tokio::time::Instant::now();
        self.stop.cancel();
        handle.graceful_shutdown(Some(STREAM_GRACE));
        self.tasks.close();
        let ended = tokio::time::timeout_at(requested_at + WORKER_GRACE, async {
            tokio::join!(serving, self.tasks.wait())
        })
        .await;
        match ended {
            Ok((Ok(Err(why)), ())) => tracing::error!(%why, "the server stopped with an error"),
            Ok(_) => {}
            Err(_) => tracing::warn!("requests and tasks that are still in progress are stopped"),
        }
        let _ = tokio::time::timeout_at(requested_at + EXIT_DEADLINE, self.db.close()).await;
        tracing::info!("stopped");
        Ok(())
    }

    /// Serves requests on this listener until `handle` is shut down.
    fn serve_on(
        &self,
        listener: TcpListener,
        router: axum::Router,
        handle: &axum_server::Handle<SocketAddr>,
    ) -> Result<impl Future<Output = std::io::Result<()>> + Send + 'static> {
        let address_limit = AddressLimit::new(
            self.config.connections_per_address,
            self.config.trusted_proxy.clone(),
        );
        let acceptor = Acceptor::new(self.clock.clone(), self.metrics.clone(), address_limit);
        let mut server = axum_server::from_tcp(listener)?
            .acceptor(acceptor)
            .handle(handle.clone())
            .http1_only();
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(100);
        Ok(server.serve(router.into_make_service_with_connect_info::<SocketAddr>()))
    }

    /// Stops what `start_pulling` started.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.db.close().await;
    }
}

/// The routes of `--metrics-listen`: the metrics, without authentication.
fn metrics_router(web: Web) -> axum::Router {
    let fixed =
        |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    axum::Router::new()
        .route("/metrics", get(web::ops::open_metrics))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .with_state(web)
}

/// Binds an address. `setting` is the flag that names it, for the error message.
async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|why| {
            Error::conflict("listen", format!("Cannot listen on {address}: {why}.")).action(
                format!(
                    "Another program may use this address. Choose another address with {setting}."
                ),
            )
        })?;
    Ok(listener.into_std()?)
}

/// The responses for requests that reach no handler: the API's error format for programs, a page
/// for people.
pub fn rejection_handler() -> RejectionHandler {
    Arc::new(|uri, id, rejection| {
        let api_response = crate::api::rejection_response(
            uri.path(),
            rejection.status,
            rejection.code,
            rejection.message,
            id,
        );
        api_response.unwrap_or_else(|| web::error_page::rejection_page(id, rejection))
    })
}

/// Periodically deletes expired data: sessions, links, unused remembered browsers and old entries
/// of the audit log.
async fn sweep_auth_until_stopped(
    db: Db,
    clock: Clock,
    retention: AuditRetention,
    stop: CancellationToken,
) {
    loop {
        if let Err(error) = audit::sweep(&db, &clock, retention).await {
            tracing::error!(cause = ?error.log_cause(), "old entries of the audit log could not be deleted: {error}");
        }
        if let Err(error) = crate::auth::sweep(&db, &clock).await {
            tracing::error!(cause = ?error.log_cause(), "expired sessions could not be deleted: {error}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.wait(AUTH_SWEEP_EVERY) => {}
        }
    }
}

/// Keeps the commit file up to date; see `db/commits.rs`.
async fn update_commit_file_until_stopped(db: Db, clock: Clock, stop: CancellationToken) {
    loop {
        db.update_commit_file().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.wait(COMMIT_FILE_EVERY) => {}
        }
    }
}

/// What a process does on SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The process continues: a server outlives the terminal it was started in, and
    /// `systemctl reload` does no harm.
    Ignored,
    /// The process ends as on SIGTERM.
    Ends,
}

/// Returns a token that fires on the first SIGTERM or SIGINT; the second signal ends the process at
/// once. SIGHUP is handled as `hangup` says.
pub fn shutdown_signal(hangup: Hangup) -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
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

/// Opens the vault and checks that its key is the one that sealed the stored secrets.
async fn open_vault(dir: &Path, db: &Db, clock: &Clock) -> Result<Vault, StartError> {
    let vault = Vault::open(dir, vault_check::has_sealed_data(db).await?)
        .map_err(|error| StartError::Key(error.to_string()))?;
    vault_check::verify_vault_keys(db, clock, &vault)
        .await
        .map_err(|error| StartError::Key(error.message().to_owned()))?;
    Ok(vault)
}
