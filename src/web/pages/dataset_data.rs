//! The Data tab: one page of rows of a version, sorted and searched.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::tz::TimeZone;

use super::dataset::{DatasetHeader, open_dataset};
use super::dataset_integrity::damage_band;
use super::dataset_schema::meaning;
use super::dataset_status;
use super::run_live::LiveRun;
use crate::clock::Millis;
use crate::connectors::report::{ColumnKind, Report, Shape};
use crate::datasets::columns::ColumnInfo;
use crate::datasets::preview::{self, MAX_SORTED_DEPTH, PreviewQuery};
use crate::datasets::versions::Version;
use crate::error::{DATA_DAMAGED, Error, ErrorKind};
use crate::ids::{DatasetId, VersionId};
use crate::web::Web;
use crate::web::cells::CellView;
use crate::web::components::{Action, Band, Chrome, Pager};
use crate::web::error_page;
use crate::web::humanize::{self, counted, grouped, signed};
use crate::web::page::{PageResult, render_with_status};
use crate::web::person::Person;
use crate::web::query::{PageQuery, PathId, path_with_query};

const PER_PAGE: u64 = 100;
/// The maximum length of a search; longer text is cut.
const MAX_SEARCH_CHARS: usize = 200;
/// The value of `order` for the stored order.
const STORED: &str = "stored";

#[derive(Template)]
#[template(path = "pages/dataset_data.html")]
struct DataPage {
    chrome: Chrome,
    head: DatasetHeader,
    live: Option<LiveRun>,
    has_data: bool,
    q: String,
    sort: String,
    /// Whether the search keeps the stored order.
    stored: bool,
    sorted_words: String,
    other_order_href: String,
    other_order_words: &'static str,
    all_rows_href: String,
    depth_words: String,
    columns: Vec<ColumnHead>,
    rows: Vec<Vec<CellView>>,
    pager: Pager,
    version_words: String,
    /// The id of the shown version if it is not the current one, and the banner about it.
    version: String,
    old: Option<Band>,
    problem: Option<Band>,
}

struct ColumnHead {
    name: String,
    kind: &'static str,
    /// The time zone of the displayed times, shown at the first column with times; empty if there
    /// is none.
    zone: String,
    meaning: String,
    sorted: &'static str,
    sort_href: String,
}

/// The parameters of the page.
struct DataView {
    path: String,
    q: String,
    /// The column to sort by, with a leading minus for descending; or empty.
    sort: String,
    /// The default for `sort`: newest rows first if the report has times; otherwise empty.
    default_sort: String,
    /// Whether the rows are in stored order, like in a download.
    stored: bool,
    page: u64,
    /// The id of another version than the current one; or empty.
    version: String,
}

impl DataView {
    fn at(&self, page: u64) -> String {
        let page = if page > 1 {
            page.to_string()
        } else {
            String::new()
        };
        let stored = if self.stored { STORED } else { "" };
        self.with(&[
            ("q", &self.q),
            ("sort", &self.sort),
            ("order", stored),
            ("page", &page),
        ])
    }

    fn with(&self, fields: &[(&str, &str)]) -> String {
        path_with_query(
            &self.path,
            &[&[("version", self.version.as_str())], fields].concat(),
        )
    }

    /// The link to this view, to which `page=N` is added.
    fn any_page(&self) -> String {
        let address = self.at(1);
        format!("{address}{}", if address.contains('?') { '&' } else { '?' })
    }

    fn sorted(&self) -> Option<(&str, bool)> {
        let sort = match (self.sort.as_str(), self.stored) {
            ("", true) => "",
            ("", false) => self.default_sort.as_str(),
            (requested, _) => requested,
        };
        let descends = sort.strip_prefix('-');
        (!sort.is_empty()).then(|| descends.map_or((sort, false), |column| (column, true)))
    }

    /// Whether the order is the default.
    fn is_default_sort(&self) -> bool {
        self.sort.is_empty() && !self.stored && !self.default_sort.is_empty()
    }

    /// The link to the other order (stored or sorted), and its label.
    fn other_order(&self) -> (String, &'static str) {
        match (self.sort.is_empty(), self.stored) {
            (false, _) if self.default_sort.is_empty() => {
                (self.with(&[("q", &self.q)]), "Stored order")
            }
            (false, _) | (true, true) => (self.with(&[("q", &self.q)]), "Newest first"),
            (true, false) => (
                self.with(&[("q", &self.q), ("order", STORED)]),
                "Stored order",
            ),
        }
    }

    fn request(&self, page: u64) -> PreviewQuery {
        PreviewQuery {
            offset: (page - 1).saturating_mul(PER_PAGE),
            limit: PER_PAGE as usize,
            sort: self
                .sorted()
                .map(|(column, descends)| (column.to_owned(), descends))
                .into_iter()
                .collect(),
            filters: Vec::new(),
            search: Some(self.q.clone()).filter(|q| !q.is_empty()),
        }
    }
}

