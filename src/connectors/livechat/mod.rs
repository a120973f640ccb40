//! The connector for LiveChat's REST API, version 2. `reports` declares the reports. `pull` reads
//! archives with `archive_window` and `paging` and all other reports with `list_reader` and
//! `period_reader`. Each record goes to one row builder (`rows`) per report (`output`), which fills
//! the row with `field_tree`, `values` and `derived`. `raw_fields` reads single fields, and
//! `period_start` parses periods. `client` sends the requests, `zones` has other names of time
//! zones.

mod archive_page;
mod archive_window;
mod client;
mod credential_hint;
mod derived;
mod field_tree;
mod list_reader;
mod list_values;
mod output;
mod paging;
mod period_reader;
mod period_start;
mod raw_fields;
mod record_key;
mod reports;
mod rows;
mod values;
mod zones;

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::completeness::last_settled_day;
use super::report::{Calls, Menu, Report, Shape};
use super::table::concat_batches;
use super::{
    Choice, CredentialField, Hint, Menus, PullError, PullEvent, PullRequest, Sample, Source, Window,
};
use crate::clock::timestamp;
use client::{LiveChatClient, Query, as_text, not_json, query};
use list_reader::ListReader;
use output::RecordOutput;
use paging::{Archive, Sink, StartedQuery};
pub use reports::REPORTS;
pub(super) use zones::is_about_zones;

pub const FIELDS: &[CredentialField] = &[
    CredentialField {
        id: "username",
        label: "Username",
        secret: false,
        help: "The email of the LiveChat agent who created the key or token, not the account ID.",
    },
    CredentialField {
        id: "api_key",
        label: "API Key",
        secret: true,
        help: "A personal access token, created in LiveChat's Developer Console under Settings, \
               Authorization, or an API key from before 2022. LiveChat has deprecated API keys \
               and API version 2, which Chatlake uses.",
    },
];

/// The most likely mistake in credentials that LiveChat rejected.
pub(super) fn hint(source: &Source) -> Hint {
    credential_hint::hint(&source.fields, &source.secrets)
}

/// Tests the credentials by counting the agents: all valid credentials have access to that call.
pub(super) async fn check(source: &Source) -> Result<String, PullError> {
    let agents = logins(&LiveChatClient::new(source, CancellationToken::new()))
        .await?
        .len();
    Ok(if agents == 1 {
        "1 agent visible".to_owned()
    } else {
        format!("{agents} agents visible")
    })
}

/// The groups, agents or tags of the account, in the vendor's order.
pub(super) async fn choices(source: &Source, menu: Menu) -> Result<Vec<Choice>, PullError> {
    let client = LiveChatClient::new(source, CancellationToken::new());
    let (path, id) = match menu {
        Menu::Group => ("/groups", "id"),
        Menu::Login => ("/agents", "login"),
        Menu::Tag => ("/tags", "name"),
        _ => return Ok(Vec::new()),
    };
    let named = named(&client, path, id).await?;
    // The same tag may be in several groups.
    let mut seen = HashSet::new();
    Ok(named
        .into_iter()
        .filter(|(value, _)| seen.insert(value.clone()))
        .map(|(value, name)| match name {
            Some(name) if menu == Menu::Login && name != value => Choice {
                label: format!("{name} ({value})"),
                value,
            },
            Some(name) => Choice { label: name, value },
            None => Choice {
                label: value.clone(),
                value,
            },
        })
        .collect())
}

/// The ids of all groups. Always contains 0, even if the vendor does not list it, because a chat
/// can be in group 0 alone.
async fn group_ids(client: &LiveChatClient) -> Result<Vec<String>, PullError> {
    let mut ids: Vec<String> = named(client, "/groups", "id")
        .await?
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    if !ids.iter().any(|id| id == "0") {
        ids.insert(0, "0".to_owned());
    }
    Ok(ids)
}

async fn logins(client: &LiveChatClient) -> Result<Vec<String>, PullError> {
    Ok(named(client, client::AUTH_CHECK_PATH, "login")
        .await?
        .into_iter()
        .map(|(login, _)| login)
        .collect())
}

