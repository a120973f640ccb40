//! The list of the accounts that a person may use, with their health, and the test of an account.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use super::dataset_status::DatasetStatus;
use crate::accounts::{Account, Health};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::Connector;
use crate::datasets::Dataset;
use crate::datasets::policies::StopReason;
use crate::datasets::recent_runs::RecentRuns;
use crate::error::{ErrorKind, Result};
use crate::ids::{AccountId, DatasetId};
use crate::puller::run::Trigger;
use crate::web::components::{Action, Band, Chrome, DisplayTime, Status};
use crate::web::forms::FirstPathId;
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::{AccountsViewer, Person};
use crate::web::{Web, humanize};

#[derive(Template)]
#[template(path = "pages/accounts.html")]
struct AccountsPage {
    chrome: Chrome,
    failing: usize,
    /// Banners about accounts that work again and have failed DataSets.
    bands: Vec<Band>,
    rows: Vec<AccountRow>,
    add: Vec<AddAccountLink>,
}

/// A connector for which an account can be added.
struct AddAccountLink {
    href: String,
    label: String,
}

struct AccountRow {
    id: AccountId,
    monogram: &'static str,
    connector: &'static str,
    name: String,
    login: String,
    owner: String,
    owner_initials: String,
    used: String,
    used_names: Vec<UsedDataset>,
    updated: DisplayTime,
    status: Status,
    checked: DisplayTime,
    calls: CallUsage,
    /// Announcements of the vendor: a pause, the sunset of its API.
    hints: Vec<String>,
    mine: bool,
    fix_label: String,
    /// The label of the button that restarts the schedules; empty if none is stopped or the account
    /// is still rejected.
    resume_label: String,
}

/// The current use of the account's requests per minute.
struct CallUsage {
    calls: u32,
    limit: u32,
    words: String,
}

struct UsedDataset {
    id: DatasetId,
    name: String,
    status: Status,
}

/// `GET /accounts`
pub async fn accounts(
    State(web): State<Web>,
    AccountsViewer(Person { actor, session }): AccountsViewer,
) -> PageResult {
    let (rows, bands) = rows(&web, &actor).await?;
    let add = Connector::ALL.map(|connector| AddAccountLink {
        href: format!("/accounts/new?connector={}", connector.id()),
        label: format!("{} account", connector.title()),
    });
    render(&AccountsPage {
        chrome: web.chrome(&actor, &session, "accounts").await,
        failing: rows.iter().filter(|row| row.status.tone == "bad").count(),
        bands,
        rows,
        add: add.into(),
    })
}

/// The rows, failing accounts first, and the banners above them.
async fn rows(web: &Web, actor: &Actor) -> Result<(Vec<AccountRow>, Vec<Band>)> {
    let now = web.clock.now();
    let (mut accounts, damaged) = web.accounts.list_all(actor).await?;
    accounts.sort_by_key(|account| account.health != Health::Failing);
    let (datasets, recent_runs) = (
        web.datasets.list(actor).await?,
        web.datasets.recent_runs(actor).await?,
    );
    let mut bands = Vec::new();
    let rows = accounts.into_iter().map(|account| {
        let calls = web.accounts.calls_last_minute(&account);
        bands.extend(run_again_band(
            &account,
            &failed_by(&account, &datasets, &recent_runs, actor),
        ));
        let mut row = row(&account, calls, actor, now);
        let used = datasets
            .iter()
            .filter(|dataset| dataset.account_id.as_ref() == Some(&account.id));
        row.used_names = used
            .clone()
            .map(|d| UsedDataset {
                id: d.id.clone(),
                name: d.name.clone(),
                status: dataset_state(d, recent_runs.get(&d.id)),
            })
            .collect();
        let (unshared, stopped): (Vec<_>, Vec<_>) = used
            .filter_map(|dataset| dataset.stopped())
            .partition(|stopped| stopped.reason == StopReason::Unshared);
        if !unshared.is_empty() {
            let count = humanize::counted(
                i64::try_from(unshared.len()).unwrap_or(0),
                "DataSet",
                "DataSets",
            );
            row.hints.push(format!(
                "Schedules stopped: {count} of other owners, because the account is not shared"
            ));
        }
        if !stopped.is_empty() {
            let count = humanize::counted(
                i64::try_from(stopped.len()).unwrap_or(0),
                "DataSet",
                "DataSets",
            );
            row.hints.push(format!("Schedules stopped: {count}"));
            row.resume_label = if account.is_stopped() {
                String::new()
            } else {
                format!("Resume {count}")
            };
        }
        row
    });
    let rows = rows.collect();
    bands.extend(unreadable(&damaged));
    Ok((rows, bands))
}

