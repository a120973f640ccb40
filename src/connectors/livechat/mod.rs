//! LiveChat over its REST API, version 2. `reports` says what there is; `pull` reads archives by `windows` and `paging`, the rest by
//! `lists` and `periods`, and hands each record to one row builder (`rows`) per report (`output`), which reads it by `walk`, `values`
//! and `derived`. `client` asks; `zones` knows other names of time zones.

mod client;
mod derived;
mod list_values;
mod lists;
mod mistaken;
mod output;
mod page;
mod paging;
mod periods;
mod record_key;
mod reports;
mod rows;
mod values;
mod walk;
mod windows;
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
use super::table::joined;
use super::{Choice, CredentialField, Hint, Menus, PullError, PullRequest, Pulled, Sample, Source, Window};
use crate::clock::timestamp;
use client::{Client, Query, as_text, not_json, query};
use lists::List;
use output::Output;
use paging::{Archive, Begun, Sink};
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
        help: "A personal access token, created in LiveChat's Developer Console under Settings, Authorization, or an API key from before 2022. \
               LiveChat has deprecated API keys and API version 2, which Chatlake uses.",
    },
];

/// The most likely mistake in credentials that LiveChat rejected.
pub(super) fn hint(source: &Source) -> Hint {
    mistaken::hint(&source.fields, &source.secrets)
}

/// Counts the agents: a call that every good credential may make.
pub(super) async fn check(source: &Source) -> Result<String, PullError> {
    let agents = logins(&Client::new(source, CancellationToken::new())).await?.len();
    Ok(if agents == 1 { "1 agent visible".to_owned() } else { format!("{agents} agents visible") })
}

/// The groups, agents or tags of the account, in the vendor's order.
pub(super) async fn choices(source: &Source, menu: Menu) -> Result<Vec<Choice>, PullError> {
    let client = Client::new(source, CancellationToken::new());
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
            Some(name) if menu == Menu::Login && name != value => Choice { label: format!("{name} ({value})"), value },
            Some(name) => Choice { label: name, value },
            None => Choice { label: value.clone(), value },
        })
        .collect())
}

/// Ids of all groups, 0 among them whether or not the vendor lists it: a chat can sit in group 0 alone.
async fn group_ids(client: &Client) -> Result<Vec<String>, PullError> {
    let mut ids: Vec<String> = named(client, "/groups", "id").await?.into_iter().map(|(id, _)| id).collect();
    if !ids.iter().any(|id| id == "0") {
        ids.insert(0, "0".to_owned());
    }
    Ok(ids)
}

async fn logins(client: &Client) -> Result<Vec<String>, PullError> {
    Ok(named(client, client::CHECK, "login").await?.into_iter().map(|(login, _)| login).collect())
}

/// Id and name of each item of a list; items without an id are passed over.
async fn named(client: &Client, path: &'static str, id: &'static str) -> Result<Vec<(String, Option<String>)>, PullError> {
    let read = |body: &Bytes| {
        let text = as_text(body);
        let items: Vec<&RawValue> = serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
        let items: Vec<&str> = items.into_iter().map(RawValue::get).collect();
        if items.iter().any(|item| !item.starts_with('{')) {
            return Err("the JSON has an unexpected structure".to_owned());
        }
        let word = |item, name| walk::id_of(item, name).map(Cow::into_owned);
        Ok(items.into_iter().filter_map(|item| Some((word(item, id)?, word(item, "name")))).collect())
    };
    client.get(path, 0, &Query::new(), read).await
}

/// Windows that are begun before their turn, so that short windows do not add up their latency.
const AHEAD: usize = 8;

/// Pulls the reports, which share path, shape and menus, reading each page once.
pub(super) async fn pull(source: &Source, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    let client = Client::new(source, request.cancel.clone());
    let Some(first) = request.reports.first() else { return Ok(()) };
    let mut output = Output::new(&client, first, &request.reports, out);
    output.expect(&request.extras);
    let list = List { client: &client, report: first, menus: &request.menus, zone: &request.zone };
    if let Shape::Archive { records, .. } = first.shape {
        return archive(&list, archive_of(&list, records, request.second_read), &request.windows, &mut output).await;
    }
    let windows: Vec<Option<Window>> = if request.windows.is_empty() { vec![None] } else { request.windows.iter().copied().map(Some).collect() };
    for (at, window) in windows.into_iter().enumerate() {
        output.begin(window.map(|_| at));
        let tally = match (first.shape, window) {
            (Shape::Periods(_), Some(window)) => periods::read(&list, window, &mut output).await?,
            _ => list.read(window, usize::MAX, &mut output).await?,
        };
        output.done(tally).await?;
    }
    Ok(())
}

