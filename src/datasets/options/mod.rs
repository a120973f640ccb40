//! The options of a DataSet besides its update mode: the chosen key, how many days are pulled
//! again, and the data safeguards. Stored as JSON. `DatasetOptions::check` (`report_setup.rs`)
//! validates them against report and mode.

mod report_setup;

use serde::{Deserialize, Serialize};

use super::Datasets;
use crate::actor::Actor;
use crate::error::{Error, Result};
use crate::ids::DatasetId;
pub use report_setup::ReportSetup;

/// The options of one DataSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetOptions {
    /// The key columns for Merge; empty for the report's own key.
    pub key: Vec<String>,
    /// Merge and Partition: later runs start this many days before the first missing day; 0: every
    /// run pulls all days.
    pub look_back: u32,
    pub on_empty: OnEmpty,
    /// A version with this many percent fewer rows than the previous one waits for approval; 0
    /// turns this off. Not used with Append, which never drops rows.
    pub hold_drop: u8,
    pub on_added: SchemaRule,
    pub on_removed: SchemaRule,
    pub on_retyped: SchemaRule,
    /// Days that ended less than 48 hours ago are read again until two consecutive reads agree.
    /// Only used for archives.
    pub second_read: bool,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        Self {
            key: Vec::new(),
            look_back: 0,
            on_empty: OnEmpty::default(),
            hold_drop: 0,
            on_added: SchemaRule::default(),
            on_removed: SchemaRule::default(),
            on_retyped: SchemaRule::default(),
            second_read: true,
        }
    }
}

/// What happens when a run pulls no rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// `Keep` with Replace, otherwise `Check`; also `Check` for snapshot reports: see
    /// `ReportSetup::on_empty`.
    #[default]
    Usual,
    /// The existing rows stay.
    Keep,
    /// The existing rows stay, and the run fails, until the result is confirmed: the vendor counts
    /// no rows, or the next run also finds none.
    Check,
    /// The DataSet becomes empty.
    Empty,
    /// The run always fails.
    Fail,
}

impl OnEmpty {
    pub const ALL: [OnEmpty; 5] = [
        OnEmpty::Usual,
        OnEmpty::Keep,
        OnEmpty::Check,
        OnEmpty::Empty,
        OnEmpty::Fail,
    ];

    pub fn word(self) -> &'static str {
        match self {
            OnEmpty::Usual => "usual",
            OnEmpty::Keep => "keep",
            OnEmpty::Check => "check",
            OnEmpty::Empty => "empty",
            OnEmpty::Fail => "fail",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            OnEmpty::Usual => "Default",
            OnEmpty::Keep => "Keep the existing rows",
            OnEmpty::Check => "Keep the existing rows until confirmed",
            OnEmpty::Empty => "Empty the DataSet",
            OnEmpty::Fail => "Fail the run",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.word() == word)
    }
}

/// What happens when columns change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaRule {
    Accept,
    /// The change is accepted and shown on the run.
    #[default]
    Warn,
    /// The run fails, and the existing rows stay.
    Stop,
}

impl SchemaRule {
    pub const ALL: [SchemaRule; 3] = [SchemaRule::Accept, SchemaRule::Warn, SchemaRule::Stop];

    pub fn word(self) -> &'static str {
        match self {
            SchemaRule::Accept => "accept",
            SchemaRule::Warn => "warn",
            SchemaRule::Stop => "stop",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            SchemaRule::Accept => "Accept",
            SchemaRule::Warn => "Accept and warn",
            SchemaRule::Stop => "Fail the run",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.word() == word)
    }
}

pub(super) fn options_json(options: &DatasetOptions) -> Result<String> {
    serde_json::to_string(options).map_err(Error::internal)
}

impl Datasets {
    /// Changes only the options, which must be validated.
    pub async fn set_options(
        &self,
        actor: &Actor,
        id: &DatasetId,
        options: &DatasetOptions,
    ) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE datasets SET options = $1, updated_at = $2 WHERE id = $3")
            .bind(options_json(options)?)
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
