//! What keeps a DataSet up: how it is tried again when it fails, when its data is late, who is told, and what has taken it off its
//! schedule. What happens by it when a run ends is in `puller/upkeep.rs`.

use std::collections::BTreeSet;

use lettre::Address;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Dataset, Datasets};
use crate::actor::Actor;
use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, UserId, WebhookId};

/// A retry waits at least and at most so long.
const RETRY_MINUTES: std::ops::RangeInclusive<i64> = 1..=7 * 24 * 60;
const MOST_RETRIES: i64 = 20;
/// Ten years: nobody expects anything later.
const MOST_HOURS: i64 = 24 * 3_660;
const MOST_EMAILS: usize = 20;
/// Addresses of people who are not on this server, over all DataSets of one owner: mail to them goes out in the server's name.
const MAX_OUTSIDE: usize = 30;
const MOST_WEBHOOKS: usize = 20;
const MOST_IN_A_ROW: i64 = 100;

/// How a DataSet stands, and what was chosen for it.
#[derive(Clone, Debug, FromRow)]
pub struct Upkeep {
    retry_minutes: i64,
    retry_most: i64,
    /// The retry that is to come.
    pub retry_at: Option<Millis>,
    /// Which one it is, from 1.
    pub retry_number: i64,
    /// Data is expected within so many hours of the last; none: what the schedule lets expect.
    pub expected_hours: Option<i64>,
    pub last_success_at: Option<Millis>,
    /// Its data is late, from this moment on.
    pub late_since: Option<Millis>,
    stopped_at: Option<Millis>,
    stopped_why: Option<String>,
    notify_emails: Option<String>,
    notify_webhooks: String,
    notify_on: String,
    notify_after: i64,
}

/// "Always retry when an update fails": every so many minutes, at most so often. At most 0 times is "Do not retry".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    minutes: i64,
    most: i64,
}

/// What took a DataSet off its schedule, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    pub at: Millis,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The vendor refused the credentials of its account again and again.
    Credentials,
    /// A run of it stopped the whole server three times.
    Parked,
    /// Its account is not shared any more, and belongs to somebody else than the owner of the DataSet.
    Unshared,
}

/// Who is told of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// None: the owner's address.
    pub emails: Option<Vec<String>>,
    /// Ids of the server's webhooks.
    pub webhooks: Vec<String>,
    pub on: Vec<Kind>,
    /// So many failed runs in a row are told of.
    pub after: i64,
}

/// What may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Failure,
    Recovery,
    Late,
    Stopped,
    Sunset,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Failure, Kind::Recovery, Kind::Late, Kind::Stopped, Kind::Sunset];

    pub fn word(self) -> &'static str {
        match self {
            Kind::Failure => "failure",
            Kind::Recovery => "recovery",
            Kind::Late => "late",
            Kind::Stopped => "stopped",
            Kind::Sunset => "sunset",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl Why {
    pub fn word(self) -> &'static str {
        match self {
            Why::Credentials => "credentials",
            Why::Parked => "parked",
            Why::Unshared => "unshared",
        }
    }
}

impl Retry {
    /// What a new DataSet does.
    pub const USUAL: Retry = Retry { minutes: 15, most: 3 };
    pub const NEVER: Retry = Retry { minutes: 15, most: 0 };

    pub fn new(minutes: i64, most: i64) -> Result<Self> {
        let mut wrong = Vec::new();
        if !RETRY_MINUTES.contains(&minutes) {
            wrong.push(("retry_every".to_owned(), "The time between retries must be from 1 minute to 7 days.".to_owned()));
        }
        if !(1..=MOST_RETRIES).contains(&most) {
            wrong.push(("retry_most".to_owned(), format!("Enter a number of retries from 1 to {MOST_RETRIES}.")));
        }
        if wrong.is_empty() { Ok(Self { minutes, most }) } else { Err(Error::fields(wrong)) }
    }

    pub fn minutes(self) -> i64 {
        self.minutes
    }

    /// 0: it is not tried again.
    pub fn most(self) -> i64 {
        self.most
    }

    /// "retry every 15 minutes, at most 3 times"
    pub fn in_words(self) -> String {
        if self.most == 0 {
            return "no retry".to_owned();
        }
        let times = if self.most == 1 { "once".to_owned() } else { format!("at most {} times", self.most) };
        match self.minutes {
            1 => format!("retry every minute, {times}"),
            60 => format!("retry every hour, {times}"),
            minutes if minutes % 60 == 0 => format!("retry every {} hours, {times}", minutes / 60),
            minutes => format!("retry every {minutes} minutes, {times}"),
        }
    }
}