/// Reads an archive window by window.
async fn archive(list: &List<'_>, archive: Archive, windows: &[Window], output: &mut Output<'_>) -> Result<(), PullError> {
    if windows.is_empty() {
        return Err(PullError::Refused { status: 0, said: "this report needs a date range".to_owned() });
    }
    let ask = |window: Window| query(list.report, list.menus, Some(window), list.zone);
    let mut coming: VecDeque<AbortOnDropHandle<Result<Begun, PullError>>> = VecDeque::new();
    let mut next = windows.iter();
    for (at, window) in windows.iter().enumerate() {
        output.begin(Some(at));
        let mut send = |coming: &mut VecDeque<_>, most: usize| {
            while coming.len() < most
                && let Some(window) = next.next()
            {
                let (archive, asked) = (archive.clone(), ask(*window));
                coming.push_back(AbortOnDropHandle::new(tokio::spawn(async move { archive.begin(&asked).await })));
            }
        };
        send(&mut coming, 1);
        let Some(handle) = coming.pop_front() else { break };
        let begun = handle.await.map_err(paging::broken)??;
        // A long window keeps the vendor busy by itself, but for its last pages.
        send(&mut coming, if begun.first.pages < AHEAD as u64 { AHEAD } else { 1 });
        let tally = windows::read(&archive, *window, begun, ask, output).await?;
        output.done(tally).await?;
    }
    Ok(())
}

/// A record with a day of its own belongs to one day; another, such as a ticket, to every day on which something happened to it.
fn overlapping(report: &Report) -> bool {
    matches!(report.shape, Shape::Archive { .. }) && report.day.is_none()
}

/// `records`: the field of an answer that holds the records.
fn archive_of(list: &List<'_>, records: &'static str, second_read: bool) -> Archive {
    let report = list.report;
    Archive {
        client: list.client.clone(),
        path: report.request.path,
        list: records,
        agent: report.menus.iter().find(|m| m.menu == Menu::Login).map_or("agent", |m| m.sent),
        overlapping: overlapping(report),
        // As it is at the start: a window that becomes settled while others are read is read twice all the same.
        settled_until: last_settled_day(timestamp(list.client.now()), list.zone),
        second_read,
        served: Arc::default(),
    }
}

/// The first rows of a report, from one call where one tells them.
pub(super) async fn sample(
    source: &Source,
    report: &'static Report,
    menus: &Menus,
    zone: &TimeZone,
    range: Option<Window>,
    most: usize,
) -> Result<Sample, PullError> {
    let client = Client::new(source, CancellationToken::new());
    let before = client.spent().calls;
    let (out, _kept) = mpsc::channel(1);
    let mut output = Output::new(&client, report, std::slice::from_ref(&report), &out);
    output.hold = true;
    let list = List { client: &client, report, menus, zone };
    let mut sample = match (report.shape, range) {
        (Shape::Archive { records, .. }, _) => {
            sample_archive(&archive_of(&list, records, false), &query(report, menus, range, zone), most, &mut output).await?
        }
        (Shape::Periods(_), Some(window)) => {
            let newest = periods::newest(menus, window);
            let tally = periods::read(&list, newest, &mut output).await?;
            let all = output.batch()?;
            // Periods come oldest first: the newest are the last.
            let batch = all.slice(all.num_rows() - all.num_rows().min(most), all.num_rows().min(most));
            let whole = newest == window && batch.num_rows() == all.num_rows();
            Sample { batch, records: tally.kept - output.rejected(), total: None, whole, newest: true, calls: 0 }
        }
        _ => {
            let tally = list.read(range, most, &mut output).await?;
            let all = output.batch()?;
            let batch = all.slice(0, all.num_rows().min(most));
            // One call for each choice of a menu ends as soon as there is enough, and only so many agents are asked about one by one.
            let asked_all = report.request.calls == Calls::One || tally.kept < most as u64;
            let detailed = menus.agent_details != Some(true) || tally.kept <= most as u64;
            let whole = asked_all && detailed && batch.num_rows() == all.num_rows();
            Sample { batch, records: tally.kept - output.rejected(), total: None, whole, newest: false, calls: 0 }
        }
    };
    output.check_rejected(sample.whole)?;
    sample.calls = client.spent().calls - before;
    Ok(sample)
}

/// Pages of an archive that a sample is made of: one, and another one when the first has fewer rows than wanted.
const SAMPLED: u64 = 2;

/// The rows of the newest records of an archive. The vendor lists them newest first, so the first pages of the whole range hold them.
async fn sample_archive(archive: &Archive, asked: &Query, most: usize, output: &mut Output<'_>) -> Result<Sample, PullError> {
    let (mut batches, mut seen) = (Vec::new(), HashSet::new());
    let (mut records, mut rows, mut total) = (0, 0, 0);
    for number in 1..=SAMPLED {
        let page = archive.page(asked, number).await?;
        total = page.total;
        let found: Vec<&str> = page.records().collect();
        for record in found {
            if rows >= most {
                break;
            }
            // What comes to the head of the list meanwhile pushes others on to the next page.
            if walk::id_of(record, "id").is_some_and(|id| !seen.insert(id.into_owned())) {
                continue;
            }
            let rejected = output.rejected();
            output.records(vec![record]).await?;
            let batch = output.batch()?;
            records += u64::from(output.rejected() == rejected);
            rows += batch.num_rows();
            batches.push(batch);
        }
        if rows >= most || number >= page.pages {
            break;
        }
    }
    batches.push(output.batch()?);
    let all = joined(&batches).ok_or_else(|| output.unwritable())?;
    let batch = all.slice(0, rows.min(most));
    Ok(Sample { batch, records, total: Some(total), whole: records + output.rejected() >= total && rows <= most, newest: true, calls: 0 })
}
