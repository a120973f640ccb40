//! What is said about DataSets that fail: a banner over the list, and the reason beside each one.

use jiff::tz::TimeZone;

use super::dataset_status::{Glance, Rank};
use super::datasets::Entry;
use crate::accounts::{Account, Health};
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::web::parts::{Action, Band};
use crate::web::words;

/// So many names are written out.
const MOST_NAMES: usize = 3;

/// One band over the list while anything fails.
pub(super) fn banner(entries: &[Entry], now: Millis, zone: &TimeZone) -> Vec<Band> {
    let failing: Vec<&Entry> = entries.iter().filter(|e| e.rank == Rank::Failing).collect();
    if failing.is_empty() {
        return Vec::new();
    }
    let title = if failing.len() == 1 { "1 DataSet is failing.".to_owned() } else { format!("{} DataSets are failing.", failing.len()) };
    let mut names: Vec<String> = failing
        .iter()
        .take(MOST_NAMES)
        .map(|e| match e.glance.failing_since {
            Some(since) => format!("“{}” since {}", e.dataset.name, words::short(since, now, zone)),
            None => format!("“{}”", e.dataset.name),
        })
        .collect();
    if failing.len() > MOST_NAMES {
        names.push(format!("{} more", failing.len() - MOST_NAMES));
    }
    let rows = if failing.iter().any(|e| e.dataset.current.is_some()) { " Rows from before stay readable." } else { "" };
    let actions = vec![Action { label: "Show what needs attention".to_owned(), href: "/datasets?quick=attention".to_owned(), primary: false, post: false }];
    vec![Band { tone: "bad".to_owned(), title, text: format!("{}.{rows}", words::listed(&names)), actions }]
}

/// Why a DataSet fails, who must act, and what can be done at once. `account`: its account, when this person may change it.
pub(super) fn reason(dataset: &Dataset, glance: &Glance, account: Option<&Account>, can_run: bool, now: Millis, zone: &TimeZone) -> Band {
    let (happened, who, next) = glance.trouble.clone().unwrap_or_default();
    let since = glance.failing_since.filter(|_| glance.failed_in_a_row > 1).map(|at| format!("Since {}. ", words::short(at, now, zone)));
    let see = match &glance.newest {
        Some((run, state, _)) if state.is_final() => format!("/runs/{run}"),
        _ => format!("/datasets/{}/history", dataset.id),
    };
    let mut actions = vec![Action { label: "See the run".to_owned(), href: see, primary: false, post: false }];
    if let Some(run) = glance.held.as_ref().filter(|_| can_run) {
        actions.push(Action { label: "Accept these rows".to_owned(), href: format!("/runs/{run}/accept"), primary: true, post: true });
    }
    match account {
        _ if glance.held.is_some() => {}
        Some(account) if account.health == Health::Failing => {
            actions.push(Action { label: "Update credentials".to_owned(), href: format!("/accounts/{}/edit", account.id), primary: true, post: false });
        }
        _ if can_run => actions.push(Action { label: "Run Now".to_owned(), href: format!("/datasets/{}/run", dataset.id), primary: true, post: true }),
        _ => {}
    }
    Band { tone: "bad".to_owned(), title: happened, text: format!("{}{who} {next}", since.unwrap_or_default()), actions }
}