impl Notify {
    /// Checks addresses, ids, switches and number.
    pub fn new(emails: Option<Vec<String>>, webhooks: Vec<String>, on: Vec<Kind>, after: i64) -> Result<Self> {
        let mut wrong = Vec::new();
        let mut kept: Vec<String> = Vec::new();
        for text in emails.iter().flatten().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            match email(text) {
                Some(address) if kept.iter().any(|known| known.eq_ignore_ascii_case(&address)) => {}
                Some(address) => kept.push(address),
                None => wrong.push(("emails".to_owned(), format!("“{}” is not an email address.", text.chars().take(100).collect::<String>()))),
            }
        }
        if kept.len() > MOST_EMAILS {
            wrong.push(("emails".to_owned(), format!("Enter at most {MOST_EMAILS} email addresses.")));
        }
        let mut ids: Vec<String> = webhooks.iter().filter_map(|id| WebhookId::parse(id)).map(|id| id.to_string()).collect();
        if ids.len() != webhooks.len() || ids.len() > MOST_WEBHOOKS {
            wrong.push(("webhooks".to_owned(), "Choose webhooks from the list in Settings › Notifications.".to_owned()));
        }
        ids.sort();
        ids.dedup();
        if !(1..=MOST_IN_A_ROW).contains(&after) {
            wrong.push(("after".to_owned(), format!("Enter a number of failed runs from 1 to {MOST_IN_A_ROW}.")));
        }
        let mut on = on;
        on.sort();
        on.dedup();
        if wrong.is_empty() { Ok(Self { emails: emails.map(|_| kept), webhooks: ids, on, after }) } else { Err(Error::fields(wrong)) }
    }
}

/// An address that mail can be sent to, as it is written.
pub fn email(text: &str) -> Option<String> {
    let is_plain = text.len() <= 254 && text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control());
    is_plain.then(|| text.parse::<Address>().ok()).flatten().map(|address| address.to_string())
}

impl Upkeep {
    pub fn retry(&self) -> Retry {
        Retry { minutes: self.retry_minutes, most: self.retry_most }
    }

    pub fn notify(&self) -> Notify {
        Notify {
            emails: self.notify_emails.as_deref().map(|list| serde_json::from_str(list).unwrap_or_default()),
            webhooks: serde_json::from_str(&self.notify_webhooks).unwrap_or_default(),
            on: self.notify_on.split_whitespace().filter_map(Kind::parse).collect(),
            after: self.notify_after,
        }
    }

    /// `scheduled`: it is to run again at some time by itself, so nothing keeps it off.
    fn stopped(&self, scheduled: bool) -> Option<Stopped> {
        let why = match self.stopped_why.as_deref()? {
            "parked" => Why::Parked,
            "unshared" => Why::Unshared,
            _ => Why::Credentials,
        };
        self.stopped_at.filter(|_| !scheduled).map(|at| Stopped { at, why })
    }
}

impl Dataset {
    /// What has taken it off the schedule it has, if anything has.
    pub fn stopped(&self) -> Option<Stopped> {
        self.schedule.as_ref()?;
        self.upkeep.stopped(self.next_run_at.is_some())
    }
}

/// The hours within which new data is expected.
pub fn expected(hours: Option<i64>) -> Result<Option<i64>> {
    match hours {
        Some(hours) if !(1..=MOST_HOURS).contains(&hours) => Err(Error::field("expected_hours", "Enter 1 to 87,840 hours, or leave empty.")),
        hours => Ok(hours),
    }
}

impl Datasets {
    /// How many DataSets tell by this webhook.
    pub async fn told_by_webhook(&self, webhook: &WebhookId) -> Result<i64> {
        let all: Vec<String> = sqlx::query_scalar("SELECT notify_webhooks FROM datasets WHERE notify_webhooks <> '[]'").fetch_all(self.db.read()).await?;
        let tells = |stored: &String| serde_json::from_str::<Vec<String>>(stored).is_ok_and(|ids| ids.iter().any(|id| id == webhook.as_str()));
        Ok(i64::try_from(all.iter().filter(|stored| tells(stored)).count()).unwrap_or(i64::MAX))
    }

