//! Who is told about a DataSet, what has taken it off its schedule, and the button that brings it back.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::tz::TimeZone;

use super::dataset_settings;
use crate::accounts::Account;
use crate::clock::Millis;
use crate::connectors::upstream::MAX_REFUSALS;
use crate::datasets::Dataset;
use crate::datasets::upkeep::{Kind, Notify, Why};
use crate::error::Result;
use crate::ids::DatasetId;
use crate::web::Web;
use crate::web::forms::{Form, Id};
use crate::web::page::{Answer, go};
use crate::web::parts::{Action, Band, Choice, Errors};
use crate::web::person::Person;
use crate::web::words;

/// The card "Notifications"; see `templates/panes/notify.html`.
pub struct NotifyForm {
    pub to_owner: bool,
    pub owner: String,
    pub emails: String,
    pub webhooks: Vec<Choice>,
    pub switches: Vec<Switch>,
    pub after: String,
    pub has_mail: bool,
    pub errors: Errors,
}

/// Something that may be told of.
pub struct Switch {
    pub value: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    pub on: bool,
}

fn switch(kind: Kind, on: bool) -> Switch {
    let (label, help) = match kind {
        Kind::Failure => ("A run fails", "One notification, until a run succeeds again."),
        Kind::Recovery => ("A run succeeds again", "The first success after a reported failure."),
        Kind::Late => ("Data is late", "No new data within the expected time, or a reminder of a DataSet that runs manually."),
        Kind::Stopped => ("The schedule stops", "Rejected credentials, a deleted account, or a run that stopped the server three times."),
        Kind::Sunset => ("LiveChat or LiveLeader ends its API", "When the date is known, and a month, a week and a day before."),
    };
    Switch { value: kind.word(), label, help, on }
}

impl NotifyForm {
    pub async fn of(web: &Web, dataset: &Dataset) -> Result<Self> {
        Self::with(web, dataset, &dataset.upkeep.notify()).await
    }

    async fn with(web: &Web, dataset: &Dataset, notify: &Notify) -> Result<Self> {
        let webhooks = web.puller.notices.webhooks().await?;
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
            switches: Kind::ALL.map(|kind| switch(kind, notify.on.contains(&kind))).into(),
            after: notify.after.to_string(),
            has_mail: web.puller.notices.mail_server().await?.is_some(),
            errors: Errors::default(),
        })
    }
}

/// `GET /datasets/{id}/notifications`: the address of the form, which is a part of the settings.
pub async fn notifications(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    web.datasets.get(&person.actor, &id).await?;
    go(&format!("/datasets/{id}/settings#notifications"))
}

