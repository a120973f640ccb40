//! What is said about DataSets that fail: a banner over the list, and the reason beside each one.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;

use super::dataset_status::{Glance, Rank};
use super::dataset_upkeep::stopped_band;
use super::datasets::Entry;
use crate::accounts::{Account, Health};
use crate::clock::Millis;
use crate::connectors::upstream::MAX_REFUSALS;
use crate::datasets::Dataset;
use crate::datasets::upkeep::Why;
use crate::ids::{AccountId, DatasetId};
use crate::web::parts::{Action, Band};
use crate::web::words;

/// One band over the list while anything fails.
pub(super) fn banner(entries: &[Entry], accounts: &HashMap<AccountId, Account>, on_page: &HashSet<DatasetId>, now: Millis, zone: &TimeZone) -> Vec<Band> {
    let mut bands: Vec<Band> = off_schedule(entries, on_page).into_iter().chain(damaged(entries)).collect();
    let recovers = |e: &Entry| e.dataset.account_id.as_ref().and_then(|id| accounts.get(id)).is_some_and(|account| e.glance.recovers_by(account).is_some());
    let failing: Vec<&Entry> = entries.iter().filter(|e| e.rank == Rank::Failing && e.dataset.stopped().is_none() && !recovers(e)).collect();
    if failing.is_empty() {
        return bands;
    }
    let title = if failing.len() == 1 { "1 DataSet failed.".to_owned() } else { format!("{} DataSets failed.", failing.len()) };
    let names = failing.iter().map(|e| match e.glance.failing_since {
        Some(since) => format!("“{}” since {}", e.dataset.name, words::short(since, now, zone)),
        None => format!("“{}”", e.dataset.name),
    });
    let names = words::first_listed(names);
    let rows = if failing.iter().any(|e| e.dataset.current.is_some()) { " The existing rows are unchanged." } else { "" };
    let actions = vec![Action { label: "Show what needs attention".to_owned(), href: "/datasets?quick=attention".to_owned(), primary: false, post: false }];
    bands.push(Band { tone: "bad".to_owned(), title, text: format!("{names}.{rows}"), actions });
    bands
}

/// DataSets whose record in the catalogue cannot be read, by their ids.
pub(super) fn unreadable(ids: &[String]) -> Option<Band> {
    let title = match ids {
        [] => return None,
        [one] => format!("1 DataSet cannot be listed, because its catalogue record is damaged: {one}."),
        many => format!("{} DataSets cannot be listed, because their catalogue records are damaged: {}.", many.len(), words::listed(many)),
    };
    let text = "Ask your server administrator to run “chatlake verify”. All other DataSets can be used.".to_owned();
    Some(Band { tone: "bad".to_owned(), title, text, actions: Vec::new() })
}

/// One band for those that something has taken off their schedules and that are not on the page, where each has its own.
fn off_schedule(entries: &[Entry], on_page: &HashSet<DatasetId>) -> Option<Band> {
    let off: Vec<&Entry> = entries.iter().filter(|e| e.dataset.stopped().is_some() && !on_page.contains(&e.dataset.id)).collect();
    let first = off.first()?;
    let title = if off.len() == 1 { "The schedule of 1 DataSet stopped.".to_owned() } else { format!("The schedules of {} DataSets stopped.", off.len()) };
    let names = words::first_listed(off.iter().map(|e| format!("“{}”", e.dataset.name)));
    let why = first.dataset.stopped().map(|stopped| stopped.why);
    let same = off.iter().all(|e| e.dataset.stopped().map(|stopped| stopped.why) == why);
    let how = match why.filter(|_| same) {
        Some(Why::Credentials) => {
            format!("{} rejected the credentials {MAX_REFUSALS} times in a row. Update the account to resume.", first.dataset.connector.title())
        }
        Some(Why::Unshared) => {
            "The account is no longer shared with the owner of the DataSet. Share it again, or choose another account, to resume.".to_owned()
        }
        Some(Why::Parked) => "A run stopped the server three times. Press Resume or Run now on the page of each DataSet.".to_owned(),
        None => "The page of each DataSet shows the reason and how to resume.".to_owned(),
    };
    let actions = vec![Action { label: "Show what needs attention".to_owned(), href: "/datasets?quick=attention".to_owned(), primary: false, post: false }];
    Some(Band { tone: "bad".to_owned(), title, text: format!("{names}. {how}"), actions })
}

