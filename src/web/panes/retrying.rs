//! The lower part of the Scheduling pane: what happens when an update fails, when new data is expected, and who is told.

use super::For;
use super::view::Wizard;
use crate::datasets::Dataset;
use crate::datasets::upkeep::{self, Retry};
use crate::error::{Error, Result};
use crate::web::parts::Choice;

/// The fields as they were typed.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    /// always or never; empty in a form that does not ask.
    retry: String,
    every: String,
    /// minutes or hours.
    unit: String,
    most: String,
    expected_hours: String,
}

impl Typed {
    /// Where a field of the form goes; none when it is another part's.
    pub fn place(&mut self, field: &str) -> Option<&mut String> {
        Some(match field {
            "retry" => &mut self.retry,
            "retry_every" => &mut self.every,
            "retry_unit" => &mut self.unit,
            "retry_most" => &mut self.most,
            "expected_hours" => &mut self.expected_hours,
            _ => return None,
        })
    }

    pub fn fresh() -> Self {
        Self::from(Retry::USUAL, None)
    }

    pub fn of(dataset: &Dataset) -> Self {
        Self::from(dataset.upkeep.retry(), dataset.upkeep.expected_hours)
    }

    fn from(retry: Retry, expected_hours: Option<i64>) -> Self {
        let (every, unit) = match retry.minutes() {
            minutes if minutes % 60 == 0 => (minutes / 60, "hours"),
            minutes => (minutes, "minutes"),
        };
        // The number that is shown beside "Do not retry" is the usual one.
        let most = if retry.most() == 0 { Retry::USUAL.most() } else { retry.most() };
        Self {
            retry: if retry.most() == 0 { "never" } else { "always" }.to_owned(),
            every: every.to_string(),
            unit: unit.to_owned(),
            most: most.to_string(),
            expected_hours: expected_hours.map(|hours| hours.to_string()).unwrap_or_default(),
        }
    }
}

/// See `templates/panes/retrying.html`.
#[derive(Clone, Debug, Default)]
pub struct Retrying {
    pub never: bool,
    pub every: String,
    pub units: Vec<Choice>,
    pub most: String,
    pub expected_hours: String,
    pub told: String,
}

/// Reads the part: how it is tried again, and within how many hours data is expected. A form that does not ask leaves things as they are.
pub fn read(f: &For<'_>, typed: &Typed) -> Result<(Retry, Option<i64>)> {
    if typed.retry.is_empty() {
        return Ok(f.dataset.map_or((Retry::USUAL, None), |dataset| (dataset.upkeep.retry(), dataset.upkeep.expected_hours)));
    }
    let mut wrong = Vec::new();
    let number = |text: &str| text.trim().parse::<i64>().ok().filter(|n| (0..=1_000_000).contains(n));
    let minutes = number(&typed.every).map(|every| if typed.unit == "hours" { every * 60 } else { every });
    let retry = match typed.retry.as_str() {
        "always" => Retry::new(minutes.unwrap_or(0), number(&typed.most).unwrap_or(0)),
        "never" => Ok(Retry::NEVER),
        _ => Err(Error::field("retry", "Choose whether to retry.")),
    };
    if let Err(why) = &retry {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let hours = match typed.expected_hours.trim() {
        "" => Ok(None),
        text => upkeep::expected(Some(number(text).unwrap_or(0))),
    };
    if let Err(why) = &hours {
        wrong.extend(why.field_errors().iter().cloned());
    }
    let (Ok(retry), Ok(hours)) = (retry, hours) else { return Err(Error::fields(wrong)) };
    Ok((retry, hours))
}

/// Fills the part.
pub async fn fill(w: &mut Wizard, f: &For<'_>, typed: &Typed) -> Result<()> {
    let units = [("minutes", "minutes"), ("hours", "hours")];
    w.retrying = Retrying {
        never: typed.retry == "never",
        every: typed.every.clone(),
        units: units.map(|(value, label)| Choice { value: value.to_owned(), label: label.to_owned(), selected: typed.unit == value }).into(),
        most: typed.most.clone(),
        expected_hours: typed.expected_hours.clone(),
        told: told(f).await?,
    };
    Ok(())
}

/// "Notifications go to: the owner, Team chat."
async fn told(f: &For<'_>) -> Result<String> {
    let notify = f.dataset.map(|dataset| dataset.upkeep.notify());
    let notices = &f.web.puller.notices;
    let mut who = Vec::new();
    if notices.mail_server().await?.is_some() {
        match notify.as_ref().and_then(|notify| notify.emails.as_deref()) {
            None => who.push("the owner".to_owned()),
            Some([one]) => who.push(one.clone()),
            Some([]) => {}
            Some(many) => who.push(format!("{} email addresses", many.len())),
        }
    }
    let hooks = notices.webhooks().await?.into_iter().filter(|hook| notify.iter().any(|notify| notify.webhooks.iter().any(|id| *id == hook.id.as_str())));
    who.extend(hooks.map(|hook| hook.name));
    let wants_none = notify.is_some_and(|notify| notify.on.is_empty());
    let is_none = who.is_empty() || wants_none;
    Ok(if is_none { "No notifications are set up.".to_owned() } else { format!("Notifications go to: {}.", who.join(", ")) })
}
