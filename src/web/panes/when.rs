//! What the Scheduling pane carries of the schedule, exactly as it was typed: the fields of both tabs, so that none is lost when somebody
//! goes from one to the other. `when_read.rs` makes a plan of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::timestamp;
use crate::puller::schedules::plan::{
    Calendar, CatchUp, Days, HOUR_STEPS, MINUTE_STEPS, MONTHS, Plan, REMINDERS, Step, Times, WEEKDAYS, When, clock_text, weekday_name, weekday_word,
};
use crate::puller::schedules::{Schedule, cron, words};
use crate::web::parts::Choice;

/// The names of all fields; `on_mon`, `a_on_mon`, `a_nth_1`, `month_1` and the like besides.
const NAMES: [&str; 34] = [
    "tab",
    "every",
    "minutes",
    "hours",
    "minute",
    "active",
    "active_from",
    "active_to",
    "every_days",
    "days_from",
    "month_how",
    "month_days",
    "nth",
    "nth_day",
    "at",
    "remind",
    "a_how",
    "a_times",
    "a_at",
    "a_step",
    "a_minute",
    "a_active",
    "a_from",
    "a_to",
    "a_days",
    "a_every_days",
    "a_days_from",
    "a_month_days",
    "a_nth_day",
    "a_months",
    "cron",
    "delay",
    "start_day",
    "start_time",
];
const SWITCHES: [&str; 4] = ["on_", "a_on_", "a_nth_", "month_"];

/// By name; what is off or was not sent is absent.
#[derive(Clone, Debug, Default)]
pub struct WhenFields(BTreeMap<String, String>);

impl WhenFields {
    /// Takes a field of a request. Unknown ones are passed over.
    pub fn put(&mut self, field: &str, value: String) {
        let numbered = |start: &str| field.strip_prefix(start).is_some_and(|end| end.len() <= 3 && !end.is_empty());
        if NAMES.contains(&field) || field == "catch_up" || SWITCHES.iter().any(|start| numbered(start)) {
            self.0.insert(field.to_owned(), value);
        }
    }

    fn set(&mut self, field: &str, value: impl Into<String>) {
        self.0.insert(field.to_owned(), value.into());
    }

