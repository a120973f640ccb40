//! DataSets: create, list, get, rename, configure, share and delete. A DataSet holds the rows of
//! one report and has its own menus, schedule and update mode. `segments` stores its rows,
//! `versions` its states; `preview` and `export` read them.

pub mod columns;
pub mod download;
mod duplicate;
pub mod export;
pub mod options;
pub mod partial_pull;
pub mod policies;
pub mod preview;
pub mod provenance;
pub mod published;
pub mod recent_runs;
mod row;
pub mod schedule_state;
pub mod schema_change;
pub mod scrub;
pub mod segments;
pub mod update_mode;
pub mod verify_versions;
pub mod versions;

#[cfg(test)]
mod testing;

use crate::actor::Actor;
use crate::clock::{Clock, Millis};
use crate::connectors::report::{Report, UpdateMode};
use crate::connectors::{Connector, Menus};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId, UserId, VersionId};
use options::{DatasetOptions, options_json};
use policies::DatasetPolicies;
use provenance::Provenance;
use row::{DatasetRow, select_dataset};
use schedule_state::{ScheduleState, StoredSchedule};
use segments::Segments;
use versions::Versions;

/// Access to all DataSets. Cheap to clone.
#[derive(Clone)]
pub struct Datasets {
    pub db: Db,
    pub clock: Clock,
    pub segments: Segments,
    pub versions: Versions,
}

/// The settings of a DataSet, and a summary of its current version.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub id: DatasetId,
    pub owner_id: UserId,
    pub owner_name: String,
    /// `None` after the account was deleted; the DataSet is then no longer updated.
    pub account_id: Option<AccountId>,
    /// `PRIVATE_ACCOUNT` if the reader may not see the account.
    pub account_name: Option<String>,
    account_owner_id: Option<UserId>,
    account_shared: bool,
    /// Whether the name and the id of the account are hidden from the reader.
    pub account_is_private: bool,
    /// The hidden account name, which `redact` removes from texts.
    hidden_name: Option<String>,
    pub connector: Connector,
    pub report: &'static Report,
    pub name: String,
    pub description: String,
    pub menus: Menus,
    pub update_mode: UpdateMode,
    pub options: DatasetOptions,
    /// IANA name.
    pub time_zone: String,
    /// Cron lines in `time_zone`; `None` for manual runs only.
    pub schedule: Option<String>,
    pub schedule_state: ScheduleState,
    pub next_run_at: Option<Millis>,
    /// Whether everyone who is signed in may read it.
    pub shared: bool,
    /// Whether it is served through the LiveLeader export API; see `published`.
    pub published: bool,
    pub current: Option<CurrentVersion>,
    /// The version that waits for approval.
    pub pending_approval: Option<VersionId>,
    pub policies: DatasetPolicies,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// The version that readers see.
#[derive(Clone, Debug)]
pub struct CurrentVersion {
    pub version: VersionId,
    pub number: i64,
    pub rows: i64,
    pub bytes: i64,
    pub columns: usize,
    /// The columns that the report does not declare.
    pub undeclared: Vec<columns::ColumnInfo>,
    pub created_at: Millis,
    /// When a run last pulled the same rows from the vendor; `None` if no run did since the version
    /// was created. Earlier than `created_at` for a version that a revert created.
    pub confirmed_at: Option<Millis>,
    /// The change in rows since the previous version; `None` for the first version.
    pub change: Option<i64>,
    /// `None` for a version that is older than provenance.
    pub provenance: Option<Provenance>,
    /// Whether at least one of its files is known to be damaged or missing.
    pub damaged: bool,
}

impl CurrentVersion {
    /// When the vendor last returned these rows.
    pub fn updated_at(&self) -> Millis {
        self.confirmed_at.unwrap_or(self.created_at)
    }
}

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
pub struct DatasetName(String);

/// The description of a DataSet: at most 2,000 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetDescription(String);

