//! LiveChat over its REST API, version 2. `reports` says what there is; `pull` reads windows by `windows` and `paging`, and hands each
//! record to one row builder (`rows`) per report, which reads it by `walk` and `values`. `client` asks.

mod client;
mod paging;
mod reports;
mod rows;
mod values;
mod walk;
mod windows;

use std::collections::HashSet;

use bytes::Bytes;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pull_error::Place;
use super::report::{Menu, Report, Shape};
use super::{Choice, CredentialField, Menus, PullError, PullRequest, Pulled, Sample, Source, Tally, Window};
use client::{Client, Query, as_text, not_json, query};
use paging::{Archive, Sink};
pub use reports::REPORTS;
use rows::Rows;

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

/// The groups or the agents of the account, in the vendor's order.
pub(super) async fn choices(source: &Source, menu: Menu) -> Result<Vec<Choice>, PullError> {
    let client = Client::new(source, CancellationToken::new());
    let (path, id) = match menu {
        Menu::Group => ("/groups", "id"),
        Menu::Login => ("/agents", "login"),
        Menu::StartDays | Menu::EndDays => return Ok(Vec::new()),
    };
    let named = named(&client, path, id).await?;
    Ok(named
        .into_iter()
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

/// Pulls the reports, which share path, shape and menus, reading each page once.
pub(super) async fn pull(source: &Source, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    let client = Client::new(source, request.cancel.clone());
    let Some(first) = request.reports.first() else { return Ok(()) };
    let mut output = Output::new(&client, &request.reports, out, first.request.path);
    let windows: Vec<Option<Window>> = if request.windows.is_empty() { vec![None] } else { request.windows.iter().copied().map(Some).collect() };
    for (at, window) in windows.into_iter().enumerate() {
        output.begin(window.map(|_| at));
        let ask = |window: Option<Window>| query(&request.menus, window, &request.zone);
        let tally = match (first.shape, window) {
            (Shape::Archive { records, .. }, Some(window)) => {
                let archive = Archive { client: client.clone(), path: first.request.path, list: records };
                windows::read(&archive, window, |part| ask(Some(part)), &mut output).await?
            }
            (Shape::Periods, Some(window)) => periods(&client, first, &ask(Some(window)), window, &request.zone, &mut output).await?,
            _ => list(&client, first, &ask(window), &mut output).await?,
        };
        output.done(tally).await?;
    }
    Ok(())
}

/// The first rows of a report, from one call.
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
    let ask = query(menus, range, zone);
    let mut total = None;
    match (report.shape, range) {
        (Shape::Archive { records, .. }, _) => {
            let archive = Archive { client: client.clone(), path: report.request.path, list: records };
            // Newest first, so page 1 of the whole range is the newest there is.
            let page = archive.page(&ask, 1).await?;
            total = Some(page.total);
            output.records(page.records().take(most).collect()).await?;
        }
        (Shape::Periods, Some(window)) => drop(periods(&client, report, &ask, window, zone, &mut output).await?),
        _ => drop(list(&client, report, &ask, &mut output).await?),
    }
    let batch = output.rows.swap_remove(0).batch().map_err(|_| output.unwritable())?;
    let kept = batch.num_rows().min(most);
    // Periods come oldest first: the newest are the last.
    let from = if report.shape == Shape::Periods { batch.num_rows() - kept } else { 0 };
    Ok(Sample { batch: batch.slice(from, kept), total, calls: client.calls() })
}

/// A list: one array, one row an element, each key once.
async fn list(client: &Client, report: &Report, ask: &Query, output: &mut Output<'_>) -> Result<Tally, PullError> {
    let text = client
        .get(report.request.path, 0, ask, |body| {
            let text = as_text(body);
            serde_json::from_slice::<Vec<&RawValue>>(&text).map(|_| ()).map_err(|error| not_json(&text, &error))?;
            Ok(text)
        })
        .await?;
    let items: Vec<&RawValue> = Deserialize::deserialize(&mut serde_json::Deserializer::from_slice(&text)).map_err(|_| output.unwritable())?;
    let mut seen = HashSet::new();
    let new: Vec<&str> =
        items.iter().map(|item| item.get()).filter(|item| report.key.first().and_then(|key| walk::id_of(item, key)).is_none_or(|id| seen.insert(id))).collect();
    let (read, kept) = (items.len() as u64, new.len() as u64);
    output.records(new).await?;
    output.page(1, 1).await?;
    Ok(Tally { pages: 1, read, kept, ..Tally::default() })
}

/// A period report: an object keyed by period.
async fn periods(client: &Client, report: &Report, ask: &Query, window: Window, zone: &TimeZone, output: &mut Output<'_>) -> Result<Tally, PullError> {
    let start = |period: &str| values::period_start(period, window, zone);
    let text = client
        .get(report.request.path, 0, ask, |body| {
            let text = as_text(body);
            let walk::Fields(fields) = serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
            // Something else under status 200, such as an error, has names that are no periods.
            if !fields.is_empty() && !fields.iter().any(|(period, _)| start(period).is_some()) {
                return Err("it has no periods".to_owned());
            }
            Ok(text)
        })
        .await?;
    let walk::Fields(fields) = serde_json::from_slice(&text).map_err(|_| output.unwritable())?;
    for rows in &mut output.rows {
        let mut row = rows.scratch();
        for (period, value) in &fields {
            let written = rows.period(period, start(period), value, &mut row);
            written.map_err(|_| PullError::Malformed { at: Place { path: report.request.path.to_owned(), page: 0 }, why: UNWRITABLE.to_owned() })?;
        }
    }
    output.read += fields.len() as u64;
    output.page(1, 1).await?;
    Ok(Tally { pages: 1, read: fields.len() as u64, kept: fields.len() as u64, ..Tally::default() })
}

const UNWRITABLE: &str = "its rows could not be built";

/// What comes out of a pull: one row builder per report, over one reading.
struct Output<'a> {
    client: &'a Client,
    out: &'a mpsc::Sender<Pulled>,
    path: &'static str,
    rows: Vec<Rows>,
    window: Option<usize>,
    /// Records of this window so far, and the counts of the pull when it began.
    read: u64,
    calls: u64,
    waited_ms: u64,
    misfits: u64,
    /// Nothing is sent; the rows are for a sample.
    hold: bool,
}

