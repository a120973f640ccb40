//! Requests to LiveChat: version header, Basic authentication and query parameters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::zones;
use crate::clock::Millis;
use crate::connectors::pull_error::Cause;
use crate::connectors::report::{GroupBy, Menu, MenuUse, Report, Weekday};
use crate::connectors::upstream::{ApiRequest, Auth, CallStats, ReadError, Upstream};
use crate::connectors::{Menus, PullError, Source, Window};
use crate::secret::Secret;

/// The API client for one LiveChat account. Cheap to clone.
#[derive(Clone)]
pub(super) struct LiveChatClient(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    username: String,
    api_key: Secret,
    cancel: CancellationToken,
    /// LiveChat accepted the other name of the time zone.
    renamed: AtomicBool,
}

/// Path of the auth check call; all valid credentials have access to it.
pub(super) const AUTH_CHECK_PATH: &str = "/agents";

/// The query parameters of a request.
pub(super) type Query = Vec<(&'static str, String)>;

impl LiveChatClient {
    pub fn new(source: &Source, cancel: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            upstream: source.upstream.clone(),
            username: source.fields.get("username").cloned().unwrap_or_default(),
            api_key: source
                .secrets
                .get("api_key")
                .cloned()
                .unwrap_or_else(|| Secret::new("")),
            cancel,
            renamed: AtomicBool::new(false),
        }))
    }

    /// Requests `path`; `read` parses the body. `page` is only used in error messages: 0 for a
    /// request without pages.
    pub async fn get<T: Send, E: Into<ReadError>>(
        &self,
        path: &str,
        page: u64,
        query: &Query,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
    ) -> Result<T, PullError> {
        self.get_or_empty(path, page, query, read, |_| None).await
    }

    /// Like `get`. `on_empty` returns the value for an answer with this status that says twice that
    /// there is no data.
    pub async fn get_or_empty<T: Send, E: Into<ReadError>>(
        &self,
        path: &str,
        page: u64,
        query: &Query,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
        on_empty: fn(u16) -> Option<T>,
    ) -> Result<T, PullError> {
        // LiveChat may know only the older or only the newer name of a time zone.
        let other = zones::with_other_name(query);
        let is_renamed = self.0.renamed.load(Ordering::Relaxed);
        let first = other.as_ref().filter(|_| is_renamed).unwrap_or(query);
        let mut result = self.send(path, first, &read, on_empty).await;
        if let (
            Err(PullError::Refused {
                status: 400 | 422,
                vendor_message,
            }),
            Some(other),
        ) = (&result, &other)
            && zones::is_about_zones(vendor_message)
            && !is_renamed
        {
            let second = self.send(path, other, &read, on_empty).await;
            if !matches!(second, Err(PullError::Refused { .. })) {
                self.0.renamed.store(true, Ordering::Relaxed);
                result = second;
            }
        }
        result.map_err(|error| match error {
            PullError::Malformed { mut at, why } => {
                at.page = page;
                PullError::Malformed { at, why }
            }
            // Page 1 exists, so the request itself is right.
            PullError::Refused { status: 404, .. } if page > 1 => {
                PullError::Unavailable(Cause::NoData(404))
            }
            other => other,
        })
    }

    async fn send<T: Send, E: Into<ReadError>>(
        &self,
        path: &str,
        query: &Query,
        read: impl Fn(&Bytes) -> Result<T, E> + Sync,
        on_empty: fn(u16) -> Option<T>,
    ) -> Result<T, PullError> {
        let inner = &*self.0;
        let auth = Auth::Basic {
            user: &inner.username,
            secret: &inner.api_key,
        };
        let request = ApiRequest {
            path,
            query,
            auth,
            headers: &[("x-api-version", "2")],
            classify_error: |_, _| None,
            auth_check: (AUTH_CHECK_PATH, &[]),
        };
        inner
            .upstream
            .get_or_empty(request, &inner.cancel, read, on_empty)
            .await
            .map(|(_, value)| value)
    }

    /// The costs of all requests of this source so far.
    pub fn call_stats(&self) -> CallStats {
        self.0.upstream.call_stats()
    }

    /// The current time, by the upstream's clock.
    pub fn now(&self) -> Millis {
        self.0.upstream.now()
    }

    pub fn cancel(&self) -> &CancellationToken {
        &self.0.cancel
    }
}

/// The body as UTF-8. Removes a byte order mark and replaces invalid bytes by U+FFFD, so that one
/// bad byte does not lose the page.
pub(super) fn as_text(body: &Bytes) -> Bytes {
    let body = body
        .strip_prefix(b"\xef\xbb\xbf")
        .map_or_else(|| body.clone(), |rest| body.slice_ref(rest));
    match std::str::from_utf8(&body) {
        Ok(_) => body,
        Err(_) => Bytes::from(String::from_utf8_lossy(&body).into_owned()),
    }
}

/// Describes why a body is not the expected JSON: the position, never the content.
pub(super) fn not_json(body: &[u8], error: &serde_json::Error) -> String {
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        None => "the answer is empty".to_owned(),
        Some(b'<') => "XML or HTML instead of JSON".to_owned(),
        Some(_) if error.is_eof() => "the JSON is incomplete".to_owned(),
        Some(_) if error.is_data() => "the JSON has an unexpected structure".to_owned(),
        Some(_) => format!(
            "JSON syntax error at line {}, column {}",
            error.line(),
            error.column()
        ),
    }
}

/// The query parameters for this report: menus, days and time zone.
pub(super) fn query(
    report: &Report,
    menus: &Menus,
    window: Option<Window>,
    zone: &TimeZone,
) -> Query {
    let mut query = Query::new();
    for MenuUse { menu, sent, .. } in report.menus.iter().filter(|menu| !menu.sent.is_empty()) {
        let value = match menu {
            Menu::StartDays => window.map(|window| window.from.to_string()),
            Menu::EndDays => window.map(|window| window.to.to_string()),
            Menu::Group => menus.group.clone(),
            Menu::Login => menus.login.clone(),
            Menu::Tag => menus.tag.clone(),
            Menu::GroupBy => menus
                .group_by
                .filter(|by| *by != GroupBy::Automatic)
                .map(|by| by.word().to_owned()),
            Menu::Weekday => Some(menus.weekday.unwrap_or(Weekday::Mon).word().to_owned()),
            Menu::IncludePending => menus
                .include_pending
                .filter(|on| *on)
                .map(|_| "1".to_owned()),
            Menu::AgentDetails => None,
        };
        query.extend(value.map(|value| (*sent, value)));
    }
    if window.is_some() && report.request.zone {
        query.push(("timezone", zone.iana_name().unwrap_or("UTC").to_owned()));
    }
    query
}
