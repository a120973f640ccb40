//! Faults on demand: what a vendor, or the network on the way to it, has been seen to do. Tests set them in process
//! (`sandbox.faults().add(Fault::new(Kind::Html).on("/chats").page(3).times(1))`) or over HTTP (`PUT /__faults`, see `mod.rs`):
//!
//! ```json
//! [{"fault": "too_many_requests", "retry_after": {"seconds": 2}, "path": "/chats", "page": 3, "times": 1},
//!  {"fault": "cut", "after": 900, "how": "length"}]
//! ```
//!
//! The kinds that are about XML do nothing to LiveChat's routes, and those that are about records and pages nothing to LiveLeader's one.
//! Every fault that matches a request strikes. The first that answers in place of the endpoint does so; the others change what the
//! endpoint finds, or its answer, in the order in which they were set. How bodies are broken is in `fault_bodies`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::calls::Call;
use super::fault_bodies as bodies;
pub use super::fault_ways::{Cut, Doctype, Frame, Odd, RetryAfter};
use super::liveleader;
pub use super::liveleader::encoding::Label;
use crate::clock::Millis;

/// One fault, and what it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub kind: Kind,
    /// Only requests whose path begins so.
    #[serde(default)]
    pub path: Option<String>,
    /// Only this page; a request without a page asks for page 1.
    #[serde(default)]
    pub page: Option<u64>,
    /// Let this many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// Strike this many matching requests, then be gone; absent: all of them.
    #[serde(default)]
    pub times: Option<u64>,
    /// Only requests for more days than this.
    #[serde(default)]
    pub longer_than: Option<u64>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Kind {
    // Answers in place of the endpoint.
    /// 429.
    TooManyRequests { retry_after: RetryAfter },
    /// 503 that says how long to wait.
    Maintenance { retry_after: RetryAfter },
    /// This very answer; its type is JSON (from LiveLeader, XML) unless it is named.
    Answer { status: u16, content_type: Option<String>, body: String },
    /// Any other status, with an error in JSON (from LiveLeader, in plain text): 403, 500, 502, 503 ...
    Status { status: u16 },
    /// 421 that names the region where the account lives.
    Misdirected { region: String },
    /// A sign-in page with status 200.
    Html,
    /// Status 200 and no body.
    Empty,
    /// Status 200 and this body, for example `[]` where an object belongs.
    Shape { body: String },
    /// A JSON body (from LiveLeader, one text of XML) that never ends, at full speed, in chunks.
    Endless,
    /// A few bytes a chunk under `Content-Encoding: gzip`, each worth a mebibyte; never ends.
    GzipBomb,
    /// 301, 302, 307 ... to this address.
    Redirect { status: u16, to: String },
    /// The connection is dropped before any answer.
    HangUp,

    // Changes to the endpoint's own answer.
    /// Not a byte of any answer comes for so long.
    Late { ms: u64 },
    /// The body comes in pieces of so many bytes, so far apart.
    Drip { bytes: usize, every_ms: u64 },
    /// Nothing more comes after so many bytes; the connection stays.
    Stall { after: usize },
    /// The body ends early.
    Cut { after: usize, how: Cut },
    /// One value of the first record is odd.
    OddRecord { odd: Odd },
    /// The frame of a page of records is odd.
    OddFrame { frame: Frame },
    /// Days without records are told with this status and body. What has records is told as ever.
    Quiet { status: u16, body: String },
    /// The days on which this stage of the API ends, as `YYYY-MM-DD`.
    Sunset { legacy: Option<String>, deprecation: Option<String> },

    // Changes to what the endpoint finds.
    /// So many more chats than there are (or fewer) are told.
    LyingTotal { by: i64 },
    /// So many chats end right after each answered page, so that the next page begins with some that were read before.
    Shift { chats: u64 },
    /// The archive changes after each answered page, by the seed: up to three chats end, which are the newest from then on, and up to two
    /// of the newest 20,000 disappear; so totals go both ways.
    Mutate { seed: u64 },
    /// The page before comes again in place of this one.
    RepeatPage,

    // LiveLeader's documents in place of the period's chats, to those who may ask.
    /// `<error><message>`, with status 200.
    WrongRoot,
    /// A small document with a type declaration that grows, or reaches out, in a reader that believes it.
    Doctype { how: Doctype },
    /// So many elements within each other.
    Deep { levels: u64 },
    /// So many attributes on one `msg`.
    ManyAttributes { count: u64 },
    /// One `msg` with so many bytes of text.
    LongText { bytes: u64 },
    /// One chat of about so many bytes, in many messages.
    LargeChat { bytes: u64 },
    /// Chats as good as any, without an end.
    EndlessChats,

    // Changes to LiveLeader's document.
    /// Times as in the vendor's sample, `23-10-2008T12:49:1231`, in this zone (missing: UTC).
    SampleTimes { zone: Option<String> },
    /// The first chat's start, and the time of its last message, are in no form.
    OddTimes,
    /// Declared and written in another encoding.
    Encoding { label: Label },
    /// A second `<chats>` after the first, with its first chat.
    TwoRoots,
    /// Text after `</chats>`.
    Trailing,
    /// Elements and attributes that no documentation knows, in every chat.
    Unknown,
    /// Chats whose time from start to stop touches the period are told, not just those that start in it.
    Overlap,
    /// Each line ends with CR LF.
    Crlf,
    /// The first chat comes again at the end.
    Twice,
    /// The first chat is without an id.
    NoId,
    /// The first chat has lost its operators and its messages.
    Bare,
    /// Every chat has at least three operators.
    SeveralOperators,
    /// Operators are written in capitals.
    CapitalOperators,
    /// The first chat's first message ends with what is no XML: HTML's entities, bare ampersands, numbers of no characters.
    LooseText,
    /// Not in the order of their starts, but in one of the seed's.
    Shuffle { seed: u64 },
}

