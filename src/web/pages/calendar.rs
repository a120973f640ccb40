//! The coverage calendar as months of days, with a label for every state.

use jiff::civil::Date;

use super::completeness;
use crate::datasets::Dataset;
use crate::ids::DatasetId;
use crate::puller::coverage::{CoverageDay, DayState};
use crate::web::components::Status;
use crate::web::humanize::{self, counted, grouped};

/// The data of `templates/panes/calendar.html`.
#[derive(Default)]
pub struct Calendar {
    /// A sentence such as "2 days are missing: Wed 17 Feb 2027 and ...", or that every day was
    /// pulled.
    pub words: String,
    pub months: Vec<Month>,
    pub counts: Vec<StateCount>,
    pub legend: Vec<LegendEntry>,
}

pub struct Month {
    pub name: String,
    pub weeks: Vec<Vec<DayCell>>,
}

/// A day in the calendar. Without a link it is outside the range of the DataSet, and without a
/// number outside the month.
#[derive(Clone, Default)]
pub struct DayCell {
    pub number: String,
    pub href: String,
    pub state: &'static str,
    pub mark: &'static str,
    pub title: String,
}

pub struct StateCount {
    pub number: String,
    pub words: &'static str,
    pub state: &'static str,
}

pub struct LegendEntry {
    pub state: &'static str,
    pub mark: &'static str,
    pub name: String,
    pub words: String,
}

/// The short label of a state.
pub fn word(state: DayState) -> &'static str {
    match state {
        DayState::Verified => "verified",
        DayState::Unverified => "present",
        DayState::SoFar => "today so far",
        DayState::Stale => "outdated",
        DayState::Short => "incomplete",
        DayState::Missing => "missing",
    }
}

/// The explanation of a state. `vendor`: the vendor's name.
pub fn meaning(state: DayState, vendor: &str) -> String {
    match state {
        DayState::Verified => {
            format!("rows saved and complete: the count matches {vendor}, or two pulls agree")
        }
        DayState::Unverified => "rows saved, but not verified".to_owned(),
        DayState::SoFar => "rows up to the last run".to_owned(),
        DayState::Stale => {
            "pulled before the day ended, or a later pull was incomplete: rows may be missing"
                .to_owned()
        }
        DayState::Short => format!("no rows saved: {vendor} returned fewer than it reported"),
        DayState::Missing => "the current version has no rows of this day".to_owned(),
    }
}

fn mark(state: DayState) -> &'static str {
    match state {
        DayState::Verified => "✓",
        DayState::Unverified => "•",
        DayState::SoFar => "…",
        DayState::Stale => "?",
        DayState::Short => "!",
        DayState::Missing => "×",
    }
}

pub fn status(state: DayState) -> Status {
    let tone = match state {
        DayState::Verified | DayState::Unverified => "good",
        DayState::SoFar => "info",
        DayState::Stale => "warn",
        DayState::Short | DayState::Missing => "bad",
    };
    Status::new(
        tone,
        state == DayState::SoFar,
        humanize::capitalize(word(state)),
        "",
    )
}

impl Calendar {
    /// The months of `first` to `last`, from `days`, which are in ascending order.
    pub fn new(days: &[CoverageDay], dataset: &Dataset, first: Date, last: Date) -> Self {
        let vendor = dataset.connector.title();
        let mut months = Vec::new();
        let mut month = first.first_of_month();
        while month <= last && months.len() < 12 {
            months.push(month_grid(month, days, &dataset.id));
            let Ok(next) = month.last_of_month().tomorrow() else {
                break;
            };
            month = next;
        }
        let count = |state| days.iter().filter(|day| day.state == state).count();
        let counts = DayState::ALL
            .into_iter()
            .filter(|state| count(*state) > 0)
            .map(|state| StateCount {
                number: grouped(i64::try_from(count(state)).unwrap_or(0)),
                words: word(state),
                state: state.word(),
            })
            .collect();
        let legend = |state: DayState| LegendEntry {
            state: state.word(),
            mark: mark(state),
            name: humanize::capitalize(word(state)),
            words: meaning(state, vendor),
        };
        let legend = DayState::ALL.into_iter().map(legend).collect();
        Self {
            words: summary(days),
            months,
            counts,
            legend,
        }
    }
}

