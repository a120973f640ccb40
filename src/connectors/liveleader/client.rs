//! Requests to LiveLeader: who asks, for which period, and what an answer that is no document means.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tokio_util::sync::CancellationToken;

use super::document::Parsers;
use super::times::Moment;
use crate::connectors::pull_error::Lack;
use crate::connectors::upstream::{Ask, Auth, Reader, Spent, Upstream, page};
use crate::connectors::{PullError, Source, Window};
use crate::secret::Secret;

pub(super) const PATH: &str = "/a/Srv";

/// Asks one LiveLeader account. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    email: String,
    password: Secret,
    /// Times without a zone are meant in this one.
    zone: TimeZone,
    cancel: CancellationToken,
    parsers: Arc<Parsers>,
}

/// A half-open stretch of time.
#[derive(Clone, Debug)]
pub(super) struct Period {
    start: Zoned,
    stop: Zoned,
}

impl Period {
    /// The whole days of a window in a zone. The next one begins where this one ends.
    pub fn days(window: Window, zone: &TimeZone) -> Result<Self, PullError> {
        let begin = |day: jiff::civil::Date| day.to_zoned(zone.clone()).and_then(|at| at.start_of_day());
        let stop = window.to.tomorrow().and_then(begin);
        match (begin(window.from), stop) {
            (Ok(start), Ok(stop)) => Ok(Self { start, stop }),
            _ => Err(PullError::Refused { status: 0, said: format!("{window} is outside the supported dates") }),
        }
    }

    /// Whether a chat that began then belongs to a later period. Of a time without an offset only the very end is certain: the zone that
    /// it is meant in may be another one than somebody chose.
    pub fn is_before(&self, start: Moment) -> bool {
        let stop = self.stop.timestamp();
        if start.has_offset { start.at >= stop } else { start.at == stop }
    }

    fn query(&self) -> [(&'static str, String); 3] {
        [("a", "export".to_owned()), ("start", written(&self.start)), ("stop", written(&self.stop))]
    }

    /// The last minute.
    pub fn minute_until(now: Timestamp) -> Self {
        let stop = now.to_zoned(TimeZone::UTC);
        Self { start: stop.saturating_sub(jiff::Span::new().minutes(1)), stop }
    }
}

/// The form of the sample on the vendor's page: three digits of a second and a numeric offset.
fn written(at: &Zoned) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

impl Client {
    pub fn new(source: &Source, cancel: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            upstream: source.upstream.clone(),
            email: source.fields.get("email").cloned().unwrap_or_default(),
            password: source.secrets.get("password").cloned().unwrap_or_else(|| Secret::new("")),
            zone: source.zone.clone(),
            cancel,
            parsers: Arc::new(Parsers::new(source.upstream.parsing())),
        }))
    }

    /// Asks for the chats of a period; each try begins with a reader of its own.
    pub async fn export<R: Reader + 'static>(&self, period: &Period, begin: impl Fn() -> R + Send + Sync + 'static) -> Result<R::Out, PullError> {
        let inner = &*self.0;
        let auth = Auth::Arguments { user: ("email", &inner.email), secret: ("password", &inner.password) };
        let headers = &[("accept", "text/xml, application/xml")];
        let minute = Period::minute_until(self.now()).query();
        inner.upstream.read(Ask { path: PATH, query: &period.query(), auth, headers, judge: meant, check: (PATH, &minute) }, &inner.cancel, begin).await
    }

    pub fn zone(&self) -> &TimeZone {
        &self.0.zone
    }

    /// What lets the documents of this client be parsed.
    pub fn parsers(&self) -> Arc<Parsers> {
        self.0.parsers.clone()
    }

    /// What was asked through this source so far.
    pub fn spent(&self) -> Spent {
        self.0.upstream.spent()
    }

    pub fn now(&self) -> Timestamp {
        crate::clock::timestamp(self.0.upstream.now())
    }

    pub fn cancel(&self) -> &CancellationToken {
        &self.0.cancel
    }
}

/// What an answer without a document means, unless it is a web page. The vendor documents none of this: its status decides, and its words
/// where it is not clear.
fn meant(status: u16, words: &[u8]) -> Option<PullError> {
    match (status, lack_in(words)) {
        (401, _) => Some(PullError::Unauthorized),
        (402, _) => Some(PullError::NotAllowed(Lack::Plan)),
        (400 | 403, Some(lack)) => Some(PullError::NotAllowed(lack)),
        // Without words it may be a firewall.
        (403, None) if !words.trim_ascii().is_empty() => Some(PullError::Refused { status, said: String::new() }),
        _ => None,
    }
}

/// What the operator lacks by the plain words of an answer that is no document. Words about credentials tell nothing: a firewall and a page
/// for people use them as well.
pub(super) fn lack_in(words: &[u8]) -> Option<Lack> {
    let words = String::from_utf8_lossy(&words[..words.len().min(2_048)]).to_lowercase();
    if page::looks_like_one(words.as_bytes()) {
        return None;
    }
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if has(&["your plan", "plan does", "subscription", "licence", "license", "upgrade"]) {
        Some(Lack::Plan)
    } else if has(&["permission", "privilege", "not allowed"]) {
        Some(Lack::Permission)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_half_open_and_follow_each_other_over_a_change_of_the_clock() {
        let zone = TimeZone::get("Europe/Oslo").unwrap();
        let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
        let of = |from: &str, to: &str| Period::days(Window { from: day(from), to: day(to) }, &zone).unwrap();
        let change = of("2026-10-25", "2026-10-25");
        assert_eq!((written(&change.start), written(&change.stop)), ("2026-10-25T00:00:00.000+02:00".to_owned(), "2026-10-26T00:00:00.000+01:00".to_owned()));
        assert_eq!(of("2026-10-20", "2026-10-24").stop, change.start);
        assert_eq!(of("2026-10-26", "2026-10-30").start, change.stop);
    }

    #[test]
    fn a_refusal_is_told_apart_as_far_as_it_says() {
        use PullError::{NotAllowed, Unauthorized};
        let refused = |status| PullError::Refused { status, said: String::new() };
        for (status, words, is) in [
            (401, "", Some(Unauthorized)),
            (401, "Your plan is fine", Some(Unauthorized)),
            (403, "Wrong password", Some(refused(403))),
            (403, "The operator lacks the account permission.", Some(NotAllowed(Lack::Permission))),
            (403, "Your plan does not include data export.", Some(NotAllowed(Lack::Plan))),
            (402, "", Some(NotAllowed(Lack::Plan))),
            (403, "", None),
            (403, "The export is closed on Sundays.", Some(refused(403))),
            (400, "Wrong password", None),
            (403, "Access denied. Login id 4711", Some(refused(403))),
            (400, "stop lies before start", None),
            (500, "password", None),
        ] {
            assert_eq!(meant(status, words.as_bytes()), is, "{status} {words}");
        }
        assert_eq!(lack_in(b"<error>Unknown login</error>"), None);
        assert_eq!(lack_in(b"<error>Your plan has no export</error>"), Some(Lack::Plan));
        assert_eq!(lack_in(b"<!DOCTYPE html><form>upgrade</form>"), None);
    }
}
