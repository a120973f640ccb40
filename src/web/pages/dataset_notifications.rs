//! The notifications card of a DataSet, the banners about a stopped schedule and late data, and the
//! action that restarts the schedule.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::tz::TimeZone;

use super::dataset_settings;
use crate::accounts::Account;
use crate::clock::Millis;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::datasets::Dataset;
use crate::datasets::policies::{NotificationKind, NotificationSettings, StopReason};
use crate::error::Result;
use crate::ids::DatasetId;
use crate::web::Web;
use crate::web::components::{Action, Band, Choice, Errors};
use crate::web::forms::{FirstPathId, Form};
use crate::web::humanize;
use crate::web::page::{PageResult, redirect};
use crate::web::person::Person;

/// The card "Notifications" (`templates/panes/notify.html`).
pub struct NotifyForm {
    pub to_owner: bool,
    pub owner: String,
    pub emails: String,
    pub webhooks: Vec<Choice>,
    pub switches: Vec<NotifySwitch>,
    pub after: String,
    pub has_mail: bool,
    pub errors: Errors,
}

/// A kind of notification that can be switched on.
pub struct NotifySwitch {
    pub value: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    pub on: bool,
}

fn switch(kind: NotificationKind, on: bool) -> NotifySwitch {
    let (label, help) = match kind {
        NotificationKind::Failure => (
            "A run fails",
            "One notification, until a run succeeds again.",
        ),
        NotificationKind::Recovery => (
            "A run succeeds again",
            "The first success after a reported failure.",
        ),
        NotificationKind::Late => (
            "Data is late",
            "No new data within the expected time, or the reminder of a manual DataSet is due.",
        ),
        NotificationKind::Stopped => (
            "The schedule stops",
            "Rejected credentials, an account that is deleted or no longer shared, \
             the server stopped three times during a run, \
             a schedule that cannot be used, or a pause.",
        ),
        NotificationKind::Sunset => (
            "LiveChat or LiveLeader ends its API",
            "When the date is known, and a month, a week and a day before.",
        ),
    };
    NotifySwitch {
        value: kind.word(),
        label,
        help,
        on,
    }
}

impl NotifyForm {
    pub async fn of(web: &Web, dataset: &Dataset) -> Result<Self> {
        Self::with(web, dataset, &dataset.policies.notification_settings()).await
    }

    async fn with(web: &Web, dataset: &Dataset, notify: &NotificationSettings) -> Result<Self> {
        let webhooks = web.puller.notifications.webhooks().await?;
        let webhooks = webhooks.into_iter().map(|hook| Choice {
            selected: notify.webhooks.iter().any(|id| *id == hook.id.as_str()),
            value: hook.id.to_string(),
            label: hook.name,
        });
        Ok(Self {
            to_owner: notify.emails.is_none(),
            owner: dataset.owner_name.clone(),
            emails: notify.emails.as_deref().unwrap_or_default().join("\n"),
            webhooks: webhooks.collect(),
            switches: NotificationKind::ALL
                .map(|kind| switch(kind, notify.on.contains(&kind)))
                .into(),
            after: notify.after.to_string(),
            has_mail: web.puller.notifications.mail_server().await?.is_some(),
            errors: Errors::default(),
        })
    }
}

/// `GET /datasets/{id}/notifications`: the path of the form, which is part of the settings page.
pub async fn notifications(
    State(web): State<Web>,
    person: Person,
    FirstPathId(id): FirstPathId<DatasetId>,
) -> PageResult {
    web.datasets.get(&person.actor, &id).await?;
    redirect(&format!("/datasets/{id}/settings#notifications"))
}

/// `POST /datasets/{id}/notifications`
pub async fn notify(
    State(web): State<Web>,
    person: Person,
    FirstPathId(id): FirstPathId<DatasetId>,
    Form(fields): Form<Vec<(String, String)>>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let all = |name: &str| {
        fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.clone())
            .collect::<Vec<String>>()
    };
    let typed = all("emails").join("\n");
    let lines = || {
        typed
            .split([',', ';', '\n', ' ', '\t', '\r'])
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let emails = (all("to").first().map(String::as_str) != Some("owner")).then(lines);
    let on: Vec<NotificationKind> = all("on")
        .iter()
        .filter_map(|word| NotificationKind::parse(word))
        .collect();
    let after = all("after")
        .first()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    match NotificationSettings::new(emails.clone(), all("webhook"), on.clone(), after) {
        Ok(notify) => {
            web.datasets
                .set_notifications(&person.actor, &id, &notify)
                .await?;
            web.flash(&person.session, "Notifications saved.").await;
            redirect(&format!("/datasets/{id}/settings"))
        }
        Err(why) => {
            let shown = NotificationSettings {
                emails: emails.map(|_| Vec::new()),
                webhooks: all("webhook"),
                on,
                after,
            };
            let mut form = NotifyForm::with(&web, &dataset, &shown).await?;
            (form.emails, form.after) = (typed, all("after").join(""));
            if let Some(why) = form.errors.take(why) {
                return Err(why.into());
            }
            dataset_settings::with_notify_form(
                &web,
                &person,
                &dataset,
                form,
                StatusCode::UNPROCESSABLE_ENTITY,
            )
            .await
        }
    }
}

