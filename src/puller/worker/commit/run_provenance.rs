//! The provenance of a version that a run creates.

use crate::connectors::Window;
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::provenance::{Provenance, PulledColumns};
use crate::puller::queue::Claimed;

/// The report, the request and the last day of the new version.
pub(super) fn provenance(
    run: &Claimed,
    dataset: &Dataset,
    previous_provenance: Option<&Provenance>,
    requested: &[Window],
    pulled: &PulledColumns<'_>,
) -> Provenance {
    let (report, key) = (dataset.report.id.to_owned(), dataset.request_key());
    let (from, to) = (
        requested.iter().map(|window| window.from).min(),
        requested.iter().map(|window| window.to).max(),
    );
    // A run of older days keeps the last day that the DataSet has.
    let before = previous_provenance.filter(|before| {
        before.report == report
            && before.request_key == key
            && dataset.update_mode != UpdateMode::Replace
    });
    let last_day = before.and_then(|before| before.to);
    // Backfilled days after a gap do not count: a scheduled run must still fill the gap.
    let joins = run.range.is_none()
        || last_day
            .zip(from)
            .is_some_and(|(last_day, from)| last_day.tomorrow().is_ok_and(|next| from <= next));
    let (columns, filled) = Provenance::for_next_run(
        previous_provenance.filter(|before| before.report == report),
        pulled,
    );
    Provenance {
        to: if joins { to.max(last_day) } else { last_day },
        report,
        request_key: key,
        columns,
        filled,
    }
}
