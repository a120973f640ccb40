//! The rows of a DataSet: as pages and as a CSV file; its columns, versions and the ledger of its
//! date ranges.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{List, Paging, cursor_first_word, read_cursor, write_cursor};
use crate::actor::{Actor, Scope};
use crate::api::Api;
use crate::api::body::{Ids, QueryParams};
use crate::api::error::{ApiError, ApiResult};
use crate::api::token::Bearer;
use crate::clock::iso;
use crate::connection::Connection;
use crate::connectors::Completeness;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns::ColumnInfo;
use crate::datasets::download;
use crate::datasets::export::{self, CsvOptions};
use crate::datasets::preview::{self, Filter, MAX_SORTED_DEPTH, Op, PreviewCell, PreviewQuery};
use crate::datasets::versions::{Integrity, Pin, VersionIntegrity};
use crate::error::{Error, ErrorKind};
use crate::ids::{DatasetId, VersionId};
use crate::puller::ledger;

/// A page of rows.
#[derive(Serialize, ToSchema)]
pub struct RowsBody {
    /// The version of the rows.
    version: String,
    /// One object per row, with the columns as fields.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Map<String, Value>>,
    next: Option<String>,
}

/// Query parameters that select rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsQuery {
    /// 1 to 1,000; 100 when absent.
    limit: Option<usize>,
    cursor: Option<String>,
    /// Columns, commas between; a minus in front means descending.
    sort: Option<String>,
    /// column:op:value; repeatable.
    #[serde(default)]
    filter: Vec<String>,
    /// The id of a version; the current version when absent.
    version: Option<String>,
}

/// Finds and pins the version to read a page of: the requested one; else that of the cursor, so
/// that all pages come from one version; else the current one. Errors: `version_gone` (Conflict) if
/// the version of the cursor was deleted.
async fn version(
    api: &Api,
    actor: &Actor,
    id: &DatasetId,
    query: &RowsQuery,
) -> Result<Pin, ApiError> {
    let of_cursor = query
        .cursor
        .as_deref()
        .and_then(cursor_first_word)
        .filter(|word| VersionId::parse(word).is_some());
    if let Some(word) = &of_cursor {
        api.datasets.get(actor, id).await?;
        return match download::find(&api.datasets, actor, id, Some(word)).await {
            Ok((_, version)) => Ok(api.datasets.versions.pin(&version)),
            Err(why) if why.kind() == ErrorKind::NotFound => Err(Error::conflict(
                "version_gone",
                "The version of this cursor was deleted.",
            )
            .action("Start again without the cursor.")
            .into()),
            Err(why) => Err(why.into()),
        };
    }
    let (_, version) = download::find(&api.datasets, actor, id, query.version.as_deref()).await?;
    Ok(api.datasets.versions.pin(&version))
}

/// List rows
#[utoipa::path(get, operation_id = "list_rows", path = "/datasets/{id}/rows",
    params(("id" = String, Path), ("limit" = Option<usize>, Query), ("cursor" = Option<String>, Query),
        ("sort" = Option<String>, Query, description = "columns, separated by commas; a minus in front means descending"),
        ("filter" = Option<Vec<String>>, Query, description = "column:op:value; op is eq, ne, lt, le, gt, ge, contains, is_null or is_not_null"),
        ("version" = Option<String>, Query)),
    responses((status = 200, body = RowsBody), (status = 404),
        (status = 409, description = "no_data_yet; version_gone: the version of the cursor was deleted"), (status = 422)))]