/// Id and name of each item of a list; items without an id are skipped.
async fn named(
    client: &LiveChatClient,
    path: &'static str,
    id: &'static str,
) -> Result<Vec<(String, Option<String>)>, PullError> {
    let read = |body: &Bytes| {
        let text = as_text(body);
        let items: Vec<&RawValue> =
            serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
        let items: Vec<&str> = items.into_iter().map(RawValue::get).collect();
        if items.iter().any(|item| !item.starts_with('{')) {
            return Err("the JSON has an unexpected structure".to_owned());
        }
        let word = |item, name| raw_fields::id_of(item, name).map(Cow::into_owned);
        Ok(items
            .into_iter()
            .filter_map(|item| Some((word(item, id)?, word(item, "name"))))
            .collect())
    };
    client.get(path, 0, &Query::new(), read).await
}

/// The number of windows whose first pages are requested ahead, so that the latencies of short
/// windows do not add up.
const AHEAD: usize = 8;

/// Pulls the reports, which share path, shape and menus. Each page is read once.
pub(super) async fn pull(
    source: &Source,
    request: &PullRequest,
    out: &mpsc::Sender<PullEvent>,
) -> Result<(), PullError> {
    let client = LiveChatClient::new(source, request.cancel.clone());
    let Some(first) = request.reports.first() else {
        return Ok(());
    };
    let mut output = RecordOutput::new(&client, first, &request.reports, out);
    output.add_extra_columns(&request.extras);
    let list = ListReader {
        client: &client,
        report: first,
        menus: &request.menus,
        zone: &request.zone,
    };
    if let Shape::Archive { records, .. } = first.shape {
        return archive(
            &list,
            archive_of(&list, records, request.second_read),
            &request.windows,
            &mut output,
        )
        .await;
    }
    let windows: Vec<Option<Window>> = if request.windows.is_empty() {
        vec![None]
    } else {
        request.windows.iter().copied().map(Some).collect()
    };
    for (at, window) in windows.into_iter().enumerate() {
        output.begin_window(window.map(|_| at));
        let counts = match (first.shape, window) {
            (Shape::Periods(_), Some(window)) => {
                period_reader::read(&list, window, &mut output).await?
            }
            _ => list.read(window, usize::MAX, &mut output).await?,
        };
        output.finish_window(counts).await?;
    }
    Ok(())
}

/// Reads an archive window by window.
async fn archive(
    list: &ListReader<'_>,
    archive: Archive,
    windows: &[Window],
    output: &mut RecordOutput<'_>,
) -> Result<(), PullError> {
    if windows.is_empty() {
        return Err(PullError::Refused {
            status: 0,
            vendor_message: "this report needs a date range".to_owned(),
        });
    }
    let query_for = |window: Window| query(list.report, list.menus, Some(window), list.zone);
    let mut pending: VecDeque<AbortOnDropHandle<Result<StartedQuery, PullError>>> = VecDeque::new();
    let mut next = windows.iter();
    for (at, window) in windows.iter().enumerate() {
        output.begin_window(Some(at));
        let mut send = |pending: &mut VecDeque<_>, limit: usize| {
            while pending.len() < limit
                && let Some(window) = next.next()
            {
                let (archive, base_query) = (archive.clone(), query_for(*window));
                pending.push_back(AbortOnDropHandle::new(tokio::spawn(async move {
                    archive.begin(&base_query).await
                })));
            }
        };
        send(&mut pending, 1);
        let Some(handle) = pending.pop_front() else {
            break;
        };
        let started = handle.await.map_err(paging::join_error)??;
        // A long window keeps the vendor busy with its own pages, so only one window is requested
        // ahead.
        send(
            &mut pending,
            if started.first.pages < AHEAD as u64 {
                AHEAD
            } else {
                1
            },
        );
        let counts = archive_window::read(&archive, *window, started, query_for, output).await?;
        output.finish_window(counts).await?;
    }
    Ok(())
}

/// Whether a record can belong to several days. A record with a day column belongs to one day;
/// another one, such as a ticket, to each day with an event.
fn overlapping(report: &Report) -> bool {
    matches!(report.shape, Shape::Archive { .. }) && report.day.is_none()
}

