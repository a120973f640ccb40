//! Texts about completeness: a short label for tables, a sentence for a run, and a sentence for one
//! date range.

use crate::connectors::Completeness;
use crate::datasets::Dataset;
use crate::puller::run::{Run, RunState, Trigger};
use crate::web::components::Status;
use crate::web::humanize::{capitalize, counted, grouped};

/// The short label for tables and tooltips, such as "pulled twice".
pub fn word(completeness: Completeness) -> &'static str {
    match completeness {
        Completeness::Verified => "verified",
        Completeness::Reread => "pulled twice",
        Completeness::Counted => "counted",
        Completeness::Corrected => "corrected",
        Completeness::Complete => "complete",
        Completeness::Short => "incomplete",
    }
}

/// Like `word`, with its tone. `unread`: the status of a date range that was not pulled.
pub fn status(completeness: Option<Completeness>, unread: Status) -> Status {
    let Some(completeness) = completeness else {
        return unread;
    };
    let tone = match completeness {
        Completeness::Verified | Completeness::Reread | Completeness::Complete => "good",
        Completeness::Counted | Completeness::Corrected => "info",
        Completeness::Short => "bad",
    };
    Status::new(tone, false, capitalize(word(completeness)), "")
}

/// The sentence about the completeness of a run; empty if there is nothing to say.
pub fn of_run(run: &Run, dataset: &Dataset) -> String {
    let (vendor, (one, many)) = (dataset.connector.title(), dataset.report.records());
    let total = run
        .vendor_total
        .map_or_else(|| "a total".to_owned(), |total| counted(total, one, many));
    match run.completeness {
        Some(Completeness::Verified) => {
            format!("Verified: {vendor} reports {total}, and all were pulled.")
        }
        Some(Completeness::Reread) => {
            format!("Pulled twice: two pulls of the newest days agree. {vendor} reports {total}.")
        }
        Some(Completeness::Counted) => {
            format!(
                "Counted: {vendor} reports {total}, and all were pulled. \
                 The newest days were pulled only once, \
                 so changes during the pull may be missing."
            )
        }
        Some(Completeness::Corrected) => format!(
            "Corrected: pages changed during the pull, so they were pulled again. \
             {vendor} now reports {total}."
        ),
        Some(Completeness::Complete)
            if run.state == RunState::Succeeded && run.trigger != Trigger::Revert =>
        {
            format!("Complete: pulled to the end. {vendor} gives no total to compare with.")
        }
        Some(Completeness::Short) => {
            format!("Incomplete: {vendor} returned fewer {many} than it reported.")
        }
        Some(Completeness::Complete) | None => String::new(),
    }
}

/// The text after the number of records of one date range: ". Two pulls agree. LiveChat reports
/// 214."
pub fn of_window(completeness: Option<Completeness>, vendor: &str, total: Option<u64>) -> String {
    let total = total.map_or_else(
        || "no total".to_owned(),
        |total| grouped(i64::try_from(total).unwrap_or(i64::MAX)),
    );
    match completeness {
        Some(Completeness::Verified) => format!(". {vendor} reports {total}."),
        Some(Completeness::Reread) => format!(". Two pulls agree. {vendor} reports {total}."),
        Some(Completeness::Counted) => {
            format!(". {vendor} reports {total}. These days were pulled only once.")
        }
        Some(Completeness::Corrected) => format!(
            ". Pages changed during the pull, so they were pulled again. \
             {vendor} reports {total}."
        ),
        Some(Completeness::Short) => format!(", fewer than the {total} that {vendor} reports."),
        Some(Completeness::Complete) | None => ".".to_owned(),
    }
}
