//! Rows and duration over time, as bars with a table behind each picture.

use jiff::tz::TimeZone;

use super::spark::{Bar, Chart, FOOT, GridLine, LEFT, RIGHT, TOP, day_label, nice_step, short_number};
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
        picture(["How long each run took", ", in seconds"], "Duration", "time taken", took, &pulls, |most| words::span(signed(most) * 1_000)),
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

/// The largest value, the bars and the lines behind them.
type Drawn = (u64, Vec<Bar>, Vec<GridLine>);

/// `value`: none for a run that has none to show, which gets a low mark.
fn bars(runs: &[&Run], now: Millis, zone: &TimeZone, value: impl Fn(&Run) -> Option<u64>, say: impl Fn(u64) -> String) -> Drawn {
    let most = runs.iter().filter_map(|run| value(run)).max().unwrap_or(0);
    let step = nice_step(signed(most));
    let lines = most.max(1).div_ceil(step).max(1);
    let height = |number: u64| (FOOT - TOP) * number as f64 / (lines * step) as f64;
    let grid = (0..=lines).map(|line| (FOOT - height(line * step), line * step)).map(|(y, number)| GridLine {
        y: format!("{y:.1}"),
        label: short_number(number),
        label_y: format!("{:.1}", y + 4.0),
    });
    let slot = (RIGHT - LEFT) / runs.len().max(10) as f64;
    let width = (slot * 0.7).min(40.0);
    let every = runs.len().div_ceil(10);
    let bars = runs.iter().enumerate().map(|(index, run)| {
        let middle = RIGHT - slot * ((runs.len() - index) as f64 - 0.5);
        let bad = run.state != State::Succeeded;
        let value = value(run);
        let tall = value.map_or(6.0, |number| height(number).max(1.0));
        let when = words::short(run.started_at.unwrap_or(run.queued_at), now, zone);
        let told = match (value, bad) {
            (Some(number), true) => format!("{}, failed", say(number)),
            (Some(number), false) => say(number),
            (None, _) => "failed".to_owned(),
        };
        Bar {
            x: format!("{:.1}", middle - width / 2.0),
            y: format!("{:.1}", FOOT - tall),
            width: format!("{width:.1}"),
            height: format!("{tall:.1}"),
            middle: format!("{middle:.1}"),
            label: if (runs.len() - 1 - index).is_multiple_of(every) { day_label(run, zone) } else { String::new() },
            title: format!("{when}: {told}"),
            tone: if bad { "bad".to_owned() } else { String::new() },
            rows: told,
            when,
        }
    });
    (most, bars.collect(), grid.collect())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
