//! The data of the templates of the schedule: the fields, and the options of menus and checkboxes.

use super::schedule_fields::ScheduleFields;
use crate::puller::schedules::describe;
use crate::puller::schedules::plan::{
    CatchUp, HOUR_STEPS, Interval, MINUTE_STEPS, MONTHS, REMINDERS, WEEKDAYS, weekday_name,
    weekday_word,
};
use crate::web::components::Choice;

/// A checkbox.
#[derive(Clone, Debug, Default)]
pub struct Checkbox {
    pub field: String,
    /// The visible label; the accessible label follows.
    pub short: String,
    pub name: String,
    pub on: bool,
}

/// The data of the templates.
#[derive(Clone, Debug, Default)]
pub struct ScheduleView {
    pub f: ScheduleFields,
    pub minutes: Vec<Choice>,
    pub hours: Vec<Choice>,
    pub nths: Vec<Choice>,
    pub nth_days: Vec<Choice>,
    pub reminders: Vec<Choice>,
    pub catch_ups: Vec<Choice>,
    pub steps: Vec<Choice>,
    pub a_nth_days: Vec<Choice>,
    pub on: Vec<Checkbox>,
    pub a_on: Vec<Checkbox>,
    pub a_nths: Vec<Checkbox>,
    pub months: Vec<Checkbox>,
}

impl ScheduleView {
    pub fn new(f: ScheduleFields) -> Self {
        let choose = |field: &str, all: Vec<(String, String)>| -> Vec<Choice> {
            all.into_iter()
                .map(|(value, label)| Choice {
                    selected: f.is(field, &value),
                    value,
                    label,
                })
                .collect()
        };
        let tick = |field: String, short: &str, name: &str| Checkbox {
            on: f.on(&field),
            field,
            short: short.to_owned(),
            name: name.to_owned(),
        };
        let days = |start: &str| {
            WEEKDAYS
                .map(|day| {
                    tick(
                        format!("{start}{}", weekday_word(day)),
                        &weekday_name(day)[..2],
                        weekday_name(day),
                    )
                })
                .into()
        };
        let named = || {
            WEEKDAYS
                .map(|day| (weekday_word(day).to_owned(), weekday_name(day).to_owned()))
                .into()
        };
        let numbers = |all: &[u8]| all.iter().map(|n| (n.to_string(), n.to_string())).collect();
        let nth = |nth: u8| (nth.to_string(), describe::nth_word(nth).to_owned());
        let reminders = std::iter::once((String::new(), "never".to_owned()))
            .chain(REMINDERS.map(|(hours, name)| (hours.to_string(), format!("after {name}"))));
        // The API accepts any number of hours, so the stored one may be missing in the menu.
        let own = Some(f.of("remind")).filter(|hours| {
            !hours.is_empty()
                && REMINDERS
                    .iter()
                    .all(|(known, _)| known.to_string() != **hours)
        });
        let reminders =
            reminders.chain(own.map(|hours| (hours.to_owned(), format!("after {hours} hours"))));
        let catch_up = |way: CatchUp| {
            let label = match way {
                CatchUp::One => "Start one run",
                CatchUp::All => "Start every missed run",
                CatchUp::None => "Skip",
            };
            (way.word().to_owned(), label.to_owned())
        };
        let step = |step: Interval| match step {
            Interval::Minutes(n) => (step.word(), format!("{n} minutes")),
            Interval::Hours(1) => (step.word(), "hour".to_owned()),
            Interval::Hours(n) => (step.word(), format!("{n} hours")),
        };
        let ordinals = [1, 2, 3, 4, 5, 0];
        Self {
            minutes: choose("minutes", numbers(&MINUTE_STEPS)),
            hours: choose("hours", numbers(&HOUR_STEPS)),
            nths: choose("nth", ordinals.map(nth).into()),
            nth_days: choose("nth_day", named()),
            reminders: choose("remind", reminders.collect()),
            catch_ups: choose("catch_up", CatchUp::ALL.map(catch_up).into()),
            steps: choose("a_step", Interval::all().map(step).collect()),
            a_nth_days: choose("a_nth_day", named()),
            on: days("on_"),
            a_on: days("a_on_"),
            a_nths: ordinals
                .map(|n| {
                    tick(
                        format!("a_nth_{n}"),
                        describe::nth_word(n),
                        describe::nth_word(n),
                    )
                })
                .into(),
            months: (1u8..)
                .zip(MONTHS)
                .map(|(n, name)| tick(format!("month_{n}"), &name[..3], name))
                .collect(),
            f,
        }
    }
}
