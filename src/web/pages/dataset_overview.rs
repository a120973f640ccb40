//! The Overview tab: the state of a DataSet on one page.

use askama::Template;
use axum::extract::State;

use super::charts::{Chart, chart};
use super::dataset::{DatasetHeader, OpenedDataset, RECENT_RUNS, open_dataset};
use super::dataset_notifications::{late_band, stopped_band};
use super::dataset_schedule::{bands as schedule_bands, schedule_tile};
use super::dataset_status::row_change_text;
use super::datasets_attention::{ViewerRights, reason};
use super::run_live::LiveRun;
use super::run_record::{RecordContext, RunRecord};
use crate::accounts::{Account, Health};
use crate::actor::Actor;
use crate::ids::DatasetId;
use crate::puller::backfills::{Backfill, BackfillState};
use crate::puller::ledger;
use crate::puller::run::{Run, RunOutcome, RunState, Trigger};
use crate::web::Web;
use crate::web::components::{Action, Band, Chrome};
use crate::web::humanize::{self, grouped};
use crate::web::page::{PageResult, render};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Template)]
#[template(path = "pages/dataset_overview.html")]
struct OverviewPage {
    chrome: Chrome,
    head: DatasetHeader,
    live: Option<LiveRun>,
    bands: Vec<Band>,
    tiles: Vec<Tile>,
    chart: Chart,
    last: Option<RunRecord>,
    last_title: String,
}

/// A tile with a label, a value and a line below it. `tone` makes the line a status.
pub(super) struct Tile {
    label: &'static str,
    value: String,
    line: String,
    tone: String,
    href: String,
}

impl Tile {
    pub(super) fn new(
        label: &'static str,
        value: impl Into<String>,
        line: impl Into<String>,
    ) -> Self {
        Self {
            label,
            value: value.into(),
            line: line.into(),
            tone: String::new(),
            href: String::new(),
        }
    }
}

/// `GET /datasets/{id}`
pub async fn show_overview(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let opened = open_dataset(&web, &person.actor, &id, "overview").await?;
    let account = match &opened.dataset.account_id {
        Some(account) if person.actor.sees_accounts() => {
            web.accounts.get(&person.actor, account).await.ok()
        }
        _ => None,
    };
    let newest_final = opened.runs.iter().find(|run| run.state.is_final());
    let mine = account
        .as_ref()
        .filter(|account| account.can_be_changed_by(&person.actor));
    // The banner above the tiles is up to date, the record of the run describes the past. If the
    // banner explains the failure, the record does not repeat it.
    let hide_failure = opened.dataset.stopped().is_some()
        || mine.is_some_and(|account| opened.dataset_status.has_recovered(account));
    let last = match newest_final {
        Some(run) => {
            let lines = ledger::of_run(&web.db, &run.id).await?;
            Some(RunRecord::new(
                run,
                &lines,
                &RecordContext {
                    dataset: &opened.dataset,
                    zone: &opened.zone,
                    now: opened.now,
                    own_page: false,
                    hide_failure,
                },
            ))
        }
        None => None,
    };
    let last_title = newest_final.map_or_else(String::new, |run| {
        format!(
            "Last run, {}",
            humanize::calendar_time(
                run.started_at.unwrap_or(run.queued_at),
                opened.now,
                &opened.zone
            )
        )
    });
    let mut bands = bands(&opened, mine);
    bands.extend(schedule_bands(
        &opened.dataset,
        opened.head.mine,
        opened.now,
        &opened.zone,
    ));
    bands.extend(account.as_ref().and_then(sunset));
    bands.extend(
        web.puller
            .newest_backfill(&opened.dataset.id)
            .await?
            .and_then(|newest| stopped_backfill(&newest, &opened)),
    );
    render(&OverviewPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        bands,
        tiles: tiles(&opened, account.as_ref(), &person.actor),
        chart: chart(&opened.pulls, opened.now, &opened.zone),
        live: opened.live,
        head: opened.head,
        last,
        last_title,
    })
}