/// One band for all whose rows cannot be read whole.
fn damaged(entries: &[Entry]) -> Option<Band> {
    let damaged: Vec<&Entry> = entries.iter().filter(|e| e.rank == Rank::Damaged).collect();
    let title = match damaged.len() {
        0 => return None,
        1 => "1 DataSet has rows that cannot be read.".to_owned(),
        many => format!("{many} DataSets have rows that cannot be read."),
    };
    let names = words::first_listed(damaged.iter().map(|e| format!("“{}”", e.dataset.name)));
    let actions = vec![Action { label: "Show what needs attention".to_owned(), href: "/datasets?quick=attention".to_owned(), primary: false, post: false }];
    let text = format!("{names}. Stored files are damaged or missing. The page of each DataSet shows how to restore the rows.");
    Some(Band { tone: "bad".to_owned(), title, text, actions })
}

/// What is said beside a DataSet in the list when its rows cannot be read whole.
pub(super) fn damage(dataset: &Dataset) -> Band {
    Band {
        tone: "bad".to_owned(),
        title: "Some rows cannot be read.".to_owned(),
        text: "Stored files of the current version are damaged or missing.".to_owned(),
        actions: vec![Action { label: "How to restore the rows".to_owned(), href: format!("/datasets/{}", dataset.id), primary: true, post: false }],
    }
}

/// What is to be said of a failure that new credentials have mended.
fn mended(glance: &Glance, account: &Account, dataset: &Dataset, now: Millis, zone: &TimeZone) -> (String, String, String) {
    let at = glance.failed_at.map_or_else(String::new, |at| format!(" {}", words::short(at, now, zone)));
    let next = dataset.next_run_at.map_or_else(String::new, |at| format!(" The next scheduled run is {}.", words::coming(at, now, zone)));
    (
        format!("{} rejected the credentials in the last run{at}. They work now.", dataset.connector.title()),
        format!("“{}” was tested {}: {}.", account.name, account.checked_at.map_or_else(String::new, |at| words::relative(at, now)), account.health_message),
        format!("Run the DataSet to update its rows.{next}"),
    )
}

/// Who looks at a DataSet that fails, and what they may do.
#[derive(Clone, Copy)]
pub(super) struct Looks<'a> {
    /// Its account, when this person may change it.
    pub account: Option<&'a Account>,
    pub may_change: bool,
    /// May run it, and no run is under way.
    pub can_run: bool,
}

/// Why a DataSet fails, who must act, and what can be done at once.
pub(super) fn reason(dataset: &Dataset, glance: &Glance, looks: Looks<'_>, now: Millis, zone: &TimeZone) -> Band {
    let Looks { account, may_change, can_run } = looks;
    if let Some(band) = stopped_band(dataset, account, may_change, now, zone) {
        return band;
    }
    if let Some(run) = account.and_then(|account| glance.recovers_by(account)) {
        let title = format!("{} accepts the credentials again. A run is in progress.", dataset.connector.title());
        let actions = vec![Action { label: "View run".to_owned(), href: format!("/runs/{run}"), primary: false, post: false }];
        return Band { tone: "info".to_owned(), title, text: "It updates the rows.".to_owned(), actions };
    }
    let (happened, who, next) = match account.filter(|account| glance.works_again(account)) {
        Some(account) => mended(glance, account, dataset, now, zone),
        None => glance.trouble.clone().unwrap_or_default(),
    };
    let [happened, who, next] = [happened, who, next].map(|said| dataset.fit_to_read(&said));
    let is_mended = account.is_some_and(|account| glance.works_again(account));
    let since = glance.failing_since.filter(|_| glance.failed_in_a_row > 1 && !is_mended).map(|at| format!("Since {}. ", words::short(at, now, zone)));
    let see = match &glance.newest {
        Some((run, state, _)) if state.is_final() => format!("/runs/{run}"),
        _ => format!("/datasets/{}/history", dataset.id),
    };
    let mut actions = vec![Action { label: "View run".to_owned(), href: see, primary: false, post: false }];
    if let Some(run) = glance.held.as_ref().filter(|_| can_run) {
        actions.push(Action { label: "Publish these rows".to_owned(), href: format!("/runs/{run}/accept"), primary: true, post: true });
    }
    match account {
        _ if glance.held.is_some() => {}
        Some(account) if account.health == Health::Failing => {
            actions.push(Action { label: "Update credentials".to_owned(), href: format!("/accounts/{}/edit", account.id), primary: true, post: false });
        }
        _ if can_run => actions.push(Action { label: "Run now".to_owned(), href: format!("/datasets/{}/run", dataset.id), primary: true, post: true }),
        _ => {}
    }
    Band { tone: "bad".to_owned(), title: happened, text: format!("{}{who} {next}", since.unwrap_or_default()), actions }
}
