//! The accounts that somebody may use, with their health; trying one.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use super::dataset_status::Glance;
use crate::accounts::{Account, Health};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::connectors::Connector;
use crate::datasets::Dataset;
use crate::datasets::list::Lately;
use crate::datasets::upkeep::Why;
use crate::error::{Kind, Result};
use crate::ids::{AccountId, DatasetId};
use crate::puller::run::Trigger;
use crate::web::forms::Id;
use crate::web::page::{Answer, go, show};
use crate::web::parts::{Action, Band, Chrome, Status, When};
use crate::web::person::{Keeper, Person};
use crate::web::{Web, words};

#[derive(Template)]
#[template(path = "pages/accounts.html")]
struct Page {
    chrome: Chrome,
    failing: usize,
    /// Accounts that work again, with DataSets that failed because of them.
    bands: Vec<Band>,
    rows: Vec<Row>,
    add: Vec<Add>,
}

/// A connector to add an account of.
struct Add {
    href: String,
    label: String,
}

struct Row {
    id: AccountId,
    monogram: &'static str,
    connector: &'static str,
    name: String,
    login: String,
    owner: String,
    owner_initials: String,
    used: String,
    used_names: Vec<Used>,
    updated: When,
    status: Status,
    checked: When,
    pace: Pace,
    /// What the vendor has told that matters later: a pause, the end of its API.
    told: Vec<String>,
    mine: bool,
    heal: String,
    /// What the button says that brings its DataSets back on their schedules; empty when none is off, or while it is still refused.
    bring_back: String,
}

/// How much of its calls a minute an account uses just now.
struct Pace {
    calls: u32,
    most: u32,
    words: String,
}

struct Used {
    id: DatasetId,
    name: String,
    status: Status,
}

/// `GET /accounts`
pub async fn accounts(State(web): State<Web>, Keeper(Person { actor, session }): Keeper) -> Answer {
    let (rows, bands) = rows(&web, &actor).await?;
    let add =
        Connector::ALL.map(|connector| Add { href: format!("/accounts/new?connector={}", connector.id()), label: format!("{} account", connector.title()) });
    show(&Page {
        chrome: web.chrome(&actor, &session, "accounts").await,
        failing: rows.iter().filter(|row| row.status.tone == "bad").count(),
        bands,
        rows,
        add: add.into(),
    })
}

/// Failing ones first; and what is said above them.
async fn rows(web: &Web, actor: &Actor) -> Result<(Vec<Row>, Vec<Band>)> {
    let now = web.clock.now();
    let (mut accounts, damaged) = web.accounts.list_all(actor).await?;
    accounts.sort_by_key(|account| account.health != Health::Failing);
    let (datasets, lately) = (web.datasets.list(actor).await?, web.datasets.lately(actor).await?);
    let mut bands = Vec::new();
    let rows = accounts.into_iter().map(|account| {
        let calls = web.accounts.calls_last_minute(&account);
        bands.extend(run_again_band(&account, &failed_by(&account, &datasets, &lately, actor)));
        let mut row = row(&account, calls, actor, now);
        let used = datasets.iter().filter(|dataset| dataset.account_id.as_ref() == Some(&account.id));
        row.used_names = used.clone().map(|d| Used { id: d.id.clone(), name: d.name.clone(), status: standing(d, lately.get(&d.id)) }).collect();
        let (unshared, off): (Vec<_>, Vec<_>) = used.filter_map(|dataset| dataset.stopped()).partition(|stopped| stopped.why == Why::Unshared);
        if !unshared.is_empty() {
            let off = words::counted(i64::try_from(unshared.len()).unwrap_or(0), "DataSet", "DataSets");
            row.told.push(format!("Schedules stopped: {off} of other owners, because the account is not shared"));
        }
        let off = off.len();
        if off > 0 {
            let off = words::counted(i64::try_from(off).unwrap_or(0), "DataSet", "DataSets");
            row.told.push(format!("Schedules stopped: {off}"));
            row.bring_back = if account.is_stopped() { String::new() } else { format!("Resume {off}") };
        }
        row
    });
    let rows = rows.collect();
    bands.extend(unreadable(&damaged));
    Ok((rows, bands))
}

