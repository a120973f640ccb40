//! Texts about failing DataSets: the banners above the list, and the reason of each one.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;

use super::dataset_notifications::stopped_band;
use super::dataset_status::{Attention, DatasetStatus};
use super::datasets::DatasetEntry;
use crate::accounts::{Account, Health};
use crate::clock::Millis;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::datasets::Dataset;
use crate::datasets::policies::StopReason;
use crate::ids::{AccountId, DatasetId};
use crate::web::components::{Action, Band};
use crate::web::humanize;

/// The banner above the list while any DataSet fails.
pub(super) fn banner(
    entries: &[DatasetEntry],
    accounts: &HashMap<AccountId, Account>,
    on_page: &HashSet<DatasetId>,
    now: Millis,
    zone: &TimeZone,
) -> Vec<Band> {
    let mut bands: Vec<Band> = off_schedule(entries, on_page)
        .into_iter()
        .chain(damaged(entries))
        .collect();
    let is_recovering = |e: &DatasetEntry| {
        e.dataset
            .account_id
            .as_ref()
            .and_then(|id| accounts.get(id))
            .is_some_and(|account| e.dataset_status.recovery_run(account).is_some())
    };
    let failing: Vec<&DatasetEntry> = entries
        .iter()
        .filter(|e| {
            e.attention == Attention::Failing && e.dataset.stopped().is_none() && !is_recovering(e)
        })
        .collect();
    if failing.is_empty() {
        return bands;
    }
    let title = if failing.len() == 1 {
        "1 DataSet failed.".to_owned()
    } else {
        format!("{} DataSets failed.", failing.len())
    };
    let names = failing
        .iter()
        .map(|e| match e.dataset_status.failing_since {
            Some(since) => format!(
                "“{}” since {}",
                e.dataset.name,
                humanize::short(since, now, zone)
            ),
            None => format!("“{}”", e.dataset.name),
        });
    let names = humanize::first_listed(names);
    let rows = if failing.iter().any(|e| e.dataset.current.is_some()) {
        " The existing rows are unchanged."
    } else {
        ""
    };
    let actions = vec![Action {
        label: "Show what needs attention".to_owned(),
        href: "/datasets?quick=attention".to_owned(),
        primary: false,
        post: false,
    }];
    bands.push(Band {
        tone: "bad".to_owned(),
        title,
        text: format!("{names}.{rows}"),
        actions,
    });
    bands
}

/// The banner about DataSets whose row in the catalogue cannot be read, with their ids.
pub(super) fn unreadable(ids: &[String]) -> Option<Band> {
    let title = match ids {
        [] => return None,
        [one] => {
            format!("1 DataSet cannot be listed, because its catalogue record is damaged: {one}.")
        }
        many => format!(
            "{} DataSets cannot be listed, because their catalogue records are damaged: {}.",
            many.len(),
            humanize::listed(many)
        ),
    };
    let text =
        "Ask your server administrator to run “chatlake verify”. All other DataSets can be used."
            .to_owned();
    Some(Band {
        tone: "bad".to_owned(),
        title,
        text,
        actions: Vec::new(),
    })
}

/// The banner about stopped schedules of DataSets that are not on the page; those on the page have
/// their own.
fn off_schedule(entries: &[DatasetEntry], on_page: &HashSet<DatasetId>) -> Option<Band> {
    let off: Vec<&DatasetEntry> = entries
        .iter()
        .filter(|e| e.dataset.stopped().is_some() && !on_page.contains(&e.dataset.id))
        .collect();
    let first = off.first()?;
    let title = if off.len() == 1 {
        "The schedule of 1 DataSet stopped.".to_owned()
    } else {
        format!("The schedules of {} DataSets stopped.", off.len())
    };
    let names = humanize::first_listed(off.iter().map(|e| format!("“{}”", e.dataset.name)));
    let why = first.dataset.stopped().map(|stopped| stopped.reason);
    let same = off
        .iter()
        .all(|e| e.dataset.stopped().map(|stopped| stopped.reason) == why);
    let how = match why.filter(|_| same) {
        Some(StopReason::Credentials) => {
            format!(
                "{} rejected the credentials {MAX_AUTH_FAILURES} times in a row. \
                 Update the account to resume.",
                first.dataset.connector.title()
            )
        }
        Some(StopReason::Unshared) => {
            "The account is no longer shared with the owner of the DataSet. \
             Share it again, or choose another account, to resume."
                .to_owned()
        }
        Some(StopReason::Parked) => {
            "The server stopped three times during a run. Press Resume or Run now \
             on the page of each DataSet."
                .to_owned()
        }
        None => "The page of each DataSet shows the reason and how to resume.".to_owned(),
    };
    let actions = vec![Action {
        label: "Show what needs attention".to_owned(),
        href: "/datasets?quick=attention".to_owned(),
        primary: false,
        post: false,
    }];
    Some(Band {
        tone: "bad".to_owned(),
        title,
        text: format!("{names}. {how}"),
        actions,
    })
}

