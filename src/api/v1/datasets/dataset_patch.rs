//! The settings of a DataSet in a request: of a new one, or the changes of an existing one.

use serde::Deserialize;
use utoipa::ToSchema;

use super::dataset_body::MenusBody;
use super::schedule::ScheduleBody;
use super::validate::stored_schedule;
use crate::api::v1::notifications::RetryBody;
use crate::api::v1::options::OptionsPatch;
use crate::connectors::Menus;
use crate::datasets::Dataset;
use crate::error::Error;
use crate::ids::AccountId;
use crate::puller::schedules::json::ScheduleJson;

/// A new DataSet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDataset {
    /// Does not have to be unique.
    pub(super) name: String,
    pub(super) description: Option<String>,
    #[schema(value_type = String)]
    pub(super) account_id: AccountId,
    /// A report id.
    pub(super) report: String,
    #[serde(default)]
    #[schema(value_type = MenusBody)]
    pub(super) menus: Menus,
    /// `replace`, `append`, `merge` or `partition`; the report's default when absent.
    pub(super) update_mode: Option<String>,
    /// Key columns for `merge`; the report's key when absent or empty.
    pub(super) key: Option<Vec<String>>,
    pub(super) options: Option<OptionsPatch>,
    /// Null or absent: no schedule, run manually.
    #[schema(value_type = Option<ScheduleBody>)]
    pub(super) schedule: Option<ScheduleJson>,
    /// IANA name; UTC when absent.
    pub(super) time_zone: Option<String>,
    /// Null: failed runs are not retried. Absent: every 15 minutes, at most 3 times.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<RetryBody>)]
    pub(super) retry: Option<Option<RetryBody>>,
    /// Null or absent: derived from the schedule.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<i64>)]
    pub(super) expected_within_hours: Option<Option<i64>>,
}

/// Fields to change. Absent fields are unchanged. `menus` replaces the whole object. To change
/// account, report, menus, update mode, time zone or schedule, you need access to the account. To
/// change other fields or to set the schedule to null, you do not.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchDataset {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    #[schema(value_type = Option<String>)]
    pub(super) account_id: Option<AccountId>,
    pub(super) report: Option<String>,
    #[schema(value_type = Option<MenusBody>)]
    pub(super) menus: Option<Menus>,
    pub(super) update_mode: Option<String>,
    /// Empty: the report's key.
    pub(super) key: Option<Vec<String>>,
    /// Absent options are unchanged.
    pub(super) options: Option<OptionsPatch>,
    /// Null: no schedule, run manually.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<ScheduleBody>)]
    pub(super) schedule: Option<Option<ScheduleJson>>,
    pub(super) time_zone: Option<String>,
    /// Null: failed runs are not retried.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<RetryBody>)]
    pub(super) retry: Option<Option<RetryBody>>,
    /// Null: derived from the schedule.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<i64>)]
    pub(super) expected_within_hours: Option<Option<i64>>,
    /// Everyone who is signed in can read it.
    pub(super) shared: Option<bool>,
    /// Serve it by the LiveLeader API at `/a/Srv`. Only admins can change this, and only for the
    /// LiveLeader report Chats.
    pub(super) published: Option<bool>,
}

impl PatchDataset {
    /// Whether the patch changes what is pulled or when. Such a change needs an account that the
    /// actor may use; changing name, description or sharing, or removing the schedule, does not.
    pub(super) fn changes_source(&self) -> bool {
        let is_scheduled = matches!(self.schedule, Some(Some(_)));
        self.account_id.is_some()
            || self.report.is_some()
            || self.menus.is_some()
            || self.update_mode.is_some()
            || self.time_zone.is_some()
            || is_scheduled
    }

    /// The settings of the DataSet with this patch applied.
    pub(super) fn apply_to(self, now: Dataset) -> Result<CreateDataset, Error> {
        // A stored schedule that cannot be parsed is dropped.
        let stored = if self.schedule.is_some() {
            None
        } else {
            stored_schedule(&now)?
        };
        let account_id = self.account_id.or(now.account_id);
        Ok(CreateDataset {
            name: self.name.unwrap_or(now.name),
            description: Some(self.description.unwrap_or(now.description)),
            account_id: account_id.ok_or_else(|| {
                Error::field(
                    "account_id",
                    "The account of this DataSet was deleted. Choose another account.",
                )
            })?,
            report: self.report.unwrap_or_else(|| now.report.id.to_owned()),
            menus: self.menus.unwrap_or(now.menus),
            update_mode: Some(
                self.update_mode
                    .unwrap_or_else(|| now.update_mode.word().to_owned()),
            ),
            key: self.key,
            options: self.options,
            schedule: self.schedule.unwrap_or(stored),
            time_zone: Some(self.time_zone.unwrap_or(now.time_zone)),
            retry: None,
            expected_within_hours: None,
        })
    }
}

/// Deserializes a nullable field: `None` if it is absent, `Some(None)` if it is null.
pub(in crate::api::v1) fn double_option<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}