impl DatasetName {
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let length = text.chars().count();
        if length == 0 {
            return Err(Error::field("name", "Enter a name for the DataSet."));
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
                "Name must be one line without control characters, invisible characters or text direction marks.",
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

/// Replaces the name of an account that the reader may not see.
pub const PRIVATE_ACCOUNT: &str = "private account";

impl Dataset {
    /// Hides the account from people who may not see it. An account that is not shared is visible
    /// to its owner, to the owner of the DataSet and to admins.
    fn redacted_for(mut self, actor: &Actor) -> Self {
        let is_known = actor.is_admin()
            || self.account_shared
            || self.owner_id == actor.user
            || self.account_owner_id.as_ref() == Some(&actor.user);
        if self.account_id.is_some() && !is_known {
            self.account_is_private = true;
            self.hidden_name = self.account_name.replace(PRIVATE_ACCOUNT.to_owned());
        }
        self
    }

    /// Replaces the hidden account name in the text of a run or a backfill.
    pub fn redact(&self, said: &str) -> String {
        match &self.hidden_name {
            Some(name) => said.replace(&format!("“{name}”"), &format!("“{PRIVATE_ACCOUNT}”")),
            None => said.to_owned(),
        }
    }

    /// Whether the actor may change, share and delete it.
    pub fn can_be_changed_by(&self, actor: &Actor) -> bool {
        actor.may_edit() && (actor.is_admin() || self.owner_id == actor.user)
    }

    /// Whether the actor may start and stop its runs.
    pub fn can_be_run_by(&self, actor: &Actor) -> bool {
        actor.may_run() && (actor.is_admin() || self.owner_id == actor.user)
    }
}

/// What deleting a DataSet would remove.
#[derive(Clone, Copy, Debug)]
pub struct DatasetContents {
    pub rows: i64,
    pub versions: i64,
    pub bytes: i64,
}

impl Datasets {
    /// All DataSets that this person may see, by name: their own and the shared ones, and for an
    /// admin all. DataSets whose record cannot be read are left out: see `list_all`.
    pub async fn list(&self, actor: &Actor) -> Result<Vec<Dataset>> {
        Ok(self.list_all(actor).await?.0)
    }

    /// Like `list`, and also returns the ids of DataSets whose record cannot be read.
    pub async fn list_all(&self, actor: &Actor) -> Result<(Vec<Dataset>, Vec<String>)> {
        let rows = sqlx::query(select_dataset!(
            "WHERE ($1 = 1 OR d.owner_id = $2 OR d.shared = 1) ORDER BY LOWER(d.name), d.id"
        ))
        .bind(i64::from(actor.is_admin()))
        .bind(&actor.user)
        .fetch_all(self.db.read())
        .await?;
        let (mut all, mut damaged) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match row::decode(&row) {
                Ok(dataset) => all.push(dataset.redacted_for(actor)),
                Err((id, error)) => {
                    tracing::error!(dataset = id, cause = ?error.log_cause(), "a DataSet cannot be read and is not listed: {error}");
                    damaged.push(id);
                }
            }
        }
        Ok((all, damaged))
    }

    /// One DataSet, if this person may see it.
    pub async fn get(&self, actor: &Actor, id: &DatasetId) -> Result<Dataset> {
        let row: Option<DatasetRow> = sqlx::query_as(select_dataset!(
            "WHERE d.id = $1 AND ($2 = 1 OR d.owner_id = $3 OR d.shared = 1)"
        ))
        .bind(id)
        .bind(i64::from(actor.is_admin()))
        .bind(&actor.user)
        .fetch_optional(self.db.read())
        .await?;
        let dataset = row
            .map(Dataset::try_from)
            .transpose()?
            .ok_or_else(|| Error::not_found("DataSet"))?;
        Ok(dataset.redacted_for(actor))
    }

    /// One DataSet, if this person may change it.
    pub async fn get_to_change(&self, actor: &Actor, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.get(actor, id).await?;
        if dataset.can_be_changed_by(actor) {
            Ok(dataset)
        } else {
            Err(Error::forbidden(
                "Only the owner and admins can change this DataSet.",
            ))
        }
    }

    /// One DataSet, if this person may start and stop its runs.
    pub async fn get_to_run(&self, actor: &Actor, id: &DatasetId) -> Result<Dataset> {
        let dataset = self.get(actor, id).await?;
        if dataset.can_be_run_by(actor) {
            Ok(dataset)
        } else {
            Err(Error::forbidden(
                "Only the owner and admins can run this DataSet.",
            ))
        }
    }

    /// One DataSet without a permission check, for the puller.
    pub async fn for_run(&self, id: &DatasetId) -> Result<Dataset> {
        let row: Option<DatasetRow> = sqlx::query_as(select_dataset!("WHERE d.id = $1"))
            .bind(id)
            .fetch_optional(self.db.read())
            .await?;
        row.map(Dataset::try_from)
            .transpose()?
            .ok_or_else(|| Error::not_found("DataSet"))
    }

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
                 next_run_at = CASE WHEN paused_at IS NULL THEN $10 ELSE NULL END,
                 updated_at = $11, options = $14, schedule_plan = $15,
                 paused_at = CASE WHEN $9 IS NULL THEN NULL ELSE paused_at END,
                 schedule_error = NULL, missed = 0, last_due_at = $11,
                 retry_at = CASE
                     WHEN $9 IS NULL AND schedule IS NOT NULL THEN NULL
                     ELSE retry_at
                 END,
                 expected_since = CASE
                     WHEN account_id IS NULL OR time_zone <> $8 OR COALESCE(
                         schedule, ''
                     ) <> COALESCE($9, '') OR COALESCE(
                         schedule_plan, ''
                     ) <> COALESCE($15, '') THEN $11
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

    /// When the next schedule fires; `None` if no DataSet has a schedule.
    pub async fn next_scheduled(&self) -> Result<Option<Millis>> {
        Ok(sqlx::query_scalar(
            "SELECT MIN(next_run_at) FROM datasets WHERE next_run_at IS NOT NULL",
        )
        .fetch_one(self.db.read())
        .await?)
    }

    /// Counts what deleting the DataSet would delete.
    pub async fn contents(&self, id: &DatasetId) -> Result<DatasetContents> {
        let (rows, versions, bytes): (i64, i64, i64) = sqlx::query_as(
            "SELECT
                 COALESCE(
                     (
                         SELECT v.rows
                         FROM versions v
                         JOIN datasets d ON d.current_version = v.id
                         WHERE d.id = $1
                     ),
                     0
                 ),
                 (SELECT COUNT(*) FROM versions WHERE dataset_id = $1),
                 COALESCE(
                     (SELECT SUM(bytes) FROM segments WHERE dataset_id = $1 AND state = 'kept'), 0
                 )",
        )
        .bind(id)
        .fetch_one(self.db.read())
        .await?;
        Ok(DatasetContents {
            rows,
            versions,
            bytes,
        })
    }

    /// Deletes a DataSet with its runs and versions. A running pull loses its lease; the sweep
    /// deletes the files later.
    pub async fn delete(&self, actor: &Actor, id: &DatasetId) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        self.versions.drop_all(&mut tx, id).await?;
        sqlx::query("DELETE FROM dataset_columns WHERE dataset_id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM datasets WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

fn menus_json(menus: &Menus) -> Result<String> {
    serde_json::to_string(menus).map_err(Error::internal)
}
