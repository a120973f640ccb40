//! Checks of what a run has read: rejected records, changed columns, and a large loss of rows.

use crate::connectors;
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::columns;
use crate::datasets::options::SchemaRule;
use crate::datasets::provenance::{Provenance, PulledColumns};
use crate::datasets::schema_change::{self, SchemaChange};
use crate::datasets::versions::Version;
use crate::error::Result;
use crate::puller::queue::Claimed;
use crate::puller::run::Failure;
use crate::puller::{Puller, ledger, retry};

/// Returns the failure if too many records of all windows of the run were rejected.
pub(super) async fn too_many_rejected(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    had_rows: bool,
) -> Result<Option<Failure>> {
    let ledger = ledger::of_run(&puller.db, &run.id).await?;
    // A duplicate is not counted as another record.
    let of = ledger
        .iter()
        .map(|line| line.counts.read.saturating_sub(line.counts.duplicates))
        .sum();
    let rejected = ledger.iter().map(|line| line.counts.rejected).sum();
    Ok(connectors::too_many_rejected(rejected, of)
        .then(|| retry::unexpected_records(rejected, of, dataset.connector.title(), had_rows)))
}

/// Returns why a version of `rows` must wait for approval: it has many fewer rows than the one
/// before, for the same request.
pub(super) fn row_drop_failure(
    dataset: &Dataset,
    previous_provenance: Option<&Provenance>,
    had: u64,
    rows: u64,
) -> Option<Failure> {
    let most = u64::from(dataset.options.hold_drop);
    let is_same_request = previous_provenance
        .is_none_or(|provenance| provenance.request_key == dataset.request_key());
    let applies = most > 0 && is_same_request && !dataset.report.is_snapshot();
    let lost = had.saturating_sub(rows);
    if !applies || u128::from(lost) * 100 <= u128::from(had) * u128::from(most) {
        return None;
    }
    let (noun, had_rows) = (if rows == 1 { "row" } else { "rows" }, grouped(had));
    Some(Failure {
        code: "held".to_owned(),
        message: format!(
            "The new version has {} {noun}, {}% fewer than {had_rows}. \
             The limit is {most}%, so it waits for approval.",
            grouped(rows),
            lost * 100 / had.max(1)
        ),
        who: "The owner of the DataSet must check the rows of this run, \
              then publish or discard them."
            .to_owned(),
        action: format!(
            "The existing {had_rows} rows stay available until the new version is published, \
             or a later run returns enough rows."
        ),
    })
}

/// "1,394"
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How the columns changed since the previous version; `None` if they did not.
pub(super) fn find_schema_change(
    dataset: &Dataset,
    before: Option<&Version>,
    previous_provenance: Option<&Provenance>,
    pulled: &PulledColumns<'_>,
) -> Option<SchemaChange> {
    // Without an earlier version or without rows, there is nothing to compare.
    let version = before.filter(|_| pulled.rows > 0)?;
    if dataset.update_mode != UpdateMode::Replace {
        // A run of a few days may lack columns of other days, so only new columns count.
        return schema_change::additions(&version.columns, pulled.columns, &dataset.options);
    }
    let Some(provenance) = previous_provenance else {
        return schema_change::between(&version.columns, pulled.columns, &dataset.options);
    };
    if provenance.columns.is_empty() {
        // Without known columns there is nothing to compare.
        return None;
    }
    // A column that was rarely filled before may have no value in this run.
    let expected = columns::union([pulled.columns, provenance.rare(pulled).as_slice()]);
    schema_change::between(&provenance.columns, &expected, &dataset.options)
}

/// Returns the failure if the DataSet is set to stop when its columns change.
pub(super) fn schema_change_failure(change: &SchemaChange) -> Option<Failure> {
    (change.verdict == SchemaRule::Stop).then(|| Failure {
        code: "schema_changed".to_owned(),
        message: format!(
            "The columns changed, and this DataSet is set to stop when columns change. {}",
            change.in_words()
        ),
        who:
            "The owner of the DataSet must check whether connected tools work with the new columns."
                .to_owned(),
        action: "To accept the columns, choose Accept or Accept and warn under Settings, \
                 then press Run now. The existing rows are unchanged."
            .to_owned(),
    })
}
