//! LiveLeader's export API, served at `/a/Srv` from the DataSets that an admin has published, for scripts that were written for it. No
//! session counts here and nobody is led anywhere: whoever asks brings an export password. Errors are one plain sentence.

mod asked;
mod period;

use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Api, error, export_xml};
use crate::auth::Way;
use crate::auth::export_passwords::{self, Admitted};
use crate::connection::Connection;
use crate::datasets::export::by_start::{ByStart, Source};
use crate::datasets::export::pipe::Encode;
use crate::datasets::{Dataset, Datasets};
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use asked::Asked;

const ADDRESSES: [&str; 2] = ["/a/Srv", "/a/srv"];

const XML: HeaderValue = HeaderValue::from_static("application/xml; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Both addresses, below `/`.
pub fn router() -> Router<Api> {
    let [one, other] = ADDRESSES;
    Router::new().route(one, get(serve).post(serve)).route(other, get(serve).post(serve)).method_not_allowed_fallback(no_such_method)
}

/// Whether this path is one of ours, so that what is turned away at the door is answered as here.
pub fn is_at(path: &str) -> bool {
    ADDRESSES.contains(&path)
}

/// An answer of one plain sentence.
pub fn refuse(status: StatusCode, sentence: &str) -> Response {
    dressed(status, TEXT, Body::from(format!("{sentence}\n")))
}

/// No page ever shows what is here, no cache keeps it, and no machine lists it.
fn dressed(status: StatusCode, kind: HeaderValue, body: Body) -> Response {
    let fixed = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
        (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
    ];
    (status, fixed, body).into_response()
}

async fn no_such_method() -> Response {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "This address accepts only GET and POST.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    response
}

async fn serve(State(api): State<Api>, request: Request) -> Response {
    let method = request.method().clone();
    answer(&api, request, &method).await.unwrap_or_else(|why| refusal(&api, &why))
}

fn refusal(api: &Api, why: &Error) -> Response {
    why.log_failed_request();
    let status = match why.kind() {
        // A parameter is wrong, which this API tells as 400.
        Kind::Unprocessable => StatusCode::BAD_REQUEST,
        // A version that went away just now.
        Kind::Conflict => StatusCode::SERVICE_UNAVAILABLE,
        Kind::BadRequest if why.code() == asked::NOT_A_FORM => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        kind => error::status(kind),
    };
    let mut response = refuse(status, why.message());
    let headers = response.headers_mut();
    match why.kind() {
        Kind::Unauthenticated => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Chatlake export\", charset=\"UTF-8\""))),
        Kind::Unavailable | Kind::Conflict => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("5"))),
        Kind::TooMany { until } => drop(headers.insert(RETRY_AFTER, HeaderValue::from(((until - api.clock.now() + 999) / 1_000).max(1)))),
        _ => {}
    }
    response
}

