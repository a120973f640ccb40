//! Data: a page of the rows that people read just now, sorted and searched.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::tz::TimeZone;

use super::dataset::{DatasetHead, open};
use super::dataset_integrity::damage_band;
use super::dataset_schema::meaning;
use super::dataset_status;
use super::run_live::Live;
use crate::clock::Millis;
use crate::connectors::report::{ColumnKind, Report, Shape};
use crate::datasets::columns::ColumnInfo;
use crate::datasets::preview::{self, Ask, SORTED_DEPTH};
use crate::datasets::versions::Version;
use crate::error::{DATA_DAMAGED, Error, Kind};
use crate::ids::{DatasetId, VersionId};
use crate::web::Web;
use crate::web::asked::{Asked, Id, address};
use crate::web::cells::Cell;
use crate::web::error_page;
use crate::web::page::{Answer, show_with};
use crate::web::parts::{Action, Band, Chrome, Pager};
use crate::web::person::Person;
use crate::web::words::{self, counted, grouped};

const PER_PAGE: u64 = 100;
/// A longer search is cut; nobody types one.
const LONGEST_SEARCH: usize = 200;
/// The value of `order` that asks for the rows as they are stored.
const STORED: &str = "stored";

#[derive(Template)]
#[template(path = "pages/dataset_data.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    live: Option<Live>,
    has_data: bool,
    q: String,
    sort: String,
    /// The search keeps to the order in which the rows are stored.
    stored: bool,
    sorted_words: String,
    other_order_href: String,
    other_order_words: &'static str,
    all_rows_href: String,
    depth_words: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    pager: Pager,
    version_words: String,
    /// The version that was asked for, when it is not the current one: its id, and what stands above it.
    version: String,
    old: Option<Band>,
    problem: Option<Band>,
}

struct Column {
    name: String,
    kind: &'static str,
    /// In which times are told, at the first column that has them; else empty.
    zone: String,
    meaning: String,
    sorted: &'static str,
    sort_href: String,
}

/// What a person asked to see.
struct View {
    path: String,
    q: String,
    /// The column that was asked for, with a minus in front when it descends; or empty.
    sort: String,
    /// The same, for when none was asked for: the newest rows first, where a report has times; or empty.
    usual: String,
    /// In the order in which the rows are stored, which is that of a download.
    stored: bool,
    page: u64,
    /// Of another version than the current one; or empty.
    version: String,
}

impl View {
    fn at(&self, page: u64) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let stored = if self.stored { STORED } else { "" };
        self.with(&[("q", &self.q), ("sort", &self.sort), ("order", stored), ("page", &page)])
    }

    fn with(&self, fields: &[(&str, &str)]) -> String {
        address(&self.path, &[&[("version", self.version.as_str())], fields].concat())
    }

    /// An address to which `page=N` is added.
    fn any_page(&self) -> String {
        let address = self.at(1);
        format!("{address}{}", if address.contains('?') { '&' } else { '?' })
    }

    fn sorted(&self) -> Option<(&str, bool)> {
        let sort = match (self.sort.as_str(), self.stored) {
            ("", true) => "",
            ("", false) => self.usual.as_str(),
            (asked, _) => asked,
        };
        let descends = sort.strip_prefix('-');
        (!sort.is_empty()).then(|| descends.map_or((sort, false), |column| (column, true)))
    }

    /// Nobody asked for the order that is shown.
    fn is_usual(&self) -> bool {
        self.sort.is_empty() && !self.stored && !self.usual.is_empty()
    }

    /// Another order than the one that is shown: where it is, and what leads there.
    fn other_order(&self) -> (String, &'static str) {
        match (self.sort.is_empty(), self.stored) {
            (false, _) if self.usual.is_empty() => (self.with(&[("q", &self.q)]), "Stored order"),
            (false, _) | (true, true) => (self.with(&[("q", &self.q)]), "Newest first"),
            (true, false) => (self.with(&[("q", &self.q), ("order", STORED)]), "Stored order"),
        }
    }

    fn ask(&self, page: u64) -> Ask {
        Ask {
            offset: (page - 1).saturating_mul(PER_PAGE),
            limit: PER_PAGE as usize,
            sort: self.sorted().map(|(column, descends)| (column.to_owned(), descends)).into_iter().collect(),
            filters: Vec::new(),
            search: Some(self.q.clone()).filter(|q| !q.is_empty()),
        }
    }
}