pub async fn rows(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    QueryParams(query): QueryParams<RowsQuery>,
) -> ApiResult<Json<RowsBody>> {
    let actor = bearer.require(Scope::Read)?;
    let pin = version(&api, &actor, &id, &query).await?;
    let limit = query.limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(Error::field(
            "limit",
            format!("limit must be from 1 to 1000, not {limit}."),
        )
        .into());
    }
    let sort: Vec<(String, bool)> = query
        .sort
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.strip_prefix('-')
                .map_or((part.to_owned(), false), |column| (column.to_owned(), true))
        })
        .collect();
    let filters = query
        .filter
        .iter()
        .map(|text| filter(text))
        .collect::<Result<Vec<_>, _>>()?;
    // A cursor is only valid for the query and the version that it was created for.
    if query
        .version
        .as_deref()
        .is_some_and(|wanted| wanted != pin.id.as_str())
    {
        return Err(Error::field(
            "cursor",
            "This cursor belongs to another version. Start again without it.",
        )
        .into());
    }
    let cursor_scope = format!("{} {:?} {:?}", pin.id, query.sort, query.filter);
    let offset = read_cursor(query.cursor.as_deref(), &cursor_scope)?;
    if !sort.is_empty() && offset.unsigned_abs() >= MAX_SORTED_DEPTH {
        return Err(preview::too_deep("cursor").into());
    }
    let request = PreviewQuery {
        offset: offset.unsigned_abs(),
        limit: limit + 1,
        sort,
        filters,
        search: None,
    };
    let page = preview::page(&api.datasets.segments, &pin, request).await?;
    let mut items: Vec<Map<String, Value>> = page
        .rows
        .iter()
        .map(|row| object(&page.columns, row))
        .collect();
    // The count says whether more rows match. Without a count, the one row that was read beyond the
    // limit does.
    let end = offset
        .unsigned_abs()
        .saturating_add(items.len().min(limit) as u64);
    let more = page
        .total_matching
        .map_or(items.len() > limit, |total| total > end);
    items.truncate(limit);
    let next = more.then(|| write_cursor(i64::try_from(end).unwrap_or(i64::MAX), &cursor_scope));
    Ok(Json(RowsBody {
        version: pin.id.to_string(),
        items,
        next,
    }))
}

/// Parses `column:op:value`; the value extends to the end.
fn filter(text: &str) -> Result<Filter, Error> {
    let mut parts = text.splitn(3, ':');
    let (column, op, value) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let Some(op) = Op::parse(op) else {
        let known: Vec<&str> = Op::ALL.into_iter().map(Op::word).collect();
        return Err(Error::field(
            "filter",
            format!(
                "A filter must be column:op:value. op must be one of {}.",
                known.join(", ")
            ),
        ));
    };
    Ok(Filter {
        column: column.to_owned(),
        op,
        value: value.to_owned(),
    })
}

fn object(columns: &[ColumnInfo], cells: &[PreviewCell]) -> Map<String, Value> {
    columns
        .iter()
        .zip(cells)
        .map(|(column, cell)| (column.name.clone(), value(column.kind, cell)))
        .collect()
}

/// The JSON value of a cell, equal to the text in the CSV: numbers and booleans as themselves,
/// everything else as text.
fn value(kind: ColumnKind, cell: &PreviewCell) -> Value {
    let Some(text) = &cell.csv else {
        return Value::Null;
    };
    let as_is = || Value::String(text.clone());
    match kind {
        ColumnKind::Integer => text.parse::<i64>().map_or_else(|_| as_is(), Value::from),
        ColumnKind::Number => text
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(as_is, Value::Number),
        ColumnKind::Boolean => Value::Bool(text == "true"),
        ColumnKind::Text | ColumnKind::Json | ColumnKind::Date | ColumnKind::Timestamp => as_is(),
    }
}

/// Query parameters of the CSV file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadQuery {
    format: Option<String>,
    version: Option<String>,
    columns: Option<String>,
    bom: Option<String>,
    formulas: Option<String>,
}

/// Download a DataSet as CSV
///
/// `X-Chatlake-Rows` is the number of rows. With `formulas=guard`, `X-Chatlake-Marked-Cells` is the
/// number of marked cells, for up to 200,000 rows. If the connection breaks, the body is
/// incomplete.
#[utoipa::path(get, operation_id = "download_data", path = "/datasets/{id}/data",
    params(("id" = String, Path), ("format" = Option<String>, Query, description = "csv"), ("version" = Option<String>, Query),
        ("columns" = Option<String>, Query, description = "names, separated by commas: only these, in this order"),
        ("bom" = Option<String>, Query, description = "1: start with a byte order mark"),
        ("formulas" = Option<String>, Query, description = "guard: mark text that a spreadsheet would read as a formula")),
    responses((status = 200, content_type = "text/csv"), (status = 304), (status = 404), (status = 409, description = "no_data_yet"), (status = 422),
        (status = 429, description = "too_many_downloads")))]
