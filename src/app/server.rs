//! The server: its routes, its listeners, and the order in which everything stops.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::routing::get;
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;
use tower_http::set_header::SetResponseHeaderLayer;

use super::App;
use super::periodic_tasks::{sweep_auth_until_stopped, update_commit_file_until_stopped};
use crate::api::Api;
use crate::auth::audit::AuditRetention;
use crate::auth::export_passwords::ExportThrottle;
use crate::auth::passwords::Hasher;
use crate::auth::sessions::Sessions;
use crate::auth::throttle::Throttle;
use crate::connection::{Acceptor, AddressLimit};
use crate::datasets::download::Downloads;
use crate::datasets::scrub::Scrub;
use crate::error::{Error, Result};
use crate::quota::Quota;
use crate::web::security::RejectionHandler;
use crate::web::{self, Web};

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

impl App {
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
        tracing::info!(
            %address,
            url = %self.config.public_url,
            data = %self.config.data.display(),
            "serving"
        );
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