    pub fn of(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    pub fn is(&self, field: &str, value: &str) -> bool {
        self.of(field) == value
    }

    pub fn on(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// An empty form: every morning.
    pub fn fresh() -> Self {
        let mut fields = Self::default();
        let usual = [
            ("tab", "basic"),
            ("every", "day"),
            ("minutes", "30"),
            ("hours", "6"),
            ("minute", "0"),
            ("active_from", "08:00"),
            ("active_to", "18:00"),
            ("every_days", "1"),
            ("month_how", "days"),
            ("month_days", "1"),
            ("nth", "2"),
            ("nth_day", "fri"),
            ("at", "06:00"),
            ("remind", ""),
            ("a_how", "fields"),
            ("a_times", "once"),
            ("a_at", "06:00"),
            ("a_step", "3h"),
            ("a_minute", "0"),
            ("a_from", "08:00"),
            ("a_to", "18:00"),
            ("a_days", "all"),
            ("a_every_days", "2"),
            ("a_month_days", "1, 15"),
            ("a_nth_2", "on"),
            ("a_nth_4", "on"),
            ("a_nth_day", "sun"),
            ("a_months", "all"),
            ("cron", "0 6 * * *"),
            ("delay", "now"),
            ("start_time", "06:00"),
            ("catch_up", "one"),
            ("on_mon", "on"),
        ];
        for (field, value) in usual {
            fields.set(field, value);
        }
        for day in &WEEKDAYS[..5] {
            fields.set(&format!("a_on_{}", weekday_word(*day)), "on");
        }
        for month in 1..=12 {
            fields.set(&format!("month_{month}"), "on");
        }
        fields
    }

    /// A schedule as it is stored; the other tab and the fields that it does not need hold what is usual.
    pub fn stored(schedule: &Schedule) -> Self {
        let mut fields = Self::fresh();
        let Plan { when, starts_at, catch_up } = schedule.plan();
        fields.set("catch_up", catch_up.word());
        if let Some(at) = starts_at {
            let at = timestamp(*at).to_zoned(schedule.zone().clone());
            fields.set("delay", "later");
            fields.set("start_day", at.date().to_string());
            fields.set("start_time", clock_text(at.time()));
        }
        if let When::Manually { remind_after } = when {
            fields.set("every", "manual");
            fields.set("remind", remind_after.map(|hours| hours.to_string()).unwrap_or_default());
        }
        if let Some(calendar) = schedule.calendar() {
            let line = cron::line(&calendar);
            fields.set("cron", line.clone().unwrap_or_default());
            let advanced = fields.advanced(&calendar);
            if !fields.basic(&calendar) {
                fields.set("tab", "advanced");
                fields.set("a_how", if advanced { "fields" } else { "cron" });
            }
        } else if let When::Cron(line) = when {
            fields.set("tab", "advanced");
            fields.set("a_how", "cron");
            fields.set("cron", line.as_str());
        }
        fields
    }

    fn switch(&mut self, start: &str, all: impl IntoIterator<Item = String>) {
        let is_one = |end: &str| end.parse::<u8>().is_ok() || WEEKDAYS.iter().any(|day| weekday_word(*day) == end);
        self.0.retain(|field, _| !field.strip_prefix(start).is_some_and(is_one));
        for one in all {
            self.set(&format!("{start}{one}"), "on");
        }
    }

    /// Fills the first tab. False when it cannot say this.
    fn basic(&mut self, calendar: &Calendar) -> bool {
        if !calendar.months.is_empty() {
            return false;
        }
        if let Times::Every { step, minute, active } = &calendar.times {
            if calendar.days != Days::All {
                return false;
            }
            match step {
                Step::Minutes(n) => {
                    self.set("every", "minutes");
                    self.set("minutes", n.to_string());
                }
                Step::Hours(n) => {
                    self.set("every", "hours");
                    self.set("hours", n.to_string());
                }
            }
            self.set("minute", minute.to_string());
            if let Some(active) = active {
                self.set("active", "on");
                self.set("active_from", clock_text(active.from));
                self.set("active_to", clock_text(active.to));
            }
            return true;
        }
        let every = match &calendar.days {
            Days::All => "day",
            Days::EveryNth { n, from } => {
                self.set("every_days", n.to_string());
                self.set("days_from", from.to_string());
                "day"
            }
            Days::Week(days) if *days == (1..=5).collect() => "weekday",
            Days::Week(days) => {
                self.switch("on_", words_of(days));
                "week"
            }
            Days::Month { days, last } => {
                self.set("month_how", "days");
                self.set("month_days", days_text(days, *last));
                "month"
            }
            Days::Ordinal { nths, weekdays } => {
                let (Some(nth), Some(day), 1, 1) = (nths.first(), words_of(weekdays).pop(), nths.len(), weekdays.len()) else { return false };
                self.set("month_how", "ordinal");
                self.set("nth", nth.to_string());
                self.set("nth_day", day);
                "month"
            }
        };
        self.set("every", every);
        self.set("at", times_text(&calendar.times));
        true
    }

    /// Fills the second tab. False when its fields cannot say this.
    fn advanced(&mut self, calendar: &Calendar) -> bool {
        match &calendar.times {
            Times::At(_) => {
                self.set("a_times", "once");
                self.set("a_at", times_text(&calendar.times));
            }
            Times::Every { step, minute, active } => {
                self.set("a_times", "often");
                self.set("a_step", step.word());
                self.set("a_minute", minute.to_string());
                if let Some(active) = active {
                    self.set("a_active", "on");
                    self.set("a_from", clock_text(active.from));
                    self.set("a_to", clock_text(active.to));
                }
            }
        }
        let days = match &calendar.days {
            Days::All => "all",
            Days::EveryNth { n, from } => {
                self.set("a_every_days", n.to_string());
                self.set("a_days_from", from.to_string());
                "nth"
            }
            Days::Week(days) => {
                self.switch("a_on_", words_of(days));
                "week"
            }
            Days::Month { days, last } => {
                self.set("a_month_days", days_text(days, *last));
                "month"
            }
            Days::Ordinal { nths, weekdays } => {
                if weekdays.len() != 1 {
                    return false;
                }
                self.switch("a_nth_", nths.iter().map(u8::to_string));
                self.set("a_nth_day", words_of(weekdays).concat());
                "ordinal"
            }
        };
        self.set("a_days", days);
        if !calendar.months.is_empty() {
            self.set("a_months", "some");
            self.switch("month_", calendar.months.iter().map(u8::to_string));
        }
        true
    }
}

fn words_of(days: &BTreeSet<i8>) -> Vec<String> {
    WEEKDAYS.iter().filter(|day| days.contains(&day.to_sunday_zero_offset())).map(|day| weekday_word(*day).to_owned()).collect()
}

fn times_text(times: &Times) -> String {
    times.of_day().into_iter().map(clock_text).collect::<Vec<_>>().join(", ")
}

fn days_text(days: &BTreeSet<u8>, last: bool) -> String {
    days.iter().map(u8::to_string).chain(last.then(|| "last".to_owned())).collect::<Vec<_>>().join(", ")
}

/// A box that may be ticked.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    pub field: String,
    /// What is seen, and what is read aloud.
    pub short: String,
    pub name: String,
    pub on: bool,
}

/// What the templates are filled with.
#[derive(Clone, Debug, Default)]
pub struct WhenView {
    pub f: WhenFields,
    pub minutes: Vec<Choice>,
    pub hours: Vec<Choice>,
    pub nths: Vec<Choice>,
    pub nth_days: Vec<Choice>,
    pub reminders: Vec<Choice>,
    pub catch_ups: Vec<Choice>,
    pub steps: Vec<Choice>,
    pub a_nth_days: Vec<Choice>,
    pub on: Vec<Tick>,
    pub a_on: Vec<Tick>,
    pub a_nths: Vec<Tick>,
    pub months: Vec<Tick>,
}

impl WhenView {
    pub fn new(f: WhenFields) -> Self {
        let choose = |field: &str, all: Vec<(String, String)>| -> Vec<Choice> {
            all.into_iter().map(|(value, label)| Choice { selected: f.is(field, &value), value, label }).collect()
        };
        let tick = |field: String, short: &str, name: &str| Tick { on: f.on(&field), field, short: short.to_owned(), name: name.to_owned() };
        let days = |start: &str| WEEKDAYS.map(|day| tick(format!("{start}{}", weekday_word(day)), &weekday_name(day)[..2], weekday_name(day))).into();
        let named = || WEEKDAYS.map(|day| (weekday_word(day).to_owned(), weekday_name(day).to_owned())).into();
        let numbers = |all: &[u8]| all.iter().map(|n| (n.to_string(), n.to_string())).collect();
        let nth = |nth: u8| (nth.to_string(), words::nth_word(nth).to_owned());
        let reminders = std::iter::once((String::new(), "never".to_owned())).chain(REMINDERS.map(|(hours, name)| (hours.to_string(), format!("after {name}"))));
        // A program may have chosen any number of hours.
        let own = Some(f.of("remind")).filter(|hours| !hours.is_empty() && REMINDERS.iter().all(|(known, _)| known.to_string() != **hours));
        let reminders = reminders.chain(own.map(|hours| (hours.to_owned(), format!("after {hours} hours"))));
        let catch_up = |way: CatchUp| {
            let label = match way {
                CatchUp::One => "Run once",
                CatchUp::All => "Run each missed update",
                CatchUp::None => "Skip",
            };
            (way.word().to_owned(), label.to_owned())
        };
        let step = |step: Step| match step {
            Step::Minutes(n) => (step.word(), format!("{n} minutes")),
            Step::Hours(1) => (step.word(), "hour".to_owned()),
            Step::Hours(n) => (step.word(), format!("{n} hours")),
        };
        let ordinals = [1, 2, 3, 4, 5, 0];
        Self {
            minutes: choose("minutes", numbers(&MINUTE_STEPS)),
            hours: choose("hours", numbers(&HOUR_STEPS)),
            nths: choose("nth", ordinals.map(nth).into()),
            nth_days: choose("nth_day", named()),
            reminders: choose("remind", reminders.collect()),
            catch_ups: choose("catch_up", CatchUp::ALL.map(catch_up).into()),
            steps: choose("a_step", Step::all().map(step).collect()),
            a_nth_days: choose("a_nth_day", named()),
            on: days("on_"),
            a_on: days("a_on_"),
            a_nths: ordinals.map(|n| tick(format!("a_nth_{n}"), words::nth_word(n), words::nth_word(n))).into(),
            months: (1u8..).zip(MONTHS).map(|(n, name)| tick(format!("month_{n}"), &name[..3], name)).collect(),
            f,
        }
    }
}
