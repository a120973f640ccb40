//! Detects a run whose rows and columns are those of the current version.

use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::segments::{Segments, digest};
use crate::datasets::update_mode::BuiltSegments;
use crate::datasets::versions::Version;

/// Whether the new version would have the columns of the current one. `pulled`: the columns of the
/// run's rows. `merged`: the new version also keeps rows of the current one.
pub(super) fn same_columns(
    version: &Version,
    merged: bool,
    declared: &[ColumnInfo],
    pulled: &[ColumnInfo],
) -> bool {
    let all = if merged {
        columns::union([version.columns.as_slice(), pulled])
    } else {
        pulled.to_vec()
    };
    columns::next_version(declared, &all, &version.columns) == version.columns
}

/// Whether the new version, which has the same columns, has the same rows as the current one. A
/// damaged current version is always replaced.
pub(super) async fn is_unchanged(
    segments: &Segments,
    version: &Version,
    built: &BuiltSegments,
    merged: bool,
) -> bool {
    if merged {
        return built.unchanged;
    }
    let new = digest::sum(built.order.iter().map(|segment| segment.digest));
    let same = new
        .zip(version.digest())
        .is_some_and(|(new, old)| (new.rows, new.ordered) == (old.rows, old.ordered));
    same && segments.check(&version.segments).await.is_ok()
}
