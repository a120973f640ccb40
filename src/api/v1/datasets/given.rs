//! What somebody gave for a DataSet, checked: every value, and the right to the account.

use super::{CreateDataset, PatchDataset};
use crate::actor::Actor;
use crate::api::Api;
use crate::api::error::Refusal;
use crate::api::v1::options::{self, OptionsPatch};
use crate::connectors::report::UpdateMode;
use crate::datasets::options::{Options, Setup};
use crate::datasets::{Dataset, Description, Name, Settings};
use crate::error::Error;
use crate::puller::schedules::wire::Wire;
use crate::puller::schedules::{self, Schedule};

/// The stored schedule, to be stored again.
pub(super) fn schedule_of(dataset: &Dataset) -> Result<Option<Wire>, Error> {
    let schedule = Schedule::of(dataset)?;
    Ok(Some(Wire::from(schedule.plan())).filter(|wire| *wire != Wire::default()))
}

/// What changes without a look at the account. Everything is checked before anything is written.
pub(super) async fn rewrite(api: &Api, actor: &Actor, now: &Dataset, patch: PatchDataset) -> Result<(), Refusal> {
    let named = patch.name.is_some() || patch.description.is_some();
    let name = Name::parse(patch.name.as_deref().unwrap_or(&now.name))?;
    let description = Description::parse(patch.description.as_deref().unwrap_or(&now.description))?;
    let options = match (patch.key, patch.options) {
        (None, None) => None,
        (key, options) => Some(options_of(now.setup(), key, options, Some(now))?),
    };
    if named {
        api.datasets.rename(actor, &now.id, &name, &description).await?;
    }
    if matches!(patch.schedule, Some(None)) {
        api.datasets.unschedule(actor, &now.id).await?;
    }
    if let Some(options) = options {
        api.datasets.choose(actor, &now.id, &options).await?;
    }
    Ok(())
}

/// The options, changed and checked against what the DataSet asks for. `now`: the DataSet, when there is one.
fn options_of(setup: Setup<'_>, key: Option<Vec<String>>, patch: Option<OptionsPatch>, now: Option<&Dataset>) -> Result<Options, Error> {
    let before = now.map(|now| now.options.clone()).unwrap_or_default();
    let undeclared = now.and_then(|now| now.current.as_ref()).map(|current| current.undeclared.as_slice()).unwrap_or_default();
    options::changed(&before, key, patch, setup.mode)?.check(&setup, undeclared).map_err(Error::fields)
}

/// Checks every value, and the right to the account at this moment.
pub(super) async fn settings(api: &Api, actor: &Actor, new: CreateDataset, now: Option<&Dataset>) -> Result<Settings, Refusal> {
    if !actor.may_edit() {
        return Err(Error::forbidden("Viewers cannot create or change DataSets. An admin can change your role.").into());
    }
    let account = api.accounts.usable(actor, &new.account_id).await?;
    let report = account.connector.report(&new.report).ok_or_else(|| {
        Error::field("report", format!("{} has no such report. See /api/v1/connectors/{}.", account.connector.title(), account.connector.id()))
    })?;
    let menus = new.menus.check(report).map_err(Error::fields)?;
    let update_mode = match new.update_mode.as_deref() {
        None => report.mode,
        Some(word) => UpdateMode::parse(word).ok_or_else(|| Error::field("update_mode", "update_mode must be replace, append, merge or partition."))?,
    };
    let options = options_of(Setup { report, mode: update_mode, menus: &menus }, new.key, new.options, now)?;
    let time_zone = new.time_zone.unwrap_or_else(|| "UTC".to_owned());
    schedules::zone(&time_zone)?;
    let now = api.clock.now();
    let schedule = match new.schedule {
        None => None,
        Some(body) => Schedule::of_wire(&body, &time_zone, now, api.puller.shortest_interval)?.planned(now),
    };
    Ok(Settings {
        name: Name::parse(&new.name)?,
        description: Description::parse(new.description.as_deref().unwrap_or_default())?,
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
