//! DataSets: create, list, get, rename, configure, share and delete. A DataSet holds the rows of
//! one report and has its own menus, schedule and update mode. `stored_settings` creates and
//! changes it, `segments` stores its rows, `versions` its states; `preview` and `export` read them.

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
mod stored_settings;
pub mod update_mode;
pub mod verify_versions;
pub mod versions;

#[cfg(test)]
mod testing;

use sqlx::FromRow;

use crate::actor::Actor;
use crate::clock::{Clock, Millis};
use crate::connectors::report::{Report, UpdateMode};
use crate::connectors::{Connector, Menus};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId, UserId, VersionId};
use options::DatasetOptions;
use policies::DatasetPolicies;
use provenance::Provenance;
use row::{DatasetRow, select_dataset};
use schedule_state::ScheduleState;
use segments::Segments;
pub use stored_settings::{DatasetDescription, DatasetName, DatasetSettings};
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
#[derive(Clone, Copy, Debug, FromRow)]
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
                    tracing::error!(
                        dataset = id,
                        cause = ?error.log_cause(),
                        "a DataSet cannot be read and is not listed: {error}"
                    );
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
        Ok(sqlx::query_as(
            "SELECT
                 COALESCE(
                     (
                         SELECT v.rows
                         FROM versions v
                         JOIN datasets d ON d.current_version = v.id
                         WHERE d.id = $1
                     ),
                     0
                 ) AS rows,
                 (SELECT COUNT(*) FROM versions WHERE dataset_id = $1) AS versions,
                 COALESCE(
                     (SELECT SUM(bytes) FROM segments WHERE dataset_id = $1 AND state = 'kept'), 0
                 ) AS bytes",
        )
        .bind(id)
        .fetch_one(self.db.read())
        .await?)
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
