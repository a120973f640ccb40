//! Sparklines and bar charts of rows per run.

use crate::clock::Millis;
use crate::puller::run::{Run, RunState, Trigger};
use crate::web::components::Spark;
use crate::web::humanize::{self, grouped, signed};

use jiff::tz::TimeZone;

/// A sparkline of the rows of the last runs, oldest first; empty for fewer than two.
pub fn spark(rows: &[i64], tone: &str) -> Spark {
    let (Some(last), true) = (rows.last(), rows.len() > 1) else {
        return Spark::default();
    };
    let max = rows.iter().copied().max().unwrap_or(0).max(1) as f64;
    let step = 68.0 / (rows.len() - 1) as f64;
    let place = |(index, value): (usize, &i64)| {
        (2.0 + step * index as f64, 22.0 - 20.0 * *value as f64 / max)
    };
    let places: Vec<(f64, f64)> = rows.iter().enumerate().map(place).collect();
    let points: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let (x, y) = places.last().copied().unwrap_or_default();
    Spark {
        points: points.join(" "),
        end_x: format!("{x:.1}"),
        end_y: format!("{y:.1}"),
        tone: tone.to_owned(),
        words: format!(
            "Rows of the last {} runs, the newest {}",
            rows.len(),
            grouped(*last)
        ),
    }
}

/// A bar chart, drawn in a box of 960 by 224.
#[derive(Default)]
pub struct Chart {
    pub title: String,
    pub about: String,
    pub bars: Vec<Bar>,
    pub grid: Vec<GridLine>,
    pub any_bad: bool,
    pub words: String,
}

/// The bar of a run.
pub struct Bar {
    pub x: String,
    pub y: String,
    pub width: String,
    pub height: String,
    pub middle: String,
    pub label: String,
    pub title: String,
    pub tone: String,
    pub rows: String,
    pub when: String,
}

/// A grid line with its label.
pub struct GridLine {
    pub y: String,
    pub label: String,
    pub label_y: String,
}

const LEFT: f64 = 48.0;
const RIGHT: f64 = 952.0;
const TOP: f64 = 12.0;
const FOOT: f64 = 192.0;

/// A bar chart of rows per run, oldest at the left. `runs`: newest first.
pub fn chart(runs: &[Run], now: Millis, zone: &TimeZone) -> Chart {
    let mut runs: Vec<&Run> = runs
        .iter()
        .filter(|run| {
            run.trigger != Trigger::Revert
                && matches!(
                    run.state,
                    RunState::Succeeded | RunState::Failed | RunState::Parked
                )
        })
        .collect();
    runs.reverse();
    if runs.is_empty() {
        return Chart::default();
    }
    let written = |run: &Run| (run.state == RunState::Succeeded).then(|| run.rows.unsigned_abs());
    let (max, bars, grid) = bars(&runs, now, zone, written, |rows| {
        humanize::counted(signed(rows), "row", "rows")
    });
    let failed = runs
        .iter()
        .filter(|run| run.state != RunState::Succeeded)
        .count();
    Chart {
        title: "Rows per run".to_owned(),
        about: if runs.len() == 1 {
            "The only run so far".to_owned()
        } else {
            format!("The last {} runs", runs.len())
        },
        words: format!(
            "Rows of the last {} runs, at most {}, {failed} failed. The table below has the numbers.",
            runs.len(),
            grouped(signed(max))
        ),
        bars,
        grid,
        any_bad: failed > 0,
    }
}

/// The maximum value, the bars and the grid lines.
pub(super) type BarChart = (u64, Vec<Bar>, Vec<GridLine>);

/// `value`: the value of a run; a run with `None` gets a low mark.
pub(super) fn bars(
    runs: &[&Run],
    now: Millis,
    zone: &TimeZone,
    value: impl Fn(&Run) -> Option<u64>,
    say: impl Fn(u64) -> String,
) -> BarChart {
    let max = runs.iter().filter_map(|run| value(run)).max().unwrap_or(0);
    let step = nice_step(signed(max));
    let lines = max.max(1).div_ceil(step).max(1);
    let height = |number: u64| (FOOT - TOP) * number as f64 / (lines * step) as f64;
    let grid = (0..=lines)
        .map(|line| (FOOT - height(line * step), line * step))
        .map(|(y, number)| GridLine {
            y: format!("{y:.1}"),
            label: short_number(number),
            label_y: format!("{:.1}", y + 4.0),
        });
    let slot = (RIGHT - LEFT) / runs.len().max(10) as f64;
    let width = (slot * 0.7).min(40.0);
    let every = runs.len().div_ceil(10);
    let bars = runs.iter().enumerate().map(|(index, run)| {
        let middle = RIGHT - slot * ((runs.len() - index) as f64 - 0.5);
        let bad = run.state != RunState::Succeeded;
        let value = value(run);
        let tall = value.map_or(6.0, |number| height(number).max(1.0));
        let when = humanize::short(run.started_at.unwrap_or(run.queued_at), now, zone);
        let shown = match (value, bad) {
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
            label: if (runs.len() - 1 - index).is_multiple_of(every) {
                day_label(run, zone)
            } else {
                String::new()
            },
            title: format!("{when}: {shown}"),
            tone: if bad { "bad".to_owned() } else { String::new() },
            rows: shown,
            when,
        }
    });
    (max, bars.collect(), grid.collect())
}

fn day_label(run: &Run, zone: &TimeZone) -> String {
    crate::clock::timestamp(run.started_at.unwrap_or(run.queued_at))
        .to_zoned(zone.clone())
        .strftime("%-d %b")
        .to_string()
}

/// 1, 2 or 5 times a power of ten, so that about four lines reach `max`.
fn nice_step(max: i64) -> u64 {
    let rough = (max.max(1).unsigned_abs()).div_ceil(4).max(1);
    let mut ten = 1_u64;
    loop {
        for step in [ten, ten * 2, ten * 5] {
            if step >= rough {
                return step;
            }
        }
        ten = ten.saturating_mul(10);
    }
}

/// A short number: 400, 1.5k, 20k, 1.2M.
fn short_number(number: u64) -> String {
    let tenths = |unit: u64, mark: &str| {
        let text = format!("{:.1}", number as f64 / unit as f64);
        format!("{}{mark}", text.trim_end_matches(".0"))
    };
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => tenths(1_000, "k"),
        1_000_000..1_000_000_000 => tenths(1_000_000, "M"),
        _ => tenths(1_000_000_000, "G"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_labels_short() {
        assert_eq!(
            [0, 1, 4, 7, 362, 12_480, 1_000_000].map(nice_step),
            [1, 1, 1, 2, 100, 5_000, 500_000]
        );
        assert_eq!(
            [0, 400, 1_500, 20_000, 1_200_000].map(short_number),
            ["0", "400", "1.5k", "20k", "1.2M"]
        );
    }

    #[test]
    fn a_line_begins_at_the_left_and_ends_at_the_right() {
        let line = spark(&[0, 10], "");
        assert_eq!(line.points, "2.0,22.0 70.0,2.0");
        assert!(spark(&[3], "").points.is_empty() && spark(&[], "").points.is_empty());
    }
}
