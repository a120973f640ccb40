//! The Data tab: one page of rows of a version, sorted and searched.

mod data_view;
mod row_page;

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
use crate::connectors::report::{ColumnKind, Report};
use crate::datasets::Dataset;
use crate::datasets::columns::ColumnInfo;
use crate::datasets::preview::MAX_SORTED_DEPTH;
use crate::datasets::versions::Version;
use crate::error::{DATA_DAMAGED, Error, ErrorKind};
use crate::ids::{DatasetId, VersionId};
use crate::web::Web;
use crate::web::cells::CellView;
use crate::web::components::{Action, Band, Chrome, Pager};
use crate::web::error_page;
use crate::web::humanize::{self, grouped};
use crate::web::page::{PageResult, render_with_status};
use crate::web::person::Person;
use crate::web::query::{PageQuery, PathId};
use data_view::{DataView, STORED, newest_first, sorted_words};
use row_page::{pager, read_page};

/// The maximum length of a search; longer text is cut.
const MAX_SEARCH_CHARS: usize = 200;

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
            "Sorted rows are available up to row {depth}. \
             The download and the stored order contain all rows."
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
            add_damage(
                &web,
                &mut page,
                &opened.dataset,
                &error,
                opened.now,
                &opened.zone,
            )
            .await?;
            render_with_status(error_page::http_status(error.kind()), &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// Adds the banners about damaged files to a page whose rows cannot be read.
async fn add_damage(
    web: &Web,
    page: &mut DataPage,
    dataset: &Dataset,
    error: &Error,
    now: Millis,
    zone: &TimeZone,
) -> Result<(), Error> {
    page.head.damage =
        damage_band(web, dataset, page.head.mine, page.head.can_run, now, zone).await?;
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
            .retain(|action| action.href == format!("/datasets/{}/data", dataset.id));
    }
    Ok(())
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
            &format!("Revert to version {}", version.number),
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
