//! The list of DataSets, failing ones first, with their reasons.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use super::charts::spark;
use super::dataset::{downloads, zone_of};
use super::dataset_notifications::next_retry_text;
use super::dataset_schedule::{clock_band, schedule_action};
use super::dataset_status::{Attention, DatasetStatus, percent};
use super::datasets_attention::{ViewerRights, banner, damage, reason, unreadable};
use crate::accounts::Account;
use crate::clock::Millis;
use crate::datasets::recent_runs::RecentRuns;
use crate::datasets::{CurrentVersion, Dataset};
use crate::ids::AccountId;
use crate::web::Web;
use crate::web::components::{Band, Choice, Chrome, DisplayTime, Pager, Spark, Status};
use crate::web::humanize::{self, counted, grouped};
use crate::web::page::{PageResult, render};
use crate::web::person::Person;
use crate::web::query::{PageQuery, path_with_query};

const PER_PAGE: usize = 100;
const DAY: Millis = 24 * 60 * 60 * 1_000;

#[derive(Template)]
#[template(path = "pages/datasets.html")]
struct DatasetsPage {
    chrome: Chrome,
    failing: usize,
    needs_review: usize,
    damaged: usize,
    up_to_date: usize,
    paused: usize,
    not_run: usize,
    zone: String,
    bands: Vec<Band>,
    quick: Vec<QuickFilter>,
    q: String,
    quick_value: String,
    sorts: Vec<Choice>,
    rows: Vec<DatasetRow>,
    foot: String,
    can_edit: bool,
    can_run: bool,
    pager: Option<Pager>,
}

#[derive(Template)]
#[template(path = "pages/datasets_empty.html")]
struct EmptyPage {
    chrome: Chrome,
    can_edit: bool,
}

struct QuickFilter {
    label: &'static str,
    count: usize,
    href: String,
    chosen: bool,
}

struct DatasetRow {
    id: String,
    name: String,
    monogram: String,
    about: String,
    status: Status,
    percent: Option<u64>,
    spark: Spark,
    rows: String,
    columns: String,
    updated: DisplayTime,
    next: String,
    phone_line: String,
    band: Option<Band>,
    running: bool,
    csv_href: String,
    mine: bool,
    schedule_action: &'static str,
    can_run: bool,
}

/// A DataSet with the data that the list shows.
pub(super) struct DatasetEntry {
    pub dataset: Dataset,
    pub dataset_status: DatasetStatus,
    pub attention: Attention,
    rows_per_run: Vec<i64>,
}

