//! One file per noun. Every handler checks the token's scope, calls one function of the noun and answers.

pub mod accounts;
pub mod connectors;
pub mod data;
pub mod datasets;
pub mod history;
pub mod options;
pub mod runs;
pub mod upkeep;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Refusal;
use crate::error::Error;

/// A page of a list. `next` is the cursor of the next page; null at the end.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> List<T> {
    /// All there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Which page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// 1 to 1,000; 100 when absent.
    limit: Option<i64>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

impl Paging {
    /// Offset and limit.
    fn range(&self) -> Result<(i64, i64), Refusal> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=1_000).contains(&limit) {
            return Err(Error::field("limit", format!("limit must be from 1 to 1000, not {limit}.")).into());
        }
        Ok((read_cursor(self.cursor.as_deref(), "")?, limit))
    }

    /// The page that `items` are, one more than `limit` of which were asked for.
    fn list<T>(offset: i64, limit: i64, mut items: Vec<T>) -> List<T> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = (items.len() > wanted).then(|| write_cursor(offset + limit, ""));
        items.truncate(wanted);
        List { items, next }
    }
}

/// A cursor is opaque: an offset, and what it is an offset in.
fn write_cursor(offset: i64, within: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1:{offset}:{within}"))
}

/// The first word of what a cursor is an offset in: of rows, the version. None for a text that is no cursor.
fn first_word_of(cursor: &str) -> Option<String> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
    let within = text.strip_prefix("1:")?.split_once(':')?.1;
    Some(within.split(' ').next()?.to_owned())
}

fn read_cursor(cursor: Option<&str>, within: &str) -> Result<i64, Refusal> {
    let Some(cursor) = cursor else { return Ok(0) };
    let offset = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| {
        let mut parts = text.splitn(3, ':');
        (parts.next() == Some("1")).then_some(())?;
        let offset: i64 = parts.next()?.parse().ok()?;
        (parts.next()? == within && offset >= 0).then_some(offset)
    });
    offset.ok_or_else(|| Error::field("cursor", "This cursor belongs to another list or to other parameters. Start again without it.").into())
}
