//! Requests to LiveLeader: credentials, period, and the classification of answers that are no
//! document.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tokio_util::sync::CancellationToken;

use super::document::ParserSlots;
use super::times::Moment;
use crate::connectors::pull_error::MissingAccess;
use crate::connectors::upstream::{ApiRequest, Auth, BodyReader, CallStats, Upstream, sniff};
use crate::connectors::{PullError, Source, Window};
use crate::secret::Secret;

pub(super) const PATH: &str = "/a/Srv";

/// The API client for one LiveLeader account. Cheap to clone.
#[derive(Clone)]
pub(super) struct LiveLeaderClient(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    email: String,
    password: Secret,
    /// The time zone of times without a zone.
    zone: TimeZone,
    cancel: CancellationToken,
    parser_slots: Arc<ParserSlots>,
}

/// A half-open period of time.
#[derive(Clone, Debug)]
pub(super) struct ExportPeriod {
    start: Zoned,
    stop: Zoned,
}

impl ExportPeriod {
    /// The whole days of a window in a time zone. The next period starts where this one ends.
    pub fn days(window: Window, zone: &TimeZone) -> Result<Self, PullError> {
        let begin =
            |day: jiff::civil::Date| day.to_zoned(zone.clone()).and_then(|at| at.start_of_day());
        let stop = window.to.tomorrow().and_then(begin);
        match (begin(window.from), stop) {
            (Ok(start), Ok(stop)) => Ok(Self { start, stop }),
            _ => Err(PullError::Refused {
                status: 0,
                vendor_message: format!("{window} is outside the supported dates"),
            }),
        }
    }

    /// Whether a chat that started then belongs to a later period. For a time without an offset
    /// only the exact end is certain, because the account's time zone may be set wrong.
    pub fn ends_before(&self, start: Moment) -> bool {
        let stop = self.stop.timestamp();
        if start.has_offset {
            start.at >= stop
        } else {
            start.at == stop
        }
    }

    fn query(&self) -> [(&'static str, String); 3] {
        [
            ("a", "export".to_owned()),
            ("start", format_time(&self.start)),
            ("stop", format_time(&self.stop)),
        ]
    }

    /// The last minute.
    pub fn minute_until(now: Timestamp) -> Self {
        let stop = now.to_zoned(TimeZone::UTC);
        Self {
            start: stop.saturating_sub(jiff::Span::new().minutes(1)),
            stop,
        }
    }
}

/// Formats a time like the sample in the vendor's documentation: three decimals of a second and a
/// numeric offset.
fn format_time(at: &Zoned) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

impl LiveLeaderClient {
    pub fn new(source: &Source, cancel: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            upstream: source.upstream.clone(),
            email: source.fields.get("email").cloned().unwrap_or_default(),
            password: source
                .secrets
                .get("password")
                .cloned()
                .unwrap_or_else(|| Secret::new("")),
            zone: source.zone.clone(),
            cancel,
            parser_slots: Arc::new(ParserSlots::new(source.upstream.parsing())),
        }))
    }

    /// Requests the chats of a period; each attempt starts with a new reader.
    pub async fn export<R: BodyReader + 'static>(
        &self,
        period: &ExportPeriod,
        begin: impl Fn() -> R + Send + Sync + 'static,
    ) -> Result<R::Out, PullError> {
        let inner = &*self.0;
        let auth = Auth::Arguments {
            user: ("email", &inner.email),
            secret: ("password", &inner.password),
        };
        let headers = &[("accept", "text/xml, application/xml")];
        let minute = ExportPeriod::minute_until(self.now()).query();
        inner
            .upstream
            .read(
                ApiRequest {
                    path: PATH,
                    query: &period.query(),
                    auth,
                    headers,
                    classify_error,
                    auth_check: (PATH, &minute),
                },
                &inner.cancel,
                begin,
            )
            .await
    }

    pub fn zone(&self) -> &TimeZone {
        &self.0.zone
    }

    /// The parser slots that the documents of this client share.
    pub fn parser_slots(&self) -> Arc<ParserSlots> {
        self.0.parser_slots.clone()
    }

    /// The costs of all requests of this source so far.
    pub fn call_stats(&self) -> CallStats {
        self.0.upstream.call_stats()
    }

    pub fn now(&self) -> Timestamp {
        crate::clock::timestamp(self.0.upstream.now())
    }

    pub fn cancel(&self) -> &CancellationToken {
        &self.0.cancel
    }
}

