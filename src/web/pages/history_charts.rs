//! Rows and duration over time, as bars with a table behind each picture.

use jiff::tz::TimeZone;

use super::spark::{Chart, Drawn, bars, signed};
use crate::clock::Millis;
use crate::puller::run::{Run, State, Trigger};
use crate::web::words::{self, counted, grouped};

/// A chart and the head of its numbers. See `templates/panes/chart.html`.
pub struct Picture {
    pub chart: Chart,
    pub measure: &'static str,
    pub good: &'static str,
}

/// What the DataSet held after each run, and how long each took. `runs`: newest first. None before two runs ended.
pub fn pictures(runs: &[Run], now: Millis, zone: &TimeZone) -> Vec<Picture> {
    let mut ended: Vec<&Run> = runs.iter().filter(|run| matches!(run.state, State::Succeeded | State::Failed | State::Parked)).collect();
    ended.reverse();
    if ended.len() < 2 {
        return Vec::new();
    }
    let rows = |run: &Run| (run.state == State::Succeeded).then(|| run.rows_after.unwrap_or(run.rows).unsigned_abs());
    let pulls: Vec<&Run> = ended.iter().copied().filter(|run| run.trigger != Trigger::Revert).collect();
    let seconds = |run: &Run| run.duration(now).map(|millis| millis.unsigned_abs() / 1_000);
    let held = bars(&ended, now, zone, rows, |rows| counted(signed(rows), "row", "rows"));
    let took = bars(&pulls, now, zone, seconds, |seconds| words::span(signed(seconds) * 1_000));
    vec![
        picture(["Rows after each run", ""], "Rows", "rows in the DataSet", held, &ended, |most| grouped(signed(most))),
        picture(["Run duration", ", in seconds"], "Duration", "duration", took, &pulls, |most| words::span(signed(most) * 1_000)),
    ]
}

fn picture(
    [title, unit]: [&str; 2],
    measure: &'static str,
    good: &'static str,
    (most, bars, grid): Drawn,
    runs: &[&Run],
    say: impl Fn(u64) -> String,
) -> Picture {
    let failed = runs.iter().filter(|run| run.state != State::Succeeded).count();
    let chart = Chart {
        title: title.to_owned(),
        about: format!("The last {} runs{unit}", runs.len()),
        words: format!("{title}, the last {} runs, at most {}, {failed} failed. The table below has the numbers.", runs.len(), say(most)),
        bars,
        grid,
        any_bad: failed > 0,
    };
    Picture { chart, measure, good }
}