/// The DataSets that failed because of the credentials of an account that works again, and that
/// this person may run.
fn failed_by<'d>(
    account: &Account,
    datasets: &'d [Dataset],
    recent_runs: &HashMap<DatasetId, RecentRuns>,
    actor: &Actor,
) -> Vec<&'d Dataset> {
    let is_failed = |dataset: &&Dataset| {
        let dataset_status = recent_runs
            .get(&dataset.id)
            .map(DatasetStatus::from_recent_runs)
            .unwrap_or_default();
        dataset.account_id.as_ref() == Some(&account.id)
            && dataset.can_be_run_by(actor)
            && dataset_status.active_run().is_none()
            && dataset_status.has_recovered(account)
    };
    datasets.iter().filter(is_failed).collect()
}

/// The banner that offers to run DataSets which failed before the account worked again.
fn run_again_band(account: &Account, failed: &[&Dataset]) -> Option<Band> {
    if failed.is_empty() {
        return None;
    }
    let count = humanize::counted(
        i64::try_from(failed.len()).unwrap_or(i64::MAX),
        "failed DataSet",
        "failed DataSets",
    );
    let names = humanize::first_listed(failed.iter().map(|dataset| format!("“{}”", dataset.name)));
    let verb = if failed.len() == 1 { "has" } else { "have" };
    Some(Band {
        tone: "good".to_owned(),
        title: format!(
            "“{}” works again: {}.",
            account.name, account.health_message
        ),
        text: format!(
            "{names} {verb} not run since {} rejected the old credentials.",
            account.connector.title()
        ),
        actions: vec![Action {
            label: format!("Run {count}"),
            href: format!("/accounts/{}/run-failed", account.id),
            primary: true,
            post: true,
        }],
    })
}