/// `POST /datasets/{id}/bring-back`
pub async fn restore_schedule(
    State(web): State<Web>,
    person: Person,
    FirstPathId(id): FirstPathId<DatasetId>,
) -> PageResult {
    match web.puller.restart_schedule(&person.actor, &id).await {
        Ok(dataset) => {
            let next = dataset.next_run_at.map_or_else(String::new, |at| {
                let zone = super::dataset::zone_of(&dataset);
                format!(
                    " Next run {}.",
                    humanize::calendar_time(at, web.clock.now(), &zone)
                )
            });
            let sentence = format!("Schedule resumed.{next}");
            web.flash(&person.session, sentence).await;
        }
        Err(why) if why.kind() == crate::error::ErrorKind::Conflict => {
            let action = why.suggested_action().unwrap_or_default();
            let sentence = format!("{} {action}", why.message());
            web.flash_failure(&person.session, sentence.trim_end())
                .await;
        }
        Err(why) => return Err(why.into()),
    }
    redirect(&format!("/datasets/{id}"))
}

/// What happens next for a DataSet that waits for a retry or whose schedule is stopped.
pub fn next_retry_text(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Option<String> {
    if let Some(at) = dataset.policies.retry_at {
        return Some(format!(
            "Retry {} of {} {}",
            dataset.policies.retry_number,
            dataset.policies.retry().max_retries(),
            humanize::calendar_time(at, now, zone)
        ));
    }
    dataset.stopped().map(|_| "No next run".to_owned())
}

/// How the schedule can be restarted.
fn restore_advice(why: StopReason) -> &'static str {
    match why {
        StopReason::Credentials => {
            "The owner of the account can update them in Accounts, \
             or press Test there when they work again. \
             Then the schedule resumes automatically."
        }
        StopReason::Unshared => {
            "The owner of the account can share it again in Accounts. \
             Then the schedule resumes automatically."
        }
        StopReason::Parked => {
            "First, the server administrator should check memory, disk and log. \
             Resume, or a run that succeeds, starts the schedule again."
        }
    }
}

/// The banner about a stopped schedule: the reason, and how to restart it. `account`: its account,
/// if this person may change it.
pub fn stopped_band(
    dataset: &Dataset,
    account: Option<&Account>,
    can_change: bool,
    now: Millis,
    zone: &TimeZone,
) -> Option<Band> {
    let stopped = dataset.stopped()?;
    let since = humanize::calendar_time(stopped.at, now, zone);
    let name = dataset.account_name.as_deref().unwrap_or_default();
    let why = match stopped.reason {
        StopReason::Credentials => format!(
            "{} rejected the credentials of “{name}” {MAX_AUTH_FAILURES} times in a row.",
            dataset.connector.title()
        ),
        StopReason::Unshared => {
            "the account is no longer shared with the owner of the DataSet.".to_owned()
        }
        StopReason::Parked => "the server stopped three times during a run.".to_owned(),
    };
    let rows = if dataset.current.is_some() {
        " The existing rows are unchanged."
    } else {
        ""
    };
    let restore_action = || Action {
        label: "Resume".to_owned(),
        href: format!("/datasets/{}/bring-back", dataset.id),
        primary: true,
        post: true,
    };
    let other_account = || Action {
        label: "Choose another account".to_owned(),
        href: format!("/datasets/{}/settings", dataset.id),
        primary: false,
        post: false,
    };
    let update = |account: &Account| Action {
        label: "Update credentials".to_owned(),
        href: format!("/accounts/{}/edit", account.id),
        primary: true,
        post: false,
    };
    let action = match (stopped.reason, account) {
        (StopReason::Unshared, Some(account)) => Some(Action {
            label: "Share the account again".to_owned(),
            href: format!("/accounts/{}/edit", account.id),
            primary: true,
            post: false,
        }),
        (StopReason::Unshared, None) => can_change.then(other_account),
        (StopReason::Credentials, Some(account)) if account.is_stopped() => Some(update(account)),
        (StopReason::Credentials, None) => None,
        _ => can_change.then(restore_action),
    };
    Some(Band {
        tone: "bad".to_owned(),
        title: format!("Schedule stopped {since}: {why}"),
        text: format!("{}{rows}", restore_advice(stopped.reason)),
        actions: action.into_iter().collect(),
    })
}

/// The banner about late data.
pub fn late_band(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Option<Band> {
    let since = dataset.policies.late_since?;
    let last = dataset.policies.last_success_at.map_or_else(
        || "No run has succeeded yet.".to_owned(),
        |at| format!("Last update: {}.", humanize::calendar_time(at, now, zone)),
    );
    let text = match dataset.schedule {
        Some(_) if dataset.current.is_none() => "History shows why.",
        Some(_) => "History shows why no run has succeeded since. The existing rows are unchanged.",
        None => "This DataSet runs manually: press Run now.",
    };
    Some(Band {
        tone: "warn".to_owned(),
        title: format!(
            "Data is late. It was expected {}.",
            humanize::calendar_time(since, now, zone)
        ),
        text: format!("{last} {text}"),
        actions: Vec::new(),
    })
}
