//! The list of DataSets: what fails first, with its reason.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use super::dataset::{downloads, zone_of};
use super::dataset_schedule::{act_of, wrong_clock};
use super::dataset_status::{Glance, Rank, percent};
use super::dataset_upkeep::next_words;
use super::datasets_attention::{Looks, banner, damage, reason, unreadable};
use super::spark::spark;
use crate::accounts::Account;
use crate::clock::Millis;
use crate::datasets::list::Lately;
use crate::datasets::{Current, Dataset};
use crate::ids::AccountId;
use crate::web::Web;
use crate::web::asked::{Asked, address};
use crate::web::page::{Answer, show};
use crate::web::parts::{Band, Choice, Chrome, Pager, Spark, Status, When};
use crate::web::person::Person;
use crate::web::words::{self, counted, grouped};

const PER_PAGE: usize = 100;
const DAY: Millis = 24 * 60 * 60 * 1_000;

#[derive(Template)]
#[template(path = "pages/datasets.html")]
struct Page {
    chrome: Chrome,
    failing: usize,
    look: usize,
    damaged: usize,
    up_to_date: usize,
    paused: usize,
    not_run: usize,
    zone: String,
    bands: Vec<Band>,
    quick: Vec<Quick>,
    q: String,
    quick_value: String,
    sorts: Vec<Choice>,
    rows: Vec<Row>,
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

struct Quick {
    label: &'static str,
    count: usize,
    href: String,
    chosen: bool,
}

struct Row {
    id: String,
    name: String,
    monogram: String,
    about: String,
    status: Status,
    percent: Option<u64>,
    spark: Spark,
    rows: String,
    columns: String,
    updated: When,
    next: String,
    phone_line: String,
    band: Option<Band>,
    running: bool,
    csv_href: String,
    mine: bool,
    schedule_act: &'static str,
    can_run: bool,
}

/// A DataSet with what the list knows about it.
pub(super) struct Entry {
    pub dataset: Dataset,
    pub glance: Glance,
    pub rank: Rank,
    rows_per_run: Vec<i64>,
}

/// `GET /datasets`
pub async fn list(State(web): State<Web>, person: Person, asked: Asked) -> Answer {
    let now = web.clock.now();
    let (all, broken) = web.datasets.list_all(&person.actor).await?;
    let mut chrome = web.chrome(&person.actor, &person.session, "datasets").await;
    if all.is_empty() && broken.is_empty() {
        return show(&EmptyPage { chrome, can_edit: person.actor.may_edit() });
    }
    let mut lately = web.datasets.lately(&person.actor).await?;
    let accounts = accounts(&web, &person).await?;
    let entries: Vec<Entry> = all.into_iter().map(|dataset| entry(lately.remove(&dataset.id), dataset, now)).collect();
    let zone_name = common_zone(&entries);
    let zone = crate::puller::schedules::zone(&zone_name).unwrap_or(TimeZone::UTC);

    let (q, quick, sort) = (asked.get("q").to_owned(), asked.get("quick").to_owned(), asked.get("sort").to_owned());
    chrome.q.clone_from(&q);
    let (failing, damaged, look) = (with_rank(&entries, Rank::Failing), with_rank(&entries, Rank::Damaged), with_rank(&entries, Rank::Look));
    let planned = || entries.iter().filter(|e| e.rank == Rank::Planned);
    let paused = planned().filter(|e| e.dataset.timing.paused.is_some()).count();
    let not_run = planned().filter(|e| e.dataset.timing.paused.is_none() && e.dataset.current.is_none()).count();
    let up_to_date = planned().count() - paused - not_run;
    let quick_choices = [("All", ""), ("Needs attention", "attention"), ("Recently run", "recent"), ("Owned by you", "mine")].map(|(label, value)| Quick {
        label,
        count: entries.iter().filter(|e| is_in(e, value, &person, now)).count(),
        href: address("/datasets", &[("q", &q), ("quick", value), ("sort", &sort)]),
        chosen: quick == value,
    });
    let mut shown: Vec<&Entry> = entries.iter().filter(|e| is_in(e, &quick, &person, now) && matches(&e.dataset, &q)).collect();
    order(&mut shown, &sort);

    let pages = shown.len().div_ceil(PER_PAGE).max(1);
    let page = usize::try_from(asked.page()).unwrap_or(pages).min(pages);
    let on_page = || shown.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE);
    let mut bands = if quick == "attention" { Vec::new() } else { banner(&entries, &accounts, &on_page().map(|e| e.dataset.id.clone()).collect(), now, &zone) };
    bands.extend(wrong_clock(now));
    bands.extend(unreadable(&broken));
    let rows_in_all: i64 = shown.iter().filter_map(|e| e.dataset.current.as_ref()).map(|c| c.rows).sum();
    let count = shown.len();
    let foot = format!("{}, {} in all", counted(i64::try_from(count).unwrap_or(0), "DataSet", "DataSets"), counted(rows_in_all, "row", "rows"));
    let to = |page: usize| address("/datasets", &[("q", &q), ("quick", &quick), ("sort", &sort), ("page", &page.to_string())]);
    let pager = (pages > 1).then(|| Pager {
        first: ((page - 1) * PER_PAGE + 1).to_string(),
        last: (page * PER_PAGE).min(count).to_string(),
        of: format!("of {count}"),
        page: page as u64,
        pages: pages as u64,
        previous: if page > 1 { to(page - 1) } else { String::new() },
        next: if page < pages { to(page + 1) } else { String::new() },
        jump: String::new(),
    });
    let rows = on_page().map(|e| row(&web, &person, &accounts, e, now, &zone)).collect();
    let sorts = [("attention", "Needs attention"), ("name", "Name"), ("updated", "Last updated"), ("rows", "Most rows")].map(|(value, label)| Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        selected: sort == value,
    });
    show(&Page {
        chrome,
        failing,
        damaged,
        look,
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

fn entry(lately: Option<Lately>, dataset: Dataset, now: Millis) -> Entry {
    let lately = lately.unwrap_or_default();
    let glance = Glance::of_lately(&lately);
    Entry { rank: glance.rank(&dataset, now), glance, dataset, rows_per_run: lately.rows_per_run }
}

/// The accounts this person may see, to tell which one wants a new key.
async fn accounts(web: &Web, person: &Person) -> crate::error::Result<HashMap<AccountId, Account>> {
    if !person.actor.sees_accounts() {
        return Ok(HashMap::new());
    }
    Ok(web.accounts.list(&person.actor).await?.into_iter().map(|account| (account.id.clone(), account)).collect())
}

fn with_rank(entries: &[Entry], rank: Rank) -> usize {
    entries.iter().filter(|e| e.rank == rank).count()
}

fn is_in(entry: &Entry, quick: &str, person: &Person, now: Millis) -> bool {
    match quick {
        "attention" => entry.rank != Rank::Planned,
        "recent" => entry.glance.newest.as_ref().is_some_and(|(_, _, at)| now - at < DAY),
        "mine" => entry.dataset.owner_id == person.actor.user,
        _ => true,
    }
}

/// Every word is in its name, description, report, account, connector or owner, whatever its case.
fn matches(dataset: &Dataset, q: &str) -> bool {
    let account = dataset.account_name.as_deref().unwrap_or_default();
    let text = [&dataset.name, &dataset.description, dataset.report.title, account, dataset.connector.title(), &dataset.owner_name].join("\n").to_lowercase();
    q.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn order(entries: &mut [&Entry], sort: &str) {
    let rows = |e: &&Entry| e.dataset.current.as_ref().map_or(-1, |c| c.rows);
    let updated = |e: &&Entry| e.dataset.current.as_ref().map_or(0, Current::updated_at);
    // They come by name, and every order keeps that for equals.
    match sort {
        "name" => {}
        "updated" => entries.sort_by_key(|e| std::cmp::Reverse(updated(e))),
        "rows" => entries.sort_by_key(|e| std::cmp::Reverse(rows(e))),
        _ => entries.sort_by_key(|e| e.rank),
    }
}

/// The zone that most of them are in: one page tells its times in one zone.
fn common_zone(entries: &[Entry]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for entry in entries {
        *counts.entry(&entry.dataset.time_zone).or_default() += 1;
    }
    counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))).map_or("UTC", |(zone, _)| zone).to_owned()
}

