//! Faults on request: errors that vendors, or the network, are known to make. Tests set them in the
//! process (`sandbox.faults().add(Fault::new(FaultKind::Html).on("/chats").page(3).times(1))`) or
//! over HTTP (`PUT /__faults`, see `mod.rs`):
//!
//! ```json
//! [{"fault": "too_many_requests", "retry_after": {"seconds": 2}, "path": "/chats", "page": 3, "times": 1},
//!  {"fault": "cut", "after": 900, "how": "length"}]
//! ```
//!
//! Faults of XML have no effect on LiveChat's routes, and faults of records and pages none on
//! LiveLeader's. All faults that match a request are applied. The first one that replaces the
//! answer does so; the others change the data or the answer of the endpoint, in the order in which
//! they were set. `fault_bodies` builds the broken bodies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call_log::Call;
use super::fault_bodies as bodies;
pub use super::fault_variants::{Cut, Doctype, Frame, Odd, RetryAfter};
use super::liveleader;
pub use super::liveleader::encoding::Label;
use crate::clock::Millis;

/// One fault and the requests that it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests whose path starts with this.
    #[serde(default)]
    pub path: Option<String>,
    /// Only this page; a request without a page is for page 1.
    #[serde(default)]
    pub page: Option<u64>,
    /// The first matching requests to skip.
    #[serde(default)]
    pub skip: u64,
    /// The number of matching requests to apply the fault to; without a number, all of them.
    #[serde(default)]
    pub times: Option<u64>,
    /// Only requests for more days than this.
    #[serde(default)]
    pub longer_than: Option<u64>,
}

/// The kind of fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    // These replace the answer of the endpoint.
    /// Status 429.
    TooManyRequests { retry_after: RetryAfter },
    /// Status 503 with a time to wait.
    Maintenance { retry_after: RetryAfter },
    /// This answer; the default type is JSON (for LiveLeader, XML).
    Answer {
        status: u16,
        content_type: Option<String>,
        body: String,
    },
    /// Any other status, with an error in JSON (for LiveLeader, in plain text): 403, 500, 502, 503
    /// ...
    Status { status: u16 },
    /// Status 421 that names the account's region.
    Misdirected { region: String },
    /// A sign-in page with status 200.
    Html,
    /// Status 200 and no body.
    Empty,
    /// Status 200 and this body, for example `[]` where an object belongs.
    Shape { body: String },
    /// A JSON body (for LiveLeader, one XML text) without an end, at full speed, in chunks.
    Endless,
    /// Chunks of a few bytes with `Content-Encoding: gzip`, each one mebibyte after decompression;
    /// without an end.
    GzipBomb,
    /// Status 301, 302, 307 ... to this URL.
    Redirect { status: u16, to: String },
    /// The connection is dropped before any answer.
    HangUp,

    // These change the endpoint's own answer.
    /// No byte of the answer is sent for this time.
    Late { ms: u64 },
    /// The body is sent in pieces of this size with this interval.
    Drip { bytes: usize, every_ms: u64 },
    /// Nothing is sent after this number of bytes; the connection stays open.
    Stall { after: usize },
    /// The body ends too early.
    Cut { after: usize, how: Cut },
    /// One value of the first record is malformed.
    OddRecord { odd: Odd },
    /// The frame of a page of records is malformed.
    OddFrame { frame: Frame },
    /// An answer without records gets this status and body. An answer with records is unchanged.
    Quiet { status: u16, body: String },
    /// The days on which this version of the API ends, as `YYYY-MM-DD`.
    Sunset {
        legacy: Option<String>,
        deprecation: Option<String>,
    },

    // These change the data of the endpoint.
    /// The total is higher (or lower) than the real one by this number.
    LyingTotal { by: i64 },
    /// This number of chats ends after each answered page, so that the next page starts with chats
    /// that were already read.
    Shift { chats: u64 },
    /// The archive changes after each answered page, depending on the seed: up to three chats end
    /// and become the newest ones, and up to two of the newest 20,000 are deleted. So totals can
    /// grow and shrink.
    Mutate { seed: u64 },
    /// The previous page is returned instead of this one.
    RepeatPage,

    // These replace LiveLeader's document of the period, for requests with permission.
    /// `<error><message>`, with status 200.
    WrongRoot,
    /// A small document with a document type declaration that expands, or loads external data, in
    /// an unsafe parser.
    Doctype { how: Doctype },
    /// This number of nested elements.
    Deep { levels: u64 },
    /// This number of attributes on one `msg`.
    ManyAttributes { count: u64 },
    /// One `msg` with this number of bytes of text.
    LongText { bytes: u64 },
    /// One chat of about this number of bytes, in many messages.
    LargeChat { bytes: u64 },
    /// Valid chats without an end.
    EndlessChats,

    // These change LiveLeader's document.
    /// Times like in the vendor's sample, `23-10-2008T12:49:1231`, in this time zone (default:
    /// UTC).
    SampleTimes { zone: Option<String> },
    /// The start of the first chat, and the time of its last message, have an unknown format.
    OddTimes,
    /// Declared and encoded in another encoding.
    Encoding { label: Label },
    /// A second `<chats>` after the first, with its first chat.
    TwoRoots,
    /// Text after `</chats>`.
    Trailing,
    /// Undocumented elements and attributes in each chat.
    Unknown,
    /// Chats that overlap the period are included, not only those that start in it.
    Overlap,
    /// Lines end with CR LF.
    Crlf,
    /// The first chat is repeated at the end.
    Twice,
    /// The first chat has no id.
    NoId,
    /// The first chat has no operators and no messages.
    Bare,
    /// Each chat has at least three operators.
    SeveralOperators,
    /// Operators are written in capital letters.
    CapitalOperators,
    /// The first message of the first chat ends with invalid XML: HTML entities, bare ampersands,
    /// and numbers of invalid characters.
    LooseText,
    /// Shuffled by the seed, not in the order of their starts.
    Shuffle { seed: u64 },
}

