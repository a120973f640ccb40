//! The shape of a schedule, for the document of the API. `puller/schedules/json.rs` reads and
//! writes the JSON itself.

use serde::Serialize;
use utoipa::ToSchema;

/// When the DataSet runs, in `time_zone`: `cron`; or `times` or `every`, with days and months; or
/// manually with a reminder.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "only for the OpenAPI document; `ScheduleJson` reads the JSON"
)]
pub struct ScheduleBody {
    /// Five fields, for example `0 9 * * *`.
    cron: Option<String>,
    /// Times of day: `["09:00", "17:30"]`.
    times: Option<Vec<String>>,
    /// Interval, counted from midnight: 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h.
    every: Option<String>,
    /// With `every`: at this minute of the hour.
    minute: Option<u8>,
    /// With `every`: only from this time of day. The interval is counted from it.
    active_from: Option<String>,
    /// With `every`: only until this time of day, included.
    active_to: Option<String>,
    /// Run once in this number of days.
    every_days: Option<u16>,
    /// The first day for `every_days`, YYYY-MM-DD.
    days_from: Option<String>,
    /// mon, tue, wed, thu, fri, sat, sun.
    weekdays: Option<Vec<String>>,
    /// With one entry in `weekdays`: which of these weekdays in the month, 1 to 5 or `last`.
    nth: Option<Vec<NumberOrLast>>,
    /// 1 to 31 or `last`.
    month_days: Option<Vec<NumberOrLast>>,
    /// 1 to 12; every month when absent.
    months: Option<Vec<u8>>,
    /// Alone, without a schedule: send a reminder after this number of hours without a successful
    /// run.
    remind_after_hours: Option<u32>,
    /// No scheduled run before this time.
    starts_at: Option<String>,
    /// Runs that were missed while the server was off: run once (`one`, the default), run each
    /// (`all`) or skip (`none`).
    catch_up: Option<String>,
}

/// A number, or the word `last`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    reason = "only for the OpenAPI document; `ScheduleJson` reads the JSON"
)]
pub enum NumberOrLast {
    Number(u8),
    Word(Last),
}

/// The last weekday or day of a month.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(
    dead_code,
    reason = "only for the OpenAPI document; `ScheduleJson` reads the JSON"
)]
pub enum Last {
    Last,
}
