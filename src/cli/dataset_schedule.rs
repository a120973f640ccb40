//! The schedule arguments of `chatlake dataset create`, converted to the same JSON object that the
//! API takes.

use crate::error::{Error, Result};
use crate::puller::schedules::json::{NumberOrLast, ScheduleJson};

#[derive(clap::Args, Clone, Debug, Default)]
pub struct ScheduleArgs {
    /// Cron expression with five fields, in the time zone of --time-zone. Without a schedule, runs
    /// start only manually
    #[arg(long, value_name = "CRON", conflicts_with_all = ["at", "every", "on", "months"])]
    schedule: Option<String>,
    /// Times of day, for example 09:00,17:30
    #[arg(
        long,
        value_name = "TIMES",
        value_delimiter = ',',
        conflicts_with = "every"
    )]
    at: Vec<String>,
    /// Interval, counted from midnight: 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h
    #[arg(long, value_name = "STEP")]
    every: Option<String>,
    /// With --every: only in these hours, both ends included, for example 08:00-18:00. The interval
    /// is counted from the first one
    #[arg(long, value_name = "FROM-TO", requires = "every")]
    active: Option<String>,
    /// Days of the week (mon,fri), days of the month (1,15,last) or a weekday of the month (2-fri,
    /// last-sun); every day when left out
    #[arg(long, value_name = "DAYS", value_delimiter = ',')]
    on: Vec<String>,
    /// Months, 1 to 12; all when left out
    #[arg(long, value_name = "MONTHS", value_delimiter = ',')]
    months: Vec<u8>,
    /// No scheduled run before this time, for example 2026-12-01T08:00:00Z
    #[arg(long, value_name = "MOMENT")]
    starts_at: Option<String>,
    /// Missed runs: one (run once), all (run each) or none (skip). Default: one
    #[arg(long, value_name = "WAY")]
    catch_up: Option<String>,
}

impl ScheduleArgs {
    /// The schedule of the arguments. `None` without one: manual runs only.
    pub fn wire(&self) -> Result<Option<ScheduleJson>> {
        let mut wire = ScheduleJson {
            cron: self.schedule.clone(),
            every: self.every.clone(),
            ..ScheduleJson::default()
        };
        wire.times = (!self.at.is_empty()).then(|| self.at.clone());
        wire.months = (!self.months.is_empty()).then(|| self.months.clone());
        (wire.starts_at, wire.catch_up) = (self.starts_at.clone(), self.catch_up.clone());
        if let Some(active) = &self.active {
            let Some((from, to)) = active.split_once('-') else {
                return Err(Error::field(
                    "active",
                    "--active must have a start and an end, for example 08:00-18:00.",
                ));
            };
            (wire.active_from, wire.active_to) = (Some(from.to_owned()), Some(to.to_owned()));
        }
        self.days(&mut wire)?;
        Ok((wire != ScheduleJson::default()).then_some(wire))
    }

    fn days(&self, wire: &mut ScheduleJson) -> Result<()> {
        let which = |word: &str| match word {
            "last" => Some(NumberOrLast::Word("last".to_owned())),
            number => number.parse().ok().map(NumberOrLast::Number),
        };
        if self.on.is_empty() {
            return Ok(());
        }
        let ordinals: Vec<(&str, &str)> = self
            .on
            .iter()
            .filter_map(|part| part.split_once('-'))
            .collect();
        let numbers: Option<Vec<NumberOrLast>> = self.on.iter().map(|part| which(part)).collect();
        if ordinals.len() == self.on.len() {
            wire.nth = ordinals.iter().map(|(nth, _)| which(nth)).collect();
            let mut days: Vec<String> = ordinals.iter().map(|(_, day)| (*day).to_owned()).collect();
            days.dedup();
            wire.weekdays = Some(days);
            if wire.nth.is_none() {
                return Err(Error::field(
                    "on",
                    "Write a weekday of the month as 2-fri or last-sun.",
                ));
            }
        } else if numbers.is_some() {
            wire.month_days = numbers;
        } else {
            wire.weekdays = Some(self.on.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_arguments(arguments: &[&str]) -> Result<Option<ScheduleJson>> {
        #[derive(clap::Parser)]
        struct ScheduleLine {
            #[command(flatten)]
            schedule: ScheduleArgs,
        }
        let line: ScheduleLine =
            clap::Parser::try_parse_from([&["create"], arguments].concat()).unwrap();
        line.schedule.wire()
    }

    #[test]
    fn arguments_say_the_same_as_the_object() {
        for (arguments, json) in [
            (
                &["--schedule", "0 9 * * *", "--catch-up", "all"][..],
                r#"{"cron":"0 9 * * *","catch_up":"all"}"#,
            ),
            (
                &["--at", "09:00,17:30", "--on", "mon,fri", "--months", "1,12"],
                r#"{"times":["09:00","17:30"],"weekdays":["mon","fri"],"months":[1,12]}"#,
            ),
            (
                &["--every", "3h", "--active", "08:00-18:00"],
                r#"{"every":"3h","active_from":"08:00","active_to":"18:00"}"#,
            ),
            (
                &["--at", "9:00", "--on", "2-fri,last-fri"],
                r#"{"times":["9:00"],"weekdays":["fri"],"nth":[2,"last"]}"#,
            ),
            (
                &["--at", "9:00", "--on", "1,15,last"],
                r#"{"times":["9:00"],"month_days":[1,15,"last"]}"#,
            ),
        ] {
            let wire = parse_arguments(arguments).unwrap().unwrap();
            assert_eq!(serde_json::to_string(&wire).unwrap(), json);
            assert!(wire.plan().is_ok(), "{json}");
        }
        assert!(parse_arguments(&[]).unwrap().is_none());
        assert!(
            parse_arguments(&["--every", "3h", "--active", "08:00"]).is_err()
                && parse_arguments(&["--at", "9:00", "--on", "x-fri"]).is_err()
        );
    }
}
