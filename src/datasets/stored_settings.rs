//! The settings of a DataSet: their types, and the functions that create a DataSet and change it.

use super::options::{DatasetOptions, options_json};
use super::schedule_state::StoredSchedule;
use super::{Datasets, policies, published};
use crate::actor::Actor;
use crate::connectors::report::{Report, UpdateMode};
use crate::connectors::{Connector, Menus};
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId};

/// Validated settings for a new or changed DataSet.
#[derive(Clone, Debug)]
pub struct DatasetSettings {
    pub name: DatasetName,
    pub description: DatasetDescription,
    pub account_id: AccountId,
    pub connector: Connector,
    pub report: &'static Report,
    pub menus: Menus,
    pub update_mode: UpdateMode,
    pub options: DatasetOptions,
    pub time_zone: String,
    /// `None` for manual runs only.
    pub schedule: Option<StoredSchedule>,
}

/// A DataSet's name: 1 to 200 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetName(pub(super) String);

/// The description of a DataSet: at most 2,000 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetDescription(String);

impl DatasetName {
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let length = text.chars().count();
        if length == 0 {
            return Err(Error::field("name", "Enter a name (1 to 200 characters)."));
        }
        if length > 200 {
            return Err(Error::field(
                "name",
                format!("Name must have 200 characters or fewer (now {length})."),
            ));
        }
        if !text.chars().all(crate::text::is_allowed_in_name) {
            return Err(Error::field(
                "name",
                "Name must be one line without control characters, invisible characters or text \
                 direction marks.",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DatasetDescription {
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().replace("\r\n", "\n");
        let length = text.chars().count();
        if length > 2_000 {
            return Err(Error::field(
                "description",
                format!("Description must have 2,000 characters or fewer (now {length})."),
            ));
        }
        if text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
        {
            return Err(Error::field(
                "description",
                "Description must not contain control characters.",
            ));
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Datasets {
    /// Creates a DataSet of this person. The caller has checked the permission to use the account.
    pub async fn create(&self, actor: &Actor, settings: &DatasetSettings) -> Result<DatasetId> {
        if !actor.may_edit() {
            return Err(Error::forbidden(
                "Viewers cannot create DataSets. An admin can change your role.",
            ));
        }
        let id = DatasetId::new();
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO datasets (
                 id, owner_id, account_id, connector, report, name, description, menus,
                 update_mode, time_zone, schedule, next_run_at, created_at, updated_at,
                 last_due_at, options, schedule_plan
             )
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $13, $14, $15)",
        )
        .bind(&id)
        .bind(&actor.user)
        .bind(&settings.account_id)
        .bind(settings.connector.id())
        .bind(settings.report.id)
        .bind(settings.name.as_str())
        .bind(settings.description.as_str())
        .bind(menus_json(&settings.menus)?)
        .bind(settings.update_mode.word())
        .bind(&settings.time_zone)
        .bind(
            settings
                .schedule
                .as_ref()
                .and_then(|planned| planned.cron.as_deref()),
        )
        .bind(settings.schedule.as_ref().and_then(|planned| planned.next))
        .bind(now)
        .bind(options_json(&settings.options)?)
        .bind(
            settings
                .schedule
                .as_ref()
                .and_then(|planned| planned.plan.as_deref()),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Changes a DataSet's settings. The rows stay until the next run. A DataSet whose report
    /// changes from Chats to another one is unpublished.
    pub async fn configure(
        &self,
        actor: &Actor,
        id: &DatasetId,
        settings: &DatasetSettings,
    ) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets
             SET
                 account_id = $1, connector = $2, report = $3, name = $4, description = $5,
                 menus = $6, update_mode = $7, time_zone = $8, schedule = $9,
                 -- A paused schedule stays paused, unless it is removed.
                 next_run_at = CASE WHEN paused_at IS NULL THEN $10 ELSE NULL END,
                 updated_at = $11, options = $14, schedule_plan = $15,
                 paused_at = CASE WHEN $9 IS NULL THEN NULL ELSE paused_at END,
                 schedule_error = NULL, missed = 0, last_due_at = $11,
                 -- Without its schedule, a DataSet is not retried.
                 retry_at = CASE
                     WHEN $9 IS NULL AND schedule IS NOT NULL THEN NULL
                     ELSE retry_at
                 END,
                 -- With another schedule, or with an account again, data is expected from now on.
                 expected_since = CASE
                     WHEN account_id IS NULL
                         OR time_zone <> $8
                         OR COALESCE(schedule, '') <> COALESCE($9, '')
                         OR COALESCE(schedule_plan, '') <> COALESCE($15, '') THEN $11
                     ELSE expected_since
                 END,
                 published = CASE WHEN $13 = 1 THEN published ELSE 0 END
             WHERE id = $12",
        )
        .bind(&settings.account_id)
        .bind(settings.connector.id())
        .bind(settings.report.id)
        .bind(settings.name.as_str())
        .bind(settings.description.as_str())
        .bind(menus_json(&settings.menus)?)
        .bind(settings.update_mode.word())
        .bind(&settings.time_zone)
        .bind(
            settings
                .schedule
                .as_ref()
                .and_then(|planned| planned.cron.as_deref()),
        )
        .bind(settings.schedule.as_ref().and_then(|planned| planned.next))
        .bind(self.clock.now())
        .bind(id)
        .bind(i64::from(published::is_publishable(
            settings.connector,
            settings.report,
        )))
        .bind(options_json(&settings.options)?)
        .bind(
            settings
                .schedule
                .as_ref()
                .and_then(|planned| planned.plan.as_deref()),
        )
        .execute(&mut *tx)
        .await?;
        policies::clear_stop(&mut tx, id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes the name and description of a DataSet.
    pub async fn rename(
        &self,
        actor: &Actor,
        id: &DatasetId,
        name: &DatasetName,
        description: &DatasetDescription,
    ) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets SET name = $1, description = $2, updated_at = $3 WHERE id = $4",
        )
        .bind(name.as_str())
        .bind(description.as_str())
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Sets whether everyone who is signed in may read it, or only its owner and admins.
    pub async fn share(&self, actor: &Actor, id: &DatasetId, shared: bool) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE datasets SET shared = $1, updated_at = $2 WHERE id = $3")
            .bind(i64::from(shared))
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes the schedule. Also works for a DataSet whose account was deleted.
    pub async fn unschedule(&self, actor: &Actor, id: &DatasetId) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets
             SET
                 schedule = NULL, schedule_plan = NULL, next_run_at = NULL, paused_at = NULL,
                 paused_by = NULL, schedule_error = NULL, missed = 0, retry_at = NULL,
                 updated_at = $1
             WHERE id = $2",
        )
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        policies::clear_stop(&mut tx, id).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn menus_json(menus: &Menus) -> Result<String> {
    serde_json::to_string(menus).map_err(Error::internal)
}
