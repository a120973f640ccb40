//! The date range of the Details pane, and its picture: one cell per day up to today.

use jiff::civil::Date;

use super::ago;
use crate::connectors::{MAX_DAYS, Menus, Window};
use crate::web::panes::form_fields::FormFields;
use crate::web::panes::view::DayRangeCell;

/// The maximum number of cells in the date range picture.
const MAX_CELLS: u32 = 60;

/// The date range of the entered numbers, for any report: a script may show it for another one.
pub(super) fn typed_range(typed: &FormFields, today: Date) -> Option<Window> {
    let number = |text: &str| {
        text.trim()
            .parse::<u32>()
            .ok()
            .filter(|days| *days <= MAX_DAYS)
    };
    let (start_days, end_days) = (number(&typed.start_days), number(&typed.end_days));
    if end_days > start_days {
        return None;
    }
    Menus {
        start_days,
        end_days,
        ..Menus::default()
    }
    .range(today)
}

pub(super) fn days_back(today: Date, day: Date) -> u32 {
    u32::try_from((today - day).get_days()).unwrap_or(0)
}

/// One cell per day from the first pulled day to today, or one for several days if they do not fit.
/// `static/js/days_line.js` draws the same while the person types.
pub(super) fn day_cells(from: u32, to: u32) -> Vec<DayRangeCell> {
    let cells = (from + 1).min(MAX_CELLS);
    let day_of = |cell: u32| {
        let scale = f64::from(from + 1) / f64::from(cells);
        (f64::from(from) - f64::from(cell) * scale).round() as i64
    };
    (0..cells)
        .map(|cell| {
            let last = cell + 1 == cells;
            let inside = day_of(cell) >= i64::from(to) && !(last && to > 0);
            let edge = inside && (last || day_of(cell + 1) < i64::from(to));
            let place = f64::from(cell) / f64::from(cells);
            let label = match cell {
                0 => ago(from),
                _ if last => ago(0),
                _ if edge && place > 0.35 && place < 0.85 => ago(to),
                _ => String::new(),
            };
            let kind = match (inside, last) {
                (true, true) => "in is-today",
                (true, false) => "in",
                (false, true) => "today",
                (false, false) => "out",
            };
            DayRangeCell {
                kind: kind.to_owned(),
                label,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_ends_with_today() {
        let days = day_cells(14, 7);
        assert_eq!(days.len(), 15);
        assert_eq!(days.iter().filter(|d| d.kind == "in").count(), 8);
        assert_eq!(
            (
                days[0].label.as_str(),
                days[7].label.as_str(),
                days[14].label.as_str()
            ),
            ("14 days ago", "7 days ago", "today")
        );
        assert_eq!(days[14].kind, "today");
        assert_eq!(
            day_cells(0, 0),
            [DayRangeCell {
                kind: "in is-today".to_owned(),
                label: "today".to_owned()
            }]
        );
        assert_eq!(day_cells(3_660, 0).len(), 60);
    }
}
