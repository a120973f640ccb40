//! Reads pages of a version, sorted, filtered and searched directly in its segments. A page without
//! conditions decodes only the file pages that contain its rows. Otherwise the needed columns are
//! decoded first to find the rows, and then these rows are read.

mod condition;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::ArrayFormatter;
use tokio_util::sync::CancellationToken;

use super::columns::{self, ColumnInfo};
use super::export::cell_text::{format_options, printable};
use super::segments::{Segments, ranges};
use super::versions::Version;
use crate::connectors::report::ColumnKind;
use crate::error::{Error, ErrorKind, Result};
use condition::Conditions;
pub use condition::{Filter, Op};
use order::SortOrder;

/// The maximum number of rows in a page.
pub const MAX_PAGE_ROWS: usize = 1_000;
/// The maximum row number of a sorted page: all rows up to there are in memory while they are
/// sorted.
pub const MAX_SORTED_DEPTH: u64 = 100_000;
/// The time limit for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which rows to show.
#[derive(Clone, Debug, Default)]
pub struct PreviewQuery {
    /// The number of matching rows to skip.
    pub offset: u64,
    pub limit: usize,
    /// Columns, each with whether its order is descending. Rows with equal values keep their order;
    /// empty cells are always last. Empty: the order in which rows were pulled.
    pub sort: Vec<(String, bool)>,
    /// A row must match all filters.
    pub filters: Vec<Filter>,
    /// A row must contain this text in a text column, ignoring case.
    pub search: Option<String>,
}

/// A cell of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewCell {
    /// The text of the cell in the CSV, before quoting; `None` for null.
    pub csv: Option<String>,
    pub kind: ColumnKind,
}

/// Rows of a version, with one cell per column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPage {
    pub columns: Vec<ColumnInfo>,
    pub rows: Vec<Vec<PreviewCell>>,
    /// The number of matching rows; `None` if counting took too long.
    pub total_matching: Option<u64>,
    pub offset: u64,
}

/// The place of a row: number of the segment, and of the row in it.
type RowPlace = (usize, u64);

/// Reads a page. Errors: `Unavailable` if it takes too long; otherwise the invalid field (`sort`,
/// `filter`, `limit`, `offset`).
pub async fn page(segments: &Segments, version: &Version, query: PreviewQuery) -> Result<RowPage> {
    page_within(segments, version, query, PAGE_TIMEOUT).await
}

/// The error for a sorted page beyond `MAX_SORTED_DEPTH`. `field`: the field that requested it.
pub fn too_deep(field: &str) -> Error {
    Error::field(
        field,
        format!(
            "Sorted rows are available up to row {MAX_SORTED_DEPTH}. Sort in the other direction, \
             filter, or download the rows."
        ),
    )
}

async fn page_within(
    segments: &Segments,
    version: &Version,
    mut query: PreviewQuery,
    time: Duration,
) -> Result<RowPage> {
    // One extra row is allowed, so that the caller sees whether there is a next page.
    if query.limit == 0 || query.limit > MAX_PAGE_ROWS + 1 {
        return Err(Error::field(
            "limit",
            format!("A page must have from 1 to {MAX_PAGE_ROWS} rows."),
        ));
    }
    let search = query.search.as_deref().filter(|text| !text.is_empty());
    let conditions = Conditions::new(&version.columns, &query.filters, search)?;
    let order = SortOrder::new(&version.columns, &query.sort)?;
    if order.is_some() {
        let reach = MAX_SORTED_DEPTH
            .checked_sub(query.offset)
            .filter(|rows| *rows > 0)
            .ok_or_else(|| too_deep("offset"))?;
        query.limit = query
            .limit
            .min(usize::try_from(reach).unwrap_or(usize::MAX));
    }
    let scans = order.is_some() || !conditions.is_empty();
    // A scan occupies a core; pages without a scan do not wait for a permit.
    let _turn = if scans {
        Some(segments.scan_permit().await?)
    } else {
        None
    };
    let cancelled = CancellationToken::new();
    let _cancel_guard = cancelled.clone().drop_guard();
    let (segments, version) = (segments.clone(), version.clone());
    let read_page = move || {
        let reader = PageReader {
            segments: &segments,
            version: &version,
            until: Instant::now() + time,
            cancelled,
        };
        let (places, total_matching) = match order {
            Some(order) => reader.sorted(&conditions, order, &query)?,
            None if scans => reader.matching(&conditions, &query)?,
            None => (reader.plain(&query), Some(version.rows)),
        };
        let rows = reader.rows(&places)?;
        Ok(RowPage {
            columns: version.columns.clone(),
            rows,
            total_matching,
            offset: query.offset,
        })
    };
    tokio::task::spawn_blocking(read_page)
        .await
        .map_err(Error::from)?
}

/// Reads one page on the blocking pool.
struct PageReader<'a> {
    segments: &'a Segments,
    version: &'a Version,
    until: Instant,
    cancelled: CancellationToken,
}

