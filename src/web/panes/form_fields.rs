//! The form fields of the four panes, exactly as submitted. Each pane validates its own fields.

use std::collections::BTreeMap;

use super::schedule_fields::ScheduleFields;
use super::{Pane, retry_policy};
use crate::connectors::Connector;
use crate::connectors::report::{Report, Shape};
use crate::datasets::Dataset;
use crate::puller::schedules::Schedule;
use crate::secret::Secret;

/// The value of `account_id` for an account to be added.
pub const NEW: &str = "new";

/// The fields of all four panes. Closed panes submit their fields, too, so every request contains
/// all of them.
#[derive(Clone, Debug, Default)]
pub struct FormFields {
    pub step: String,
    /// The furthest pane that was open. It only affects the display; saving validates every pane.
    pub reached: Pane,

    pub account_id: String,
    pub account_name: String,
    /// The credential fields that are not secret, by id.
    pub plain: BTreeMap<String, String>,
    /// The secret fields; never rendered.
    pub secrets: BTreeMap<String, Secret>,
    pub api_url: String,
    pub requests_per_minute: String,
    pub account_zone: String,

    pub report: String,
    pub start_days: String,
    pub end_days: String,
    pub group: String,
    pub login: String,
    /// `mon` to `sun`; empty means Monday.
    pub report_weekday: String,
    /// Empty means automatic.
    pub group_by: String,
    pub tag: String,
    pub include_pending: bool,
    pub agent_details: bool,

    pub schedule: ScheduleFields,
    /// Empty until the browser or the person has chosen one.
    pub time_zone: String,
    pub update_mode: String,
    /// Column names, separated by commas.
    pub key: String,
    pub look_back: String,
    pub on_empty: String,
    pub hold_drop: String,
    pub on_added: String,
    pub on_removed: String,
    pub on_retyped: String,
    /// `on` or `off`; empty means on.
    pub second_read: String,
    pub retry: retry_policy::RetryFields,

    pub name: String,
    /// The suggested name. While it is unchanged, it follows report and account.
    pub suggested: String,
    pub description: String,
}

impl FormFields {
    /// Reads the fields of a request. Unknown fields are ignored.
    pub fn read(connector: Connector, pairs: Vec<(String, String)>) -> Self {
        let mut typed = Self::default();
        for (field, value) in pairs {
            if let Some(id) = field.strip_prefix("credentials.") {
                match connector.fields().iter().find(|f| f.id == id) {
                    Some(f) if f.secret => {
                        drop(typed.secrets.insert(id.to_owned(), Secret::new(value)))
                    }
                    Some(_) => drop(typed.plain.insert(id.to_owned(), value)),
                    None => {}
                }
                continue;
            }
            let place = match field.as_str() {
                "reached" => {
                    typed.reached = Pane::parse(&value).unwrap_or_default();
                    continue;
                }
                // Unchecked checkboxes are not submitted.
                "include_pending" => {
                    typed.include_pending = true;
                    continue;
                }
                "agent_details" => {
                    typed.agent_details = true;
                    continue;
                }
                "step" => &mut typed.step,
                "account_id" => &mut typed.account_id,
                "account_name" => &mut typed.account_name,
                "api_url" => &mut typed.api_url,
                "requests_per_minute" => &mut typed.requests_per_minute,
                "account_zone" => &mut typed.account_zone,
                "report" => &mut typed.report,
                "start_days" => &mut typed.start_days,
                "end_days" => &mut typed.end_days,
                "group" => &mut typed.group,
                "login" => &mut typed.login,
                "report_weekday" => &mut typed.report_weekday,
                "group_by" => &mut typed.group_by,
                "tag" => &mut typed.tag,
                "time_zone" => &mut typed.time_zone,
                "update_mode" => &mut typed.update_mode,
                "key" => &mut typed.key,
                "look_back" => &mut typed.look_back,
                "on_empty" => &mut typed.on_empty,
                "hold_drop" => &mut typed.hold_drop,
                "on_added" => &mut typed.on_added,
                "on_removed" => &mut typed.on_removed,
                "on_retyped" => &mut typed.on_retyped,
                "second_read" => &mut typed.second_read,
                "name" => &mut typed.name,
                "suggested" => &mut typed.suggested,
                "description" => &mut typed.description,
                other => match typed.retry.field_mut(other) {
                    Some(place) => place,
                    None => {
                        typed.schedule.put(&field, value);
                        continue;
                    }
                },
            };
            *place = value;
        }
        typed
    }

    /// The form for a new DataSet: the last week until yesterday, every morning.
    pub fn fresh(connector: Connector, report: Option<&Report>) -> Self {
        // The chat archive is the most common choice.
        let first = || {
            connector
                .reports()
                .iter()
                .find(|r| matches!(r.shape, Shape::Archive { .. }))
                .or(connector.reports().first())
        };
        let mut typed = Self {
            report: report
                .or_else(first)
                .map(|r| r.id.to_owned())
                .unwrap_or_default(),
            ..Self::default()
        };
        typed.start_days = "7".to_owned();
        typed.end_days = "1".to_owned();
        typed.retry = retry_policy::RetryFields::fresh();
        typed.schedule = ScheduleFields::fresh();
        typed.fill_account(connector);
        typed
    }

    /// The form for an existing DataSet.
    pub fn of(dataset: &Dataset) -> Self {
        let days = |days: Option<u32>, usual: &str| {
            days.map_or_else(|| usual.to_owned(), |days| days.to_string())
        };
        let mut typed = Self {
            reached: Pane::Name,
            account_id: dataset
                .account_id
                .as_ref()
                .map(|id| id.to_string())
                .unwrap_or_default(),
            report: dataset.report.id.to_owned(),
            start_days: days(dataset.menus.start_days, "7"),
            end_days: days(dataset.menus.end_days, "1"),
            group: dataset.menus.group.clone().unwrap_or_default(),
            login: dataset.menus.login.clone().unwrap_or_default(),
            report_weekday: dataset
                .menus
                .weekday
                .map(|day| day.word().to_owned())
                .unwrap_or_default(),
            group_by: dataset
                .menus
                .group_by
                .map(|by| by.word().to_owned())
                .unwrap_or_default(),
            tag: dataset.menus.tag.clone().unwrap_or_default(),
            include_pending: dataset.menus.include_pending.unwrap_or(false),
            agent_details: dataset.menus.agent_details.unwrap_or(false),
            time_zone: dataset.time_zone.clone(),
            update_mode: dataset.update_mode.word().to_owned(),
            retry: retry_policy::RetryFields::of(dataset),
            name: dataset.name.clone(),
            description: dataset.description.clone(),
            ..Self::default()
        };
        typed.fill_update_method(&dataset.options);
        // A stored schedule that cannot be parsed is replaced by the default.
        typed.schedule = Schedule::of(dataset).map_or_else(
            |_| ScheduleFields::fresh(),
            |schedule| ScheduleFields::stored(&schedule),
        );
        typed.fill_account(dataset.connector);
        typed
    }

    /// Sets the fields of a new account to their defaults.
    pub fn fill_account(&mut self, connector: Connector) {
        self.account_name = format!("{} account", connector.title());
        self.plain.clear();
        self.secrets.clear();
        self.api_url.clear();
        self.requests_per_minute = crate::accounts::DEFAULT_REQUESTS_PER_MINUTE.to_string();
        self.account_zone = "UTC".to_owned();
    }
}