/// Classifies an answer without a document that is no web page. The vendor documents none of this,
/// so the status decides, and the body if the status is ambiguous.
fn classify_error(status: u16, text: &[u8]) -> Option<PullError> {
    match (status, missing_access_in(text)) {
        (401, _) => Some(PullError::Unauthorized),
        (402, _) => Some(PullError::NotAllowed(MissingAccess::Plan)),
        (400 | 403, Some(missing)) => Some(PullError::NotAllowed(missing)),
        // Without a body the answer may come from a firewall.
        (403, None) if !text.trim_ascii().is_empty() => Some(PullError::Refused {
            status,
            vendor_message: String::new(),
        }),
        _ => None,
    }
}

/// The missing access that the plain text of an answer names. Text about credentials proves
/// nothing, because firewalls and web pages contain it as well.
pub(super) fn missing_access_in(text: &[u8]) -> Option<MissingAccess> {
    let text = String::from_utf8_lossy(&text[..text.len().min(2_048)]).to_lowercase();
    if sniff::looks_like_web_page(text.as_bytes()) {
        return None;
    }
    let has = |any: &[&str]| any.iter().any(|word| text.contains(word));
    if has(&[
        "your plan",
        "plan does",
        "subscription",
        "licence",
        "license",
        "upgrade",
    ]) {
        Some(MissingAccess::Plan)
    } else if has(&["permission", "privilege", "not allowed"]) {
        Some(MissingAccess::Permission)
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
        let of = |from: &str, to: &str| {
            ExportPeriod::days(
                Window {
                    from: day(from),
                    to: day(to),
                },
                &zone,
            )
            .unwrap()
        };
        let change = of("2026-10-25", "2026-10-25");
        assert_eq!(
            (format_time(&change.start), format_time(&change.stop)),
            (
                "2026-10-25T00:00:00.000+02:00".to_owned(),
                "2026-10-26T00:00:00.000+01:00".to_owned()
            )
        );
        assert_eq!(of("2026-10-20", "2026-10-24").stop, change.start);
        assert_eq!(of("2026-10-26", "2026-10-30").start, change.stop);
    }

    #[test]
    fn refusals_are_classified_by_their_text() {
        use PullError::{NotAllowed, Unauthorized};
        let refused = |status| PullError::Refused {
            status,
            vendor_message: String::new(),
        };
        for (status, text, is) in [
            (401, "", Some(Unauthorized)),
            (401, "Your plan is fine", Some(Unauthorized)),
            (403, "Wrong password", Some(refused(403))),
            (
                403,
                "The operator lacks the account permission.",
                Some(NotAllowed(MissingAccess::Permission)),
            ),
            (
                403,
                "Your plan does not include data export.",
                Some(NotAllowed(MissingAccess::Plan)),
            ),
            (402, "", Some(NotAllowed(MissingAccess::Plan))),
            (403, "", None),
            (403, "The export is closed on Sundays.", Some(refused(403))),
            (400, "Wrong password", None),
            (403, "Access denied. Login id 4711", Some(refused(403))),
            (400, "stop lies before start", None),
            (500, "password", None),
        ] {
            assert_eq!(
                classify_error(status, text.as_bytes()),
                is,
                "{status} {text}"
            );
        }
        assert_eq!(missing_access_in(b"<error>Unknown login</error>"), None);
        assert_eq!(
            missing_access_in(b"<error>Your plan has no export</error>"),
            Some(MissingAccess::Plan)
        );
        assert_eq!(
            missing_access_in(b"<!DOCTYPE html><form>upgrade</form>"),
            None
        );
    }
}