impl Fault {
    /// Strikes every request of the vendor's part until it is cleared.
    pub fn new(kind: Kind) -> Self {
        Self { kind, path: None, page: None, skip: 0, times: None, longer_than: None }
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
        self.path.as_ref().is_none_or(|prefix| call.path.starts_with(prefix.as_str()))
            && self.page.is_none_or(|only| only == call.page())
            && self.longer_than.is_none_or(|days| call.days() > days)
    }
}

/// The faults that are set. Cheap to clone; all clones are the same set.
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

    /// What is still to come.
    pub fn list(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// The faults that strike this request; counts them.
    pub(super) fn strike(&self, call: &Call) -> Vec<Kind> {
        let mut faults = self.lock();
        let mut struck = Vec::new();
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
            struck.push(fault.kind.clone());
        }
        faults.retain(|fault| fault.times != Some(0));
        struck
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an endpoint has to get wrong; a request carries it among its extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Twist {
    pub total_by: i64,
    pub repeat_page: bool,
}

impl Twist {
    pub fn of(struck: &[Kind]) -> Self {
        let mut twist = Self::default();
        for kind in struck {
            match kind {
                Kind::LyingTotal { by } => twist.total_by += by,
                Kind::RepeatPage => twist.repeat_page = true,
                _ => {}
            }
        }
        twist
    }
}

/// How much later than it could the answer comes.
pub fn lateness(struck: &[Kind]) -> Duration {
    struck.iter().map(|kind| if let Kind::Late { ms } = kind { Duration::from_millis(*ms) } else { Duration::ZERO }).sum()
}

/// How many chats end after this answer.
pub fn shift(struck: &[Kind]) -> u64 {
    struck.iter().map(|kind| if let Kind::Shift { chats } = kind { *chats } else { 0 }).sum()
}

/// The seeds by which the archive changes after this answer.
pub fn mutations(struck: &[Kind]) -> impl Iterator<Item = u64> {
    struck.iter().filter_map(|kind| if let Kind::Mutate { seed } = kind { Some(*seed) } else { None })
}

/// Marks an answer that must not be given: `Sandbox::serve` drops the connection when it sees it.
#[derive(Clone, Copy, Debug)]
pub struct HangUp;

impl Kind {
    /// The answer in place of the endpoint's, for the faults that have one.
    pub fn instead(&self, now: Millis, vendor: Vendor) -> Option<Response> {
        let error = |status, message| vendor.error(status, message);
        Some(match self {
            Kind::TooManyRequests { retry_after } | Kind::Maintenance { retry_after } => {
                let mut answer = if matches!(self, Kind::Maintenance { .. }) { error(503, "Maintenance") } else { error(429, "Too many requests") };
                set(&mut answer, header::RETRY_AFTER, retry_after.text(now).as_deref());
                answer
            }
            Kind::Answer { status, content_type, body } => {
                let mut answer = vendor.answer(Body::from(body.clone()));
                *answer.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                if let Some(kind) = content_type {
                    set(&mut answer, header::CONTENT_TYPE, Some(kind));
                }
                answer
            }
            Kind::Status { status } => error(*status, "Something went wrong"),
            Kind::Misdirected { region } => {
                let body = json!({"error": {"type": "misdirected_request", "message": "Wrong region", "data": {"region": region}}});
                (StatusCode::MISDIRECTED_REQUEST, Json(body)).into_response()
            }
            Kind::Html => {
                let page = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n";
                axum::response::Html(page).into_response()
            }
            Kind::Empty => vendor.answer(Body::empty()),
            Kind::Shape { body } => vendor.answer(Body::from(body.clone())),
            Kind::Endless => vendor.answer(match vendor {
                Vendor::LiveChat => bodies::endless(br#"{"chats":["#, br#""","#),
                Vendor::LiveLeader => bodies::endless(b"<chats><chat><url>", b"and so on "),
            }),
            Kind::GzipBomb => {
                let mut answer = vendor.answer(bodies::gzip_bomb());
                set(&mut answer, header::CONTENT_ENCODING, Some("gzip"));
                answer
            }
            Kind::Redirect { status, to } => {
                let mut answer = error(*status, "Moved");
                set(&mut answer, header::LOCATION, Some(to));
                answer
            }
            Kind::HangUp => {
                let mut answer = vendor.answer(bodies::broken());
                answer.extensions_mut().insert(HangUp);
                answer
            }
            _ => return None,
        })
    }

    /// The endpoint's answer, changed; as it was for faults that change something else.
    pub async fn change(&self, mut answer: Response) -> Response {
        match self {
            Kind::Drip { bytes, every_ms } => bodies::rebuild(answer, |whole| bodies::drip(whole, *bytes, Duration::from_millis(*every_ms)), true).await,
            Kind::Stall { after } => bodies::rebuild(answer, |whole| bodies::stall(whole, *after), true).await,
            Kind::Cut { after, how: Cut::Length } => bodies::rebuild(answer, |whole| bodies::cut(whole, *after), true).await,
            Kind::Cut { after, how: Cut::Chunked } => bodies::rebuild(answer, |whole| bodies::cut(whole, *after), false).await,
            Kind::Cut { after, how: Cut::Clean } => bodies::rebuild(answer, |whole| Body::from(whole.slice(..whole.len().min(*after))), false).await,
            Kind::OddRecord { odd } => bodies::rebuild(answer, |whole| Body::from(odd.put_into(&whole)), false).await,
            Kind::OddFrame { frame } => bodies::rebuild(answer, |whole| Body::from(frame.put_into(&whole)), false).await,
            Kind::Quiet { status, body } => bodies::quiet(answer, *status, body).await,
            Kind::Sunset { legacy, deprecation } => {
                set(&mut answer, HeaderName::from_static("legacy"), legacy.as_deref());
                set(&mut answer, HeaderName::from_static("deprecation"), deprecation.as_deref());
                answer
            }
            _ => answer,
        }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    LiveChat,
    LiveLeader,
}

impl Vendor {
    pub fn at(path: &str) -> Self {
        if path == liveleader::PATH { Self::LiveLeader } else { Self::LiveChat }
    }

    fn error(self, status: u16, message: &'static str) -> Response {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self {
            Self::LiveChat => (status, Json(json!({"error": message, "errors": [message]}))).into_response(),
            Self::LiveLeader => (status, message).into_response(),
        }
    }

    fn answer(self, body: Body) -> Response {
        let kind = if self == Self::LiveChat { "application/json" } else { "text/xml; charset=utf-8" };
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

fn set(answer: &mut Response, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
        answer.headers_mut().insert(name, value);
    }
}
