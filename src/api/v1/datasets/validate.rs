//! Validates the settings of a DataSet in a request: every value, and the permission to use the
//! account.

use super::dataset_patch::{CreateDataset, PatchDataset};
use crate::actor::Actor;
use crate::api::Api;
use crate::api::error::ApiError;
use crate::api::v1::options::{self, OptionsPatch};
use crate::connectors::report::UpdateMode;
use crate::datasets::options::{DatasetOptions, ReportSetup};
use crate::datasets::{Dataset, DatasetDescription, DatasetName, DatasetSettings};
use crate::error::Error;
use crate::puller::schedules::json::ScheduleJson;
use crate::puller::schedules::{self, Schedule};

/// Reads the stored schedule, so that it can be written back unchanged.
pub(super) fn stored_schedule(dataset: &Dataset) -> Result<Option<ScheduleJson>, Error> {
    let schedule = Schedule::of(dataset)?;
    Ok(Some(ScheduleJson::from(schedule.plan())).filter(|wire| *wire != ScheduleJson::default()))
}

/// Applies a patch that needs no access to the account. Everything is checked before anything is
/// written.
pub(super) async fn apply_without_account(
    api: &Api,
    actor: &Actor,
    now: &Dataset,
    patch: PatchDataset,
) -> Result<(), ApiError> {
    let named = patch.name.is_some() || patch.description.is_some();
    let name = DatasetName::parse(patch.name.as_deref().unwrap_or(&now.name))?;
    let description =
        DatasetDescription::parse(patch.description.as_deref().unwrap_or(&now.description))?;
    let options = match (patch.key, patch.options) {
        (None, None) => None,
        (key, options) => Some(validate_options(now.setup(), key, options, Some(now))?),
    };
    if named {
        api.datasets
            .rename(actor, &now.id, &name, &description)
            .await?;
    }
    if matches!(patch.schedule, Some(None)) {
        api.datasets.unschedule(actor, &now.id).await?;
    }
    if let Some(options) = options {
        api.datasets.set_options(actor, &now.id, &options).await?;
    }
    Ok(())
}

/// Applies `patch` to the options and validates the result. `now`: the existing DataSet, `None` for
/// a new one.
fn validate_options(
    setup: ReportSetup<'_>,
    key: Option<Vec<String>>,
    patch: Option<OptionsPatch>,
    now: Option<&Dataset>,
) -> Result<DatasetOptions, Error> {
    let before = now.map(|now| now.options.clone()).unwrap_or_default();
    let undeclared = now
        .and_then(|now| now.current.as_ref())
        .map(|current| current.undeclared.as_slice())
        .unwrap_or_default();
    options::apply_patch(&before, key, patch, setup.mode)?
        .check(&setup, undeclared)
        .map_err(Error::fields)
}

/// Validates every value and the permission to use the account.
pub(super) async fn validate_settings(
    api: &Api,
    actor: &Actor,
    new: CreateDataset,
    now: Option<&Dataset>,
) -> Result<DatasetSettings, ApiError> {
    if !actor.may_edit() {
        return Err(Error::forbidden(
            "Viewers cannot create or change DataSets. An admin can change your role.",
        )
        .into());
    }
    let account = api.accounts.usable(actor, &new.account_id).await?;
    let report = account.connector.report(&new.report).ok_or_else(|| {
        Error::field(
            "report",
            format!(
                "{} has no such report. See /api/v1/connectors/{}.",
                account.connector.title(),
                account.connector.id()
            ),
        )
    })?;
    let menus = new.menus.check(report).map_err(Error::fields)?;
    let update_mode = match new.update_mode.as_deref() {
        None => report.mode,
        Some(word) => UpdateMode::parse(word).ok_or_else(|| {
            Error::field(
                "update_mode",
                "update_mode must be replace, append, merge or partition.",
            )
        })?,
    };
    let options = validate_options(
        ReportSetup {
            report,
            mode: update_mode,
            menus: &menus,
        },
        new.key,
        new.options,
        now,
    )?;
    let time_zone = new.time_zone.unwrap_or_else(|| "UTC".to_owned());
    schedules::zone(&time_zone)?;
    let now = api.clock.now();
    let schedule = match new.schedule {
        None => None,
        Some(body) => Schedule::from_json(&body, &time_zone, now, api.puller.min_interval_minutes)?
            .to_stored(now),
    };
    Ok(DatasetSettings {
        name: DatasetName::parse(&new.name)?,
        description: DatasetDescription::parse(new.description.as_deref().unwrap_or_default())?,
        account_id: new.account_id,
        connector: account.connector,
        report,
        menus,
        update_mode,
        options,
        time_zone,
        schedule,
    })
}
