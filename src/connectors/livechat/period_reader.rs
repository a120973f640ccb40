//! Reads reports that are keyed by period.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::stream;

use super::client::{as_text, not_json, query};
use super::list_reader::{ListReader, MAX_CONCURRENT};
use super::output::RecordOutput;
use super::paging::Sink;
use super::period_start::period_start;
use super::raw_fields::RawFields;
use crate::connectors::report::GroupBy;
use crate::connectors::{Menus, PullError, Window, WindowCounts};

/// Reads the periods of a range. Hourly periods are requested day by day: for several days the
/// vendor adds up the same hour of all days.
pub(super) async fn read(
    list: &ListReader<'_>,
    window: Window,
    output: &mut RecordOutput<'_>,
) -> Result<WindowCounts, PullError> {
    let days = match list.menus.group_by {
        Some(GroupBy::Hour) if list.takes_group_by() => window
            .from
            .series(jiff::Span::new().days(1))
            .take_while(|day| *day <= window.to)
            .collect(),
        _ => vec![window.from],
    };
    let parts: Vec<Window> = match days.as_slice() {
        [_] => vec![window],
        days => days
            .iter()
            .map(|day| Window {
                from: *day,
                to: *day,
            })
            .collect(),
    };
    let pages = parts.len() as u64;
    let requests: Vec<_> = parts
        .into_iter()
        .map(|part| request_part(list, part))
        .collect();
    let mut answers = stream::iter(requests).buffered(MAX_CONCURRENT);
    let mut counts = WindowCounts::default();
    while let Some(answer) = answers.next().await {
        let (part, text) = answer?;
        let RawFields(mut fields) =
            serde_json::from_slice(&text).map_err(|_| output.unwritable())?;
        let read = fields.len() as u64;
        // If an answer contains a period twice, the first one counts.
        let mut seen = HashSet::new();
        fields.retain(|(period, _)| seen.insert(period.clone()));
        output
            .periods(&fields, |period| period_start(period, part, list.zone))
            .await?;
        counts.pages += 1;
        counts.read += read;
        counts.kept += fields.len() as u64;
        output.page(counts.pages, pages).await?;
    }
    Ok(counts)
}

async fn request_part(
    list: &ListReader<'_>,
    part: Window,
) -> Result<(Window, bytes::Bytes), PullError> {
    let arguments = query(list.report, list.menus, Some(part), list.zone);
    let read = |body: &bytes::Bytes| {
        let text = as_text(body);
        let RawFields(fields) =
            serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
        // Status 200 may contain something else, such as an error, whose field names are no
        // periods.
        if !fields.is_empty()
            && !fields
                .iter()
                .any(|(period, _)| period_start(period, part, list.zone).is_some())
        {
            return Err("the answer has no periods".to_owned());
        }
        Ok(text)
    };
    // Some JSON writers encode an empty object as `[]`. Status 404 is different: the report does
    // not exist.
    let on_empty = |status| (status != 404).then(|| bytes::Bytes::from_static(b"{}"));
    Ok((
        part,
        list.client
            .get_or_empty(list.report.request.path, 0, &arguments, read, on_empty)
            .await?,
    ))
}

/// The part of a range for a sample: for hourly periods only its last day, which needs one call.
pub(super) fn newest(menus: &Menus, window: Window) -> Window {
    if menus.group_by == Some(GroupBy::Hour) {
        Window {
            from: window.to,
            to: window.to,
        }
    } else {
        window
    }
}
