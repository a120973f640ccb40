//! The state of a run, what started it, and what happened to its rows. Each word is the same in the
//! catalogue and in the API.

use serde::{Deserialize, Serialize};

/// The state of a run. The last four are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    Running,
    /// Until a time that the vendor named, or that Chatlake chose when it deferred the run.
    Waiting,
    Succeeded,
    Failed,
    Cancelled,
    /// The server stopped three times during the run.
    Parked,
}

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Manual,
    Schedule,
    /// Saving the DataSet.
    First,
    Retry,
    /// A chunk of a backfill.
    Backfill,
    /// No pull: an older version was made current again.
    Revert,
}

impl RunState {
    pub const ALL: [RunState; 7] = [
        RunState::Queued,
        RunState::Running,
        RunState::Waiting,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Cancelled,
        RunState::Parked,
    ];

    pub fn word(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Running => "running",
            RunState::Waiting => "waiting",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Parked => "parked",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    pub fn is_final(self) -> bool {
        matches!(
            self,
            RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Parked
        )
    }
}

impl Trigger {
    pub const ALL: [Trigger; 6] = [
        Trigger::Manual,
        Trigger::Schedule,
        Trigger::First,
        Trigger::Retry,
        Trigger::Backfill,
        Trigger::Revert,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Trigger::Manual => "manual",
            Trigger::Schedule => "schedule",
            Trigger::First => "first",
            Trigger::Retry => "retry",
            Trigger::Backfill => "backfill",
            Trigger::Revert => "revert",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trigger| trigger.word() == word)
    }
}

/// What happened to the rows of a run if they did not become the current version at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// No rows were read; the existing rows stay.
    Kept,
    /// The rows equal those of the current version, which stays.
    Unchanged,
    /// The new version has too few rows and waits for approval.
    #[serde(rename = "held")]
    #[sqlx(rename = "held")]
    PendingApproval,
    /// A person published the pending version.
    Accepted,
    /// A person discarded the pending version.
    Discarded,
    /// A later run replaced the pending version.
    Superseded,
}

impl RunOutcome {
    pub const ALL: [RunOutcome; 6] = [
        RunOutcome::Kept,
        RunOutcome::Unchanged,
        RunOutcome::PendingApproval,
        RunOutcome::Accepted,
        RunOutcome::Discarded,
        RunOutcome::Superseded,
    ];

    pub fn word(self) -> &'static str {
        match self {
            RunOutcome::Kept => "kept",
            RunOutcome::Unchanged => "unchanged",
            RunOutcome::PendingApproval => "held",
            RunOutcome::Accepted => "accepted",
            RunOutcome::Discarded => "discarded",
            RunOutcome::Superseded => "superseded",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn the_catalogue_stores_the_words_of_the_api() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for outcome in RunOutcome::ALL {
            let stored: String = sqlx::query_scalar("SELECT $1")
                .bind(outcome)
                .fetch_one(&mut db)
                .await
                .unwrap();
            assert_eq!(stored, outcome.word());
        }
        for state in RunState::ALL {
            let stored: String = sqlx::query_scalar("SELECT $1")
                .bind(state)
                .fetch_one(&mut db)
                .await
                .unwrap();
            assert_eq!(stored, state.word());
        }
        for trigger in Trigger::ALL {
            let stored: String = sqlx::query_scalar("SELECT $1")
                .bind(trigger)
                .fetch_one(&mut db)
                .await
                .unwrap();
            assert_eq!(stored, trigger.word());
        }
    }
}