fn month_grid(month: Date, days: &[CoverageDay], dataset: &DatasetId) -> Month {
    let lead = usize::try_from(month.weekday().to_monday_zero_offset()).unwrap_or(0);
    let mut cells = vec![DayCell::default(); lead];
    for number in 1..=month.days_in_month() {
        let Ok(date) = Date::new(month.year(), month.month(), number) else {
            continue;
        };
        let cell = match days.binary_search_by_key(&date, |day| day.day) {
            Ok(at) => {
                let state = days[at].state;
                let proven = days[at]
                    .completeness
                    .filter(|_| state == DayState::Unverified)
                    .map(|c| format!(", {}", completeness::word(c)))
                    .unwrap_or_default();
                DayCell {
                    number: number.to_string(),
                    href: format!("/datasets/{dataset}/days/{date}"),
                    state: state.word(),
                    mark: mark(state),
                    title: format!("{}: {}{proven}", humanize::day(date), word(state)),
                }
            }
            Err(_) => DayCell {
                number: number.to_string(),
                ..DayCell::default()
            },
        };
        cells.push(cell);
    }
    while !cells.len().is_multiple_of(7) {
        cells.push(DayCell::default());
    }
    Month {
        name: month.strftime("%B %Y").to_string(),
        weeks: cells.chunks(7).map(<[DayCell]>::to_vec).collect(),
    }
}

/// The sentence about days that need attention. It names the days if they are few.
fn summary(days: &[CoverageDay]) -> String {
    let missing: Vec<&CoverageDay> = days.iter().filter(|day| !day.state.has_rows()).collect();
    let stale: Vec<&CoverageDay> = days
        .iter()
        .filter(|day| day.state == DayState::Stale)
        .collect();
    let mut parts = Vec::new();
    for (some, is, are) in [
        (&missing, "day is missing", "days are missing"),
        (&stale, "day is outdated", "days are outdated"),
    ] {
        if some.is_empty() {
            continue;
        }
        let count = counted(i64::try_from(some.len()).unwrap_or(0), is, are);
        let names: Vec<String> = some
            .iter()
            .take(4)
            .map(|day| humanize::day(day.day))
            .collect();
        parts.push(if some.len() <= 4 {
            format!("{count}: {}.", humanize::listed(&names))
        } else {
            format!("{count}.")
        });
    }
    if parts.is_empty() {
        "Every day was pulled.".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::Completeness;

    #[test]
    fn a_month_begins_on_its_weekday_and_every_state_has_its_own_mark() {
        let day = |text: &str, state| CoverageDay {
            day: text.parse().unwrap(),
            state,
            read_at: None,
            completeness: Some(Completeness::Counted),
            run: None,
        };
        let days = [
            day("2026-11-01", DayState::Unverified),
            CoverageDay {
                completeness: None,
                ..day("2026-11-02", DayState::Missing)
            },
        ];
        let months = [month_grid(days[0].day, &days, &DatasetId::new())];
        let month = &months[0];
        assert_eq!(
            (month.name.as_str(), month.weeks.len()),
            ("November 2026", 6)
        );
        let first: Vec<&str> = month.weeks[0]
            .iter()
            .map(|cell| cell.number.as_str())
            .collect();
        assert_eq!(first, ["", "", "", "", "", "", "1"], "the 1st was a Sunday");
        assert_eq!(month.weeks[0][6].title, "Sun 1 Nov 2026: present, counted");
        assert_eq!(month.weeks[1][0].title, "Mon 2 Nov 2026: missing");
        assert!(month.weeks[1][1].href.is_empty() && month.weeks[1][1].number == "3");
        assert_eq!(summary(&days), "1 day is missing: Mon 2 Nov 2026.");
        let mut marks: Vec<&str> = DayState::ALL.map(mark).to_vec();
        marks.sort_unstable();
        marks.dedup();
        assert_eq!(marks.len(), DayState::ALL.len());
    }
}
