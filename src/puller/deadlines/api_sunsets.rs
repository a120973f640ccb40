//! Notifies of the day on which a vendor ends its API.

use jiff::civil::Date;

use crate::clock::Millis;
use crate::datasets::policies::NotificationKind;
use crate::db::decode_readable;
use crate::error::Result;
use crate::ids::AccountId;
use crate::puller::Puller;
use crate::puller::on_run_end::{AlertSubject, select_alert_subject};

/// An account whose vendor announced the end of its API.
#[derive(sqlx::FromRow)]
struct ApiSunsetRow {
    id: AccountId,
    api_ends_on: String,
    /// The day and stage of the last notification.
    sunset_notified: Option<String>,
}

/// Notifies of the day on which a vendor ends its API: when it becomes known, and a month, a week
/// and a day before.
pub(super) async fn notify_api_sunsets(puller: &Puller, now: Millis) -> Result<()> {
    let known: Vec<ApiSunsetRow> = decode_readable(
        sqlx::query(
            "SELECT id, api_ends_on, sunset_notified
             FROM accounts
             WHERE api_ends_on IS NOT NULL
             ORDER BY id",
        )
        .fetch_all(puller.db.read())
        .await?,
    );
    let today = crate::clock::timestamp(now)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    for account in known {
        let Ok(day) = account.api_ends_on.parse::<Date>() else {
            continue;
        };
        let left = (day - today).get_days();
        let stage = match left {
            ..0 => "over",
            0..=1 => "a day",
            2..=7 => "a week",
            8..=30 => "a month",
            _ => "known",
        };
        let key = format!("{day} {stage}");
        if account.sunset_notified.as_deref() == Some(key.as_str()) {
            continue;
        }
        let mut tx = puller.db.write().await?;
        sqlx::query("UPDATE accounts SET sunset_notified = $1 WHERE id = $2")
            .bind(&key)
            .bind(&account.id)
            .execute(&mut *tx)
            .await?;
        let all: Vec<AlertSubject> = sqlx::query_as(select_alert_subject!(
            "WHERE d.account_id = $1 ORDER BY LOWER(d.name), d.id"
        ))
        .bind(&account.id)
        .fetch_all(&mut *tx)
        .await?;
        for dataset in all {
            let vendor = dataset.vendor();
            let on = day.strftime("%a %-d %b %Y");
            let happened = match left {
                ..0 => format!("On {on}, {vendor} ended the API that this DataSet uses."),
                0 => format!("Today, {vendor} ends the API that this DataSet uses."),
                left => format!(
                    "On {on}, in {left} day{}, {vendor} ends the API that this DataSet uses.",
                    if left == 1 { "" } else { "s" }
                ),
            };
            let words = [
                happened,
                "A server administrator must check whether a newer Chatlake supports the new API."
                    .to_owned(),
                "After that day, runs with this API fail. The existing rows stay available."
                    .to_owned(),
            ];
            dataset
                .notify(&mut tx, now, NotificationKind::Sunset, "sunset", words)
                .await?;
        }
        tx.commit().await?;
        puller.notifications.wake.notify_one();
    }
    Ok(())
}
