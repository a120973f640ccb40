//! Reads and decodes the catalogue row of a DataSet.

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use super::columns::ColumnInfo;
use super::policies::DatasetPolicies;
use super::schedule_state::{SchedulePause, ScheduleState};
use super::{CurrentVersion, Dataset};
use crate::connectors::Connector;
use crate::connectors::report::UpdateMode;
use crate::error::{Error, Result};
use crate::ids::{AccountId, DatasetId, UserId, VersionId};

/// A DataSet with its owner, its account and its current version.
#[derive(FromRow)]
pub(super) struct DatasetRow {
    id: DatasetId,
    owner_id: UserId,
    owner_name: String,
    account_id: Option<AccountId>,
    account_name: Option<String>,
    account_owner_id: Option<UserId>,
    account_shared: Option<i64>,
    connector: String,
    report: String,
    name: String,
    description: String,
    menus: String,
    update_mode: String,
    options: String,
    time_zone: String,
    schedule: Option<String>,
    schedule_plan: Option<String>,
    paused_at: Option<i64>,
    paused_by_name: Option<String>,
    schedule_error: Option<String>,
    last_due_at: Option<i64>,
    missed: i64,
    next_run_at: Option<i64>,
    shared: i64,
    published: i64,
    pending_version: Option<VersionId>,
    created_at: i64,
    updated_at: i64,
    version_id: Option<VersionId>,
    version_number: Option<i64>,
    version_rows: Option<i64>,
    version_bytes: Option<i64>,
    version_columns: Option<String>,
    version_created_at: Option<i64>,
    version_provenance: Option<String>,
    version_change: Option<i64>,
    version_confirmed_at: Option<i64>,
    version_damaged: i64,
    #[sqlx(flatten)]
    policies: DatasetPolicies,
}

/// The query whose rows are of type `DatasetRow`, with the given conditions and order.
macro_rules! select_dataset {
    ($rest:literal) => {
        concat!(
            "SELECT
                 d.id, d.owner_id, o.name AS owner_name, d.account_id, a.name AS account_name,
                 a.owner_id AS account_owner_id, a.shared AS account_shared, d.connector,
                 d.report, d.name, d.description, d.menus, d.update_mode, d.options, d.time_zone,
                 d.schedule, d.schedule_plan, d.paused_at, p.name AS paused_by_name,
                 d.schedule_error, d.last_due_at, d.missed, d.next_run_at, d.shared, d.published,
                 d.pending_version, d.created_at, d.updated_at, v.id AS version_id,
                 v.number AS version_number, v.rows AS version_rows, v.bytes AS version_bytes,
                 v.columns AS version_columns, v.created_at AS version_created_at,
                 v.provenance AS version_provenance,
                 (
                     SELECT r.rows_after - r.rows_before
                     FROM runs r
                     WHERE r.id = v.run_id
                 ) AS version_change,
                 v.confirmed_at AS version_confirmed_at,
                 -- There are few damaged segments, so the query starts with them: CROSS JOIN fixes
                 -- the order.
                 EXISTS (
                     SELECT 1
                     FROM segments s
                     CROSS JOIN version_segments x
                     WHERE s.damage IS NOT NULL AND x.segment_id = s.id AND x.version_id = v.id
                 ) AS version_damaged,
                 d.retry_minutes, d.max_retries, d.retry_at, d.retry_number, d.expected_hours,
                 d.last_success_at, d.late_since, d.stopped_at, d.stop_reason, d.notify_emails,
                 d.notify_webhooks, d.notify_on, d.notify_after
             FROM datasets d
             JOIN users o ON o.id = d.owner_id
             LEFT JOIN accounts a ON a.id = d.account_id
             LEFT JOIN versions v ON v.id = d.current_version
             LEFT JOIN users p ON p.id = d.paused_by
             ",
            $rest
        )
    };
}

pub(super) use select_dataset;

/// Decodes a row of `select_dataset`. The error has the id of a DataSet whose record cannot be
/// read, and the cause.
pub(super) fn decode(row: &SqliteRow) -> std::result::Result<Dataset, (String, Error)> {
    let read = DatasetRow::from_row(row)
        .map_err(Error::from)
        .and_then(Dataset::try_from);
    read.map_err(|error| (row.try_get("id").unwrap_or_default(), error))
}

impl TryFrom<DatasetRow> for Dataset {
    type Error = Error;

    fn try_from(row: DatasetRow) -> Result<Self> {
        let damaged = |what: &str| {
            Error::damaged(format!(
                "dataset {} holds {what} that this program does not know",
                row.id
            ))
        };
        let connector = Connector::parse(&row.connector).ok_or_else(|| damaged("a connector"))?;
        let report = connector
            .report(&row.report)
            .ok_or_else(|| damaged("a report"))?;
        let mut all: Vec<ColumnInfo> = row
            .version_columns
            .as_deref()
            .and_then(|c| serde_json::from_str(c).ok())
            .unwrap_or_default();
        let current = row.version_id.map(|version| CurrentVersion {
            version,
            number: row.version_number.unwrap_or_default(),
            rows: row.version_rows.unwrap_or_default(),
            bytes: row.version_bytes.unwrap_or_default(),
            columns: all.len(),
            undeclared: {
                all.retain(|column| !column.declared);
                all
            },
            created_at: row.version_created_at.unwrap_or_default(),
            confirmed_at: row.version_confirmed_at,
            change: row.version_change,
            damaged: row.version_damaged != 0,
            provenance: row
                .version_provenance
                .as_deref()
                .and_then(|provenance| serde_json::from_str(provenance).ok()),
        });
        Ok(Self {
            menus: serde_json::from_str(&row.menus).map_err(|_| {
                Error::damaged(format!(
                    "dataset {} holds menus that cannot be read",
                    row.id
                ))
            })?,
            update_mode: UpdateMode::parse(&row.update_mode)
                .ok_or_else(|| damaged("an update mode"))?,
            options: serde_json::from_str(&row.options).map_err(|_| damaged("options"))?,
            id: row.id,
            owner_id: row.owner_id,
            owner_name: row.owner_name,
            account_id: row.account_id,
            account_name: row.account_name,
            account_owner_id: row.account_owner_id,
            account_shared: row.account_shared == Some(1),
            account_is_private: false,
            hidden_name: None,
            connector,
            report,
            name: row.name,
            description: row.description,
            time_zone: row.time_zone,
            schedule: row.schedule,
            schedule_state: ScheduleState {
                plan: row.schedule_plan,
                paused: row.paused_at.map(|at| SchedulePause {
                    at,
                    by: row.paused_by_name,
                }),
                problem: row.schedule_error,
                missed: row.missed,
                last_due_at: row.last_due_at,
            },
            next_run_at: row.next_run_at,
            shared: row.shared != 0,
            published: row.published != 0,
            current,
            pending_approval: row.pending_version,
            policies: row.policies,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
