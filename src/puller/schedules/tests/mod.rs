//! Parsing, occurrences and descriptions of schedules.

mod parsing;
mod ten_years;
mod zones_and_times;

use super::*;
use crate::clock::iso;

pub(super) fn at(text: &str) -> Millis {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

pub(super) fn parse_json(json: &str) -> ScheduleJson {
    serde_json::from_str(json).unwrap()
}

fn of(json: &str, zone: &str, now: &str) -> Result<Schedule> {
    Schedule::from_json(&parse_json(json), zone, at(now), MIN_INTERVAL_MINUTES)
}

fn texts(schedule: &Schedule, after: &str, many: usize) -> Vec<String> {
    schedule
        .next(at(after), many)
        .iter()
        .map(|occurrence| occurrence.at.strftime("%Y-%m-%d %H:%M %:z").to_string())
        .collect()
}

fn next(cron: &str, zone: &str, after: &str, many: usize) -> Vec<String> {
    texts(
        &Schedule::parse(cron, zone, at(after)).unwrap(),
        after,
        many,
    )
}