/// The banners. `account`: the account, if this person may change it.
fn bands(opened: &OpenedDataset, account: Option<&Account>) -> Vec<Band> {
    let OpenedDataset {
        dataset,
        dataset_status,
        ..
    } = opened;
    if let Some(stopped) =
        stopped_band(dataset, account, opened.head.mine, opened.now, &opened.zone)
    {
        return vec![stopped];
    }
    let mut above: Vec<Band> = Vec::new();
    if dataset_status.failed_in_a_row > 0 {
        let can_run = opened.head.can_run && dataset_status.active_run().is_none();
        above.push(reason(
            dataset,
            dataset_status,
            ViewerRights {
                account,
                may_change: opened.head.mine,
                can_run,
            },
            opened.now,
            &opened.zone,
        ));
    }
    above.extend(late_band(dataset, opened.now, &opened.zone));
    if !above.is_empty() {
        return above;
    }
    if dataset.account_id.is_none() {
        let text = "The owner can choose another account in Settings. Until then, no runs start. \
                    The existing rows are unchanged.";
        return vec![Band {
            tone: "warn".to_owned(),
            title: "The account of this DataSet was deleted.".to_owned(),
            text: text.to_owned(),
            actions: Vec::new(),
        }];
    }
    Vec::new()
}

/// The banner about a backfill that was stopped before all of its days were pulled.
fn stopped_backfill(newest: &Backfill, opened: &OpenedDataset) -> Option<Band> {
    let why = newest
        .stop_reason
        .as_ref()
        .filter(|_| newest.state == BackfillState::Stopped)?;
    let done = format!(
        "{} of {} are finished.",
        grouped(newest.chunks_done()),
        humanize::counted(newest.chunks(), "date range", "date ranges")
    );
    let action = Action {
        label: "View backfill".to_owned(),
        href: format!("/datasets/{}/backfill", opened.dataset.id),
        primary: false,
        post: false,
    };
    Some(Band {
        tone: "warn".to_owned(),
        title: format!(
            "The backfill of {} has stopped.",
            humanize::days(newest.days.from, newest.days.to)
        ),
        text: format!("{why} {done}"),
        actions: if opened.head.can_run {
            vec![action]
        } else {
            Vec::new()
        },
    })
}

/// The banner about the announced sunset of the vendor's API.
fn sunset(account: &Account) -> Option<Band> {
    let title = format!("{}.", humanize::api_ends(account)?);
    let text = "After that day, runs fail. The existing rows are unchanged. \
                A newer version of Chatlake may support the new API.";
    Some(Band {
        tone: "warn".to_owned(),
        title,
        text: text.to_owned(),
        actions: Vec::new(),
    })
}

fn tiles(opened: &OpenedDataset, account: Option<&Account>, actor: &Actor) -> Vec<Tile> {
    let OpenedDataset {
        dataset,
        runs,
        now,
        zone,
        ..
    } = opened;
    let next = dataset
        .next_run_at
        .filter(|_| dataset.schedule_state.problem.is_none());
    let due = next.map_or_else(
        || {
            if dataset.schedule_state.paused.is_some() {
                "schedule paused"
            } else if dataset.stopped().is_some()
                || (dataset.schedule.is_some() && dataset.account_id.is_none())
            {
                "schedule stopped"
            } else {
                "not scheduled"
            }
            .to_owned()
        },
        |at| format!("next run {}", humanize::calendar_time(at, *now, zone)),
    );
    let fresh = dataset.current.as_ref().map_or_else(
        || "–".to_owned(),
        |c| humanize::relative_brief(c.updated_at(), *now),
    );
    let rows = dataset
        .current
        .as_ref()
        .map_or_else(|| "–".to_owned(), |c| grouped(c.rows));
    let change = dataset.current.as_ref().and_then(|c| c.change);
    let confirmed = dataset
        .current
        .as_ref()
        .filter(|c| c.confirmed_at.is_some_and(|at| at > c.created_at));
    let change = match change {
        _ if confirmed.is_some() => confirmed.map_or_else(String::new, |c| {
            format!(
                "unchanged since {}",
                humanize::short(c.created_at, *now, zone)
            )
        }),
        None => "first rows".to_owned(),
        Some(0) => "same as the previous version".to_owned(),
        Some(change) => format!("{} since the previous version", row_change_text(change)),
    };
    vec![
        Tile::new("Freshness", fresh, due),
        Tile::new(
            "Rows",
            rows,
            if dataset.current.is_some() {
                change
            } else {
                String::new()
            },
        ),
        success(&opened.pulls, opened),
        duration(runs, opened),
        schedule_tile(&opened.dataset, *now, zone),
        account_tile(opened, account, actor),
    ]
}

