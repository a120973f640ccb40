//! How a request is read: its arguments, its days, and the refusal of both. An argument that is not known is refused, so that a typing
//! mistake in a connector shows.

use std::ops::Range;
use std::str::FromStr;

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde_json::json;

use super::super::selection::Filter;
use super::super::world::World;

/// An answer that is not 200.
pub struct Refusal(StatusCode, String);

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    pub fn argument(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    pub fn not_found() -> Self {
        Self(StatusCode::NOT_FOUND, "Not found".to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1, "errors": [self.1] }))).into_response()
    }
}

pub type Answer = Result<Response, Refusal>;

/// The arguments of a request; each is taken once, and none may be left over.
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    pub fn of(request: &Request) -> Self {
        Self(url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(at).1)
    }

    /// All of `name[]`.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let name = format!("{name}[]");
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(given, _)| *given == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    pub fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        self.take(name).map(|text| parse(name, &text)).transpose()
    }

    pub fn parsed_list<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, Refusal> {
        self.list(name).iter().map(|text| parse(name, text)).collect()
    }

    /// `0` or `1`.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("0") => Ok(Some(false)),
            Some("1") => Ok(Some(true)),
            Some(_) => Err(wrong(name)),
        }
    }

    /// From 1.
    pub fn page(&mut self) -> Result<u64, Refusal> {
        match self.parsed("page")?.unwrap_or(1) {
            0 => Err(wrong("page")),
            page => Ok(page),
        }
    }

    /// One of these, when given.
    pub fn word(&mut self, name: &str, of: &[&str]) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            Some(word) if !of.contains(&word.as_str()) => Err(wrong(name)),
            word => Ok(word),
        }
    }

    pub fn zone(&mut self) -> Result<TimeZone, Refusal> {
        let Some(name) = self.take("timezone") else { return Ok(TimeZone::UTC) };
        TimeZone::get(&name).map_err(|_| wrong("timezone"))
    }

    /// `group`, `agent` and `tag[]`.
    pub fn filter(&mut self) -> Result<Filter, Refusal> {
        let groups = self.parsed("group")?.into_iter().collect();
        Ok(Filter { groups, agents: self.take("agent").into_iter().collect(), tags: self.list("tag"), ..Filter::default() })
    }

    pub fn done(self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::argument(format!("Unknown or repeated argument: {name}"))),
        }
    }
}

pub fn wrong(name: &str) -> Refusal {
    Refusal::argument(format!("Wrong value of {name}"))
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| wrong(name))
}

/// Days from one to another, both included, in a zone.
pub struct Days {
    pub from: Date,
    pub to: Date,
    pub zone: TimeZone,
}

impl Days {
    pub fn take(arguments: &mut Arguments, world: &World, default_from: impl Fn(Date) -> Date) -> Result<Self, Refusal> {
        let zone = arguments.zone()?;
        let to = arguments.parsed("date_to")?.unwrap_or_else(|| zone.to_datetime(world.clock().timestamp()).date());
        let from = arguments.parsed("date_from")?.unwrap_or_else(|| default_from(to));
        if from > to {
            return Err(Refusal::argument("date_from is after date_to"));
        }
        Ok(Self { from, to, zone })
    }

    /// In unix seconds, the end not included.
    pub fn span(&self) -> Range<i64> {
        begin(self.from, 0, &self.zone)..begin(self.to.saturating_add(1.day()), 0, &self.zone)
    }

    pub fn each(&self) -> impl Iterator<Item = Date> {
        let to = self.to;
        self.from.series(Span::new().days(1)).take_while(move |day| *day <= to)
    }
}

/// The unix second at which an hour of a day begins; an hour that a clock change leaves out begins where the next one does.
pub fn begin(day: Date, hour: i8, zone: &TimeZone) -> i64 {
    let time = Time::new(hour, 0, 0, 0).unwrap_or_default();
    let edge = if day < Date::ZERO { i64::MIN } else { i64::MAX };
    zone.to_timestamp(day.to_datetime(time)).map_or(edge, |moment| moment.as_second())
}

pub fn day_span(day: Date, zone: &TimeZone) -> Range<i64> {
    begin(day, 0, zone)..begin(day.saturating_add(1.day()), 0, zone)
}

/// An hour that a clock change repeats is told as one.
pub fn hour_span(day: Date, hour: i8, zone: &TimeZone) -> Range<i64> {
    let end = if hour == 23 { begin(day.saturating_add(1.day()), 0, zone) } else { begin(day, hour + 1, zone) };
    begin(day, hour, zone)..end
}