/// The DataSets that failed because of the credentials of an account that works again, and that this person may run.
fn failed_by<'d>(account: &Account, datasets: &'d [Dataset], lately: &HashMap<DatasetId, Lately>, actor: &Actor) -> Vec<&'d Dataset> {
    let is_failed = |dataset: &&Dataset| {
        let glance = lately.get(&dataset.id).map(Glance::of_lately).unwrap_or_default();
        dataset.account_id.as_ref() == Some(&account.id) && dataset.is_run_by(actor) && glance.alive().is_none() && glance.works_again(account)
    };
    datasets.iter().filter(is_failed).collect()
}

/// Offers to run what has failed before an account worked again.
fn run_again_band(account: &Account, failed: &[&Dataset]) -> Option<Band> {
    if failed.is_empty() {
        return None;
    }
    let count = words::counted(i64::try_from(failed.len()).unwrap_or(i64::MAX), "failed DataSet", "failed DataSets");
    let names = words::first_listed(failed.iter().map(|dataset| format!("“{}”", dataset.name)));
    let verb = if failed.len() == 1 { "has" } else { "have" };
    Some(Band {
        tone: "good".to_owned(),
        title: format!("“{}” works again: {}.", account.name, account.health_message),
        text: format!("{names} {verb} not run since {} rejected the old credentials.", account.connector.title()),
        actions: vec![Action { label: format!("Run {count}"), href: format!("/accounts/{}/run-failed", account.id), primary: true, post: true }],
    })
}

