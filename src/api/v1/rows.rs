//! The rows of a DataSet, page by page, sorted and filtered.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{cursor_first_word, read_cursor, write_cursor};
use crate::actor::{Actor, Scope};
use crate::api::Api;
use crate::api::body::{Ids, QueryParams};
use crate::api::error::{ApiError, ApiResult};
use crate::api::token::Bearer;
use crate::connectors::report::ColumnKind;
use crate::datasets::columns::ColumnInfo;
use crate::datasets::download;
use crate::datasets::preview::{self, Filter, MAX_SORTED_DEPTH, Op, PreviewCell, PreviewQuery};
use crate::datasets::versions::Pin;
use crate::error::{Error, ErrorKind};
use crate::ids::{DatasetId, VersionId};

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
#[utoipa::path(
    get,
    operation_id = "list_rows",
    path = "/datasets/{id}/rows",
    params(
        ("id" = String, Path),
        ("limit" = Option<usize>, Query),
        ("cursor" = Option<String>, Query),
        (
            "sort" = Option<String>,
            Query,
            description = "columns, separated by commas; a minus in front means descending"
        ),
        (
            "filter" = Option<Vec<String>>,
            Query,
            description = "column:op:value; op is eq, ne, lt, le, gt, ge, contains, is_null or is_not_null"
        ),
        ("version" = Option<String>, Query)
    ),
    responses(
        (status = 200, body = RowsBody),
        (status = 404),
        (
            status = 409,
            description = "no_data_yet; version_gone: the version of the cursor was deleted"
        ),
        (status = 422)
    )
)]
pub async fn list(
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