impl<'a> Output<'a> {
    fn new(client: &'a Client, reports: &[&'static Report], out: &'a mpsc::Sender<Pulled>, path: &'static str) -> Self {
        let rows = reports.iter().map(|report| Rows::new(report)).collect();
        Self { client, out, path, rows, window: None, read: 0, calls: 0, waited_ms: 0, misfits: 0, hold: false }
    }

    fn begin(&mut self, window: Option<usize>) {
        self.window = window;
        self.read = 0;
        self.calls = self.client.calls();
        self.waited_ms = self.client.waited_ms();
        self.misfits = self.all_misfits();
    }

    fn all_misfits(&self) -> u64 {
        self.rows.iter().map(|rows| rows.misfits).sum()
    }

    fn unwritable(&self) -> PullError {
        PullError::Malformed { at: Place { path: self.path.to_owned(), page: 0 }, why: UNWRITABLE.to_owned() }
    }

    async fn send(&self, pulled: Pulled) -> Result<(), PullError> {
        if self.hold {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.client.cancel().cancelled() => Err(PullError::Cancelled),
            sent = self.out.send(pulled) => sent.map_err(|_| PullError::Cancelled),
        }
    }

    async fn send_ready(&mut self) -> Result<(), PullError> {
        if self.hold {
            return Ok(());
        }
        for report in 0..self.rows.len() {
            for batch in self.rows[report].take() {
                self.send(Pulled::Rows { report, batch }).await?;
            }
        }
        Ok(())
    }

    /// Everything of the window goes out, and then that it is complete.
    async fn done(&mut self, mut tally: Tally) -> Result<(), PullError> {
        for at in 0..self.rows.len() {
            if self.rows[at].flush().is_err() {
                return Err(self.unwritable());
            }
        }
        self.send_ready().await?;
        tally.duplicates = tally.read - tally.kept;
        tally.calls = self.client.calls() - self.calls;
        tally.waited_ms = self.client.waited_ms() - self.waited_ms;
        tally.misfits = self.all_misfits() - self.misfits;
        self.send(Pulled::WindowDone { window: self.window, tally }).await
    }
}

impl Sink for Output<'_> {
    async fn records(&mut self, records: Vec<&str>) -> Result<(), PullError> {
        self.read += records.len() as u64;
        let mut broken = false;
        for rows in &mut self.rows {
            let mut row = rows.scratch();
            for record in &records {
                broken |= rows.record(record, &mut row).is_err();
            }
        }
        if broken {
            return Err(self.unwritable());
        }
        self.send_ready().await
    }

    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError> {
        if let Some(day) = self.client.take_sunset() {
            self.send(Pulled::Sunset { day }).await?;
        }
        self.send(Pulled::Progress { window: self.window, page, pages, read: self.read, calls: self.client.calls() }).await
    }
}