/// `POST /accounts/{id}/run-failed`: runs what failed because of the credentials that this account had before.
pub async fn run_failed(State(web): State<Web>, Keeper(Person { actor, session }): Keeper, Id(id): Id<AccountId>) -> Answer {
    let account = web.accounts.usable(&actor, &id).await?;
    let (datasets, lately) = (web.datasets.list(&actor).await?, web.datasets.lately(&actor).await?);
    let mut started = 0;
    for dataset in failed_by(&account, &datasets, &lately, &actor) {
        match web.puller.run_now(&actor, &dataset.id, Trigger::Manual).await {
            Ok(_) => started += 1,
            // It was deleted, or lost its account, in this moment.
            Err(why) if matches!(why.kind(), Kind::NotFound | Kind::Conflict) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let sentence = match started {
        0 => format!("No failed DataSet of {} needs a run.", account.name),
        started => format!("{} started. The list shows the progress.", words::counted(started, "run", "runs")),
    };
    web.say_next(&session, sentence).await;
    go(if started == 0 { "/accounts" } else { "/datasets" })
}

fn unreadable(ids: &[String]) -> Option<Band> {
    let title = match ids {
        [] => return None,
        [one] => format!("1 account cannot be listed, because its catalogue record is damaged: {one}."),
        many => format!("{} accounts cannot be listed, because their catalogue records are damaged: {}.", many.len(), words::listed(many)),
    };
    let text = "Ask your server administrator to run “chatlake verify”. All other accounts can be used.".to_owned();
    Some(Band { tone: "bad".to_owned(), title, text, actions: Vec::new() })
}

fn row(account: &Account, calls: u32, actor: &Actor, now: Millis) -> Row {
    let connector = account.connector;
    let secret = connector.fields().iter().rev().find(|field| field.secret).map_or("credentials", |field| field.label);
    Row {
        id: account.id.clone(),
        monogram: connector.monogram(),
        connector: connector.title(),
        name: account.name.clone(),
        login: account.fields.values().next().map_or_else(|| connector.title().to_owned(), |login| format!("{} · {login}", connector.title())),
        owner: account.owner_name.clone(),
        owner_initials: words::initials(&account.owner_name),
        used: if account.dataset_count == 0 { "none".to_owned() } else { words::counted(account.dataset_count, "DataSet", "DataSets") },
        used_names: Vec::new(),
        updated: When::ago(account.updated_at, now, &TimeZone::UTC),
        status: health(account),
        checked: When::maybe(account.checked_at, now, &TimeZone::UTC),
        pace: pace(calls, account.requests_per_minute),
        told: told(account, now),
        mine: account.is_changed_by(actor),
        heal: if account.health == Health::Failing { format!("Update {secret}") } else { String::new() },
        bring_back: String::new(),
    }
}

fn pace(calls: u32, most: u32) -> Pace {
    Pace { calls: calls.min(most), most, words: format!("{} of {}", words::grouped(calls.into()), words::grouped(most.into())) }
}

fn told(account: &Account, now: Millis) -> Vec<String> {
    let vendor = account.connector.title();
    let pause = account.told.paused_until.filter(|until| *until > now);
    let pause = pause.map(|until| format!("Waiting until {}: {vendor} limits calls", words::until(until, now, &TimeZone::UTC)));
    pause.into_iter().chain(words::api_ends(account)).collect()
}

fn health(account: &Account) -> Status {
    let said = if account.checked_at.is_some() { account.health_message.as_str() } else { "" };
    match account.health {
        Health::Valid => Status::new("good", false, "Valid", said),
        Health::Failing if account.is_stopped() => {
            Status::new("bad", false, "Rejected", format!("{said} Its DataSets do not run until the credentials change."))
        }
        Health::Failing => Status::new("bad", false, "Rejected", said),
        Health::Unknown => Status::new("", true, "Not checked", said),
    }
}

fn standing(dataset: &Dataset, lately: Option<&Lately>) -> Status {
    let newest = lately.and_then(|lately| lately.newest.as_ref()).map(|newest| newest.state.as_str());
    match newest {
        Some("waiting") => Status::new("warn", true, "Waiting", ""),
        Some("queued" | "running") => Status::new("info", true, "Running", ""),
        _ if dataset.stopped().is_some() => Status::new("bad", false, "Schedule stopped", ""),
        _ if dataset.timing.paused.is_some() => Status::new("", true, "Paused", ""),
        _ if lately.is_some_and(|lately| lately.failed_in_a_row > 0) => Status::new("bad", false, "Failed", ""),
        _ if dataset.upkeep.late_since.is_some() => Status::new("warn", false, "Late", ""),
        _ if dataset.current.is_none() => Status::new("", true, "Not run yet", ""),
        _ => Status::new("good", false, "Up to date", ""),
    }
}

/// `POST /accounts/{id}/check`
pub async fn check(State(web): State<Web>, Keeper(Person { actor, session }): Keeper, Id(id): Id<AccountId>) -> Answer {
    let account = web.accounts.get(&actor, &id).await?;
    let checked = web.accounts.check(&actor, &id).await?;
    web.puller.kept.notify_one();
    let sentence = if checked.ok { format!("{} works: {}.", account.name, checked.message) } else { format!("{}: {}", account.name, checked.message) };
    web.say_next(&session, sentence).await;
    go("/accounts")
}

/// `POST /accounts/{id}/bring-back`: all DataSets of this account that somebody may change and that are off their schedules.
pub async fn bring_back(State(web): State<Web>, Keeper(Person { actor, session }): Keeper, Id(id): Id<AccountId>) -> Answer {
    let account = web.accounts.get_to_change(&actor, &id).await?;
    let mut back: i64 = 0;
    for dataset in
        web.datasets.list(&actor).await?.into_iter().filter(|d| d.account_id.as_ref() == Some(&id) && d.is_changed_by(&actor) && d.stopped().is_some())
    {
        match web.puller.bring_back(&actor, &dataset.id).await {
            Ok(_) => back += 1,
            Err(why) if why.kind() == Kind::Conflict => {}
            Err(why) => return Err(why.into()),
        }
    }
    let sentence = match back {
        0 => format!("No schedules of {} resumed: none is stopped, or {} still rejects the credentials.", account.name, account.connector.title()),
        back => format!("{} of {} resumed.", words::counted(back, "schedule", "schedules"), account.name),
    };
    web.say_next(&session, sentence).await;
    go("/accounts")
}
