//! Builds the application from its settings. `server.rs` starts the web server and the puller, and
//! stops them in order.

mod data_directory;
mod periodic_tasks;
mod server;
mod signals;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::{Accounts, vault_check};
use crate::auth::invites;
use crate::clock::Clock;
use crate::config::Config;
use crate::connectors::upstream::allowed_hosts::AllowedHosts;
use crate::connectors::upstream::webhook_client::WebhookClient;
use crate::connectors::upstream::{Limits, SystemResolver, Upstreams};
use crate::datasets::Datasets;
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
use crate::vault::{self, Vault};
pub use data_directory::check_catalogue_not_lost;
use data_directory::{
    CATALOGUE, create_private, lock_data_directory, prepare_data_directory, require_catalogue,
    warn_if_network_file_system,
};
pub use server::rejection_handler;
pub use signals::{Hangup, shutdown_signal};

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
                    "Another Chatlake ({holder}) already uses {dir}. Stop it first, or choose \
                     another directory with --data."
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

    /// Starts the workers and the scheduler.
    pub async fn start_pulling(&self) -> Result<()> {
        self.puller.start(&self.tasks).await
    }

    /// Stops what `start_pulling` started.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.db.close().await;
    }
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