    /// Chooses how a DataSet is tried again and when its data is late. A retry that is to come goes when there is to be none.
    pub async fn set_upkeep(&self, actor: &Actor, id: &DatasetId, retry: Retry, expected_hours: Option<i64>) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE datasets SET retry_minutes = $1, retry_most = $2, expected_hours = $3, retry_at = CASE WHEN retry_number > $2 THEN NULL ELSE retry_at END
             WHERE id = $4",
        )
        .bind(retry.minutes)
        .bind(retry.most)
        .bind(expected_hours)
        .bind(id)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Chooses who is told of what. Somebody who is no admin adds no addresses beyond `MAX_OUTSIDE` of people who are not on this server,
    /// over all DataSets of the owner.
    pub async fn set_notify(&self, actor: &Actor, id: &DatasetId, notify: &Notify) -> Result<()> {
        let dataset = self.get_to_change(actor, id).await?;
        let text = |list: &[String]| serde_json::to_string(list).map_err(Error::internal);
        let mut tx = self.db.write().await?;
        if !actor.is_admin() {
            hold_to_outside(&mut tx, &dataset.owner_id, notify).await?;
        }
        sqlx::query("UPDATE datasets SET notify_emails = $1, notify_webhooks = $2, notify_on = $3, notify_after = $4, updated_at = $5 WHERE id = $6")
            .bind(notify.emails.as_deref().map(text).transpose()?)
            .bind(text(&notify.webhooks)?)
            .bind(notify.on.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(" "))
            .bind(notify.after)
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Of every DataSet: its id, when a run of it last succeeded or it was made, and whether its data is late. For the metrics.
    pub async fn ages(&self) -> Result<Vec<(DatasetId, Millis, bool)>> {
        let rows: Vec<(DatasetId, i64, i64)> =
            sqlx::query_as("SELECT id, COALESCE(last_success_at, created_at), CASE WHEN late_since IS NULL THEN 0 ELSE 1 END FROM datasets ORDER BY id")
                .fetch_all(self.db.read())
                .await?;
        Ok(rows.into_iter().map(|(id, at, late)| (id, at, late != 0)).collect())
    }
}

/// Refuses more addresses outside of this server than an owner may have. Those that are chosen already, for any DataSet, can stay.
async fn hold_to_outside(tx: &mut Transaction<'static, Sqlite>, owner: &UserId, notify: &Notify) -> Result<()> {
    let people: Vec<String> = sqlx::query_scalar("SELECT email FROM users").fetch_all(&mut **tx).await?;
    let chosen: Vec<String> =
        sqlx::query_scalar("SELECT notify_emails FROM datasets WHERE owner_id = $1 AND notify_emails IS NOT NULL").bind(owner).fetch_all(&mut **tx).await?;
    let lists = chosen.iter().filter_map(|list| serde_json::from_str::<Vec<String>>(list).ok()).flatten();
    let is_outside = |email: &String| !people.contains(email);
    let known: BTreeSet<String> = lists.map(|email| email.to_lowercase()).filter(is_outside).collect();
    let wanted = notify.emails.iter().flatten().map(|email| email.to_lowercase()).filter(is_outside);
    let new = wanted.filter(|email| !known.contains(email)).count();
    if new == 0 || known.len() + new <= MAX_OUTSIDE {
        return Ok(());
    }
    Err(Error::field(
        "emails",
        format!(
            "All DataSets of one owner together can use at most {MAX_OUTSIDE} email addresses of people who are not on this server. \
             {} are already used.",
            known.len()
        ),
    ))
}

/// Whatever had taken it off its schedule is over. What fails from now on is told anew; that it works again is told as well when anything
/// was told before.
pub async fn begin_anew(tx: &mut Transaction<'static, Sqlite>, id: &DatasetId) -> Result<()> {
    sqlx::query(
        "UPDATE datasets SET stopped_at = NULL, stopped_why = NULL, told_of_stop = CASE WHEN told_of_trouble = 1 THEN 1 ELSE told_of_stop END, told_of_trouble = 0
         WHERE id = $1 AND stopped_at IS NOT NULL",
    )
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_within_reason_and_told_in_words() {
        assert_eq!(Retry::USUAL.in_words(), "retry every 15 minutes, at most 3 times");
        assert_eq!(Retry::new(120, 1).unwrap().in_words(), "retry every 2 hours, once");
        assert_eq!(Retry::NEVER.in_words(), "no retry");
        for (minutes, most) in [(0, 3), (-1, 3), (10_081, 3), (15, 0), (15, 21)] {
            assert!(Retry::new(minutes, most).is_err(), "{minutes} {most}");
        }
    }

    #[test]
    fn recipients_are_addresses_each_once() {
        let notify = |emails: &[&str]| Notify::new(Some(emails.iter().map(|e| (*e).to_owned()).collect()), Vec::new(), vec![Kind::Late, Kind::Failure], 1);
        assert_eq!(notify(&["a@b.test", " A@b.test ", ""]).unwrap().emails.unwrap(), ["a@b.test"]);
        assert_eq!(notify(&[]).unwrap().on, [Kind::Failure, Kind::Late]);
        for odd in ["nobody", "a@b.test\r\nBcc: c@d.test", "a@b@c", "<a@b.test>", "a b@c.test", &format!("{}@b.test", "x".repeat(300))] {
            assert!(notify(&[odd]).is_err(), "{odd}");
        }
        assert!(Notify::new(None, vec!["hook_1".to_owned()], Vec::new(), 1).is_err());
        assert!(Notify::new(None, Vec::new(), Vec::new(), 0).is_err());
    }
}
