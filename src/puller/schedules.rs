//! When a DataSet is pulled, in which zone: a cron line of five fields, read on the clock of one IANA time zone. A daily time that a
//! daylight-saving change skips runs at the next moment that exists; one that comes twice runs the first time only.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::clock::{Millis, timestamp};
use crate::error::{Error, Result};

/// No DataSet is pulled more often than this.
const SHORTEST_GAP_MINUTES: i64 = 5;

/// A schedule that fires.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
    zone_name: String,
}

/// What the Scheduling pane offers. Everything is stored as its cron line; a line of another form is `Other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basic {
    Manually,
    /// Every `every` hours (1, 2, 3, 4, 6, 8 or 12), at this minute.
    Hours {
        every: u8,
        minute: u8,
    },
    Daily {
        hour: u8,
        minute: u8,
    },
    Weekdays {
        hour: u8,
        minute: u8,
    },
    Weekly {
        day: Weekday,
        hour: u8,
        minute: u8,
    },
    Other(String),
}

/// The hour steps that divide a day, so that the gap over midnight is as long as the others.
pub const HOUR_STEPS: [u8; 7] = [1, 2, 3, 4, 6, 8, 12];

/// The zone with this IANA name.
pub fn zone(name: &str) -> Result<TimeZone> {
    let known = name.len() <= 64 && (name == "UTC" || name.contains('/')) && !name.starts_with('/');
    known
        .then(|| TimeZone::get(name).ok())
        .flatten()
        .ok_or_else(|| Error::field("time_zone", "There is no such time zone. Use a name such as Europe/Oslo or UTC."))
}

/// The names of all zones, sorted, UTC first.
pub fn zone_names() -> Vec<String> {
    let mut names: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.as_str().to_owned())
        .filter(|name| {
            name.contains('/') && !name.starts_with("Etc/") && !name.starts_with("posix/") && !name.starts_with("right/") && !name.starts_with("SystemV/")
        })
        .collect();
    names.sort();
    names.dedup();
    names.insert(0, "UTC".to_owned());
    names
}