/// `POST /datasets/{id}/notifications`
pub async fn notify(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, Form(fields): Form<Vec<(String, String)>>) -> Answer {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let all = |name: &str| fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect::<Vec<String>>();
    let typed = all("emails").join("\n");
    let lines = || typed.split([',', ';', '\n', ' ', '\t', '\r']).filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let emails = (all("to").first().map(String::as_str) != Some("owner")).then(lines);
    let on: Vec<Kind> = all("on").iter().filter_map(|word| Kind::parse(word)).collect();
    let after = all("after").first().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    match Notify::new(emails.clone(), all("webhook"), on.clone(), after) {
        Ok(notify) => {
            web.datasets.set_notify(&person.actor, &id, &notify).await?;
            web.say_next(&person.session, "Notifications saved.").await;
            go(&format!("/datasets/{id}/settings"))
        }
        Err(why) => {
            let shown = Notify { emails: emails.map(|_| Vec::new()), webhooks: all("webhook"), on, after };
            let mut form = NotifyForm::with(&web, &dataset, &shown).await?;
            (form.emails, form.after) = (typed, all("after").join(""));
            if let Some(why) = form.errors.take(why) {
                return Err(why.into());
            }
            dataset_settings::again(&web, &person, &dataset, form, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

/// `POST /datasets/{id}/bring-back`
pub async fn bring_back(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let sentence = match web.puller.bring_back(&person.actor, &id).await {
        Ok(dataset) => {
            let next = dataset.next_run_at.map_or_else(String::new, |at| {
                let zone = super::dataset::zone_of(&dataset);
                format!(" Next run {}.", words::coming(at, web.clock.now(), &zone))
            });
            format!("Schedule resumed.{next}")
        }
        Err(why) if why.kind() == crate::error::Kind::Conflict => format!("{} {}", why.message(), why.next_step().unwrap_or_default()).trim_end().to_owned(),
        Err(why) => return Err(why.into()),
    };
    web.say_next(&person.session, sentence).await;
    go(&format!("/datasets/{id}"))
}

/// What comes next for a DataSet that waits for a retry or is off its schedule.
pub fn next_words(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Option<String> {
    if let Some(at) = dataset.upkeep.retry_at {
        return Some(format!("Retry {} of {} {}", dataset.upkeep.retry_number, dataset.upkeep.retry().most(), words::coming(at, now, zone)));
    }
    dataset.stopped().map(|_| "No next run".to_owned())
}

/// What brings a DataSet back on its schedule.
fn way_back(why: Why) -> &'static str {
    match why {
        Why::Credentials => {
            "The owner of the account can update them in Accounts, or press Test there when they work again. \
             Then the schedule resumes automatically."
        }
        Why::Unshared => "The owner of the account can share it again in Accounts. Then the schedule resumes automatically.",
        Why::Parked => "First, the server administrator should check memory, disk and log. Resume, or a run that succeeds, starts the schedule again.",
    }
}

/// Why it is off its schedule, and how it comes back: all that is said of it on a page. `account`: its account, when this person may
/// change it.
pub fn stopped_band(dataset: &Dataset, account: Option<&Account>, can_change: bool, now: Millis, zone: &TimeZone) -> Option<Band> {
    let stopped = dataset.stopped()?;
    let since = words::coming(stopped.at, now, zone);
    let name = dataset.account_name.as_deref().unwrap_or_default();
    let why = match stopped.why {
        Why::Credentials => format!("{} rejected the credentials of “{name}” {MAX_REFUSALS} times in a row.", dataset.connector.title()),
        Why::Unshared => "the account is no longer shared with the owner of the DataSet.".to_owned(),
        Why::Parked => "a run stopped the server three times.".to_owned(),
    };
    let rows = if dataset.current.is_some() { " The existing rows are unchanged." } else { "" };
    let bring_back = || Action { label: "Resume".to_owned(), href: format!("/datasets/{}/bring-back", dataset.id), primary: true, post: true };
    let other_account =
        || Action { label: "Choose another account".to_owned(), href: format!("/datasets/{}/settings", dataset.id), primary: false, post: false };
    let update =
        |account: &Account| Action { label: "Update credentials".to_owned(), href: format!("/accounts/{}/edit", account.id), primary: true, post: false };
    let action = match (stopped.why, account) {
        (Why::Unshared, Some(account)) => {
            Some(Action { label: "Share the account again".to_owned(), href: format!("/accounts/{}/edit", account.id), primary: true, post: false })
        }
        (Why::Unshared, None) => can_change.then(other_account),
        (Why::Credentials, Some(account)) if account.is_stopped() => Some(update(account)),
        (Why::Credentials, None) => None,
        _ => can_change.then(bring_back),
    };
    Some(Band {
        tone: "bad".to_owned(),
        title: format!("Schedule stopped {since}: {why}"),
        text: format!("{}{rows}", way_back(stopped.why)),
        actions: action.into_iter().collect(),
    })
}

/// That its data is late.
pub fn late_band(dataset: &Dataset, now: Millis, zone: &TimeZone) -> Option<Band> {
    let since = dataset.upkeep.late_since?;
    let last =
        dataset.upkeep.last_success_at.map_or_else(|| "No run has succeeded yet.".to_owned(), |at| format!("Last update: {}.", words::coming(at, now, zone)));
    let text = match dataset.schedule {
        Some(_) if dataset.current.is_none() => "History shows why no run has succeeded.",
        Some(_) => "History shows why no run has succeeded. The existing rows are unchanged.",
        None => "This DataSet runs manually: press Run now.",
    };
    Some(Band {
        tone: "warn".to_owned(),
        title: format!("Data is late. It was expected {}.", words::coming(since, now, zone)),
        text: format!("{last} {text}"),
        actions: Vec::new(),
    })
}
