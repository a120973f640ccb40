//! LiveChat over its REST API, version 2. `reports` says what there is; `pull` reads archives by `windows` and `paging`, the rest by
//! `lists` and `periods`, and hands each record to one row builder (`rows`) per report (`output`), which reads it by `walk`, `values`
//! and `derived`. `client` asks.

mod client;
mod derived;
mod lists;
mod output;
mod paging;
mod periods;
mod reports;
mod rows;
mod values;
mod walk;
mod windows;

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::report::{Menu, Report, Shape};
use super::{Choice, CredentialField, Menus, PullError, PullRequest, Pulled, Sample, Source, Window};
use client::{Client, Query, as_text, not_json, query};
use lists::List;
use output::Output;
use paging::{Archive, Page, Sink};
pub use reports::REPORTS;

pub const FIELDS: &[CredentialField] = &[
    CredentialField { id: "username", label: "Username", secret: false, help: "The e-mail address you sign in to LiveChat with." },
    CredentialField {
        id: "api_key",
        label: "API Key",
        secret: true,
        help: "In LiveChat, open your profile or Settings and look for API keys, and copy the key. A Personal Access Token, made in LiveChat's Developer Console, works in its place.",
    },
];

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
    Ok(named(client, "/agents", "login").await?.into_iter().map(|(login, _)| login).collect())
}

/// Id and name of each item of a list; items without an id are passed over.
async fn named(client: &Client, path: &'static str, id: &'static str) -> Result<Vec<(String, Option<String>)>, PullError> {
    let word = |value: Option<&serde_json::Value>| match value {
        Some(serde_json::Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(serde_json::Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let read = |body: &Bytes| {
        let text = as_text(body);
        let items: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
        Ok(items.iter().filter_map(|item| Some((word(item.get(id))?, word(item.get("name"))))).collect())
    };
    client.get(path, 0, &Query::new(), read).await
}

/// Windows whose first page may be on its way before their turn, so that short windows do not add up their latency.
const AHEAD: usize = 8;

/// Pulls the reports, which share path, shape and menus, reading each page once.
pub(super) async fn pull(source: &Source, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    let client = Client::new(source, request.cancel.clone());
    let Some(first) = request.reports.first() else { return Ok(()) };
    let mut output = Output::new(&client, &request.reports, out, first.request.path);
    let list = List { client: &client, report: first, menus: &request.menus, zone: &request.zone };
    if let Shape::Archive { records, .. } = first.shape {
        return archive(&list, records, &request.windows, &mut output).await;
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
async fn archive(list: &List<'_>, records: &'static str, windows: &[Window], output: &mut Output<'_>) -> Result<(), PullError> {
    let archive = archive_of(list.client, list.report, records);
    let ask = |window: Window| query(list.report, list.menus, Some(window), list.zone);
    let mut coming: VecDeque<AbortOnDropHandle<Result<Page, PullError>>> = VecDeque::new();
    let mut next = windows.iter();
    for (at, window) in windows.iter().enumerate() {
        output.begin(Some(at));
        let mut send = |coming: &mut VecDeque<_>, most: usize| {
            while coming.len() < most
                && let Some(window) = next.next()
            {
                let (archive, asked) = (archive.clone(), ask(*window));
                coming.push_back(AbortOnDropHandle::new(tokio::spawn(async move { archive.page(&asked, 1).await })));
            }
        };
        send(&mut coming, 1);
        let Some(handle) = coming.pop_front() else { break };
        let first = handle.await.map_err(|_| PullError::Cancelled)??;
        // A long window keeps the vendor busy by itself.
        send(&mut coming, if first.pages < AHEAD as u64 { AHEAD } else { 1 });
        let tally = windows::read(&archive, *window, first, ask, output).await?;
        output.done(tally).await?;
    }
    Ok(())
}

/// A record with a day of its own belongs to one day; another, such as a ticket, to every day on which something happened to it.
fn overlapping(report: &Report) -> bool {
    matches!(report.shape, Shape::Archive { .. }) && report.day.is_none()
}

fn archive_of(client: &Client, report: &Report, list: &'static str) -> Archive {
    let agent = report.menus.iter().find(|m| m.menu == Menu::Login).map_or("agent", |m| m.sent);
    Archive { client: client.clone(), path: report.request.path, list, agent, overlapping: overlapping(report) }
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
    let (out, _kept) = mpsc::channel(1);
    let mut output = Output::new(&client, std::slice::from_ref(&report), &out, report.request.path);
    output.hold = true;
    let list = List { client: &client, report, menus, zone };
    let mut total = None;
    match (report.shape, range) {
        (Shape::Archive { records, .. }, _) => {
            // Newest first, so page 1 of the whole range is the newest there is.
            let page = archive_of(&client, report, records).page(&query(report, menus, range, zone), 1).await?;
            total = Some(page.total);
            output.records(page.records().take(most).collect()).await?;
        }
        (Shape::Periods(_), Some(window)) => drop(periods::read(&list, periods::newest(menus, window), &mut output).await?),
        _ => drop(list.read(range, most, &mut output).await?),
    }
    let batch = output.batch()?;
    let kept = batch.num_rows().min(most);
    // Periods come oldest first: the newest are the last.
    let from = if matches!(report.shape, Shape::Periods(_)) { batch.num_rows() - kept } else { 0 };
    Ok(Sample { batch: batch.slice(from, kept), total, calls: client.calls() })
}
