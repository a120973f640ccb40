//! Publishes DataSets of the LiveLeader report Chats through the LiveLeader export API. Only admins
//! can publish. Everyone can read only the published DataSets that they may read anyway.

use super::row::{DatasetRow, select_dataset};
use super::{Dataset, Datasets};
use crate::actor::Actor;
use crate::auth::audit::{self, AuditActor, AuditEvent};
use crate::connectors::Connector;
use crate::connectors::report::Report;
use crate::error::{Error, Result};
use crate::ids::DatasetId;

const CHATS_REPORT: &str = "chats";

/// Whether a DataSet of this report can be published.
pub fn is_publishable(connector: Connector, report: &Report) -> bool {
    connector == Connector::LiveLeader && report.id == CHATS_REPORT
}

/// An error when a DataSet of this report cannot be published.
pub fn require_publishable(connector: Connector, report: &Report) -> Result<()> {
    if is_publishable(connector, report) {
        Ok(())
    } else {
        Err(Error::field(
            "published",
            "Only a DataSet of the LiveLeader report Chats can be published.",
        ))
    }
}

/// An error if this person may not publish and unpublish.
pub fn require_publisher(actor: &Actor) -> Result<()> {
    let allowed = actor.is_admin() && actor.may_edit();
    if allowed {
        Ok(())
    } else {
        Err(Error::forbidden(
            "Only admins can publish a DataSet to the LiveLeader API or unpublish it.",
        ))
    }
}

impl Dataset {
    pub fn can_be_published(&self) -> bool {
        is_publishable(self.connector, self.report)
    }
}

impl Datasets {
    /// Publishes or unpublishes a DataSet. For admins.
    pub async fn publish(&self, by: AuditActor<'_>, id: &DatasetId, published: bool) -> Result<()> {
        let dataset = self.get(by.actor, id).await?;
        require_publisher(by.actor)?;
        if published {
            require_publishable(dataset.connector, dataset.report)?;
        }
        if dataset.published == published {
            return Ok(());
        }
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE datasets SET published = $1, updated_at = $2 WHERE id = $3")
            .bind(i64::from(published))
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let action = if published {
            "dataset.publish"
        } else {
            "dataset.unpublish"
        };
        audit::record(
            &mut tx,
            &self.clock,
            AuditEvent::done(Some(by), action, id.as_str()),
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// Whether any DataSet is published.
    pub async fn any_published(&self) -> Result<bool> {
        let one: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM datasets WHERE published = 1 LIMIT 1")
                .fetch_optional(self.db.read())
                .await?;
        Ok(one.is_some())
    }

    /// The published DataSets that this person may read.
    pub async fn published(&self, actor: &Actor) -> Result<Vec<Dataset>> {
        let rows: Vec<DatasetRow> = sqlx::query_as(select_dataset!(
            "WHERE d.published = 1 AND ($1 = 1 OR d.owner_id = $2 OR d.shared = 1) ORDER BY d.id"
        ))
        .bind(i64::from(actor.is_admin()))
        .bind(&actor.user)
        .fetch_all(self.db.read())
        .await?;
        let all = rows
            .into_iter()
            .map(Dataset::try_from)
            .collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().filter(Dataset::can_be_published).collect())
    }
}
