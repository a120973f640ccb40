//! The lower part of the Scheduling pane: the retry policy, the expected interval of new data, and
//! the recipients of notifications.

use super::FormContext;
use super::view::Wizard;
use crate::datasets::Dataset;
use crate::datasets::policies::{self, RetryPolicy};
use crate::error::{Error, Result};
use crate::web::components::Choice;

/// The submitted fields.
#[derive(Clone, Debug, Default)]
pub struct RetryFields {
    /// `always` or `never`; empty in a form without this part.
    retry: String,
    every: String,
    /// `minutes` or `hours`.
    unit: String,
    max_attempts: String,
    expected_hours: String,
}

impl RetryFields {
    /// The field with this name; `None` if it belongs to another part of the form.
    pub fn field_mut(&mut self, field: &str) -> Option<&mut String> {
        Some(match field {
            "retry" => &mut self.retry,
            "retry_every" => &mut self.every,
            "retry_unit" => &mut self.unit,
            "retry_most" => &mut self.max_attempts,
            "expected_hours" => &mut self.expected_hours,
            _ => return None,
        })
    }

    pub fn fresh() -> Self {
        Self::from(RetryPolicy::DEFAULT, None)
    }

    pub fn of(dataset: &Dataset) -> Self {
        Self::from(dataset.policies.retry(), dataset.policies.expected_hours)
    }

    fn from(retry: RetryPolicy, expected_hours: Option<i64>) -> Self {
        let (every, unit) = match retry.minutes() {
            minutes if minutes % 60 == 0 => (minutes / 60, "hours"),
            minutes => (minutes, "minutes"),
        };
        // Next to "Do not retry", the number field shows the default.
        let max_attempts = if retry.max_retries() == 0 {
            RetryPolicy::DEFAULT.max_retries()
        } else {
            retry.max_retries()
        };
        Self {
            retry: if retry.max_retries() == 0 {
                "never"
            } else {
                "always"
            }
            .to_owned(),
            every: every.to_string(),
            unit: unit.to_owned(),
            max_attempts: max_attempts.to_string(),
            expected_hours: expected_hours
                .map(|hours| hours.to_string())
                .unwrap_or_default(),
        }
    }
}

/// The data of `templates/panes/retry_policy.html`.
#[derive(Clone, Debug, Default)]
pub struct RetryView {
    pub never: bool,
    pub every: String,
    pub units: Vec<Choice>,
    pub max_attempts: String,
    pub expected_hours: String,
    pub notified: String,
}

/// Validates the retry policy and the hours within which data is expected. A form without this part
/// changes nothing.
pub fn read(f: &FormContext<'_>, typed: &RetryFields) -> Result<(RetryPolicy, Option<i64>)> {
    if typed.retry.is_empty() {
        return Ok(f.dataset.map_or((RetryPolicy::DEFAULT, None), |dataset| {
            (dataset.policies.retry(), dataset.policies.expected_hours)
        }));
    }
    let mut wrong = Vec::new();
    let number = |text: &str| {
        text.trim()
            .parse::<i64>()
            .ok()
            .filter(|n| (0..=1_000_000).contains(n))
    };
    let minutes = number(&typed.every).map(|every| {
        if typed.unit == "hours" {
            every * 60
        } else {
            every
        }
    });
    let retry = match typed.retry.as_str() {
        "always" => RetryPolicy::new(
            minutes.unwrap_or(0),
            number(&typed.max_attempts).unwrap_or(0),
        ),
        "never" => Ok(RetryPolicy::NEVER),
        _ => Err(Error::field("retry", "Choose whether to retry.")),
    };
    if let Err(why) = &retry {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let hours = match typed.expected_hours.trim() {
        "" => Ok(None),
        text => policies::check_expected_hours(Some(number(text).unwrap_or(0))),
    };
    if let Err(why) = &hours {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let (Ok(retry), Ok(hours)) = (retry, hours) else {
        return Err(Error::fields(wrong));
    };
    Ok((retry, hours))
}

/// Renders this part into the wizard.
pub async fn render(w: &mut Wizard, f: &FormContext<'_>, typed: &RetryFields) -> Result<()> {
    let units = [("minutes", "minutes"), ("hours", "hours")];
    w.retry = RetryView {
        never: typed.retry == "never",
        every: typed.every.clone(),
        units: units
            .map(|(value, label)| Choice {
                value: value.to_owned(),
                label: label.to_owned(),
                selected: typed.unit == value,
            })
            .into(),
        max_attempts: typed.max_attempts.clone(),
        expected_hours: typed.expected_hours.clone(),
        notified: notified_text(f).await?,
    };
    Ok(())
}

/// The recipients: "Notifications go to: the owner, Team chat."
async fn notified_text(f: &FormContext<'_>) -> Result<String> {
    let notify = f
        .dataset
        .map(|dataset| dataset.policies.notification_settings());
    let notifications = &f.web.puller.notifications;
    let mut who = Vec::new();
    if notifications.mail_server().await?.is_some() {
        match notify.as_ref().and_then(|notify| notify.emails.as_deref()) {
            None => who.push("the owner".to_owned()),
            Some([one]) => who.push(one.clone()),
            Some([]) => {}
            Some(many) => who.push(format!("{} email addresses", many.len())),
        }
    }
    let hooks = notifications.webhooks().await?.into_iter().filter(|hook| {
        notify
            .iter()
            .any(|notify| notify.webhooks.iter().any(|id| *id == hook.id.as_str()))
    });
    who.extend(hooks.map(|hook| hook.name));
    let wants_none = notify.is_some_and(|notify| notify.on.is_empty());
    let is_none = who.is_empty() || wants_none;
    Ok(if is_none {
        "No notifications are set up.".to_owned()
    } else {
        format!("Notifications go to: {}.", who.join(", "))
    })
}
