//! The confirmation page before an account is deleted. It lists the DataSets that stop.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use crate::accounts::Account;
use crate::actor::Actor;
use crate::clock::Millis;
use crate::datasets::Dataset;
use crate::error::Result;
use crate::ids::{AccountId, DatasetId};
use crate::puller::schedules;
use crate::web::components::Chrome;
use crate::web::forms::FirstPathId;
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::{AccountsViewer, Person};
use crate::web::{Web, humanize};

#[derive(Template)]
#[template(path = "pages/account_delete.html")]
struct DeleteAccountPage {
    chrome: Chrome,
    id: AccountId,
    name: String,
    stops: Vec<StoppedDataset>,
    words: String,
    button: String,
}

struct StoppedDataset {
    monogram: &'static str,
    name: String,
    next: String,
}

/// `GET /accounts/{id}/delete`
pub async fn form(
    State(web): State<Web>,
    AccountsViewer(Person { actor, session }): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
) -> PageResult {
    let account = web.accounts.get_to_change(&actor, &id).await?;
    let (stops, words) = stops(&web, &actor, &account).await?;
    let button = match stops.len() {
        0 => "Delete account".to_owned(),
        many => format!(
            "Delete account and stop {}",
            humanize::counted(count(many), "DataSet", "DataSets")
        ),
    };
    let chrome = web.chrome(&actor, &session, "accounts").await;
    render(&DeleteAccountPage {
        chrome,
        id,
        name: account.name,
        stops,
        words,
        button,
    })
}

/// `POST /accounts/{id}/delete`
pub async fn delete(
    State(web): State<Web>,
    AccountsViewer(Person { actor, session }): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
) -> PageResult {
    let account = web.accounts.get_to_change(&actor, &id).await?;
    let stopped = web.accounts.delete(&actor, &id).await?;
    web.puller.wake_deadlines.notify_one();
    let sentence = match stopped.len() {
        0 => format!("{} deleted.", account.name),
        many => format!(
            "{} deleted. {} updating.",
            account.name,
            humanize::counted(count(many), "DataSet stops", "DataSets stop")
        ),
    };
    web.flash(&session, sentence).await;
    redirect("/accounts")
}

/// The DataSets that stop, in the order of their next runs, and a sentence about the consequences.
async fn stops(
    web: &Web,
    actor: &Actor,
    account: &Account,
) -> Result<(Vec<StoppedDataset>, String)> {
    let now = web.clock.now();
    let known: HashMap<DatasetId, Dataset> = web
        .datasets
        .list(actor)
        .await?
        .into_iter()
        .map(|dataset| (dataset.id.clone(), dataset))
        .collect();
    let mut named = web.accounts.datasets_of(actor, &account.id).await?;
    let next_of = |id: &DatasetId| known.get(id).and_then(|dataset| dataset.next_run_at);
    named.sort_by_key(|(id, _)| next_of(id).unwrap_or(Millis::MAX));
    let rows: i64 = named
        .iter()
        .filter_map(|(id, _)| known.get(id)?.current.as_ref())
        .map(|current| current.rows)
        .sum();
    let when = |id: &DatasetId| {
        let dataset = known.get(id)?;
        let zone = schedules::zone(&dataset.time_zone).unwrap_or(TimeZone::UTC);
        Some(humanize::calendar_time(dataset.next_run_at?, now, &zone))
    };
    let first = named
        .first()
        .and_then(|(id, _)| when(id))
        .map(|when| format!(", the first {when}"))
        .unwrap_or_default();
    let these = match named.len() {
        0 => return Ok((Vec::new(), "No DataSet uses it.".to_owned())),
        1 => format!(
            "This DataSet stops updating{}. Its",
            first.replace("the first ", "")
        ),
        many => format!("These {many} DataSets stop updating{first}. Their"),
    };
    let row_count = if rows > 0 {
        format!("{}, ", humanize::counted(rows, "row", "rows"))
    } else {
        String::new()
    };
    let consequence = format!("{these} {row_count}history and links stay.");
    let stops = named.into_iter().map(|(id, name)| StoppedDataset {
        monogram: account.connector.monogram(),
        next: when(&id)
            .map(|when| format!("would run {when}"))
            .unwrap_or_default(),
        name,
    });
    Ok((stops.collect(), consequence))
}

fn count(many: usize) -> i64 {
    i64::try_from(many).unwrap_or(i64::MAX)
}