/// `GET /datasets/{id}/data`
pub async fn show_data(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, asked: Asked) -> Answer {
    let opened = open(&web, &person.actor, &id, "data").await?;
    let mut view = View {
        path: format!("/datasets/{id}/data"),
        q: asked.get("q").chars().take(LONGEST_SEARCH).collect(),
        sort: asked.get("sort").to_owned(),
        usual: String::new(),
        stored: asked.get("sort").is_empty() && asked.get("order") == STORED,
        page: asked.page(),
        version: String::new(),
    };
    let old = match asked.get("version") {
        "" => None,
        text => {
            let wanted = VersionId::parse(text).ok_or_else(|| Error::not_found("version"))?;
            let (_, version) = web.datasets.version(&person.actor, &id, &wanted).await?;
            opened.dataset.current.as_ref().is_none_or(|current| current.version != version.id).then_some(version)
        }
    };
    if let Some(version) = &old {
        view.version = version.id.to_string();
    }
    let mine = opened.head.mine;
    let mut page = Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        head: opened.head,
        live: opened.live,
        has_data: false,
        q: view.q.clone(),
        sort: view.sort.clone(),
        stored: view.stored,
        sorted_words: String::new(),
        other_order_href: String::new(),
        other_order_words: "",
        all_rows_href: view.with(&[("sort", &view.sort), ("order", if view.stored { STORED } else { "" })]),
        depth_words: String::new(),
        columns: Vec::new(),
        rows: Vec::new(),
        pager: Pager::default(),
        version_words: String::new(),
        version: view.version.clone(),
        old: old.as_ref().map(|version| old_band(version, &id, mine, opened.now, &opened.zone)),
        problem: None,
    };
    let wanted = match old {
        Some(version) => Some(version),
        None => web.datasets.versions.current(&id).await?,
    };
    let Some(version) = wanted else { return show_with(StatusCode::OK, &page) };
    let version = web.datasets.versions.pin(&version);
    page.has_data = true;
    page.version_words = format!("Version {}, {}", version.number, words::short(version.created_at, opened.now, &opened.zone));
    view.usual = newest_first(opened.dataset.report, &version.columns);
    let mut found = read(&web, &version, &view).await;
    if view.is_usual() && found.as_ref().is_err_and(|why| why.kind() == Kind::Unavailable) {
        // There is no time to sort so many: better in the order in which they are stored than not at all.
        view.stored = true;
        found = read(&web, &version, &view).await;
    }
    page.sorted_words = sorted_words(&version.columns, &view);
    (page.other_order_href, page.other_order_words) = view.other_order();
    if view.sorted().is_some() && version.rows > SORTED_DEPTH {
        let depth = grouped(i64::try_from(SORTED_DEPTH).unwrap_or(i64::MAX));
        page.depth_words = format!("Sorted rows are available up to row {depth}. The download and the stored order contain all rows.");
    }
    page.columns = version.columns.iter().map(|column| head_of(column, opened.dataset.report, &view)).collect();
    if let Some(first) = page.columns.iter_mut().find(|column| column.kind == ColumnKind::Timestamp.word()) {
        first.zone.clone_from(&opened.dataset.time_zone);
    }
    match found {
        Ok((number, rows)) => {
            page.pager = pager(&rows, number, &version, &view);
            page.rows = rows.rows.into_iter().map(|row| row.into_iter().map(|cell| Cell::new(cell, &opened.zone)).collect()).collect();
            show_with(StatusCode::OK, &page)
        }
        Err(error) if matches!(error.kind(), Kind::Unprocessable | Kind::Unavailable) => {
            let text = error.next_step().unwrap_or_default().to_owned();
            page.problem = Some(Band { tone: "warn".to_owned(), title: error.message().to_owned(), text, actions: Vec::new() });
            show_with(error_page::status(error.kind()), &page)
        }
        Err(error) if error.code() == DATA_DAMAGED => {
            tracing::error!(dataset = %id, cause = ?error.inside(), "rows cannot be shown: {error}");
            web.datasets.segments.save_damage(&version.segments).await?;
            page.head.damage = damage_band(&web, &opened.dataset, mine, page.head.can_run, opened.now, &opened.zone).await?;
            if page.head.damage.is_some() {
                page.head.status = dataset_status::damaged();
            }
            // The band above the tabs is about the current version, and says what heals it.
            let (title, text) = match (page.old.is_some(), page.head.damage.is_some()) {
                (true, _) => ("The rows of this version cannot be read: a stored file is damaged or missing.", ""),
                (false, true) => ("No rows are shown, because a stored file is damaged or missing.", ""),
                (false, false) => (error.message(), error.next_step().unwrap_or_default()),
            };
            page.problem = Some(Band { tone: "bad".to_owned(), title: title.to_owned(), text: text.to_owned(), actions: Vec::new() });
            if let Some(old) = &mut page.old {
                old.actions.retain(|action| action.href == format!("/datasets/{id}/data"));
            }
            show_with(error_page::status(error.kind()), &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// What stands above the rows of an older version.
fn old_band(version: &Version, id: &DatasetId, mine: bool, now: Millis, zone: &TimeZone) -> Band {
    let at = |href: String, label: &str| Action { label: label.to_owned(), href, primary: false, post: false };
    let mut actions =
        vec![at(format!("/datasets/{id}/download?version={}", version.id), "Download CSV"), at(format!("/datasets/{id}/data"), "Show current version")];
    if mine {
        actions.push(at(format!("/datasets/{id}/versions/{}/revert", version.id), "Revert to this point"));
    }
    Band {
        tone: "info".to_owned(),
        title: format!("Version {}, created {}.", version.number, words::short(version.created_at, now, zone)),
        text: "This is not the current version.".to_owned(),
        actions,
    }
}

/// The page asked for, or the last one there is; and its number.
async fn read(web: &Web, version: &Version, view: &View) -> Result<(u64, preview::Page), Error> {
    let known = if view.q.is_empty() { last_page(version.rows, view) } else { u64::MAX };
    let deepest = if view.sorted().is_some() { SORTED_DEPTH / PER_PAGE } else { u64::MAX / PER_PAGE };
    let number = view.page.min(known).min(deepest).max(1);
    let page = preview::page(&web.datasets.segments, version, view.ask(number)).await?;
    match page.total_matching {
        Some(total) if page.rows.is_empty() && total > 0 => {
            let last = last_page(total, view);
            Ok((last, preview::page(&web.datasets.segments, version, view.ask(last)).await?))
        }
        _ => Ok((number, page)),
    }
}

fn last_page(rows: u64, view: &View) -> u64 {
    let reachable = if view.sorted().is_some() { rows.min(SORTED_DEPTH) } else { rows };
    reachable.div_ceil(PER_PAGE).max(1)
}

fn pager(page: &preview::Page, number: u64, version: &Version, view: &View) -> Pager {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let in_all = counted(signed(version.rows), "row", "rows");
    let of = match page.total_matching {
        _ if view.q.is_empty() => format!("of {in_all}"),
        Some(total) => format!("of {} that match, {} in all", counted(signed(total), "row", "rows"), grouped(signed(version.rows))),
        None => format!("of the rows that match, {} in all", grouped(signed(version.rows))),
    };
    // Not counted to the end: then there is at least one more page when this one is full.
    let full = page.rows.len() as u64 == PER_PAGE;
    let pages = page.total_matching.map_or(number + u64::from(full), |total| last_page(total, view)).max(number);
    Pager {
        first: grouped(signed(page.offset + 1)),
        last: grouped(signed(page.offset + page.rows.len() as u64)),
        of,
        page: number,
        pages,
        previous: if number > 1 { view.at(number - 1) } else { String::new() },
        next: if number < pages { view.at(number + 1) } else { String::new() },
        jump: if pages > 2 { view.any_page() } else { String::new() },
    }
}

fn head_of(column: &ColumnInfo, report: &Report, view: &View) -> Column {
    let sorted = match view.sorted() {
        Some((name, false)) if name == column.name => "asc",
        Some((name, true)) if name == column.name => "desc",
        _ => "",
    };
    let sort = if sorted == "asc" { format!("-{}", column.name) } else { column.name.clone() };
    Column {
        kind: column.kind.word(),
        zone: String::new(),
        meaning: meaning(report, &column.name),
        sorted,
        sort_href: view.with(&[("q", &view.q), ("sort", &sort)]),
        name: column.name.clone(),
    }
}

/// What puts the newest rows first: the column of the report's days, or the first one with times where each row is a part of a chat or
/// ticket. Empty where rows have no order in time, as in a list of agents.
fn newest_first(report: &Report, columns: &[ColumnInfo]) -> String {
    let is_time = |column: &&ColumnInfo| matches!(column.kind, ColumnKind::Timestamp | ColumnKind::Date);
    let by_day = report.day.and_then(|day| columns.iter().filter(is_time).find(|column| column.name == day));
    let by_time = || columns.iter().filter(|_| matches!(report.shape, Shape::Archive { .. } | Shape::Export(_))).find(is_time);
    by_day.or_else(by_time).map_or_else(String::new, |column| format!("-{}", column.name))
}

/// "started, newest first"
fn sorted_words(columns: &[ColumnInfo], view: &View) -> String {
    if view.stored && !view.usual.is_empty() {
        return "stored order".to_owned();
    }
    let Some((name, descends)) = view.sorted() else { return String::new() };
    let Some(column) = columns.iter().find(|column| column.name == name) else { return String::new() };
    let how = match (column.kind, descends) {
        (ColumnKind::Date | ColumnKind::Timestamp, false) => "oldest first",
        (ColumnKind::Date | ColumnKind::Timestamp, true) => "newest first",
        (ColumnKind::Integer | ColumnKind::Number, false) => "smallest first",
        (ColumnKind::Integer | ColumnKind::Number, true) => "largest first",
        (ColumnKind::Boolean, false) => "false first",
        (ColumnKind::Boolean, true) => "true first",
        (ColumnKind::Text | ColumnKind::Json, false) => "A to Z",
        (ColumnKind::Text | ColumnKind::Json, true) => "Z to A",
    };
    format!("{name}, {how}")
}
