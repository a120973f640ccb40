//! LiveLeader's export API, served at `/a/Srv` from the DataSets that an admin has published, for
//! scripts that were written for LiveLeader. Requests authenticate with an export password;
//! sessions are ignored and there are no redirects. Errors are one plain sentence.

mod period;
mod request;

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Api, error, export_xml};
use crate::auth::Transport;
use crate::auth::export_passwords::{self, AdmittedClient};
use crate::connection::Connection;
use crate::datasets::export::by_start::{ByStart, VersionSource};
use crate::datasets::export::pipe::Encode;
use crate::datasets::{Dataset, Datasets};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use request::ExportRequest;

const PATHS: [&str; 2] = ["/a/Srv", "/a/srv"];

const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The two routes, below `/`.
pub fn router() -> Router<Api> {
    let [one, other] = PATHS;
    Router::new()
        .route(one, get(serve).post(serve))
        .route(other, get(serve).post(serve))
        .method_not_allowed_fallback(method_not_allowed)
}

/// Whether `path` belongs to this API, so that a request that is rejected before routing gets this
/// API's error format.
pub fn serves_path(path: &str) -> bool {
    PATHS.contains(&path)
}

/// A response of one plain sentence.
pub fn text_response(status: StatusCode, sentence: &str) -> Response {
    response_with_headers(status, TEXT, Body::from(format!("{sentence}\n")))
}

/// Adds the headers that keep the response out of frames, caches and search engines.
fn response_with_headers(status: StatusCode, kind: HeaderValue, body: Body) -> Response {
    let fixed = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
        (
            HeaderName::from_static("x-robots-tag"),
            HeaderValue::from_static("noindex"),
        ),
    ];
    (status, fixed, body).into_response()
}

async fn method_not_allowed() -> Response {
    let mut response = text_response(
        StatusCode::METHOD_NOT_ALLOWED,
        "This address accepts only GET and POST.",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    response
}

async fn serve(State(api): State<Api>, request: Request) -> Response {
    let method = request.method().clone();
    answer(&api, request, &method)
        .await
        .unwrap_or_else(|why| error_response(&api, &why))
}

fn error_response(api: &Api, why: &Error) -> Response {
    why.log_failed_request();
    let status = match why.kind() {
        // An invalid parameter. This API reports it as 400.
        ErrorKind::Unprocessable => StatusCode::BAD_REQUEST,
        // The version was deleted between the lookup and the read.
        ErrorKind::Conflict => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::BadRequest if why.code() == request::NOT_A_FORM => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        kind => error::http_status(kind),
    };
    let mut response = text_response(status, why.message());
    let headers = response.headers_mut();
    match why.kind() {
        ErrorKind::Unauthenticated => drop(headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"Chatlake export\", charset=\"UTF-8\""),
        )),
        ErrorKind::Unavailable | ErrorKind::Conflict => {
            drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("5")))
        }
        ErrorKind::TooMany { until } => drop(headers.insert(
            RETRY_AFTER,
            HeaderValue::from(((until - api.clock.now() + 999) / 1_000).max(1)),
        )),
        _ => {}
    }
    response
}

async fn answer(api: &Api, request: Request, method: &Method) -> Result<Response> {
    if !api.datasets.any_published().await? {
        return Err(Error::new(
            ErrorKind::NotFound,
            "not_found",
            "No DataSet is published to the LiveLeader API.",
        ));
    }
    let (parts, body) = request.into_parts();
    let address = parts
        .extensions
        .get::<IpAddr>()
        .copied()
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let transport = parts
        .extensions
        .get::<Transport>()
        .copied()
        .unwrap_or(Transport::Insecure);
    let export_request = if *method == Method::POST {
        let request = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, api)
            .await
            .map_err(|why| match why.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::new(
                    ErrorKind::TooLarge,
                    "too_large",
                    "The body is longer than 64 KiB.",
                ),
                _ => Error::new(
                    ErrorKind::BadRequest,
                    "body_broken",
                    "The body is incomplete.",
                ),
            });
        body.and_then(|body| ExportRequest::of_form(&parts.headers, &body))
    } else {
        ExportRequest::of_query(&parts.headers, parts.uri.query().unwrap_or_default())
    };
    if transport == Transport::Insecure {
        // The request is rejected for another reason. If it carried a valid export password over
        // plain http, the password is marked as exposed.
        if let Some(login) = export_request
            .as_ref()
            .ok()
            .and_then(|request| request.login(address, transport).ok())
        {
            export_passwords::admit(&api.db, &api.clock, &api.export_throttle, login).await?;
        }
        return Err(export_passwords::plain_http_error());
    }
    let export_request = export_request?;
    // Missing credentials are reported before other errors: some clients send credentials only
    // after a 401.
    let login = export_request.login(address, transport)?;
    let period = export_request.period(api.clock.now())?;
    let admitted =
        export_passwords::admit(&api.db, &api.clock, &api.export_throttle, login).await?;
    let datasets = api.datasets.published(&admitted.actor).await?;
    if datasets.is_empty() {
        return Err(Error::forbidden(
            "None of the published DataSets is shared with you.",
        ));
    }
    if *method == Method::HEAD {
        return Ok(response_with_headers(StatusCode::OK, XML, Body::empty()));
    }
    let slot = api.downloads.slot(&admitted.actor.user).await?;
    let sources = sources(&api.datasets, &datasets).await?;
    let is_still_allowed = is_still_allowed(api, admitted, datasets);
    if slot.waited && !is_still_allowed().await {
        return Err(Error::forbidden(
            "You lost access to this export while the request was waiting.",
        ));
    }
    let files: Vec<_> = sources
        .iter()
        .flat_map(|source| source.version.segments.iter().cloned())
        .collect();
    api.datasets.segments.check(&files).await?;
    let connection = parts
        .extensions
        .get::<Connection>()
        .cloned()
        .unwrap_or_default();
    let encoder = Encoder::begin(
        ByStart::new(&api.datasets.segments, sources, period),
        api.metrics.clone(),
    )?;
    let broke = |why: &Error| {
        tracing::error!(cause = ?why.log_cause(), "an export of chats stopped early: {why}");
    };
    let body =
        Body::from_stream(
            api.downloads
                .body(slot, connection, encoder, broke, is_still_allowed),
        );
    Ok(response_with_headers(StatusCode::OK, XML, body))
}