fn row(web: &Web, person: &Person, accounts: &HashMap<AccountId, Account>, entry: &Entry, now: Millis, zone: &TimeZone) -> Row {
    let Entry { dataset, glance, rank, rows_per_run } = entry;
    let rank = *rank;
    let progress = glance.alive().and_then(|run| web.puller.live.now(run));
    let status = glance.status(dataset, progress.as_ref(), now, zone);
    let updated = When::maybe(dataset.current.as_ref().map(Current::updated_at), now, zone);
    let running = glance.alive().is_some();
    let next = match (running, dataset.next_run_at) {
        (false, _) if next_words(dataset, now, zone).is_some() => next_words(dataset, now, zone).unwrap_or_default(),
        _ if dataset.timing.paused.is_some() => "paused".to_owned(),
        _ if dataset.timing.problem.is_some() => "–".to_owned(),
        (true, Some(_)) => "after this run".to_owned(),
        (_, Some(at)) => words::coming(at, now, zone),
        (_, None) => "–".to_owned(),
    };
    let phone_line = match rank {
        Rank::Planned if !updated.words.is_empty() => updated.words.clone(),
        Rank::Failing => glance.failing_since.map_or_else(String::new, |at| format!("since {}", words::short(at, now, zone))),
        _ => status.line.clone(),
    };
    let can_run = dataset.is_run_by(&person.actor) && dataset.account_id.is_some();
    let heal = dataset.account_id.as_ref().and_then(|id| accounts.get(id)).filter(|account| account.is_changed_by(&person.actor));
    let band = match rank {
        Rank::Failing => {
            let looks = Looks { account: heal, may_change: dataset.is_changed_by(&person.actor), can_run: can_run && !running };
            Some(reason(dataset, glance, looks, now, zone))
        }
        Rank::Damaged => Some(damage(dataset)),
        Rank::Look | Rank::Planned => None,
    };
    let tone = match rank {
        Rank::Failing | Rank::Damaged => "bad",
        Rank::Look => "warn",
        Rank::Planned => "",
    };
    let account = dataset.account_name.clone().unwrap_or_else(|| "account deleted".to_owned());
    let zone_note = if zone_of(dataset) == *zone { String::new() } else { format!(" · {}", dataset.time_zone) };
    Row {
        id: dataset.id.to_string(),
        monogram: dataset.connector.monogram().to_owned(),
        about: format!("{} · {account}{zone_note}", dataset.report.title),
        status,
        percent: progress.as_ref().and_then(percent),
        spark: spark(rows_per_run, tone),
        rows: dataset.current.as_ref().map_or_else(|| "–".to_owned(), |c| grouped(c.rows)),
        columns: dataset.current.as_ref().map_or_else(|| "–".to_owned(), |c| c.columns.to_string()),
        updated,
        next,
        phone_line,
        band,
        running,
        csv_href: downloads(dataset).0,
        mine: dataset.is_changed_by(&person.actor),
        schedule_act: act_of(dataset),
        can_run,
        name: dataset.name.clone(),
    }
}