/// `GET /datasets`
pub async fn list(State(web): State<Web>, person: Person, query: PageQuery) -> PageResult {
    let now = web.clock.now();
    let (all, unreadable_ids) = web.datasets.list_all(&person.actor).await?;
    let mut chrome = web.chrome(&person.actor, &person.session, "datasets").await;
    if all.is_empty() && unreadable_ids.is_empty() {
        return render(&EmptyPage {
            chrome,
            can_edit: person.actor.may_edit(),
        });
    }
    let mut recent_runs = web.datasets.recent_runs(&person.actor).await?;
    let accounts = accounts(&web, &person).await?;
    let entries: Vec<DatasetEntry> = all
        .into_iter()
        .map(|dataset| entry(recent_runs.remove(&dataset.id), dataset, now))
        .collect();
    let zone_name = common_zone(&entries);
    let zone = crate::puller::schedules::zone(&zone_name).unwrap_or(TimeZone::UTC);

    let (q, quick, sort) = (
        query.get("q").to_owned(),
        query.get("quick").to_owned(),
        query.get("sort").to_owned(),
    );
    chrome.q.clone_from(&q);
    let (failing, damaged, needs_review) = (
        with_attention(&entries, Attention::Failing),
        with_attention(&entries, Attention::Damaged),
        with_attention(&entries, Attention::NeedsReview),
    );
    let healthy = || entries.iter().filter(|e| e.attention == Attention::Ok);
    let paused = healthy()
        .filter(|e| e.dataset.schedule_state.paused.is_some())
        .count();
    let not_run = healthy()
        .filter(|e| e.dataset.schedule_state.paused.is_none() && e.dataset.current.is_none())
        .count();
    let up_to_date = healthy().count() - paused - not_run;
    let quick_choices = [
        ("All", ""),
        ("Needs attention", "attention"),
        ("Recently run", "recent"),
        ("Owned by you", "mine"),
    ]
    .map(|(label, value)| QuickFilter {
        label,
        count: entries
            .iter()
            .filter(|e| is_in(e, value, &person, now))
            .count(),
        href: path_with_query("/datasets", &[("q", &q), ("quick", value), ("sort", &sort)]),
        chosen: quick == value,
    });
    let mut shown: Vec<&DatasetEntry> = entries
        .iter()
        .filter(|e| is_in(e, &quick, &person, now) && matches(&e.dataset, &q))
        .collect();
    order(&mut shown, &sort);

    let pages = shown.len().div_ceil(PER_PAGE).max(1);
    let page = usize::try_from(query.page()).unwrap_or(pages).min(pages);
    let on_page = || shown.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE);
    let mut bands = if quick == "attention" {
        Vec::new()
    } else {
        banner(
            &entries,
            &accounts,
            &on_page().map(|e| e.dataset.id.clone()).collect(),
            now,
            &zone,
        )
    };
    bands.extend(clock_band(now));
    bands.extend(unreadable(&unreadable_ids));
    let rows_in_all: i64 = shown
        .iter()
        .filter_map(|e| e.dataset.current.as_ref())
        .map(|c| c.rows)
        .sum();
    let count = shown.len();
    let foot = format!(
        "{}, {} in all",
        counted(i64::try_from(count).unwrap_or(0), "DataSet", "DataSets"),
        counted(rows_in_all, "row", "rows")
    );
    let to = |page: usize| {
        path_with_query(
            "/datasets",
            &[
                ("q", &q),
                ("quick", &quick),
                ("sort", &sort),
                ("page", &page.to_string()),
            ],
        )
    };
    let pager = (pages > 1).then(|| Pager {
        first: ((page - 1) * PER_PAGE + 1).to_string(),
        last: (page * PER_PAGE).min(count).to_string(),
        of: format!("of {count}"),
        page: page as u64,
        pages: pages as u64,
        previous: if page > 1 {
            to(page - 1)
        } else {
            String::new()
        },
        next: if page < pages {
            to(page + 1)
        } else {
            String::new()
        },
        jump: String::new(),
    });
    let rows = on_page()
        .map(|e| row(&web, &person, &accounts, e, now, &zone))
        .collect();
    let sorts = [
        ("attention", "Needs attention"),
        ("name", "Name"),
        ("updated", "Last updated"),
        ("rows", "Most rows"),
    ]
    .map(|(value, label)| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        selected: sort == value,
    });
    render(&DatasetsPage {
        chrome,
        failing,
        damaged,
        needs_review,
        up_to_date,
        paused,
        not_run,
        zone: zone_name,
        bands,
        quick: quick_choices.into(),
        q,
        quick_value: quick,
        sorts: sorts.into(),
        rows,
        foot,
        can_edit: person.actor.may_edit(),
        can_run: person.actor.may_run(),
        pager,
    })
}

fn entry(recent_runs: Option<RecentRuns>, dataset: Dataset, now: Millis) -> DatasetEntry {
    let recent_runs = recent_runs.unwrap_or_default();
    let dataset_status = DatasetStatus::from_recent_runs(&recent_runs);
    DatasetEntry {
        attention: dataset_status.attention(&dataset, now),
        dataset_status,
        dataset,
        rows_per_run: recent_runs.rows_per_run,
    }
}

/// The accounts that this person may see, to say which one needs new credentials.
async fn accounts(web: &Web, person: &Person) -> crate::error::Result<HashMap<AccountId, Account>> {
    if !person.actor.sees_accounts() {
        return Ok(HashMap::new());
    }
    Ok(web
        .accounts
        .list(&person.actor)
        .await?
        .into_iter()
        .map(|account| (account.id.clone(), account))
        .collect())
}

fn with_attention(entries: &[DatasetEntry], attention: Attention) -> usize {
    entries.iter().filter(|e| e.attention == attention).count()
}

fn is_in(entry: &DatasetEntry, quick: &str, person: &Person, now: Millis) -> bool {
    match quick {
        "attention" => entry.attention != Attention::Ok,
        "recent" => entry
            .dataset_status
            .newest
            .as_ref()
            .is_some_and(|(_, _, at)| now - at < DAY),
        "mine" => entry.dataset.owner_id == person.actor.user,
        _ => true,
    }
}

/// Whether every word occurs in the name, description, report, account, connector or owner,
/// ignoring case.
fn matches(dataset: &Dataset, q: &str) -> bool {
    let account = dataset.account_name.as_deref().unwrap_or_default();
    let text = [
        &dataset.name,
        &dataset.description,
        dataset.report.title,
        account,
        dataset.connector.title(),
        &dataset.owner_name,
    ]
    .join("\n")
    .to_lowercase();
    q.to_lowercase()
        .split_whitespace()
        .all(|word| text.contains(word))
}