/// Writes the chats as XML, part by part.
struct Encoder {
    chats: ByStart,
    writer: export_xml::Writer<Vec<u8>>,
    metrics: Metrics,
}

impl Encoder {
    fn begin(chats: ByStart, metrics: Metrics) -> Result<Self> {
        let writer = export_xml::Writer::begin(
            Vec::new(),
            chats
                .sources()
                .iter()
                .map(|source| source.columns.as_slice()),
        )?;
        Ok(Self {
            chats,
            writer,
            metrics,
        })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, part: &mut Vec<u8>, at_least: usize) -> Result<bool> {
        let mut is_last = false;
        while !is_last && self.writer.out().len() < at_least {
            match self.chats.next_row()? {
                Some(row) => self.writer.chat(row.source, row.batch, row.index)?,
                None => is_last = true,
            }
        }
        if is_last {
            let (stats, read) = (self.writer.end()?, self.chats.counts());
            self.metrics.replaced_code_points.inc_by(stats.replaced);
            let (replaced, unreadable) = (stats.replaced, stats.unreadable);
            tracing::info!(
                chats = read.rows,
                repeated = read.repeated,
                without_start = read.without_start,
                replaced,
                unreadable,
                "chats were exported"
            );
        }
        part.append(self.writer.out());
        Ok(is_last)
    }

    fn release(&mut self) {
        self.chats.release();
        *self.writer.out() = Vec::new();
    }
}

/// The current versions, newest first. A chat that several versions contain is served from the
/// first one.
async fn sources(datasets: &Datasets, published: &[Dataset]) -> Result<Vec<VersionSource>> {
    let mut sources = Vec::with_capacity(published.len());
    for dataset in published {
        if let Some(version) = datasets.versions.current(&dataset.id).await? {
            let columns = export_xml::columns(dataset.report, &version.columns);
            sources.push(VersionSource {
                version: datasets.versions.pin(&version),
                columns,
            });
        }
    }
    sources.sort_by(|a, b| {
        (b.version.created_at, &b.version.dataset).cmp(&(a.version.created_at, &a.version.dataset))
    });
    Ok(sources)
}

/// Returns a check whether the export password is still valid and every served DataSet may still be
/// read.
fn is_still_allowed(
    api: &Api,
    admitted: AdmittedClient,
    served: Vec<Dataset>,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> + Send + use<> {
    let (db, clock, datasets) = (api.db.clone(), api.clock.clone(), api.datasets.clone());
    let (admitted, served) = (std::sync::Arc::new(admitted), std::sync::Arc::new(served));
    move || {
        let (db, clock, datasets, admitted, served) = (
            db.clone(),
            clock.clone(),
            datasets.clone(),
            admitted.clone(),
            served.clone(),
        );
        Box::pin(async move {
            let now = datasets
                .published(&admitted.actor)
                .await
                .unwrap_or_default();
            let all = served
                .iter()
                .all(|dataset| now.iter().any(|other| other.id == dataset.id));
            all && export_passwords::is_still_valid(
                &db,
                &clock,
                &admitted.password,
                admitted.actor.role,
            )
            .await
        })
    }
}
