//! The four panes: Credentials, Details, Scheduling, Name & Describe Your DataSet. The same form
//! creates a DataSet and changes it later.
//!
//! All panes are one form, so no input is lost and the server stores no state between steps. Each
//! pane's file validates its fields (`read`) and renders its part of the page (`render`). Saving
//! validates everything again. Start at `handle`.

pub mod credentials;
pub mod details;
mod form_action;
pub mod form_fields;
mod form_state;
pub mod name;
mod pane_checks;
pub mod preview;
pub mod retry_policy;
pub mod schedule_fields;
mod schedule_parse;
pub mod schedule_view;
pub mod scheduling;
pub mod update_method;
pub mod view;
mod wizard_page;

pub use form_action::{FormOutcome, handle};

use super::Web;
use crate::actor::Actor;
use crate::connectors::Connector;
use crate::datasets::Dataset;
use crate::error::{ErrorKind, Result};
use form_fields::FormFields;
use form_state::FormState;
use view::Wizard;
use wizard_page::render;

/// The context of the form: the person, the connector and the DataSet.
pub struct FormContext<'a> {
    pub web: &'a Web,
    pub actor: &'a Actor,
    pub connector: Connector,
    /// The DataSet that is changed; `None` for a new one.
    pub dataset: Option<&'a Dataset>,
}

/// The four panes, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pane {
    #[default]
    Credentials,
    Details,
    Scheduling,
    Name,
}

impl Pane {
    const ALL: [Pane; 4] = [
        Pane::Credentials,
        Pane::Details,
        Pane::Scheduling,
        Pane::Name,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Pane::Credentials => "credentials",
            Pane::Details => "details",
            Pane::Scheduling => "scheduling",
            Pane::Name => "name",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pane| pane.word() == word)
    }

    fn title(self) -> &'static str {
        match self {
            Pane::Credentials => "Credentials",
            Pane::Details => "Details",
            Pane::Scheduling => "Scheduling",
            Pane::Name => "Name & Describe Your DataSet",
        }
    }

    /// The action of the main button while this pane is open.
    fn main_action(self) -> &'static str {
        match self {
            Pane::Credentials => "connect",
            Pane::Details => "details",
            Pane::Scheduling => "schedule",
            Pane::Name => "save",
        }
    }
}

/// The form for a new DataSet. With a recently accepted account it starts at Details.
pub async fn new_dataset(
    f: &FormContext<'_>,
    report: Option<&str>,
    account: Option<&str>,
) -> Result<Wizard> {
    let report = report.and_then(|id| f.connector.report(id));
    let mut typed = FormFields::fresh(f.connector, report);
    typed.account_id = account.unwrap_or_default().to_owned();
    let account = credentials::chosen(f, &typed).await?;
    typed.reached = if account
        .as_ref()
        .is_some_and(|a| credentials::is_recently_verified(f, a))
    {
        Pane::Details
    } else {
        Pane::Credentials
    };
    let open = typed.reached;
    render(f, FormState::new(typed, account, Some(open)))
        .await
        .map(|(wizard, _)| wizard)
}

/// The form for an existing DataSet, with all panes closed unless one has an error.
pub async fn existing_dataset(f: &FormContext<'_>, dataset: &Dataset) -> Result<Wizard> {
    let typed = FormFields::of(dataset);
    let mut state = match credentials::chosen(f, &typed).await {
        Ok(account) => FormState::new(typed, account, None),
        Err(why) if why.kind() == ErrorKind::NotFound => FormState::new(typed, None, None),
        Err(why) => return Err(why),
    };
    if state.account.is_none() {
        let why = match &dataset.account_name {
            None => "The account of this DataSet was deleted, so the DataSet does not run. \
                     Choose another account."
                .to_owned(),
            Some(name) => format!(
                "The account “{name}” is not shared with you. \
                 To change these settings, choose another account."
            ),
        };
        state.errors.add("account_id", why);
        state.open = Some(Pane::Credentials);
        state.typed.account_id.clear();
    }
    render(f, state).await.map(|(wizard, _)| wizard)
}