fn order(entries: &mut [&DatasetEntry], sort: &str) {
    let rows = |e: &&DatasetEntry| e.dataset.current.as_ref().map_or(-1, |c| c.rows);
    let updated = |e: &&DatasetEntry| {
        e.dataset
            .current
            .as_ref()
            .map_or(0, CurrentVersion::updated_at)
    };
    // The entries are sorted by name, and every sort is stable.
    match sort {
        "name" => {}
        "updated" => entries.sort_by_key(|e| std::cmp::Reverse(updated(e))),
        "rows" => entries.sort_by_key(|e| std::cmp::Reverse(rows(e))),
        _ => entries.sort_by_key(|e| e.attention),
    }
}

/// The time zone that most of the DataSets use, so that one page shows all times in one zone.
fn common_zone(entries: &[DatasetEntry]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for entry in entries {
        *counts.entry(&entry.dataset.time_zone).or_default() += 1;
    }
    counts
        .into_iter()
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)))
        .map_or("UTC", |(zone, _)| zone)
        .to_owned()
}

fn row(
    web: &Web,
    person: &Person,
    accounts: &HashMap<AccountId, Account>,
    entry: &DatasetEntry,
    now: Millis,
    zone: &TimeZone,
) -> DatasetRow {
    let DatasetEntry {
        dataset,
        dataset_status,
        attention,
        rows_per_run,
    } = entry;
    let attention = *attention;
    let progress = dataset_status
        .active_run()
        .and_then(|run| web.puller.live.current(run));
    let status = dataset_status.status(dataset, progress.as_ref(), now, zone);
    let updated = DisplayTime::maybe(
        dataset.current.as_ref().map(CurrentVersion::updated_at),
        now,
        zone,
    );
    let running = dataset_status.active_run().is_some();
    let next = match (running, dataset.next_run_at) {
        (false, _) if next_retry_text(dataset, now, zone).is_some() => {
            next_retry_text(dataset, now, zone).unwrap_or_default()
        }
        _ if dataset.schedule_state.paused.is_some() => "paused".to_owned(),
        _ if dataset.schedule_state.problem.is_some() => "–".to_owned(),
        (true, Some(_)) => "after this run".to_owned(),
        (_, Some(at)) => humanize::calendar_time(at, now, zone),
        (_, None) => "–".to_owned(),
    };
    let phone_line = match attention {
        Attention::Ok if !updated.words.is_empty() => updated.words.clone(),
        Attention::Failing => dataset
            .stopped()
            .map(|stopped| stopped.at)
            .or(dataset_status.failing_since)
            .map_or_else(String::new, |at| {
                format!("since {}", humanize::short(at, now, zone))
            }),
        _ => status.line.clone(),
    };
    let can_run = dataset.can_be_run_by(&person.actor) && dataset.account_id.is_some();
    let own_account = dataset
        .account_id
        .as_ref()
        .and_then(|id| accounts.get(id))
        .filter(|account| account.can_be_changed_by(&person.actor));
    let rights = ViewerRights {
        account: own_account,
        may_change: dataset.can_be_changed_by(&person.actor),
        can_run: can_run && !running,
    };
    let band = if attention == Attention::Damaged {
        Some(damage(dataset))
    } else if attention == Attention::Failing || dataset_status.pending_approval.is_some() {
        Some(reason(dataset, dataset_status, rights, now, zone))
    } else {
        None
    };
    let tone = match attention {
        Attention::Failing | Attention::Damaged => "bad",
        Attention::NeedsReview => "warn",
        Attention::Ok => "",
    };
    let account = dataset
        .account_name
        .clone()
        .unwrap_or_else(|| "account deleted".to_owned());
    let zone_note = if zone_of(dataset) == *zone {
        String::new()
    } else {
        format!(" · {}", dataset.time_zone)
    };
    DatasetRow {
        id: dataset.id.to_string(),
        monogram: dataset.connector.monogram().to_owned(),
        about: format!("{} · {account}{zone_note}", dataset.report.title),
        status,
        percent: progress.as_ref().and_then(percent),
        spark: spark(rows_per_run, tone),
        rows: dataset
            .current
            .as_ref()
            .map_or_else(|| "–".to_owned(), |c| grouped(c.rows)),
        columns: dataset
            .current
            .as_ref()
            .map_or_else(|| "–".to_owned(), |c| c.columns.to_string()),
        updated,
        next,
        phone_line,
        band,
        running,
        csv_href: downloads(dataset).0,
        mine: dataset.can_be_changed_by(&person.actor),
        schedule_action: schedule_action(dataset),
        can_run,
        name: dataset.name.clone(),
    }
}
