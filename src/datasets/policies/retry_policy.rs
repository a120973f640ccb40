//! How often and when a failed run is retried, and within which time new data is expected.

use crate::actor::Actor;
use crate::datasets::Datasets;
use crate::error::{Error, Result};
use crate::ids::DatasetId;

/// The minimum and maximum time between retries.
const RETRY_MINUTES: std::ops::RangeInclusive<i64> = 1..=7 * 24 * 60;
const MAX_RETRIES: i64 = 20;
/// The maximum is ten years.
const MAX_EXPECTED_HOURS: i64 = 24 * 3_660;

/// How often and how many times a failed run is retried. `max_retries` 0 means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    pub(super) minutes: i64,
    pub(super) max_retries: i64,
}

impl RetryPolicy {
    /// The retry policy of a new DataSet.
    pub const DEFAULT: RetryPolicy = RetryPolicy {
        minutes: 15,
        max_retries: 3,
    };
    pub const NEVER: RetryPolicy = RetryPolicy {
        minutes: 15,
        max_retries: 0,
    };

    pub fn new(minutes: i64, max_retries: i64) -> Result<Self> {
        let mut wrong = Vec::new();
        if !RETRY_MINUTES.contains(&minutes) {
            wrong.push((
                "retry_every".to_owned(),
                "The time between retries must be from 1 minute to 7 days.".to_owned(),
            ));
        }
        if !(1..=MAX_RETRIES).contains(&max_retries) {
            wrong.push((
                "retry_most".to_owned(),
                format!("Enter a number of retries from 1 to {MAX_RETRIES}."),
            ));
        }
        if wrong.is_empty() {
            Ok(Self {
                minutes,
                max_retries,
            })
        } else {
            Err(Error::fields(wrong))
        }
    }

    pub fn minutes(self) -> i64 {
        self.minutes
    }

    /// 0: failed runs are not retried.
    pub fn max_retries(self) -> i64 {
        self.max_retries
    }

    /// "retry every 15 minutes, at most 3 times"
    pub fn in_words(self) -> String {
        if self.max_retries == 0 {
            return "no retry".to_owned();
        }
        let times = if self.max_retries == 1 {
            "once".to_owned()
        } else {
            format!("at most {} times", self.max_retries)
        };
        match self.minutes {
            1 => format!("retry every minute, {times}"),
            60 => format!("retry every hour, {times}"),
            minutes if minutes % 60 == 0 => format!("retry every {} hours, {times}", minutes / 60),
            minutes => format!("retry every {minutes} minutes, {times}"),
        }
    }
}

/// Validates the hours within which new data is expected.
pub fn check_expected_hours(hours: Option<i64>) -> Result<Option<i64>> {
    match hours {
        Some(hours) if !(1..=MAX_EXPECTED_HOURS).contains(&hours) => Err(Error::field(
            "expected_hours",
            "Enter 1 to 87,840 hours, or leave empty.",
        )),
        hours => Ok(hours),
    }
}

impl Datasets {
    /// Sets the retry policy and the expected hours. Cancels a pending retry that the new policy
    /// does not allow.
    pub async fn set_retry_policy(
        &self,
        actor: &Actor,
        id: &DatasetId,
        retry: RetryPolicy,
        expected_hours: Option<i64>,
    ) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets
             SET
                 retry_minutes = $1, max_retries = $2, expected_hours = $3,
                 -- Cancels a retry whose number the new policy does not reach.
                 retry_at = CASE WHEN retry_number > $2 THEN NULL ELSE retry_at END
             WHERE id = $4",
        )
        .bind(retry.minutes)
        .bind(retry.max_retries)
        .bind(expected_hours)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_within_reason_and_told_in_words() {
        assert_eq!(
            RetryPolicy::DEFAULT.in_words(),
            "retry every 15 minutes, at most 3 times"
        );
        assert_eq!(
            RetryPolicy::new(120, 1).unwrap().in_words(),
            "retry every 2 hours, once"
        );
        assert_eq!(RetryPolicy::NEVER.in_words(), "no retry");
        for (minutes, max_retries) in [(0, 3), (-1, 3), (10_081, 3), (15, 0), (15, 21)] {
            assert!(
                RetryPolicy::new(minutes, max_retries).is_err(),
                "{minutes} {max_retries}"
            );
        }
    }
}