/// The banner about all DataSets with damaged rows.
fn damaged(entries: &[DatasetEntry]) -> Option<Band> {
    let damaged: Vec<&DatasetEntry> = entries
        .iter()
        .filter(|e| e.attention == Attention::Damaged)
        .collect();
    let title = match damaged.len() {
        0 => return None,
        1 => "1 DataSet has rows that cannot be read.".to_owned(),
        many => format!("{many} DataSets have rows that cannot be read."),
    };
    let names = humanize::first_listed(damaged.iter().map(|e| format!("“{}”", e.dataset.name)));
    let actions = vec![Action {
        label: "Show what needs attention".to_owned(),
        href: "/datasets?quick=attention".to_owned(),
        primary: false,
        post: false,
    }];
    let text = format!(
        "{names}. Stored files are damaged or missing. \
         The page of each DataSet shows how to restore the rows."
    );
    Some(Band {
        tone: "bad".to_owned(),
        title,
        text,
        actions,
    })
}

/// The reason in the list for a DataSet with damaged rows.
pub(super) fn damage(dataset: &Dataset) -> Band {
    Band {
        tone: "bad".to_owned(),
        title: "Some rows cannot be read.".to_owned(),
        text: "Stored files of the current version are damaged or missing.".to_owned(),
        actions: vec![Action {
            label: "How to restore the rows".to_owned(),
            href: format!("/datasets/{}", dataset.id),
            primary: true,
            post: false,
        }],
    }
}

/// The text about a failure that was fixed with new credentials.
fn recovered_failure(
    dataset_status: &DatasetStatus,
    account: &Account,
    dataset: &Dataset,
    now: Millis,
    zone: &TimeZone,
) -> (String, String, String) {
    let at = dataset_status.failed_at.map_or_else(String::new, |at| {
        format!(" {}", humanize::short(at, now, zone))
    });
    let next = dataset.next_run_at.map_or_else(String::new, |at| {
        format!(
            " The next scheduled run is {}.",
            humanize::calendar_time(at, now, zone)
        )
    });
    (
        format!(
            "{} rejected the credentials in the last run{at}. They work now.",
            dataset.connector.title()
        ),
        format!(
            "“{}” was tested {}: {}.",
            account.name,
            account
                .checked_at
                .map_or_else(String::new, |at| humanize::relative(at, now)),
            account.health_message
        ),
        format!("Run the DataSet to update its rows.{next}"),
    )
}

/// What the person may do about a failing DataSet.
#[derive(Clone, Copy)]
pub(super) struct ViewerRights<'a> {
    /// The account, if this person may change it.
    pub account: Option<&'a Account>,
    pub may_change: bool,
    /// Whether the person may run the DataSet and no run is in progress.
    pub can_run: bool,
}

/// Why a DataSet fails, who must act, and what can be done now.
pub(super) fn reason(
    dataset: &Dataset,
    dataset_status: &DatasetStatus,
    rights: ViewerRights<'_>,
    now: Millis,
    zone: &TimeZone,
) -> Band {
    let ViewerRights {
        account,
        may_change,
        can_run,
    } = rights;
    if let Some(band) = stopped_band(dataset, account, may_change, now, zone) {
        return band;
    }
    if let Some(run) = account.and_then(|account| dataset_status.recovery_run(account)) {
        let title = format!(
            "{} accepts the credentials again. A run is in progress.",
            dataset.connector.title()
        );
        let actions = vec![Action {
            label: "View run".to_owned(),
            href: format!("/runs/{run}"),
            primary: false,
            post: false,
        }];
        return Band {
            tone: "info".to_owned(),
            title,
            text: "It updates the rows.".to_owned(),
            actions,
        };
    }
    let (happened, who, next) =
        match account.filter(|account| dataset_status.has_recovered(account)) {
            Some(account) => recovered_failure(dataset_status, account, dataset, now, zone),
            None => dataset_status.failure.clone().unwrap_or_default(),
        };
    let [happened, who, next] = [happened, who, next].map(|text| dataset.redact(&text));
    let is_recovered = account.is_some_and(|account| dataset_status.has_recovered(account));
    let since = dataset_status
        .failing_since
        .filter(|_| dataset_status.failed_in_a_row > 1 && !is_recovered)
        .map(|at| format!("Since {}. ", humanize::short(at, now, zone)));
    let see = match &dataset_status.newest {
        Some((run, state, _)) if state.is_final() => format!("/runs/{run}"),
        _ => format!("/datasets/{}/history", dataset.id),
    };
    let mut actions = vec![Action {
        label: "View run".to_owned(),
        href: see,
        primary: false,
        post: false,
    }];
    if let Some(run) = dataset_status.pending_approval.as_ref().filter(|_| can_run) {
        actions.push(Action {
            label: "Publish these rows".to_owned(),
            href: format!("/runs/{run}/accept"),
            primary: true,
            post: true,
        });
    }
    match account {
        _ if dataset_status.pending_approval.is_some() => {}
        Some(account) if account.health == Health::Failing => {
            actions.push(Action {
                label: "Update credentials".to_owned(),
                href: format!("/accounts/{}/edit", account.id),
                primary: true,
                post: false,
            });
        }
        _ if can_run => actions.push(Action {
            label: "Run now".to_owned(),
            href: format!("/datasets/{}/run", dataset.id),
            primary: true,
            post: true,
        }),
        _ => {}
    }
    Band {
        tone: if dataset_status.pending_approval.is_some() {
            "warn"
        } else {
            "bad"
        }
        .to_owned(),
        title: happened,
        text: format!("{}{who} {next}", since.unwrap_or_default()),
        actions,
    }
}
