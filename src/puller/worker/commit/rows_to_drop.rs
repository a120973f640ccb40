//! Chooses which rows of the current version a new version does not keep.

use crate::connectors::Window;
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::update_mode::{BATCH_ID, BATCH_LAST_RUN, DayRanges, Drops};
use crate::error::Result;
use crate::puller::queue::{self, Claimed};
use crate::puller::{Puller, ledger, schedules};

/// The requested windows of the run.
pub(super) async fn requested_windows(puller: &Puller, run: &Claimed) -> Result<Vec<Window>> {
    Ok(ledger::of_run(&puller.db, &run.id)
        .await?
        .into_iter()
        .filter_map(|line| line.window)
        .collect())
}

/// Which rows of the previous version the new version does not keep.
pub(super) async fn rows_to_drop(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    requested: &[Window],
    pulled: &[ColumnInfo],
    before: &[ColumnInfo],
) -> Result<Drops> {
    let all = columns::union([
        columns::columns_of(dataset.report).as_slice(),
        pulled,
        before,
    ]);
    let column = |name: &str| all.iter().find(|column| column.name == name).cloned();
    let days = || -> Result<Option<DayRanges>> {
        let Some(column) = dataset.report.day.and_then(column) else {
            return Ok(None);
        };
        Ok(Some(DayRanges::of(
            column,
            requested,
            &schedules::zone(&dataset.time_zone)?,
        )?))
    };
    Ok(match dataset.update_mode {
        UpdateMode::Replace | UpdateMode::Append => Drops::Nothing,
        UpdateMode::Partition => match days()? {
            // The result may contain chats that began on other days, which the DataSet already has.
            // The key finds them.
            Some(days) => Drops::Days {
                days,
                key: report_key(dataset).filter_map(column).collect(),
            },
            None => Drops::Nothing,
        },
        UpdateMode::Merge if !dataset.options.key.is_empty() => {
            // A row without a value in a custom key is identified by the report's key, or by all
            // its columns if the report has none.
            let fallback = match dataset.report.key {
                [] => all
                    .iter()
                    .filter(|column| ![BATCH_ID, BATCH_LAST_RUN].contains(&column.name.as_str()))
                    .cloned()
                    .collect(),
                own => own.iter().copied().filter_map(column).collect(),
            };
            // An earlier row with the same custom key may be of any day.
            let columns = dataset
                .options
                .key
                .iter()
                .filter_map(|name| column(name))
                .collect();
            Drops::Keys {
                columns,
                fallback,
                empty_parents: Vec::new(),
                within: None,
            }
        }
        UpdateMode::Merge => match dataset.report.parent() {
            Some(parent) => {
                let empty_parents = queue::empty_parents(&puller.db, &run.id).await?;
                Drops::Keys {
                    columns: column(parent).into_iter().collect(),
                    fallback: Vec::new(),
                    empty_parents,
                    within: days()?,
                }
            }
            None => {
                let columns = report_key(dataset).filter_map(column).collect();
                Drops::Keys {
                    columns,
                    fallback: Vec::new(),
                    empty_parents: Vec::new(),
                    within: days()?,
                }
            }
        },
    })
}

/// The columns that identify rows that are replaced together: the key of the parent record, or the
/// key of the row.
fn report_key(dataset: &Dataset) -> impl Iterator<Item = &'static str> + use<> {
    let (parent, key) = (dataset.report.parent(), dataset.report.key);
    parent
        .into_iter()
        .chain(key.iter().copied().filter(move |_| parent.is_none()))
}

/// Whether the run records parents that produced no row, because their earlier rows must be
/// dropped.
pub(in crate::puller::worker) fn tracks_empty_parents(dataset: &Dataset) -> bool {
    dataset.update_mode == UpdateMode::Merge
        && dataset.options.key.is_empty()
        && dataset.report.parent().is_some()
}