/// `records`: the field of an answer that holds the records.
fn archive_of(list: &ListReader<'_>, records: &'static str, second_read: bool) -> Archive {
    let report = list.report;
    Archive {
        client: list.client.clone(),
        path: report.request.path,
        list: records,
        agent: report
            .menus
            .iter()
            .find(|m| m.menu == Menu::Login)
            .map_or("agent", |m| m.sent),
        overlapping: overlapping(report),
        // Fixed at the start: a window that becomes final during the pull is still read twice.
        settled_until: last_settled_day(timestamp(list.client.now()), list.zone),
        second_read,
        served: Arc::default(),
    }
}

/// The first rows of a report, with one call if possible.
pub(super) async fn sample(
    source: &Source,
    report: &'static Report,
    menus: &Menus,
    zone: &TimeZone,
    range: Option<Window>,
    limit: usize,
) -> Result<Sample, PullError> {
    let client = LiveChatClient::new(source, CancellationToken::new());
    let before = client.call_stats().calls;
    let (out, _receiver) = mpsc::channel(1);
    let mut output = RecordOutput::new(&client, report, std::slice::from_ref(&report), &out);
    output.sample_only = true;
    let list = ListReader {
        client: &client,
        report,
        menus,
        zone,
    };
    let mut sample = match (report.shape, range) {
        (Shape::Archive { records, .. }, _) => {
            sample_archive(
                &archive_of(&list, records, false),
                &query(report, menus, range, zone),
                limit,
                &mut output,
            )
            .await?
        }
        (Shape::Periods(_), Some(window)) => {
            let newest = period_reader::newest(menus, window);
            let counts = period_reader::read(&list, newest, &mut output).await?;
            let all = output.batch()?;
            // Periods are sorted oldest first, so the newest ones are at the end.
            let batch = all.slice(
                all.num_rows() - all.num_rows().min(limit),
                all.num_rows().min(limit),
            );
            let is_complete = newest == window && batch.num_rows() == all.num_rows();
            Sample {
                batch,
                records: counts.kept - output.rejected(),
                total: None,
                is_complete,
                newest: true,
                calls: 0,
            }
        }
        _ => {
            let counts = list.read(range, limit, &mut output).await?;
            let all = output.batch()?;
            let batch = all.slice(0, all.num_rows().min(limit));
            // With one call for each choice, the read stops after enough rows; agent details are
            // limited as well. So the sample may not be complete.
            let has_all_choices = report.request.calls == Calls::One || counts.kept < limit as u64;
            let detailed = menus.agent_details != Some(true) || counts.kept <= limit as u64;
            let is_complete = has_all_choices && detailed && batch.num_rows() == all.num_rows();
            Sample {
                batch,
                records: counts.kept - output.rejected(),
                total: None,
                is_complete,
                newest: false,
                calls: 0,
            }
        }
    };
    output.check_rejected(sample.is_complete)?;
    sample.calls = client.call_stats().calls - before;
    Ok(sample)
}

/// The maximum number of archive pages for a sample: the second one is read if the first has too
/// few rows.
const SAMPLED: u64 = 2;

/// The rows of the newest records of an archive. The vendor lists them newest first, so they are on
/// the first pages of the whole range.
async fn sample_archive(
    archive: &Archive,
    base_query: &Query,
    limit: usize,
    output: &mut RecordOutput<'_>,
) -> Result<Sample, PullError> {
    let (mut batches, mut seen) = (Vec::new(), HashSet::new());
    let (mut records, mut rows, mut total) = (0, 0, 0);
    for number in 1..=SAMPLED {
        let page = archive.page(base_query, number).await?;
        total = page.total;
        let found: Vec<&str> = page.records().collect();
        for record in found {
            if rows >= limit {
                break;
            }
            // A record that was added meanwhile pushes another one to the next page, where it
            // appears again.
            if raw_fields::id_of(record, "id").is_some_and(|id| !seen.insert(id.into_owned())) {
                continue;
            }
            let rejected = output.rejected();
            output.records(vec![record]).await?;
            let batch = output.batch()?;
            records += u64::from(output.rejected() == rejected);
            rows += batch.num_rows();
            batches.push(batch);
        }
        if rows >= limit || number >= page.pages {
            break;
        }
    }
    batches.push(output.batch()?);
    let all = concat_batches(&batches).ok_or_else(|| output.unwritable())?;
    let batch = all.slice(0, rows.min(limit));
    Ok(Sample {
        batch,
        records,
        total: Some(total),
        is_complete: records + output.rejected() >= total && rows <= limit,
        newest: true,
        calls: 0,
    })
}
