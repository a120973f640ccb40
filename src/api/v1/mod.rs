//! One file per resource. Every handler checks the scope of the token, calls one function of the
//! resource and returns its result.

pub mod accounts;
pub mod connectors;
pub mod data;
pub mod datasets;
pub mod history;
pub mod notifications;
pub mod options;
pub mod rows;
pub mod runs;
pub mod schema;
pub mod versions;
pub mod windows;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use crate::error::Error;

/// A page of a list. `next` is the cursor of the next page; null at the end.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> List<T> {
    /// A list without further pages.
    pub fn complete(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Query parameters that select a page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// 1 to 1,000; 100 when absent.
    limit: Option<i64>,
    /// The `next` of the previous page.
    cursor: Option<String>,
}

impl Paging {
    /// Offset and limit of the page.
    fn range(&self) -> Result<(i64, i64), ApiError> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=1_000).contains(&limit) {
            return Err(Error::field(
                "limit",
                format!("limit must be from 1 to 1000, not {limit}."),
            )
            .into());
        }
        Ok((read_cursor(self.cursor.as_deref(), "")?, limit))
    }

    /// Builds the page from `items`, which were read with a limit of one more than `limit`.
    fn list<T>(offset: i64, limit: i64, mut items: Vec<T>) -> List<T> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = (items.len() > wanted).then(|| write_cursor(offset + limit, ""));
        items.truncate(wanted);
        List { items, next }
    }
}

/// Encodes a cursor: an offset and the query that it belongs to. Opaque to clients.
fn write_cursor(offset: i64, cursor_scope: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1:{offset}:{cursor_scope}"))
}

/// The first word of the query in a cursor; for rows the version id. `None` for an invalid cursor.
fn cursor_first_word(cursor: &str) -> Option<String> {
    let text = URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())?;
    let cursor_scope = text.strip_prefix("1:")?.split_once(':')?.1;
    Some(cursor_scope.split(' ').next()?.to_owned())
}

fn read_cursor(cursor: Option<&str>, cursor_scope: &str) -> Result<i64, ApiError> {
    let Some(cursor) = cursor else { return Ok(0) };
    let offset = URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| {
            let mut parts = text.splitn(3, ':');
            (parts.next() == Some("1")).then_some(())?;
            let offset: i64 = parts.next()?.parse().ok()?;
            (parts.next()? == cursor_scope && offset >= 0).then_some(offset)
        });
    offset.ok_or_else(|| {
        Error::field(
            "cursor",
            "This cursor belongs to another list or to other parameters. Start again without it.",
        )
        .into()
    })
}
