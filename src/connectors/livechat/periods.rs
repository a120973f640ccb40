//! Reports keyed by period.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::stream;

use super::client::{as_text, not_json, query};
use super::lists::{AT_ONCE, List};
use super::output::Output;
use super::paging::Sink;
use super::{values, walk};
use crate::connectors::report::GroupBy;
use crate::connectors::{Menus, PullError, Tally, Window};

/// Reads the periods of a range. By hour, each day is asked for by itself: over several days the vendor adds up what came at the same
/// hour of any of them.
pub(super) async fn read(list: &List<'_>, window: Window, output: &mut Output<'_>) -> Result<Tally, PullError> {
    let days = match list.menus.group_by {
        Some(GroupBy::Hour) if list.takes_group_by() => window.from.series(jiff::Span::new().days(1)).take_while(|day| *day <= window.to).collect(),
        _ => vec![window.from],
    };
    let parts: Vec<Window> = match days.as_slice() {
        [_] => vec![window],
        days => days.iter().map(|day| Window { from: *day, to: *day }).collect(),
    };
    let pages = parts.len() as u64;
    let asked: Vec<_> = parts.into_iter().map(|part| ask(list, part)).collect();
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let mut tally = Tally::default();
    while let Some(answer) = answers.next().await {
        let (part, text) = answer?;
        let walk::Fields(mut fields) = serde_json::from_slice(&text).map_err(|_| output.unwritable())?;
        let read = fields.len() as u64;
        // One answer names a period once; the first of two counts, as it would in any list.
        let mut seen = HashSet::new();
        fields.retain(|(period, _)| seen.insert(period.clone()));
        output.periods(&fields, |period| values::period_start(period, part, list.zone)).await?;
        tally.pages += 1;
        tally.read += read;
        tally.kept += fields.len() as u64;
        output.page(tally.pages, pages).await?;
    }
    Ok(tally)
}

async fn ask(list: &List<'_>, part: Window) -> Result<(Window, bytes::Bytes), PullError> {
    let asked = query(list.report, list.menus, Some(part), list.zone);
    let read = |body: &bytes::Bytes| {
        let text = as_text(body);
        let walk::Fields(fields) = serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
        // Something else under status 200, such as an error, has names that are no periods.
        if !fields.is_empty() && !fields.iter().any(|(period, _)| values::period_start(period, part, list.zone).is_some()) {
            return Err("the answer has no periods".to_owned());
        }
        Ok(text)
    };
    // Some writers of JSON have `[]` for an object without fields. That there is no such report is another matter.
    let nothing = |status| (status != 404).then(|| bytes::Bytes::from_static(b"{}"));
    Ok((part, list.client.get_or_nothing(list.report.request.path, 0, &asked, read, nothing).await?))
}

/// The part of a range that is enough for a sample: by hour its last day, which is one call.
pub(super) fn newest(menus: &Menus, window: Window) -> Window {
    if menus.group_by == Some(GroupBy::Hour) { Window { from: window.to, to: window.to } } else { window }
}
