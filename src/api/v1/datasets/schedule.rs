//! The shape of a schedule, for the document of the API. `puller/schedules/wire.rs` reads and writes the JSON itself.

use serde::Serialize;
use utoipa::ToSchema;

/// When it is pulled, on the clock of `time_zone`: `cron`; or `times` or `every`, with the days and months that go with them; or by hand
/// with a reminder.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its shape is told; `Wire` is what is read")]
pub struct ScheduleBody {
    /// Five fields: for example `0 9 * * *`.
    cron: Option<String>,
    /// Clock times, each once a day: `["09:00", "17:30"]`.
    times: Option<Vec<String>>,
    /// 5m, 10m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h, from midnight on.
    every: Option<String>,
    /// With `every`: at this minute.
    minute: Option<u8>,
    /// With `every`: only from this clock time, from which the steps are counted, ...
    active_from: Option<String>,
    /// ... to this one, both included.
    active_to: Option<String>,
    /// Every so many days, ...
    every_days: Option<u16>,
    /// ... counted from this day, YYYY-MM-DD.
    days_from: Option<String>,
    /// mon, tue, wed, thu, fri, sat, sun.
    weekdays: Option<Vec<String>>,
    /// With one of `weekdays`: which of the month, 1 to 5 or `last`.
    nth: Option<Vec<NumberOrLast>>,
    /// 1 to 31 or `last`.
    month_days: Option<Vec<NumberOrLast>>,
    /// 1 to 12; every month when absent.
    months: Option<Vec<u8>>,
    /// Alone: run by hand, and somebody is reminded after so many hours without new rows.
    remind_after_hours: Option<u32>,
    /// Not before this moment.
    starts_at: Option<String>,
    /// What becomes of moments that passed while the server was off: one run for all of them (`one`, when absent), one for each (`all`), none (`none`).
    catch_up: Option<String>,
}

/// A number, or the word `last`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its shape is told; `Wire` is what is read")]
pub enum NumberOrLast {
    Number(u8),
    Word(Last),
}

/// The last one of a month.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its shape is told; `Wire` is what is read")]
pub enum Last {
    Last,
}
