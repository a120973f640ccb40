//! The data of `templates/pages/wizard.html` and of the templates of its four panes.

use super::retry_policy::RetryView;
use super::schedule_view::ScheduleView;
use super::update_method::UpdateMethodView;
use crate::connectors::Connector;
use crate::web::cells::CellView;
use crate::web::components::{Band, Choice, Errors, Status};

/// All four panes.
#[derive(Default)]
pub struct Wizard {
    pub editing: bool,
    /// The target of the form.
    pub action: String,
    pub connector_name: String,
    pub monogram: String,
    /// The furthest pane that was open.
    pub reached: String,
    /// The action of the Enter key in a field.
    pub default_step: String,
    pub problem: Option<Band>,
    pub errors: Errors,
    pub credentials: PaneHead,
    pub details: PaneHead,
    pub scheduling: PaneHead,
    pub name_pane: PaneHead,

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
    pub vendor: VendorNotes,

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
    /// Today in `zone`, such as 2027-03-24.
    pub today: String,
    pub zone: String,
    pub days: Vec<DayRangeCell>,
    /// Empty if the numbers are invalid.
    pub days_range: String,
    pub days_rest: String,
    pub groups: Vec<Choice>,
    pub logins: Vec<Choice>,
    /// Whether the login is a text field, because the vendor does not list logins.
    pub types_login: bool,
    pub login: String,
    pub report_weekdays: Vec<Choice>,
    pub group_bys: Vec<Choice>,
    /// Empty if the tags could not be read; the tag is then a text field.
    pub tags: Vec<Choice>,
    pub tag: String,
    pub include_pending: bool,
    pub agent_details: bool,
    /// Whether one of the further menus is set or has an error.
    pub more_open: bool,
    pub choices_words: String,
    /// Whether Group, Login and Tag are filled, so that the pane can be opened without a request.
    pub has_choices: bool,
    pub preview: Option<Preview>,

    pub zones: Vec<Choice>,
    pub schedule: ScheduleView,
    pub words: String,
    pub cron: String,
    pub next_runs: Vec<NextRun>,
    pub next_note: String,
    pub warnings: Vec<String>,
    pub update: UpdateMethodView,
    pub retry: RetryView,

    pub name: String,
    pub suggested: String,
    pub name_help: String,
    pub description: String,
    pub cost: String,
}

/// The notes about a vendor for a person who enters credentials.
#[derive(Clone, Debug, Default)]
pub struct VendorNotes {
    /// What Connect checks.
    pub proof: &'static str,
    /// Empty if there is no note.
    pub notice: &'static str,
    /// Whether the password is sent over plain http.
    pub over_plain_http: bool,
    /// Whether the time zone of the account is shown as a main field.
    pub zone_first: bool,
}

impl VendorNotes {
    /// `api_url`: the address that the account has or will have.
    pub fn of(connector: Connector, api_url: &str) -> Self {
        Self {
            proof: connector.auth_check_subject(),
            notice: connector.credentials_note().unwrap_or_default(),
            over_plain_http: connector.credentials_note().is_some()
                && api_url.trim().to_ascii_lowercase().starts_with("http://"),
            zone_first: connector.has_zoneless_times(),
        }
    }
}

/// The header of a pane.
#[derive(Clone, Debug, Default)]
pub struct PaneHead {
    pub number: u8,
    pub title: String,
    /// `open`, `done`, `later` or `review`.
    pub state: String,
    /// The summary of a closed pane.
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

/// A credential field of the connector. The value of a secret field stays empty.
#[derive(Clone, Debug, Default)]
pub struct CredentialField {
    pub id: String,
    pub label: String,
    pub help: String,
    pub secret: bool,
    pub value: String,
}

/// A report in the menu.
#[derive(Clone, Debug, Default)]
pub struct ReportChoice {
    pub id: String,
    pub title: String,
    pub about: String,
    /// The ids of its menus, such as "days group login tag"; `days` stands for both day fields.
    pub menus: String,
    pub selected: bool,
}

/// A cell of the date range picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayRangeCell {
    /// `in`, `out`, `today` or `in is-today`.
    pub kind: String,
    pub label: String,
}

/// One of the next runs.
#[derive(Clone, Debug, Default)]
pub struct NextRun {
    pub day: String,
    pub time: String,
    /// The offset from UTC.
    pub offset: String,
    /// The note about a clock change, or empty.
    pub note: String,
}

/// The first rows of a report.
#[derive(Default)]
pub struct Preview {
    pub words: String,
    pub problem: Option<Band>,
    pub columns: Vec<PreviewColumn>,
    pub rows: Vec<Vec<CellView>>,
    pub zone: String,
    pub columns_words: String,
}

/// The header of a column.
#[derive(Clone, Debug, Default)]
pub struct PreviewColumn {
    pub name: String,
    pub kind: String,
    pub meaning: String,
}
