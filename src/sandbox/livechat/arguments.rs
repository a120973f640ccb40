//! Parses the query parameters and days of a request. An unknown parameter is refused, so that a
//! typing mistake in a connector is found.

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

use super::super::selection::ChatFilter;
use super::super::world::World;

/// A response with another status than 200.
pub struct JsonErrorResponse(StatusCode, String);

impl JsonErrorResponse {
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

impl IntoResponse for JsonErrorResponse {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1, "errors": [self.1] }))).into_response()
    }
}

pub type HandlerResult = Result<Response, JsonErrorResponse>;

/// The query parameters of a request; each can be taken once, and none may be left at the end.
pub struct QueryArguments(Vec<(String, String)>);

impl QueryArguments {
    pub fn of(request: &Request) -> Self {
        Self(
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self
            .0
            .iter()
            .position(|(name_in_query, _)| name_in_query == name)?;
        Some(self.0.remove(at).1)
    }

    /// All values of `name[]`.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let name = format!("{name}[]");
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name_in_query, _)| *name_in_query == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    pub fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, JsonErrorResponse> {
        self.take(name).map(|text| parse(name, &text)).transpose()
    }

    pub fn parsed_list<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, JsonErrorResponse> {
        self.list(name)
            .iter()
            .map(|text| parse(name, text))
            .collect()
    }

    /// `0` or `1`.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, JsonErrorResponse> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("0") => Ok(Some(false)),
            Some("1") => Ok(Some(true)),
            Some(_) => Err(bad_argument(name)),
        }
    }

    /// From 1.
    pub fn page(&mut self) -> Result<u64, JsonErrorResponse> {
        match self.parsed("page")?.unwrap_or(1) {
            0 => Err(bad_argument("page")),
            page => Ok(page),
        }
    }

    /// One of these words, or `None`.
    pub fn word(&mut self, name: &str, of: &[&str]) -> Result<Option<String>, JsonErrorResponse> {
        match self.take(name) {
            Some(word) if !of.contains(&word.as_str()) => Err(bad_argument(name)),
            word => Ok(word),
        }
    }

    pub fn zone(&mut self) -> Result<TimeZone, JsonErrorResponse> {
        let Some(name) = self.take("timezone") else {
            return Ok(TimeZone::UTC);
        };
        TimeZone::get(&name).map_err(|_| bad_argument("timezone"))
    }

    /// `group`, `agent` and `tag[]`.
    pub fn filter(&mut self) -> Result<ChatFilter, JsonErrorResponse> {
        let groups = self.parsed("group")?.into_iter().collect();
        Ok(ChatFilter {
            groups,
            agents: self.take("agent").into_iter().collect(),
            tags: self.list("tag"),
            ..ChatFilter::default()
        })
    }

    pub fn done(self) -> Result<(), JsonErrorResponse> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(JsonErrorResponse::argument(format!(
                "Unknown or repeated argument: {name}"
            ))),
        }
    }
}

pub fn bad_argument(name: &str) -> JsonErrorResponse {
    JsonErrorResponse::argument(format!("Wrong value of {name}"))
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, JsonErrorResponse> {
    text.parse().map_err(|_| bad_argument(name))
}

/// A range of days in a time zone, both included.
pub struct DayRange {
    pub from: Date,
    pub to: Date,
    pub zone: TimeZone,
}

impl DayRange {
    pub fn take(
        arguments: &mut QueryArguments,
        world: &World,
        default_from: impl Fn(Date) -> Date,
    ) -> Result<Self, JsonErrorResponse> {
        let zone = arguments.zone()?;
        let to = arguments
            .parsed("date_to")?
            .unwrap_or_else(|| zone.to_datetime(world.clock().timestamp()).date());
        let from = arguments
            .parsed("date_from")?
            .unwrap_or_else(|| default_from(to));
        if from > to {
            return Err(JsonErrorResponse::argument("date_from is after date_to"));
        }
        Ok(Self { from, to, zone })
    }

    /// In unix seconds, without the end.
    pub fn span(&self) -> Range<i64> {
        begin(self.from, 0, &self.zone)..begin(self.to.saturating_add(1.day()), 0, &self.zone)
    }

    pub fn each(&self) -> impl Iterator<Item = Date> {
        let to = self.to;
        self.from
            .series(Span::new().days(1))
            .take_while(move |day| *day <= to)
    }
}

/// The start of an hour of a day in unix seconds; a skipped hour starts where the next one does.
pub fn begin(day: Date, hour: i8, zone: &TimeZone) -> i64 {
    let time = Time::new(hour, 0, 0, 0).unwrap_or_default();
    let edge = if day < Date::ZERO { i64::MIN } else { i64::MAX };
    zone.to_timestamp(day.to_datetime(time))
        .map_or(edge, |moment| moment.as_second())
}

pub fn day_span(day: Date, zone: &TimeZone) -> Range<i64> {
    begin(day, 0, zone)..begin(day.saturating_add(1.day()), 0, zone)
}

/// An hour that a clock change repeats is one hour of double length.
pub fn hour_span(day: Date, hour: i8, zone: &TimeZone) -> Range<i64> {
    let end = if hour == 23 {
        begin(day.saturating_add(1.day()), 0, zone)
    } else {
        begin(day, hour + 1, zone)
    };
    begin(day, hour, zone)..end
}