impl PageReader<'_> {
    fn is_late(&self) -> bool {
        self.cancelled.is_cancelled() || Instant::now() >= self.until
    }

    fn late() -> Error {
        Error::new(
            ErrorKind::Unavailable,
            "too_slow",
            "Finding these rows took too long.",
        )
        .action("Narrow the filter, or download the rows.")
    }

    /// The places of a page without conditions.
    fn plain(&self, query: &PreviewQuery) -> Vec<RowPlace> {
        let mut places = Vec::with_capacity(query.limit);
        let (mut first, end) = (0, query.offset.saturating_add(query.limit as u64));
        for (segment, meta) in self.version.segments.iter().enumerate() {
            let (from, to) = (query.offset.max(first), end.min(first + meta.rows));
            places.extend((from..to.max(from)).map(|row| (segment, row - first)));
            first += meta.rows;
        }
        places
    }

    /// The places of a page of matching rows, in the order of the version, and the number of
    /// matching rows.
    fn matching(
        &self,
        conditions: &Conditions,
        query: &PreviewQuery,
    ) -> Result<(Vec<RowPlace>, Option<u64>)> {
        let schema = columns::to_schema(conditions.columns());
        let (mut places, mut seen) = (Vec::new(), 0_u64);
        let mut counted = true;
        'all: for segment in 0..self.version.segments.len() {
            let open = self.segments.open(&self.version.segments[segment])?;
            for rows in open.groups() {
                let mut at = rows.start;
                for batch in open.read(&schema, Some(&[rows]))? {
                    if self.is_late() {
                        // The page is complete, so it is shown without the count.
                        if places.len() == query.limit {
                            counted = false;
                            break 'all;
                        }
                        return Err(Self::late());
                    }
                    let batch = batch?;
                    let mask = conditions.matches(&batch)?;
                    let matched = mask.count_set_bits() as u64;
                    if seen + matched > query.offset && places.len() < query.limit {
                        let pass = usize::try_from(query.offset.saturating_sub(seen))
                            .unwrap_or(usize::MAX);
                        let room = query.limit - places.len();
                        places.extend(
                            mask.set_indices()
                                .skip(pass)
                                .take(room)
                                .map(|index| (segment, at + index as u64)),
                        );
                    }
                    seen += matched;
                    at += batch.num_rows() as u64;
                }
            }
        }
        Ok((places, counted.then_some(seen)))
    }

    /// The places of a page of matching rows in sorted order, and the number of matching rows.
    fn sorted(
        &self,
        conditions: &Conditions,
        mut order: SortOrder,
        query: &PreviewQuery,
    ) -> Result<(Vec<RowPlace>, Option<u64>)> {
        let schema = columns::to_schema(&columns::union([order.columns(), conditions.columns()]));
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        order.set_limit(offset.saturating_add(query.limit));
        let mut seen = 0;
        for segment in 0..self.version.segments.len() {
            let open = self.segments.open(&self.version.segments[segment])?;
            for (group, rows) in open.groups().into_iter().enumerate() {
                if conditions.is_empty() && !order.may_improve(&open, group)? {
                    seen += rows.end - rows.start;
                    continue;
                }
                let mut at = rows.start;
                for batch in open.read(&schema, Some(&[rows]))? {
                    if self.is_late() {
                        return Err(Self::late());
                    }
                    let batch = batch?;
                    let mask = if conditions.is_empty() {
                        None
                    } else {
                        Some(conditions.matches(&batch)?)
                    };
                    seen += mask
                        .as_ref()
                        .map_or(batch.num_rows(), |mask| mask.count_set_bits())
                        as u64;
                    order.add(&batch, mask, (segment, at))?;
                    at += batch.num_rows() as u64;
                }
            }
        }
        Ok((
            order
                .into_places()
                .into_iter()
                .skip(offset)
                .take(query.limit)
                .collect(),
            Some(seen),
        ))
    }

    /// Reads the complete rows at these places, in this order.
    fn rows(&self, places: &[RowPlace]) -> Result<Vec<Vec<PreviewCell>>> {
        let schema = columns::to_schema(&self.version.columns);
        let mut of: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (segment, row) in places {
            of.entry(*segment).or_default().push(*row);
        }
        let mut found: HashMap<RowPlace, Vec<PreviewCell>> = HashMap::with_capacity(places.len());
        for (segment, mut rows) in of {
            rows.sort_unstable();
            let open = self.segments.open(&self.version.segments[segment])?;
            let mut numbers = rows.iter();
            for batch in open.read(&schema, Some(&ranges(&rows)))? {
                if self.is_late() {
                    return Err(Self::late());
                }
                for (row, number) in cells(&self.version.columns, &batch?)?
                    .into_iter()
                    .zip(&mut numbers)
                {
                    found.insert((segment, *number), row);
                }
            }
        }
        places
            .iter()
            .map(|place| {
                found
                    .remove(place)
                    .ok_or_else(|| Error::internal("a segment ended before its rows"))
            })
            .collect()
    }
}

/// Converts the rows of a batch to cells. `columns` must be the columns of the batch.
pub fn cells(columns: &[ColumnInfo], batch: &RecordBatch) -> Result<Vec<Vec<PreviewCell>>> {
    let batch = printable(batch)?;
    let options = format_options();
    let mut rows = vec![Vec::with_capacity(columns.len()); batch.num_rows()];
    for (column, array) in columns.iter().zip(batch.columns()) {
        let text = ArrayFormatter::try_new(array, &options).map_err(Error::internal)?;
        for (index, row) in rows.iter_mut().enumerate() {
            let csv = if array.is_null(index) {
                None
            } else {
                Some(text.value(index).try_to_string().map_err(Error::internal)?)
            };
            row.push(PreviewCell {
                csv,
                kind: column.kind,
            });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