/// `GET /datasets/{id}/data`
pub async fn show_data(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    query: PageQuery,
) -> PageResult {
    let opened = open_dataset(&web, &person.actor, &id, "data").await?;
    let mut view = DataView {
        path: format!("/datasets/{id}/data"),
        q: query.get("q").chars().take(MAX_SEARCH_CHARS).collect(),
        sort: query.get("sort").to_owned(),
        default_sort: String::new(),
        stored: query.get("sort").is_empty() && query.get("order") == STORED,
        page: query.page(),
        version: String::new(),
    };
    let old = match query.get("version") {
        "" => None,
        text => {
            let wanted = VersionId::parse(text).ok_or_else(|| Error::not_found("version"))?;
            let (_, version) = web.datasets.version(&person.actor, &id, &wanted).await?;
            opened
                .dataset
                .current
                .as_ref()
                .is_none_or(|current| current.version != version.id)
                .then_some(version)
        }
    };
    if let Some(version) = &old {
        view.version = version.id.to_string();
    }
    let mine = opened.head.mine;
    let mut page = DataPage {
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
        all_rows_href: view.with(&[
            ("sort", &view.sort),
            ("order", if view.stored { STORED } else { "" }),
        ]),
        depth_words: String::new(),
        columns: Vec::new(),
        rows: Vec::new(),
        pager: Pager::default(),
        version_words: String::new(),
        version: view.version.clone(),
        old: old
            .as_ref()
            .map(|version| old_band(version, &id, mine, opened.now, &opened.zone)),
        problem: None,
    };
    let wanted = match old {
        Some(version) => Some(version),
        None => web.datasets.versions.current(&id).await?,
    };
    let Some(version) = wanted else {
        return render_with_status(StatusCode::OK, &page);
    };
    let version = web.datasets.versions.pin(&version);
    page.has_data = true;
    page.version_words = format!(
        "Version {}, {}",
        version.number,
        humanize::short(version.created_at, opened.now, &opened.zone)
    );
    view.default_sort = newest_first(opened.dataset.report, &version.columns);
    let mut found = read_page(&web, &version, &view).await;
    if view.is_default_sort()
        && found
            .as_ref()
            .is_err_and(|why| why.kind() == ErrorKind::Unavailable)
    {
        // Sorting this many rows takes too long, so they are shown in stored order.
        view.stored = true;
        found = read_page(&web, &version, &view).await;
    }
    page.sorted_words = sorted_words(&version.columns, &view);
    (page.other_order_href, page.other_order_words) = view.other_order();
    if view.sorted().is_some() && version.rows > MAX_SORTED_DEPTH {
        let depth = grouped(i64::try_from(MAX_SORTED_DEPTH).unwrap_or(i64::MAX));
        page.depth_words = format!(
            "Sorted rows are available up to row {depth}. The download and the stored order contain all rows."
        );
    }
    page.columns = version
        .columns
        .iter()
        .map(|column| column_head(column, opened.dataset.report, &view))
        .collect();
    if let Some(first) = page
        .columns
        .iter_mut()
        .find(|column| column.kind == ColumnKind::Timestamp.word())
    {
        first.zone.clone_from(&opened.dataset.time_zone);
    }
    match found {
        Ok((number, rows)) => {
            page.pager = pager(&rows, number, &version, &view);
            page.rows = rows
                .rows
                .into_iter()
                .map(|row| {
                    row.into_iter()
                        .map(|cell| CellView::new(cell, &opened.zone))
                        .collect()
                })
                .collect();
            render_with_status(StatusCode::OK, &page)
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unprocessable | ErrorKind::Unavailable
            ) =>
        {
            let text = error.suggested_action().unwrap_or_default().to_owned();
            page.problem = Some(Band {
                tone: "warn".to_owned(),
                title: error.message().to_owned(),
                text,
                actions: Vec::new(),
            });
            render_with_status(error_page::http_status(error.kind()), &page)
        }
        Err(error) if error.code() == DATA_DAMAGED => {
            tracing::error!(dataset = %id, cause = ?error.log_cause(), "rows cannot be shown: {error}");
            web.datasets.segments.save_damage(&version.segments).await?;
            page.head.damage = damage_band(
                &web,
                &opened.dataset,
                mine,
                page.head.can_run,
                opened.now,
                &opened.zone,
            )
            .await?;
            if page.head.damage.is_some() {
                page.head.status = dataset_status::damaged_status();
            }
            // The banner above the tabs describes the current version, and says how to fix it.
            let (title, text) = match (page.old.is_some(), page.head.damage.is_some()) {
                (true, _) => (
                    "The rows of this version cannot be read: a stored file is damaged or missing.",
                    "",
                ),
                (false, true) => (
                    "No rows are shown, because a stored file is damaged or missing.",
                    "",
                ),
                (false, false) => (
                    error.message(),
                    error.suggested_action().unwrap_or_default(),
                ),
            };
            page.problem = Some(Band {
                tone: "bad".to_owned(),
                title: title.to_owned(),
                text: text.to_owned(),
                actions: Vec::new(),
            });
            if let Some(old) = &mut page.old {
                old.actions
                    .retain(|action| action.href == format!("/datasets/{id}/data"));
            }
            render_with_status(error_page::http_status(error.kind()), &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// The banner above the rows of an older version.
fn old_band(version: &Version, id: &DatasetId, mine: bool, now: Millis, zone: &TimeZone) -> Band {
    let at = |href: String, label: &str| Action {
        label: label.to_owned(),
        href,
        primary: false,
        post: false,
    };
    let mut actions = vec![
        at(
            format!("/datasets/{id}/download?version={}", version.id),
            "Download CSV",
        ),
        at(format!("/datasets/{id}/data"), "Show current version"),
    ];
    if mine {
        actions.push(at(
            format!("/datasets/{id}/versions/{}/revert", version.id),
            "Revert to this point",
        ));
    }
    Band {
        tone: "info".to_owned(),
        title: format!(
            "Version {}, created {}.",
            version.number,
            humanize::short(version.created_at, now, zone)
        ),
        text: "This is not the current version.".to_owned(),
        actions,
    }
}

/// Reads the requested page, or the last page if it does not exist. Returns the number of the page
/// with it.
async fn read_page(
    web: &Web,
    version: &Version,
    view: &DataView,
) -> Result<(u64, preview::RowPage), Error> {
    let known = if view.q.is_empty() {
        last_page(version.rows, view)
    } else {
        u64::MAX
    };
    let deepest = if view.sorted().is_some() {
        MAX_SORTED_DEPTH / PER_PAGE
    } else {
        u64::MAX / PER_PAGE
    };
    let number = view.page.min(known).min(deepest).max(1);
    let page = preview::page(&web.datasets.segments, version, view.request(number)).await?;
    match page.total_matching {
        Some(total) if page.rows.is_empty() && total > 0 => {
            let last = last_page(total, view);
            Ok((
                last,
                preview::page(&web.datasets.segments, version, view.request(last)).await?,
            ))
        }
        _ => Ok((number, page)),
    }
}

fn last_page(rows: u64, view: &DataView) -> u64 {
    let reachable = if view.sorted().is_some() {
        rows.min(MAX_SORTED_DEPTH)
    } else {
        rows
    };
    reachable.div_ceil(PER_PAGE).max(1)
}

fn pager(page: &preview::RowPage, number: u64, version: &Version, view: &DataView) -> Pager {
    let in_all = counted(signed(version.rows), "row", "rows");
    let of = match page.total_matching {
        _ if view.q.is_empty() => format!("of {in_all}"),
        Some(total) => format!(
            "of {} that match, {} in all",
            counted(signed(total), "row", "rows"),
            grouped(signed(version.rows))
        ),
        None => format!(
            "of the rows that match, {} in all",
            grouped(signed(version.rows))
        ),
    };
    // The rows were not counted to the end. If this page is full, there is at least one more.
    let full = page.rows.len() as u64 == PER_PAGE;
    let pages = page
        .total_matching
        .map_or(number + u64::from(full), |total| last_page(total, view))
        .max(number);
    Pager {
        first: grouped(signed(page.offset + 1)),
        last: grouped(signed(page.offset + page.rows.len() as u64)),
        of,
        page: number,
        pages,
        previous: if number > 1 {
            view.at(number - 1)
        } else {
            String::new()
        },
        next: if number < pages {
            view.at(number + 1)
        } else {
            String::new()
        },
        jump: if pages > 2 {
            view.any_page()
        } else {
            String::new()
        },
    }
}

fn column_head(column: &ColumnInfo, report: &Report, view: &DataView) -> ColumnHead {
    let sorted = match view.sorted() {
        Some((name, false)) if name == column.name => "asc",
        Some((name, true)) if name == column.name => "desc",
        _ => "",
    };
    let sort = if sorted == "asc" {
        format!("-{}", column.name)
    } else {
        column.name.clone()
    };
    ColumnHead {
        kind: column.kind.word(),
        zone: String::new(),
        meaning: meaning(report, &column.name),
        sorted,
        sort_href: view.with(&[("q", &view.q), ("sort", &sort)]),
        name: column.name.clone(),
    }
}

/// The sort order that puts the newest rows first: by the column of the report's days, or by the
/// first column with times for parts of chats and tickets. Empty if rows have no order in time, as
/// in a list of agents.
fn newest_first(report: &Report, columns: &[ColumnInfo]) -> String {
    let is_time =
        |column: &&ColumnInfo| matches!(column.kind, ColumnKind::Timestamp | ColumnKind::Date);
    let by_day = report.day.and_then(|day| {
        columns
            .iter()
            .filter(is_time)
            .find(|column| column.name == day)
    });
    let by_time = || {
        columns
            .iter()
            .filter(|_| matches!(report.shape, Shape::Archive { .. } | Shape::Export(_)))
            .find(is_time)
    };
    by_day
        .or_else(by_time)
        .map_or_else(String::new, |column| format!("-{}", column.name))
}

/// The sort order in words, such as "started, newest first".
fn sorted_words(columns: &[ColumnInfo], view: &DataView) -> String {
    if view.stored && !view.default_sort.is_empty() {
        return "stored order".to_owned();
    }
    let Some((name, descends)) = view.sorted() else {
        return String::new();
    };
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        return String::new();
    };
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