async fn answer(api: &Api, request: Request, method: &Method) -> Result<Response> {
    if !api.datasets.any_published().await? {
        return Err(Error::new(Kind::NotFound, "not_found", "No DataSet is published to the LiveLeader API."));
    }
    let (parts, body) = request.into_parts();
    let address = parts.extensions.get::<IpAddr>().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let way = parts.extensions.get::<Way>().copied().unwrap_or(Way::Open);
    let asked = if *method == Method::POST {
        let request = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, api).await.map_err(|why| match why.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Error::new(Kind::TooLarge, "too_large", "The body is longer than 64 KiB."),
            _ => Error::new(Kind::BadRequest, "body_broken", "The body is incomplete."),
        });
        body.and_then(|body| Asked::of_form(&parts.headers, &body))
    } else {
        Asked::of_query(&parts.headers, parts.uri.query().unwrap_or_default())
    };
    if way == Way::Open {
        // Whatever else is wrong: if a good password came this way, its owner must know.
        if let Some(given) = asked.as_ref().ok().and_then(|asked| asked.given(address, way).ok()) {
            export_passwords::admit(&api.db, &api.clock, &api.gate, given).await?;
        }
        return Err(export_passwords::open());
    }
    let asked = asked?;
    // Credentials that are missing are told before what is wrong with the rest, so that a client which waits to be asked is asked.
    let given = asked.given(address, way)?;
    let period = asked.period(api.clock.now())?;
    let admitted = export_passwords::admit(&api.db, &api.clock, &api.gate, given).await?;
    let datasets = api.datasets.published(&admitted.actor).await?;
    if datasets.is_empty() {
        return Err(Error::forbidden("None of the published DataSets is shared with you."));
    }
    if *method == Method::HEAD {
        return Ok(dressed(StatusCode::OK, XML, Body::empty()));
    }
    let slot = api.downloads.slot(&admitted.actor.user).await?;
    let sources = sources(&api.datasets, &datasets).await?;
    let still_good = still_good(api, admitted, datasets);
    if slot.waited && !still_good().await {
        return Err(Error::forbidden("You lost access to this export while the request was waiting."));
    }
    let files: Vec<_> = sources.iter().flat_map(|source| source.version.segments.iter().cloned()).collect();
    api.datasets.segments.check(&files).await?;
    let connection = parts.extensions.get::<Connection>().cloned().unwrap_or_default();
    let encoder = Encoder::begin(ByStart::new(&api.datasets.segments, sources, period), api.metrics.clone())?;
    let broke = |why: &Error| tracing::error!(cause = ?why.inside(), "an export of chats stopped early: {why}");
    let body = Body::from_stream(api.downloads.body(slot, connection, encoder, broke, still_good));
    Ok(dressed(StatusCode::OK, XML, body))
}

/// Writes the chats part by part.
struct Encoder {
    chats: ByStart,
    writer: export_xml::Writer<Vec<u8>>,
    metrics: Metrics,
}

impl Encoder {
    fn begin(chats: ByStart, metrics: Metrics) -> Result<Self> {
        let writer = export_xml::Writer::begin(Vec::new(), chats.sources().iter().map(|source| source.columns.as_slice()))?;
        Ok(Self { chats, writer, metrics })
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
            let (told, read) = (self.writer.end()?, self.chats.tally());
            self.metrics.replaced_code_points.inc_by(told.replaced);
            let (replaced, unreadable) = (told.replaced, told.unreadable);
            tracing::info!(chats = read.rows, repeated = read.repeated, without_start = read.without_start, replaced, unreadable, "chats were exported");
        }
        part.append(self.writer.out());
        Ok(is_last)
    }

    fn release(&mut self) {
        self.chats.release();
        *self.writer.out() = Vec::new();
    }
}

/// The current versions, the newest first: of a chat that several have, that one's is served.
async fn sources(datasets: &Datasets, published: &[Dataset]) -> Result<Vec<Source>> {
    let mut sources = Vec::with_capacity(published.len());
    for dataset in published {
        if let Some(version) = datasets.versions.current(&dataset.id).await? {
            let columns = export_xml::columns(dataset.report, &version.columns);
            sources.push(Source { version: datasets.versions.pin(&version), columns });
        }
    }
    sources.sort_by(|a, b| (b.version.created_at, &b.version.dataset).cmp(&(a.version.created_at, &a.version.dataset)));
    Ok(sources)
}

/// Whether the password still works and everything that is served may still be read.
fn still_good(api: &Api, admitted: Admitted, served: Vec<Dataset>) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> + Send + use<> {
    let (db, clock, datasets) = (api.db.clone(), api.clock.clone(), api.datasets.clone());
    let (admitted, served) = (std::sync::Arc::new(admitted), std::sync::Arc::new(served));
    move || {
        let (db, clock, datasets, admitted, served) = (db.clone(), clock.clone(), datasets.clone(), admitted.clone(), served.clone());
        Box::pin(async move {
            let now = datasets.published(&admitted.actor).await.unwrap_or_default();
            let all = served.iter().all(|dataset| now.iter().any(|other| other.id == dataset.id));
            all && export_passwords::still_good(&db, &clock, &admitted.password, admitted.actor.role).await
        })
    }
}
