//! A DataSet as the API returns it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schedule::ScheduleBody;
use crate::api::v1::notifications::{RetryBody, StoppedBody};
use crate::api::v1::options::OptionsBody;
use crate::clock::iso;
use crate::connectors::Menus;
use crate::datasets::Dataset;
use crate::ids::{AccountId, DatasetId};
use crate::puller::schedules::Schedule;
use crate::puller::schedules::json::ScheduleJson;

/// A DataSet: the rows of a report.
#[derive(Serialize, ToSchema)]
pub struct DatasetBody {
    #[schema(value_type = String)]
    id: DatasetId,
    name: String,
    description: String,
    owner: String,
    /// Null if the account was deleted or is not shared with you.
    #[schema(value_type = Option<String>)]
    account_id: Option<AccountId>,
    connector: &'static str,
    report: &'static str,
    #[schema(value_type = MenusBody)]
    menus: Menus,
    /// replace, append, merge or partition.
    update_mode: &'static str,
    /// Key columns: the chosen ones, or those of the report.
    key: Vec<String>,
    options: OptionsBody,
    /// The version that is waiting for approval; its run gives the reason.
    held_version: Option<String>,
    /// Null: no schedule, run manually.
    #[schema(value_type = Option<ScheduleBody>)]
    schedule: Option<ScheduleJson>,
    time_zone: String,
    /// The schedule as text.
    schedule_words: Option<String>,
    /// Also null while the DataSet is paused.
    next_run_at: Option<String>,
    /// Set while the schedule is paused.
    paused: Option<PausedBody>,
    /// Why the saved schedule cannot be used.
    schedule_problem: Option<String>,
    /// Number of missed scheduled runs that no run has reported yet.
    missed: i64,
    /// Null: failed runs are not retried.
    retry: Option<RetryBody>,
    /// Time of the next retry.
    retry_at: Option<String>,
    /// Null: derived from the schedule.
    expected_within_hours: Option<i64>,
    /// No new data within the expected time.
    late: bool,
    late_since: Option<String>,
    /// Why the schedule was stopped; null if it was not stopped.
    stopped: Option<StoppedBody>,
    /// Everyone who is signed in can read it.
    shared: bool,
    /// Served by the LiveLeader API at `/a/Srv`.
    published: bool,
    /// Of the current version; null before the first version.
    rows: Option<i64>,
    columns: Option<usize>,
    version: Option<String>,
    /// When the current version was created.
    data_updated_at: Option<String>,
    created_at: String,
    updated_at: String,
}

/// Who paused a schedule, and when.
#[derive(Serialize, ToSchema)]
pub struct PausedBody {
    at: String,
    /// Null if that person no longer exists.
    by: Option<String>,
}

/// Settings of the report. The `menus` of a report list the ones that it accepts.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MenusBody {
    start_days: Option<u32>,
    end_days: Option<u32>,
    group: Option<String>,
    login: Option<String>,
    /// automatic, hour, day or month.
    group_by: Option<String>,
    tag: Option<String>,
    /// mon, tue, wed, thu, fri, sat or sun.
    weekday: Option<String>,
    include_pending: Option<bool>,
    agent_details: Option<bool>,
}

/// The schedule in words. `None` for a schedule without runs.
fn schedule_text(schedule: &Schedule) -> Option<String> {
    match (schedule.plan().is_manual(), schedule.plan().remind_after()) {
        (false, _) => Some(schedule.in_words()),
        (true, Some(hours)) => Some(format!(
            "Manual, with a reminder after {hours} hours without a successful run"
        )),
        (true, None) => None,
    }
}

impl From<Dataset> for DatasetBody {
    fn from(dataset: Dataset) -> Self {
        let current = dataset.current.as_ref();
        let schedule = Schedule::of(&dataset).ok();
        let plan = schedule
            .as_ref()
            .map(Schedule::plan)
            .filter(|plan| !plan.is_manual() || plan.remind_after().is_some());
        Self {
            retry: RetryBody::of(&dataset),
            retry_at: dataset.policies.retry_at.map(iso),
            expected_within_hours: dataset.policies.expected_hours,
            late: dataset.policies.late_since.is_some(),
            late_since: dataset.policies.late_since.map(iso),
            stopped: StoppedBody::of(&dataset),
            // A stored schedule that cannot be parsed is returned as it is stored.
            schedule: plan.map(ScheduleJson::from).or_else(|| {
                dataset
                    .schedule
                    .as_deref()
                    .filter(|_| schedule.is_none())
                    .map(ScheduleJson::from_cron)
            }),
            schedule_words: schedule.as_ref().and_then(schedule_text),
            paused: dataset.schedule_state.paused.map(|paused| PausedBody {
                at: iso(paused.at),
                by: paused.by,
            }),
            missed: dataset.schedule_state.missed,
            next_run_at: dataset
                .next_run_at
                .filter(|_| dataset.schedule_state.problem.is_none())
                .map(iso),
            schedule_problem: dataset.schedule_state.problem,
            owner: dataset.owner_name,
            connector: dataset.connector.id(),
            report: dataset.report.id,
            update_mode: dataset.update_mode.word(),
            key: dataset
                .options
                .key_of(dataset.report)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            options: (&dataset.options).into(),
            held_version: dataset.pending_approval.as_ref().map(ToString::to_string),
            rows: current.map(|c| c.rows),
            columns: current.map(|c| c.columns),
            version: current.map(|c| c.version.to_string()),
            data_updated_at: current.map(|c| iso(c.created_at)),
            created_at: iso(dataset.created_at),
            updated_at: iso(dataset.updated_at),
            id: dataset.id,
            name: dataset.name,
            description: dataset.description,
            account_id: dataset.account_id.filter(|_| !dataset.account_is_private),
            menus: dataset.menus,
            time_zone: dataset.time_zone,
            shared: dataset.shared,
            published: dataset.published,
        }
    }
}