impl Schedule {
    /// Reads a cron line of five fields. Refuses one that never fires or that fires more often than every five minutes.
    pub fn parse(text: &str, zone_name: &str, now: Millis) -> Result<Self> {
        let zone = zone(zone_name)?;
        let text = text.trim();
        let wrong = |why: String| Error::field("schedule", why);
        if text.len() > 128 || text.split_whitespace().count() != 5 {
            return Err(wrong(
                "A schedule is a cron line of five fields: minute, hour, day of month, month, weekday. For example 0 9 * * * for every day at 09:00."
                    .to_owned(),
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|why| wrong(format!("This cron line cannot be read: {why}.")))?;
        let schedule = Self { text: text.to_owned(), cron, zone, zone_name: zone_name.to_owned() };
        let coming = schedule.next(now, 50);
        if coming.is_empty() {
            return Err(wrong("This schedule never fires: there is no such day. Choose a day that comes.".to_owned()));
        }
        let too_often = coming.windows(2).any(|pair| pair[1].timestamp().as_second() - pair[0].timestamp().as_second() < SHORTEST_GAP_MINUTES * 60);
        if too_often {
            return Err(wrong(format!("This schedule fires more often than every {SHORTEST_GAP_MINUTES} minutes. Leave at least that much between two runs.")));
        }
        Ok(schedule)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first moment after `after`; none when there is none in sight.
    pub fn next_after(&self, after: Millis) -> Option<Millis> {
        self.next(after, 1).first().map(|at| at.timestamp().as_millisecond())
    }

    /// The next `many` moments after `after`, on the clock of the zone.
    pub fn next(&self, after: Millis, many: usize) -> Vec<Zoned> {
        let mut at = timestamp(after).to_zoned(self.zone.clone());
        let mut coming = Vec::with_capacity(many);
        while coming.len() < many {
            let Ok(next) = self.cron.find_next_occurrence(&at, false) else { break };
            coming.push(next.clone());
            at = next;
        }
        coming
    }

    /// "Every day at 09:00, Europe/Oslo".
    pub fn in_words(&self) -> String {
        let when = match Basic::of(Some(&self.text)) {
            Basic::Manually => "Manually".to_owned(),
            Basic::Hours { every: 1, minute: 0 } => "Every hour, on the hour".to_owned(),
            Basic::Hours { every: 1, minute } => format!("Every hour at {minute} past"),
            Basic::Hours { every, minute: 0 } => format!("Every {every} hours, from midnight"),
            Basic::Hours { every, minute } => format!("Every {every} hours at {minute} past, from midnight"),
            Basic::Daily { hour, minute } => format!("Every day at {hour:02}:{minute:02}"),
            Basic::Weekdays { hour, minute } => format!("Monday to Friday at {hour:02}:{minute:02}"),
            Basic::Weekly { day, hour, minute } => format!("Every {} at {hour:02}:{minute:02}", weekday_name(day)),
            Basic::Other(_) => self.cron.describe().trim_end_matches('.').to_owned(),
        };
        format!("{when}, {}", self.zone_name)
    }
}

impl Basic {
    /// The choice that a stored cron line stands for.
    pub fn of(cron: Option<&str>) -> Self {
        let Some(cron) = cron else { return Self::Manually };
        let fields: Vec<&str> = cron.split_whitespace().collect();
        let [minute, hour, "*", "*", weekday] = fields[..] else { return Self::Other(cron.to_owned()) };
        let Some(minute) = number(minute, 59) else { return Self::Other(cron.to_owned()) };
        if weekday == "*" && hour == "*" {
            return Self::Hours { every: 1, minute };
        }
        if let Some(every) = hour.strip_prefix("*/").and_then(|step| number(step, 12)) {
            let even = weekday == "*" && HOUR_STEPS.contains(&every);
            return if even { Self::Hours { every, minute } } else { Self::Other(cron.to_owned()) };
        }
        let Some(hour) = number(hour, 23) else { return Self::Other(cron.to_owned()) };
        match weekday {
            "*" => Self::Daily { hour, minute },
            "1-5" => Self::Weekdays { hour, minute },
            day => match number(day, 6).and_then(|day| Weekday::from_sunday_zero_offset(day.cast_signed()).ok()) {
                Some(day) => Self::Weekly { day, hour, minute },
                None => Self::Other(cron.to_owned()),
            },
        }
    }

    /// The cron line; none for manual.
    pub fn cron(&self) -> Option<String> {
        Some(match self {
            Self::Manually => return None,
            Self::Hours { every: 1, minute } => format!("{minute} * * * *"),
            Self::Hours { every, minute } => format!("{minute} */{every} * * *"),
            Self::Daily { hour, minute } => format!("{minute} {hour} * * *"),
            Self::Weekdays { hour, minute } => format!("{minute} {hour} * * 1-5"),
            Self::Weekly { day, hour, minute } => format!("{minute} {hour} * * {}", day.to_sunday_zero_offset()),
            Self::Other(cron) => cron.clone(),
        })
    }
}

fn number(text: &str, most: u8) -> Option<u8> {
    text.parse().ok().filter(|n| *n <= most)
}

pub fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    fn next(cron: &str, zone: &str, after: &str, many: usize) -> Vec<String> {
        let after = at(after);
        Schedule::parse(cron, zone, after).unwrap().next(after, many).iter().map(|z| z.strftime("%Y-%m-%d %H:%M %:z").to_string()).collect()
    }

    #[test]
    fn a_time_that_the_clocks_skip_runs_when_they_have_gone_forward() {
        assert_eq!(
            next("30 2 * * *", "Europe/Oslo", "2027-03-27T00:00:00Z", 3),
            ["2027-03-27 02:30 +01:00", "2027-03-28 03:00 +02:00", "2027-03-29 02:30 +02:00"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_runs_the_first_time_only() {
        assert_eq!(next("30 2 * * *", "Europe/Oslo", "2026-10-24T12:00:00Z", 2), ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]);
    }

    #[test]
    fn schedules_that_never_fire_or_fire_too_often_are_refused() {
        for cron in ["0 0 31 2 *", "* * * * *", "*/4 * * * *", "", "0 9 * *", "0 9 * * * *", "@daily", "a b c d e", &"0 ".repeat(5_000)] {
            assert!(Schedule::parse(cron, "UTC", at("2026-11-21T00:00:00Z")).is_err(), "{cron:?}");
        }
        for zone in ["", "Mars/Base", "../etc/passwd", "/etc/localtime", "Oslo"] {
            assert!(Schedule::parse("0 9 * * *", zone, 0).is_err(), "{zone:?}");
        }
    }

    #[test]
    fn every_choice_of_the_pane_survives_the_way_through_its_cron_line() {
        let mut choices = vec![Basic::Manually];
        for every in HOUR_STEPS {
            choices.push(Basic::Hours { every, minute: 13 });
        }
        choices.push(Basic::Daily { hour: 9, minute: 0 });
        choices.push(Basic::Weekdays { hour: 23, minute: 59 });
        for day in 0..7 {
            choices.push(Basic::Weekly { day: Weekday::from_sunday_zero_offset(day).unwrap(), hour: 0, minute: 5 });
        }
        choices.push(Basic::Other("0 9 1 * *".to_owned()));
        for choice in choices {
            assert_eq!(Basic::of(choice.cron().as_deref()), choice);
        }
    }

    #[test]
    fn a_schedule_is_said_in_words() {
        let words = |cron| Schedule::parse(cron, "Europe/Oslo", 0).unwrap().in_words();
        assert_eq!(words("0 9 * * *"), "Every day at 09:00, Europe/Oslo");
        assert_eq!(words("5 */6 * * *"), "Every 6 hours at 5 past, from midnight, Europe/Oslo");
        assert_eq!(words("30 6 * * 1"), "Every Monday at 06:30, Europe/Oslo");
    }
}