pub async fn download(
    State(api): State<Api>,
    bearer: Bearer,
    connection: Connection,
    Ids(id): Ids<DatasetId>,
    headers: HeaderMap,
    QueryParams(query): QueryParams<DownloadQuery>,
) -> ApiResult<Response> {
    let actor = bearer.require(Scope::Read)?;
    if !matches!(query.format.as_deref(), None | Some("csv")) {
        return Err(Error::field("format", "format must be csv.").into());
    }
    let flag = |name: &str, value: Option<&str>, on: &str| match value {
        None | Some("" | "0" | "none") => Ok(false),
        Some(value) if value == on => Ok(true),
        Some(_) => Err(Error::field(
            name,
            format!("{name} must be {on}, or left out."),
        )),
    };
    let (bom, guard) = (
        flag("bom", query.bom.as_deref(), "1")?,
        flag("formulas", query.formulas.as_deref(), "guard")?,
    );
    let columns: Option<Vec<String>> = query
        .columns
        .as_deref()
        .map(|names| names.split(',').map(str::to_owned).collect());
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok())
        .unwrap_or_default();
    let request = download::CsvRequest {
        id: &id,
        version: query.version.as_deref(),
        options: CsvOptions {
            columns,
            bom,
            guard,
        },
        if_none_match: known,
    };
    let file = api
        .downloads
        .csv(&api.datasets, &actor, request, connection)
        .await?;
    let etag = HeaderValue::from_str(&file.etag).map_err(Error::internal)?;
    let Some(body) = file.body else {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    };
    let mut response = HttpBody::from_stream(body).into_response();
    let head = response.headers_mut();
    head.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
    );
    head.insert(ETAG, etag);
    let disposition = export::file_name(&file.dataset.name, "csv").content_disposition();
    head.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_str(&disposition).map_err(Error::internal)?,
    );
    head.insert(
        "x-chatlake-version",
        HeaderValue::from_str(file.version.as_str()).map_err(Error::internal)?,
    );
    head.insert("x-chatlake-rows", HeaderValue::from(file.rows));
    if let Some(marked) = file.guarded_cells {
        head.insert("x-chatlake-marked-cells", HeaderValue::from(marked));
    }
    Ok(response)
}

/// A version of a DataSet.
#[derive(Serialize, ToSchema)]
pub struct VersionBody {
    id: String,
    number: u64,
    rows: u64,
    columns: usize,
    bytes: u64,
    /// The run that created it.
    run_id: Option<String>,
    current: bool,
    created_at: String,
    /// Fingerprint of rows and columns: equal for versions with the same content.
    content: String,
    /// checked, not_checked (some files have no checksums yet) or damaged (a file is damaged or
    /// missing).
    integrity: &'static str,
}

