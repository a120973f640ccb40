//! What the templates of the four panes are filled with; they are described at the top of `templates/pages/wizard.html`.

use super::retrying::Retrying;
use super::update_method::UpdateView;
use super::when::WhenView;
use crate::connectors::Connector;
use crate::web::cells::Cell;
use crate::web::parts::{Band, Choice, Errors, Status};

/// All four panes.
#[derive(Default)]
pub struct Wizard {
    pub editing: bool,
    /// Where the form goes.
    pub action: String,
    pub connector_name: String,
    pub monogram: String,
    /// The furthest pane that was open.
    pub reached: String,
    /// What Enter in a field does.
    pub default_step: String,
    pub problem: Option<Band>,
    pub errors: Errors,
    pub credentials: Pane,
    pub details: Pane,
    pub scheduling: Pane,
    pub name_pane: Pane,

    pub accounts: Vec<AccountChoice>,
    pub adding: bool,
    pub new_chosen: bool,
    pub account_name: String,
    pub credential_fields: Vec<CredentialField>,
    pub where_to_find: String,
    pub api_url: String,
    pub requests_per_minute: String,
    pub account_zone: String,
    pub advanced_open: bool,
    pub vendor: VendorWords,

    pub reports: Vec<ReportChoice>,
    pub report_about: String,
    pub takes_days: bool,
    pub takes_group: bool,
    pub takes_login: bool,
    pub takes_weekday: bool,
    pub takes_group_by: bool,
    pub takes_tag: bool,
    pub takes_pending: bool,
    pub takes_details: bool,
    pub start_days: String,
    pub end_days: String,
    /// 2027-03-24 in `zone`.
    pub today: String,
    pub zone: String,
    pub days: Vec<Day>,
    /// Empty when the numbers do not fit.
    pub days_range: String,
    pub days_rest: String,
    pub groups: Vec<Choice>,
    pub logins: Vec<Choice>,
    /// The login is written, as the vendor lists none.
    pub types_login: bool,
    pub login: String,
    pub report_weekdays: Vec<Choice>,
    pub group_bys: Vec<Choice>,
    /// Empty when they could not be read: then the tag is written.
    pub tags: Vec<Choice>,
    pub tag: String,
    pub include_pending: bool,
    pub agent_details: bool,
    /// One of the further choices is made, or is wrong.
    pub more_open: bool,
    pub choices_words: String,
    /// Group, Login and Tag are filled, so the pane can be opened without asking the server.
    pub has_choices: bool,
    pub preview: Option<Preview>,

    pub zones: Vec<Choice>,
    pub when: WhenView,
    pub words: String,
    pub cron: String,
    pub next_runs: Vec<NextRun>,
    pub next_note: String,
    pub warnings: Vec<String>,
    pub update: UpdateView,
    pub retrying: Retrying,

    pub name: String,
    pub suggested: String,
    pub name_help: String,
    pub description: String,
    pub cost: String,
}

/// What is special about a vendor, for whoever enters credentials.
#[derive(Clone, Debug, Default)]
pub struct VendorWords {
    /// What Connect asks for.
    pub proof: &'static str,
    /// Empty when there is nothing to know.
    pub notice: &'static str,
    /// The password goes over the network in the clear.
    pub in_the_clear: bool,
    /// The account's zone is a field that people should look at.
    pub zone_first: bool,
}

impl VendorWords {
    /// `api_url`: the address that the account has or is to have.
    pub fn of(connector: Connector, api_url: &str) -> Self {
        Self {
            proof: connector.proof(),
            notice: connector.notice().unwrap_or_default(),
            in_the_clear: connector.notice().is_some() && api_url.trim().to_ascii_lowercase().starts_with("http://"),
            zone_first: connector.tells_bare_times(),
        }
    }
}

/// The head of a pane.
#[derive(Clone, Debug, Default)]
pub struct Pane {
    pub number: u8,
    pub title: String,
    /// open, done, later or review.
    pub state: String,
    /// When closed.
    pub summary: String,
}

/// A saved account.
#[derive(Clone, Debug, Default)]
pub struct AccountChoice {
    pub id: String,
    pub name: String,
    pub line: String,
    pub selected: bool,
    pub status: Status,
}

/// A field of the connector's credentials. The value of a secret one stays empty.
#[derive(Clone, Debug, Default)]
pub struct CredentialField {
    pub id: String,
    pub label: String,
    pub help: String,
    pub secret: bool,
    pub value: String,
}

/// A report of the menu.
#[derive(Clone, Debug, Default)]
pub struct ReportChoice {
    pub id: String,
    pub title: String,
    pub about: String,
    /// "days group login tag": what it takes, by the ids of the menus; `days` stands for both.
    pub menus: String,
    pub selected: bool,
}

/// A cell of the picture of days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// in, out, today or "in is-today".
    pub kind: String,
    pub label: String,
}

/// When it will run.
#[derive(Clone, Debug, Default)]
pub struct NextRun {
    pub day: String,
    pub time: String,
    /// From UTC.
    pub offset: String,
    /// Why this one is odd, or empty.
    pub note: String,
}

/// The first rows of a report.
#[derive(Default)]
pub struct Preview {
    pub words: String,
    pub problem: Option<Band>,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    pub zone: String,
    pub columns_words: String,
}

/// The head of a column.
#[derive(Clone, Debug, Default)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub meaning: String,
}
