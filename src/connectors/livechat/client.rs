//! Requests to LiveChat: version header, Basic authentication, and what a report is asked with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::zones;
use crate::clock::Millis;
use crate::connectors::pull_error::Cause;
use crate::connectors::report::{GroupBy, Menu, MenuUse, Report, Weekday};
use crate::connectors::upstream::{Ask, Auth, Spent, Unread, Upstream};
use crate::connectors::{Menus, PullError, Source, Window};
use crate::secret::Secret;

/// Asks one LiveChat account. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    username: String,
    api_key: Secret,
    cancel: CancellationToken,
    /// LiveChat took the other name of the time zone.
    renamed: AtomicBool,
}

/// Every good credential may ask for this.
pub(super) const CHECK: &str = "/agents";

/// What goes after the question mark.
pub(super) type Query = Vec<(&'static str, String)>;

impl Client {
    pub fn new(source: &Source, cancel: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            upstream: source.upstream.clone(),
            username: source.fields.get("username").cloned().unwrap_or_default(),
            api_key: source.secrets.get("api_key").cloned().unwrap_or_else(|| Secret::new("")),
            cancel,
            renamed: AtomicBool::new(false),
        }))
    }

    /// Asks for `path`; `read` turns the body into what it should hold. `page` is for the words of an error: 0 where there are none.
    pub async fn get<T: Send, E: Into<Unread>>(
        &self,
        path: &str,
        page: u64,
        query: &Query,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
    ) -> Result<T, PullError> {
        self.get_or_nothing(path, page, query, read, |_| None).await
    }

    /// As `get`, and `nothing` says what it stands for when LiveChat says twice, with this status, that there is nothing.
    pub async fn get_or_nothing<T: Send, E: Into<Unread>>(
        &self,
        path: &str,
        page: u64,
        query: &Query,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
        nothing: fn(u16) -> Option<T>,
    ) -> Result<T, PullError> {
        // LiveChat may know a time zone by its older or newer name only.
        let other = zones::with_other_name(query);
        let is_renamed = self.0.renamed.load(Ordering::Relaxed);
        let first = other.as_ref().filter(|_| is_renamed).unwrap_or(query);
        let mut asked = self.ask(path, first, &read, nothing).await;
        if let (Err(PullError::Refused { status: 400 | 422, said }), Some(other)) = (&asked, &other)
            && zones::is_about_zones(said)
            && !is_renamed
        {
            let again = self.ask(path, other, &read, nothing).await;
            if !matches!(again, Err(PullError::Refused { .. })) {
                self.0.renamed.store(true, Ordering::Relaxed);
                asked = again;
            }
        }
        asked.map_err(|error| match error {
            PullError::Malformed { mut at, why } => {
                at.page = page;
                PullError::Malformed { at, why }
            }
            // Page 1 was there, so the request is right.
            PullError::Refused { status: 404, .. } if page > 1 => PullError::Unavailable(Cause::NoData(404)),
            other => other,
        })
    }

    async fn ask<T: Send, E: Into<Unread>>(
        &self,
        path: &str,
        query: &Query,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
        nothing: fn(u16) -> Option<T>,
    ) -> Result<T, PullError> {
        let inner = &*self.0;
        let auth = Auth::Basic { user: &inner.username, secret: &inner.api_key };
        let ask = Ask { path, query, auth, headers: &[("x-api-version", "2")], judge: |_, _| None, check: (CHECK, &[]) };
        inner.upstream.get_or_nothing(ask, &inner.cancel, read, nothing).await.map(|(_, value)| value)
    }

    /// What was asked through this source so far.
    pub fn spent(&self) -> Spent {
        self.0.upstream.spent()
    }

    /// This moment, by the clock of the way out.
    pub fn now(&self) -> Millis {
        self.0.upstream.now()
    }

    pub fn cancel(&self) -> &CancellationToken {
        &self.0.cancel
    }
}

/// The body as text. A byte order mark goes, and a byte that is no UTF-8 becomes U+FFFD rather than the end of the page.
pub(super) fn as_text(body: &Bytes) -> Bytes {
    let body = body.strip_prefix(b"\xef\xbb\xbf").map_or_else(|| body.clone(), |rest| body.slice_ref(rest));
    match std::str::from_utf8(&body) {
        Ok(_) => body,
        Err(_) => Bytes::from(String::from_utf8_lossy(&body).into_owned()),
    }
}

/// Why a body is not the JSON it should be: where, and never what it holds.
pub(super) fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        None => "the answer is empty".to_owned(),
        Some(b'<') => "XML or HTML instead of JSON".to_owned(),
        Some(_) if error.is_eof() => "the JSON is incomplete".to_owned(),
        Some(_) if error.is_data() => "the JSON has an unexpected structure".to_owned(),
        Some(_) => format!("JSON syntax error at line {}, column {}", error.line(), error.column()),
    }
}

/// The menus and days as LiveChat takes them for this report.
pub(super) fn query(report: &Report, menus: &Menus, window: Option<Window>, zone: &TimeZone) -> Query {
    let mut query = Query::new();
    for MenuUse { menu, sent, .. } in report.menus.iter().filter(|menu| !menu.sent.is_empty()) {
        let value = match menu {
            Menu::StartDays => window.map(|window| window.from.to_string()),
            Menu::EndDays => window.map(|window| window.to.to_string()),
            Menu::Group => menus.group.clone(),
            Menu::Login => menus.login.clone(),
            Menu::Tag => menus.tag.clone(),
            Menu::GroupBy => menus.group_by.filter(|by| *by != GroupBy::Automatic).map(|by| by.word().to_owned()),
            Menu::Weekday => Some(menus.weekday.unwrap_or(Weekday::Mon).word().to_owned()),
            Menu::IncludePending => menus.include_pending.filter(|on| *on).map(|_| "1".to_owned()),
            Menu::AgentDetails => None,
        };
        query.extend(value.map(|value| (*sent, value)));
    }
    if window.is_some() && report.request.zone {
        query.push(("timezone", zone.iana_name().unwrap_or("UTC").to_owned()));
    }
    query
}