/// List versions, newest first
#[utoipa::path(get, operation_id = "list_versions", path = "/datasets/{id}/versions", params(("id" = String, Path)), responses((status = 200, body = List<VersionBody>), (status = 404)))]
pub async fn versions(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<List<VersionBody>>> {
    let actor = bearer.require(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let current = dataset.current.map(|c| c.version);
    let versions = api.datasets.versions.list(&id).await?;
    let known = api.datasets.versions.integrity(&id).await?;
    let integrity = |id: &VersionId| {
        known
            .iter()
            .find(|of| of.version == *id)
            .map_or(Integrity::NotChecked, VersionIntegrity::state)
    };
    let items = versions
        .into_iter()
        .map(|v| VersionBody {
            current: current.as_ref() == Some(&v.id),
            content: v.content(),
            integrity: integrity(&v.id).word(),
            id: v.id.to_string(),
            number: v.number,
            rows: v.rows,
            columns: v.columns.len(),
            bytes: v.bytes,
            run_id: v.run.map(|run| run.to_string()),
            created_at: iso(v.created_at),
        })
        .collect();
    Ok(Json(List::complete(items)))
}

/// A date range of a run, and its result.
#[derive(Serialize, ToSchema)]
pub struct WindowBody {
    run_id: String,
    /// Both days included; null for a report without days.
    from: Option<String>,
    to: Option<String>,
    /// planned, done or short (LiveChat or LiveLeader reported `vendor_total` records but returned
    /// only `kept`; the run failed).
    state: &'static str,
    /// Records from LiveChat or LiveLeader: read = kept (saved) + duplicates + left_out (excluded)
    /// + rejected.
    read: u64,
    kept: u64,
    duplicates: u64,
    left_out: u64,
    rejected: u64,
    pages: u64,
    /// Number of records that LiveChat or LiveLeader reported.
    vendor_total: Option<u64>,
    /// True when `completeness` is verified or reread, null when it is complete or null, false
    /// otherwise.
    verified: Option<bool>,
    /// verified (settled days, the reported total matches), reread (two consecutive reads agree),
    /// counted (the total matches, but the newest days were read only once), corrected (pages
    /// changed while they were read; the total matches now), complete (read to the end, no total is
    /// reported) or short (fewer records than reported; only in a failed run). Null before it was
    /// read.
    completeness: Option<&'static str>,
    finished_at: Option<String>,
}

/// List the date ranges of runs, newest run first
#[utoipa::path(get, operation_id = "list_windows", path = "/datasets/{id}/windows", params(("id" = String, Path), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = List<WindowBody>), (status = 404)))]
pub async fn windows(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
    QueryParams(paging): QueryParams<Paging>,
) -> ApiResult<Json<List<WindowBody>>> {
    let actor = bearer.require(Scope::Read)?;
    api.datasets.get(&actor, &id).await?;
    let (offset, limit) = paging.range()?;
    let lines = ledger::of_dataset(&api.db, &id, offset, limit + 1).await?;
    let items = lines
        .into_iter()
        .map(|line| WindowBody {
            run_id: line.run.to_string(),
            from: line.window.map(|w| w.from.to_string()),
            to: line.window.map(|w| w.to.to_string()),
            state: if line.done {
                "done"
            } else if line.short {
                "short"
            } else {
                "planned"
            },
            read: line.counts.read,
            kept: line.counts.kept,
            duplicates: line.counts.duplicates,
            left_out: line.counts.left_out,
            rejected: line.counts.rejected,
            pages: line.counts.pages,
            vendor_total: line.counts.total,
            verified: line.completeness().and_then(Completeness::verified),
            completeness: line.completeness().map(Completeness::word),
            finished_at: line.finished_at.map(iso),
        })
        .collect();
    Ok(Json(Paging::list(offset, limit, items)))
}

/// A column.
#[derive(Serialize, ToSchema)]
pub struct SchemaColumn {
    name: String,
    /// text, integer, number, boolean, date, timestamp or json.
    kind: &'static str,
    /// True: part of the report. False: a new column from LiveChat or LiveLeader.
    declared: bool,
    meaning: Option<&'static str>,
}

/// Get the columns, in order
///
/// The columns of the current version, or of the report if there is no version yet.
#[utoipa::path(get, operation_id = "get_schema", path = "/datasets/{id}/schema", params(("id" = String, Path)), responses((status = 200, body = List<SchemaColumn>), (status = 404)))]
pub async fn schema(
    State(api): State<Api>,
    bearer: Bearer,
    Ids(id): Ids<DatasetId>,
) -> ApiResult<Json<List<SchemaColumn>>> {
    let actor = bearer.require(Scope::Read)?;
    let dataset = api.datasets.get(&actor, &id).await?;
    let columns = match api.datasets.versions.current(&id).await? {
        Some(version) => version.columns,
        None => crate::datasets::columns::columns_of(dataset.report),
    };
    let items = columns
        .into_iter()
        .map(|c| SchemaColumn {
            kind: c.kind.word(),
            declared: c.declared,
            meaning: dataset.report.column(&c.name).map(|column| column.meaning),
            name: c.name,
        })
        .collect();
    Ok(Json(List::complete(items)))
}