/// `POST /accounts/{id}/run-failed`: runs the DataSets that failed because of the earlier
/// credentials.
pub async fn run_failed(
    State(web): State<Web>,
    AccountsViewer(Person { actor, session }): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
) -> PageResult {
    let account = web.accounts.usable(&actor, &id).await?;
    let (datasets, recent_runs) = (
        web.datasets.list(&actor).await?,
        web.datasets.recent_runs(&actor).await?,
    );
    let mut started = 0;
    for dataset in failed_by(&account, &datasets, &recent_runs, &actor) {
        match web
            .puller
            .run_now(&actor, &dataset.id, Trigger::Manual)
            .await
        {
            Ok(_) => started += 1,
            // The DataSet was deleted or lost its account meanwhile.
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let sentence = match started {
        0 => format!("No failed DataSet of {} needs a run.", account.name),
        started => format!(
            "{} started. The list shows the progress.",
            humanize::counted(started, "run", "runs")
        ),
    };
    web.flash(&session, sentence).await;
    redirect(if started == 0 {
        "/accounts"
    } else {
        "/datasets"
    })
}

fn unreadable(ids: &[String]) -> Option<Band> {
    let title = match ids {
        [] => return None,
        [one] => {
            format!("1 account cannot be listed, because its catalogue record is damaged: {one}.")
        }
        many => format!(
            "{} accounts cannot be listed, because their catalogue records are damaged: {}.",
            many.len(),
            humanize::listed(many)
        ),
    };
    let text =
        "Ask your server administrator to run “chatlake verify”. All other accounts can be used."
            .to_owned();
    Some(Band {
        tone: "bad".to_owned(),
        title,
        text,
        actions: Vec::new(),
    })
}

fn row(account: &Account, calls: u32, actor: &Actor, now: Millis) -> AccountRow {
    let connector = account.connector;
    let secret = connector
        .fields()
        .iter()
        .rev()
        .find(|field| field.secret)
        .map_or("credentials", |field| field.label);
    AccountRow {
        id: account.id.clone(),
        monogram: connector.monogram(),
        connector: connector.title(),
        name: account.name.clone(),
        login: account.fields.values().next().map_or_else(
            || connector.title().to_owned(),
            |login| format!("{} · {login}", connector.title()),
        ),
        owner: account.owner_name.clone(),
        owner_initials: humanize::initials(&account.owner_name),
        used: if account.dataset_count == 0 {
            "none".to_owned()
        } else {
            humanize::counted(account.dataset_count, "DataSet", "DataSets")
        },
        used_names: Vec::new(),
        updated: DisplayTime::ago(account.updated_at, now, &TimeZone::UTC),
        status: health(account),
        checked: DisplayTime::maybe(account.checked_at, now, &TimeZone::UTC),
        calls: call_usage(calls, account.requests_per_minute),
        hints: vendor_hints(account, now),
        mine: account.can_be_changed_by(actor),
        fix_label: if account.health == Health::Failing {
            format!("Update {secret}")
        } else {
            String::new()
        },
        resume_label: String::new(),
    }
}

fn call_usage(calls: u32, limit: u32) -> CallUsage {
    CallUsage {
        calls: calls.min(limit),
        limit,
        words: format!(
            "{} of {}",
            humanize::grouped(calls.into()),
            humanize::grouped(limit.into())
        ),
    }
}

fn vendor_hints(account: &Account, now: Millis) -> Vec<String> {
    let vendor = account.connector.title();
    let pause = account
        .vendor_hints
        .paused_until
        .filter(|until| *until > now);
    let pause = pause.map(|until| {
        format!(
            "Waiting until {}: {vendor} limits calls",
            humanize::until(until, now, &TimeZone::UTC)
        )
    });
    pause
        .into_iter()
        .chain(humanize::api_ends(account))
        .collect()
}

fn health(account: &Account) -> Status {
    let message = if account.checked_at.is_some() {
        account.health_message.as_str()
    } else {
        ""
    };
    match account.health {
        Health::Valid => Status::new("good", false, "Valid", message),
        Health::Failing if account.is_stopped() => Status::new(
            "bad",
            false,
            "Rejected",
            format!("{message} Its DataSets do not run until the credentials change."),
        ),
        Health::Failing => Status::new("bad", false, "Rejected", message),
        Health::Unknown => Status::new("", true, "Not checked", message),
    }
}

fn dataset_state(dataset: &Dataset, recent_runs: Option<&RecentRuns>) -> Status {
    let newest = recent_runs
        .and_then(|recent_runs| recent_runs.newest.as_ref())
        .map(|newest| newest.state.as_str());
    match newest {
        Some("waiting") => Status::new("warn", true, "Waiting", ""),
        Some("queued" | "running") => Status::new("info", true, "Running", ""),
        _ if dataset.stopped().is_some() => Status::new("bad", false, "Schedule stopped", ""),
        _ if dataset.schedule_state.paused.is_some() => Status::new("", true, "Paused", ""),
        _ if recent_runs.is_some_and(|recent_runs| recent_runs.pending_approval.is_some()) => {
            Status::new("warn", false, "Waiting for approval", "")
        }
        _ if recent_runs.is_some_and(|recent_runs| recent_runs.failed_in_a_row > 0) => {
            Status::new("bad", false, "Failed", "")
        }
        _ if dataset.policies.late_since.is_some() => Status::new("warn", false, "Late", ""),
        _ if dataset.current.is_none() => Status::new("", true, "Not run yet", ""),
        _ => Status::new("good", false, "Up to date", ""),
    }
}

/// `POST /accounts/{id}/check`
pub async fn check(
    State(web): State<Web>,
    AccountsViewer(Person { actor, session }): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
) -> PageResult {
    let account = web.accounts.get(&actor, &id).await?;
    let checked = web.accounts.check(&actor, &id).await?;
    web.puller.wake_deadlines.notify_one();
    if checked.ok {
        let sentence = format!("{} is valid: {}.", account.name, checked.message);
        web.flash(&session, sentence).await;
    } else {
        let sentence = format!("{}: {}", account.name, checked.message);
        web.flash_failure(&session, sentence).await;
    }
    redirect("/accounts")
}

/// `POST /accounts/{id}/bring-back`: restarts the stopped schedules of all DataSets of this account
/// that the person may change.
pub async fn restore_schedule(
    State(web): State<Web>,
    AccountsViewer(Person { actor, session }): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
) -> PageResult {
    let account = web.accounts.get_to_change(&actor, &id).await?;
    let mut resumed: i64 = 0;
    for dataset in web.datasets.list(&actor).await?.into_iter().filter(|d| {
        d.account_id.as_ref() == Some(&id) && d.can_be_changed_by(&actor) && d.stopped().is_some()
    }) {
        match web.puller.restart_schedule(&actor, &dataset.id).await {
            Ok(_) => resumed += 1,
            Err(why) if why.kind() == ErrorKind::Conflict => {}
            Err(why) => return Err(why.into()),
        }
    }
    if resumed == 0 {
        let sentence = format!(
            "No schedules of {} resumed: none is stopped, or {} still rejects the credentials.",
            account.name,
            account.connector.title()
        );
        web.flash_failure(&session, sentence).await;
    } else {
        let sentence = format!(
            "{} of {} resumed.",
            humanize::counted(resumed, "schedule", "schedules"),
            account.name
        );
        web.flash(&session, sentence).await;
    }
    redirect("/accounts")
}