fn success(runs: &[Run], opened: &OpenedDataset) -> Tile {
    let over: Vec<&Run> = runs
        .iter()
        .filter(|run| {
            run.state.is_final()
                && run.state != RunState::Cancelled
                && run.trigger != Trigger::Revert
        })
        .collect();
    let good = over
        .iter()
        .filter(|run| run.state == RunState::Succeeded)
        .count();
    let label = if runs.len() < RECENT_RUNS as usize {
        "Runs succeeded"
    } else {
        "Last 30 runs"
    };
    let waiting = over
        .iter()
        .filter(|run| run.outcome == Some(RunOutcome::PendingApproval))
        .count();
    let is_failed = |run: &&&Run| {
        run.state != RunState::Succeeded && run.outcome != Some(RunOutcome::PendingApproval)
    };
    let line = match over.iter().find(is_failed) {
        None if over.is_empty() => String::new(),
        None if waiting == 1 => "1 waits for approval".to_owned(),
        None if waiting > 1 => format!("{waiting} wait for approval"),
        None => "none failed".to_owned(),
        Some(run) => {
            let at = run.finished_at.unwrap_or(run.queued_at);
            let failed = over.len() - good - waiting;
            let last = if failed > 1 { ", last " } else { " " };
            format!(
                "{failed} failed{last}{}",
                humanize::short(at, opened.now, &opened.zone)
            )
        }
    };
    Tile::new(
        label,
        if over.is_empty() {
            "–".to_owned()
        } else {
            format!("{good} of {}", over.len())
        },
        line,
    )
}

fn duration(runs: &[Run], opened: &OpenedDataset) -> Tile {
    let last = runs
        .iter()
        .find(|run| run.state.is_final() && run.started_at.is_some());
    last.map_or_else(
        || Tile::new("Last run", "–", ""),
        |run| {
            let took = run
                .duration(opened.now)
                .map_or_else(|| "–".to_owned(), humanize::span);
            if let Some(number) = run.reverted_to {
                return Tile {
                    href: format!("/runs/{}", run.id),
                    ..Tile::new("Last run", "Reverted", format!("to version {number}"))
                };
            }
            let line = format!(
                "{}, {}",
                humanize::counted(run.pages, "page", "pages"),
                humanize::counted(run.calls, "call", "calls")
            );
            Tile {
                href: format!("/runs/{}", run.id),
                ..Tile::new("Last run", took, line)
            }
        },
    )
}

fn account_tile(opened: &OpenedDataset, account: Option<&Account>, actor: &Actor) -> Tile {
    let name = opened
        .dataset
        .account_name
        .clone()
        .unwrap_or_else(|| "Deleted".to_owned());
    let Some(account) = account else {
        return Tile::new("Account", name, opened.dataset.connector.title());
    };
    let (tone, word) = match account.health {
        Health::Valid => ("good", "valid"),
        Health::Failing => ("bad", "rejected"),
        Health::Unknown => ("", "not checked"),
    };
    let checked = account.checked_at.map_or_else(String::new, |at| {
        format!(", {}", humanize::relative_brief(at, opened.now))
    });
    let href = if account.can_be_changed_by(actor) {
        format!("/accounts/{}/edit", account.id)
    } else {
        "/accounts".to_owned()
    };
    Tile {
        tone: tone.to_owned(),
        href,
        ..Tile::new("Account", name, format!("{word}{checked}"))
    }
}
