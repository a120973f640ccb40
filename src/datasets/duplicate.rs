//! A copy of a DataSet's settings, without its rows.

use super::{DatasetName, Datasets};
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::ids::DatasetId;

impl Datasets {
    /// Creates a DataSet of this person with the settings of another DataSet that they may see,
    /// named "Copy of ...". The copy has no rows, is not shared and starts no run; the schedule is
    /// copied. The caller has checked the permission to use the account.
    pub async fn duplicate(&self, actor: &Actor, id: &DatasetId) -> Result<DatasetId> {
        let original = self.get(actor, id).await?;
        if !actor.may_edit() {
            return Err(Error::forbidden(
                "Viewers cannot create DataSets. An admin can change your role.",
            ));
        }
        let name = copy_of(&original.name);
        let copy = DatasetId::new();
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO datasets (
                 id, owner_id, account_id, connector, report, name, description, menus,
                 update_mode, options, time_zone, schedule, schedule_plan, next_run_at, paused_at,
                 paused_by, retention_versions, retention_days, retry_minutes, max_retries,
                 expected_hours, notify_emails, notify_webhooks, notify_on, notify_after,
                 created_at, updated_at, last_due_at
             )
             SELECT
                 $1, $2, account_id, connector, report, $3, description, menus, update_mode,
                 options, time_zone, schedule, schedule_plan,
                 CASE WHEN next_run_at > $4 THEN next_run_at END, paused_at, paused_by,
                 retention_versions, retention_days, retry_minutes, max_retries, expected_hours,
                 CASE WHEN owner_id = $2 THEN notify_emails END,
                 CASE WHEN owner_id = $2 THEN notify_webhooks ELSE '[]' END, notify_on,
                 notify_after, $4, $4, $4
             FROM datasets
             WHERE id = $5",
        )
        .bind(&copy)
        .bind(&actor.user)
        .bind(name.as_str())
        .bind(self.clock.now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(copy)
    }
}

/// "Copy of Chats", shortened to the maximum length of a name.
fn copy_of(name: &str) -> DatasetName {
    let whole = format!("Copy of {name}");
    let cut: String = whole.chars().take(200).collect();
    DatasetName(cut.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_long_name_is_still_a_name() {
        assert_eq!(copy_of("Chats").as_str(), "Copy of Chats");
        let long = copy_of(&"å".repeat(200));
        assert_eq!(DatasetName::parse(long.as_str()).unwrap(), long);
    }
}