impl Fault {
    /// Applies to every request to a vendor's route until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            path: None,
            page: None,
            skip: 0,
            times: None,
            longer_than: None,
        }
    }

    #[must_use]
    pub fn on(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    #[must_use]
    pub fn page(mut self, page: u64) -> Self {
        self.page = Some(page);
        self
    }

    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    #[must_use]
    pub fn times(mut self, requests: u64) -> Self {
        self.times = Some(requests);
        self
    }

    #[must_use]
    pub fn longer_than(mut self, days: u64) -> Self {
        self.longer_than = Some(days);
        self
    }

    fn matches(&self, call: &Call) -> bool {
        self.path
            .as_ref()
            .is_none_or(|prefix| call.path.starts_with(prefix.as_str()))
            && self.page.is_none_or(|only| only == call.page())
            && self.longer_than.is_none_or(|days| call.days() > days)
    }
}

/// The set of active faults. Cheap to clone; all clones share the set.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    pub fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    pub fn set(&self, faults: Vec<Fault>) {
        *self.lock() = faults;
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The remaining faults.
    pub fn list(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// The faults that apply to this request; also decrements their counters.
    pub(super) fn take_matching(&self, call: &Call) -> Vec<FaultKind> {
        let mut faults = self.lock();
        let mut active = Vec::new();
        for fault in faults.iter_mut() {
            if !fault.matches(call) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            match &mut fault.times {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            active.push(fault.kind.clone());
        }
        faults.retain(|fault| fault.times != Some(0));
        active
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Faults of an endpoint's pages, passed to it in the request's extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageFaults {
    pub total_by: i64,
    pub repeat_page: bool,
}

impl PageFaults {
    pub fn of(active: &[FaultKind]) -> Self {
        let mut page_faults = Self::default();
        for kind in active {
            match kind {
                FaultKind::LyingTotal { by } => page_faults.total_by += by,
                FaultKind::RepeatPage => page_faults.repeat_page = true,
                _ => {}
            }
        }
        page_faults
    }
}

/// The delay of the answer.
pub fn lateness(active: &[FaultKind]) -> Duration {
    active
        .iter()
        .map(|kind| {
            if let FaultKind::Late { ms } = kind {
                Duration::from_millis(*ms)
            } else {
                Duration::ZERO
            }
        })
        .sum()
}

/// The number of chats that end after this answer.
pub fn shift(active: &[FaultKind]) -> u64 {
    active
        .iter()
        .map(|kind| {
            if let FaultKind::Shift { chats } = kind {
                *chats
            } else {
                0
            }
        })
        .sum()
}

/// The seeds of the changes to the archive after this answer.
pub fn mutations(active: &[FaultKind]) -> impl Iterator<Item = u64> {
    active.iter().filter_map(|kind| {
        if let FaultKind::Mutate { seed } = kind {
            Some(*seed)
        } else {
            None
        }
    })
}

/// Marks a response that must not be sent: `Sandbox::serve` drops the connection instead.
#[derive(Clone, Copy, Debug)]
pub struct HangUp;

impl FaultKind {
    /// The response that replaces the endpoint's, for faults that have one.
    pub fn replacement(&self, now: Millis, vendor: Vendor) -> Option<Response> {
        let error = |status, message| vendor.error(status, message);
        Some(match self {
            FaultKind::TooManyRequests { retry_after } | FaultKind::Maintenance { retry_after } => {
                let mut answer = if matches!(self, FaultKind::Maintenance { .. }) {
                    error(503, "Maintenance")
                } else {
                    error(429, "Too many requests")
                };
                set(
                    &mut answer,
                    header::RETRY_AFTER,
                    retry_after.text(now).as_deref(),
                );
                answer
            }
            FaultKind::Answer {
                status,
                content_type,
                body,
            } => {
                let mut answer = vendor.answer(Body::from(body.clone()));
                *answer.status_mut() =
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if let Some(kind) = content_type {
                    set(&mut answer, header::CONTENT_TYPE, Some(kind));
                }
                answer
            }
            FaultKind::Status { status } => error(*status, "Something went wrong"),
            FaultKind::Misdirected { region } => {
                let body = json!({"error": {"type": "misdirected_request", "message": "Wrong region", "data": {"region": region}}});
                (StatusCode::MISDIRECTED_REQUEST, Json(body)).into_response()
            }
            FaultKind::Html => {
                let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n";
                axum::response::Html(page).into_response()
            }
            FaultKind::Empty => vendor.answer(Body::empty()),
            FaultKind::Shape { body } => vendor.answer(Body::from(body.clone())),
            FaultKind::Endless => vendor.answer(match vendor {
                Vendor::LiveChat => bodies::endless(br#"{"chats":["#, br#""","#),
                Vendor::LiveLeader => bodies::endless(b"<chats><chat><url>", b"and so on "),
            }),
            FaultKind::GzipBomb => {
                let mut answer = vendor.answer(bodies::gzip_bomb());
                set(&mut answer, header::CONTENT_ENCODING, Some("gzip"));
                answer
            }
            FaultKind::Redirect { status, to } => {
                let mut answer = error(*status, "Moved");
                set(&mut answer, header::LOCATION, Some(to));
                answer
            }
            FaultKind::HangUp => {
                let mut answer = vendor.answer(bodies::broken());
                answer.extensions_mut().insert(HangUp);
                answer
            }
            _ => return None,
        })
    }

    /// Applies the fault to the endpoint's response; other faults leave it unchanged.
    pub async fn apply_to(&self, mut answer: Response) -> Response {
        match self {
            FaultKind::Drip { bytes, every_ms } => {
                bodies::rebuild(
                    answer,
                    |whole| bodies::drip(whole, *bytes, Duration::from_millis(*every_ms)),
                    true,
                )
                .await
            }
            FaultKind::Stall { after } => {
                bodies::rebuild(answer, |whole| bodies::stall(whole, *after), true).await
            }
            FaultKind::Cut {
                after,
                how: Cut::Length,
            } => bodies::rebuild(answer, |whole| bodies::cut(whole, *after), true).await,
            FaultKind::Cut {
                after,
                how: Cut::Chunked,
            } => bodies::rebuild(answer, |whole| bodies::cut(whole, *after), false).await,
            FaultKind::Cut {
                after,
                how: Cut::Clean,
            } => {
                bodies::rebuild(
                    answer,
                    |whole| Body::from(whole.slice(..whole.len().min(*after))),
                    false,
                )
                .await
            }
            FaultKind::OddRecord { odd } => {
                bodies::rebuild(answer, |whole| Body::from(odd.put_into(&whole)), false).await
            }
            FaultKind::OddFrame { frame } => {
                bodies::rebuild(answer, |whole| Body::from(frame.put_into(&whole)), false).await
            }
            FaultKind::Quiet { status, body } => bodies::quiet(answer, *status, body).await,
            FaultKind::Sunset {
                legacy,
                deprecation,
            } => {
                set(
                    &mut answer,
                    HeaderName::from_static("legacy"),
                    legacy.as_deref(),
                );
                set(
                    &mut answer,
                    HeaderName::from_static("deprecation"),
                    deprecation.as_deref(),
                );
                answer
            }
            _ => answer,
        }
    }
}

/// The vendor of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    LiveChat,
    LiveLeader,
}

impl Vendor {
    pub fn at(path: &str) -> Self {
        if path == liveleader::PATH {
            Self::LiveLeader
        } else {
            Self::LiveChat
        }
    }

    fn error(self, status: u16, message: &'static str) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self {
            Self::LiveChat => {
                (status, Json(json!({"error": message, "errors": [message]}))).into_response()
            }
            Self::LiveLeader => (status, message).into_response(),
        }
    }

    fn answer(self, body: Body) -> Response {
        let kind = if self == Self::LiveChat {
            "application/json"
        } else {
            "text/xml; charset=utf-8"
        };
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

fn set(answer: &mut Response, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
        answer.headers_mut().insert(name, value);
    }
}
