//! The choices of a DataSet in its report's menus, and the date range that they name.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Window;
use super::report::{GroupBy, Menu, Report, Weekday};

/// The values of the menus in the Details pane. A value that exists was validated by
/// `Menus::check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Menus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_days: Option<u32>,
    /// A group's id; `None` is all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// A login; `None` is all agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// `None` is automatic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Only records with this tag; `None` is all records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekday: Option<Weekday>,
    /// Includes chats that wait for an answer; `None` is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_pending: Option<bool>,
    /// One more API call for each agent; `None` is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_details: Option<bool>,
}

/// The maximum number of days before today that a report can start.
pub const MAX_DAYS: u32 = 3_660;

impl Menus {
    /// Validates the values against the report. Returns the field and a sentence for each value
    /// that does not fit. If the report requires days, the defaults are 7 and 1 (a week until
    /// yesterday); the default weekday is Monday. A menu that the report does not take must be
    /// absent.
    pub fn check(mut self, report: &Report) -> Result<Self, Vec<(String, String)>> {
        let mut wrong = Vec::new();
        // Equal requests are normalized to equal values, so that DataSets with the same request
        // share one read.
        self.include_pending = self
            .include_pending
            .filter(|on| *on || !report.takes(Menu::IncludePending));
        self.agent_details = self
            .agent_details
            .filter(|on| *on || !report.takes(Menu::AgentDetails));
        self.group_by = self
            .group_by
            .filter(|by| *by != GroupBy::Automatic || !report.takes(Menu::GroupBy));
        let is_set = [
            (Menu::StartDays, self.start_days.is_some()),
            (Menu::EndDays, self.end_days.is_some()),
            (Menu::Group, self.group.is_some()),
            (Menu::Login, self.login.is_some()),
            (Menu::GroupBy, self.group_by.is_some()),
            (Menu::Tag, self.tag.is_some()),
            (Menu::Weekday, self.weekday.is_some()),
            (Menu::IncludePending, self.include_pending.is_some()),
            (Menu::AgentDetails, self.agent_details.is_some()),
        ];
        for (menu, is_set) in is_set {
            if is_set && !report.takes(menu) {
                wrong.push((
                    menu.id().to_owned(),
                    format!(
                        "{} does not support {}. Leave it out.",
                        report.title,
                        menu.label()
                    ),
                ));
            }
            let required = report.menus.iter().any(|m| m.menu == menu && m.required);
            if required && !is_set && menu.kind() == "choice" {
                wrong.push((
                    menu.id().to_owned(),
                    format!("{} requires a {}.", report.title, menu.label()),
                ));
            }
        }
        if report.takes(Menu::StartDays) && wrong.is_empty() {
            let start = *self.start_days.get_or_insert(7);
            let end = *self.end_days.get_or_insert(1.min(start));
            if start > MAX_DAYS {
                wrong.push((
                    "start_days".to_owned(),
                    format!("Start Days must be {MAX_DAYS} or less (10 years)."),
                ));
            } else if end > start {
                let at_most = if start == 0 {
                    "End Days must be 0 (Start Days is 0).".to_owned()
                } else {
                    format!("End Days must be {start} or less (Start Days is {start}).")
                };
                wrong.push(("end_days".to_owned(), at_most));
            }
        }
        if report.takes(Menu::Weekday) {
            self.weekday.get_or_insert(Weekday::Mon);
        }
        for (name, text) in [
            ("group", &self.group),
            ("login", &self.login),
            ("tag", &self.tag),
        ] {
            if text
                .as_ref()
                .is_some_and(|t| t.is_empty() || t.len() > 320 || t.chars().any(char::is_control))
            {
                let typed = Menu::parse(name).is_some_and(|menu| report.is_free_text(menu));
                let how = if typed {
                    "Enter the exact value"
                } else {
                    "Choose a value from the list"
                };
                wrong.push((name.to_owned(), format!("{how}, or leave it out for all.")));
            }
        }
        if wrong.is_empty() {
            Ok(self)
        } else {
            Err(wrong)
        }
    }

    /// The range of days that a run on `today` pulls; `None` for a report without days.
    pub fn range(&self, today: Date) -> Option<Window> {
        let back = |days: u32| today.saturating_sub(jiff::Span::new().days(i64::from(days)));
        Some(Window {
            from: back(self.start_days?),
            to: back(self.end_days?),
        })
    }
}
