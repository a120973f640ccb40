//! Charts of rows and duration over time: bars, with a table of the same values.

use jiff::tz::TimeZone;

use super::charts::{BarChart, Chart, bars};
use crate::clock::Millis;
use crate::puller::run::{Run, RunState, Trigger};
use crate::web::humanize::{self, counted, grouped, signed};

/// A chart with its title and a table of its values, for `templates/panes/chart.html`.
pub struct HistoryChart {
    pub chart: Chart,
    pub measure: &'static str,
    pub good: &'static str,
}

/// The charts of the row count after each run and the duration of each run. `runs`: newest first.
/// Empty before two runs have ended.
pub fn history_charts(runs: &[Run], now: Millis, zone: &TimeZone) -> Vec<HistoryChart> {
    let mut ended: Vec<&Run> = runs
        .iter()
        .filter(|run| {
            matches!(
                run.state,
                RunState::Succeeded | RunState::Failed | RunState::Parked
            )
        })
        .collect();
    ended.reverse();
    if ended.len() < 2 {
        return Vec::new();
    }
    let rows = |run: &Run| {
        (run.state == RunState::Succeeded)
            .then(|| run.rows_after.unwrap_or(run.rows).unsigned_abs())
    };
    let pulls: Vec<&Run> = ended
        .iter()
        .copied()
        .filter(|run| run.trigger != Trigger::Revert)
        .collect();
    let seconds = |run: &Run| {
        run.duration(now)
            .map(|millis| millis.unsigned_abs() / 1_000)
    };
    let row_bars = bars(&ended, now, zone, rows, |rows| {
        counted(signed(rows), "row", "rows")
    });
    let duration_bars = bars(&pulls, now, zone, seconds, |seconds| {
        humanize::span(signed(seconds) * 1_000)
    });
    vec![
        history_chart(
            ["Rows after each run", ""],
            "Rows",
            "rows in the DataSet",
            row_bars,
            &ended,
            |max| grouped(signed(max)),
        ),
        history_chart(
            ["Run duration", ", in seconds"],
            "Duration",
            "duration",
            duration_bars,
            &pulls,
            |max| humanize::span(signed(max) * 1_000),
        ),
    ]
}

fn history_chart(
    [title, unit]: [&str; 2],
    measure: &'static str,
    good: &'static str,
    (max, bars, grid): BarChart,
    runs: &[&Run],
    say: impl Fn(u64) -> String,
) -> HistoryChart {
    let failed = runs
        .iter()
        .filter(|run| run.state != RunState::Succeeded)
        .count();
    let chart = Chart {
        title: title.to_owned(),
        about: format!("The last {} runs{unit}", runs.len()),
        words: format!(
            "{title}, the last {} runs, at most {}, {failed} failed. \
             The table below has the numbers.",
            runs.len(),
            say(max)
        ),
        bars,
        grid,
        any_bad: failed > 0,
    };
    HistoryChart {
        chart,
        measure,
        good,
    }
}
