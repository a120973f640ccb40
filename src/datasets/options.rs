//! The options of a DataSet besides its update mode: the chosen key, how many days are pulled
//! again, and the data safeguards. Stored as JSON. `DatasetOptions::check` validates them against
//! report and mode.

use serde::{Deserialize, Serialize};

use super::Datasets;
use super::columns::ColumnInfo;
use crate::actor::Actor;
use crate::connectors::report::{GroupBy, Menu, Report, Shape, UpdateMode};
use crate::connectors::{MAX_DAYS, Menus};
use crate::error::{Error, Result};
use crate::ids::DatasetId;

/// A key has at most this many columns.
const MAX_KEY_COLUMNS: usize = 16;

/// The options of one DataSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatasetOptions {
    /// The key columns for Merge; empty for the report's own key.
    pub key: Vec<String>,
    /// Merge and Partition: later runs start this many days before the first missing day; 0: every
    /// run pulls all days.
    pub look_back: u32,
    pub on_empty: OnEmpty,
    /// A version with this many percent fewer rows than the previous one waits for approval; 0
    /// turns this off. Not used with Append, which never drops rows.
    pub hold_drop: u8,
    pub on_added: SchemaRule,
    pub on_removed: SchemaRule,
    pub on_retyped: SchemaRule,
    /// Days that ended less than 48 hours ago are read again until two consecutive reads agree.
    /// Only used for archives.
    pub second_read: bool,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        Self {
            key: Vec::new(),
            look_back: 0,
            on_empty: OnEmpty::default(),
            hold_drop: 0,
            on_added: SchemaRule::default(),
            on_removed: SchemaRule::default(),
            on_retyped: SchemaRule::default(),
            second_read: true,
        }
    }
}

/// What happens when a run pulls no rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// `Keep` with Replace, otherwise `Check`; also `Check` for snapshot reports: see
    /// `ReportSetup::on_empty`.
    #[default]
    Usual,
    /// The existing rows stay.
    Keep,
    /// The existing rows stay, and the run fails, until the result is confirmed: the vendor counts
    /// no rows, or the next run also finds none.
    Check,
    /// The DataSet becomes empty.
    Empty,
    /// The run always fails.
    Fail,
}

impl OnEmpty {
    pub const ALL: [OnEmpty; 5] = [
        OnEmpty::Usual,
        OnEmpty::Keep,
        OnEmpty::Check,
        OnEmpty::Empty,
        OnEmpty::Fail,
    ];

    pub fn word(self) -> &'static str {
        match self {
            OnEmpty::Usual => "usual",
            OnEmpty::Keep => "keep",
            OnEmpty::Check => "check",
            OnEmpty::Empty => "empty",
            OnEmpty::Fail => "fail",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            OnEmpty::Usual => "Default",
            OnEmpty::Keep => "Keep the existing rows",
            OnEmpty::Check => "Keep the existing rows until confirmed",
            OnEmpty::Empty => "Empty the DataSet",
            OnEmpty::Fail => "Fail the run",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.word() == word)
    }
}

/// What happens when columns change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaRule {
    Accept,
    /// The change is accepted and shown on the run.
    #[default]
    Warn,
    /// The run fails, and the existing rows stay.
    Stop,
}

impl SchemaRule {
    pub const ALL: [SchemaRule; 3] = [SchemaRule::Accept, SchemaRule::Warn, SchemaRule::Stop];

    pub fn word(self) -> &'static str {
        match self {
            SchemaRule::Accept => "accept",
            SchemaRule::Warn => "warn",
            SchemaRule::Stop => "stop",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            SchemaRule::Accept => "Accept",
            SchemaRule::Warn => "Accept and warn",
            SchemaRule::Stop => "Fail the run",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.word() == word)
    }
}

/// The report and settings that options must fit.
#[derive(Clone, Copy, Debug)]
pub struct ReportSetup<'a> {
    pub report: &'static Report,
    pub mode: UpdateMode,
    pub menus: &'a Menus,
}

impl ReportSetup<'_> {
    /// Whether a day can be pulled without the others: the days of a run are the days of the
    /// records.
    pub fn supports_single_days(&self) -> bool {
        self.report.takes(Menu::StartDays)
            && matches!(self.report.shape, Shape::Archive { .. } | Shape::Export(_))
    }

    fn is_by_month(&self) -> bool {
        self.menus.group_by == Some(GroupBy::Month)
    }

    /// What happens when a run pulls no rows.
    pub fn on_empty(&self, chosen: OnEmpty) -> OnEmpty {
        match chosen {
            OnEmpty::Usual if self.mode == UpdateMode::Replace && !self.report.is_snapshot() => {
                OnEmpty::Keep
            }
            OnEmpty::Usual => OnEmpty::Check,
            chosen => chosen,
        }
    }

    /// Whether a second read is useful: the report comes in pages that may change while they are
    /// read.
    pub fn takes_second_read(&self) -> bool {
        matches!(self.report.shape, Shape::Archive { .. })
    }

    pub fn takes_look_back(&self) -> bool {
        matches!(self.mode, UpdateMode::Merge | UpdateMode::Partition)
            && self.supports_single_days()
    }
}

impl DatasetOptions {
    /// The key columns.
    pub fn key_of<'a>(&'a self, report: &'static Report) -> Vec<&'a str> {
        if self.key.is_empty() {
            report.key.to_vec()
        } else {
            self.key.iter().map(String::as_str).collect()
        }
    }

    /// Validates the options. Returns field and message for each invalid one. `existing`: the
    /// columns that the DataSet has in addition to the declared ones.
    pub fn check(
        mut self,
        setup: &ReportSetup<'_>,
        existing: &[ColumnInfo],
    ) -> std::result::Result<Self, Vec<(String, String)>> {
        let ReportSetup { report, mode, .. } = *setup;
        let mut wrong = Vec::new();
        if self
            .key
            .iter()
            .map(String::as_str)
            .eq(report.key.iter().copied())
        {
            self.key.clear();
        }
        if let Some(why) = self.wrong_key(report, existing) {
            wrong.push(("key".to_owned(), why));
        } else if mode == UpdateMode::Merge && self.key_of(report).is_empty() {
            let why = format!(
                "Merge needs a key, and {} has none. Enter the columns that identify a row.",
                report.title
            );
            wrong.push(("key".to_owned(), why));
        }
        if mode == UpdateMode::Partition && report.day.is_none() {
            let why = format!(
                "Partition needs a day on every row, and the rows of {} have none. Choose Merge or Replace.",
                report.title
            );
            wrong.push(("update_mode".to_owned(), why));
        } else if mode == UpdateMode::Partition && setup.is_by_month() {
            let why = "Partition replaces days, and these rows are months. Choose Merge, or another Group by.";
            wrong.push(("update_mode".to_owned(), why.to_owned()));
        }
        if self.look_back > MAX_DAYS {
            wrong.push((
                "look_back".to_owned(),
                format!("Days to pull again must be {MAX_DAYS} or less (10 years)."),
            ));
        } else if self.look_back > 0 && !setup.takes_look_back() {
            let why = if matches!(mode, UpdateMode::Merge | UpdateMode::Partition) {
                format!(
                    "{} always pulls the whole date range. Set Days to pull again to 0.",
                    report.title
                )
            } else {
                format!(
                    "{} does not use Days to pull again. Set it to 0, or choose Merge or Partition.",
                    mode.title()
                )
            };
            wrong.push(("look_back".to_owned(), why));
        }
        if self.hold_drop > 99 {
            wrong.push((
                "hold_drop".to_owned(),
                "The percentage must be from 0 to 99. 0 turns this safeguard off.".to_owned(),
            ));
        } else if self.hold_drop > 0 && mode == UpdateMode::Append {
            wrong.push((
                "hold_drop".to_owned(),
                "Append never drops rows. Set this safeguard to 0.".to_owned(),
            ));
        }
        if wrong.is_empty() {
            Ok(self)
        } else {
            Err(wrong)
        }
    }

    fn wrong_key(&self, report: &Report, existing: &[ColumnInfo]) -> Option<String> {
        if self.key.len() > MAX_KEY_COLUMNS {
            return Some(format!("A key has at most {MAX_KEY_COLUMNS} columns."));
        }
        for (at, name) in self.key.iter().enumerate() {
            let is_there =
                report.column(name).is_some() || existing.iter().any(|column| column.name == *name);
            if name.is_empty() || name.starts_with('_') || !is_there {
                return Some(format!(
                    "{} has no column “{name}”. Enter the names of existing columns.",
                    report.title
                ));
            }
            if self.key[..at].contains(name) {
                return Some(format!("The column “{name}” is entered twice."));
            }
        }
        None
    }

    /// Warnings about allowed options with effects that people may not expect.
    pub fn warnings(&self, setup: &ReportSetup<'_>) -> Vec<String> {
        let ReportSetup {
            report,
            mode,
            menus,
        } = *setup;
        let mut warnings = Vec::new();
        let days = menus
            .start_days
            .zip(menus.end_days)
            .map(|(start, end)| start.saturating_sub(end) + 1);
        match mode {
            UpdateMode::Append => match days {
                Some(1) => warnings.push("A second run on the same day adds that day again, so its rows appear twice.".to_owned()),
                Some(days) => warnings.push(format!(
                    "Every run pulls {days} days. Rows of days that were pulled before appear twice. Choose Merge{}, or set Start Days and \
                     End Days to the same number.",
                    if report.day.is_some() { " or Partition" } else { "" }
                )),
                None => warnings.push(format!("Every run adds a snapshot of {}. _batch_last_run identifies the run.", report.title)),
            },
            UpdateMode::Merge if self.key_of(report) == ["read_at"] => {
                warnings.push("The key is the run time, which is different each time. Every run adds its rows, as with Append.".to_owned());
            }
            UpdateMode::Merge if !self.key.is_empty() && report.parent().is_some() => {
                let parent = report.parent().unwrap_or_default();
                warnings.push(format!(
                    "With your own key, rows deleted in LiveChat or LiveLeader are kept. The report's own key uses {parent} and deletes \
                     such rows."
                ));
            }
            UpdateMode::Merge if setup.is_by_month() && days.is_some() => {
                warnings.push("If only some days of a month are pulled, they replace the whole month.".to_owned());
            }
            UpdateMode::Partition if menus.group.is_some() || menus.login.is_some() || menus.tag.is_some() => {
                let words = "Partition replaces whole days. If you change Group, Login or Tag, days that are pulled again contain only \
                             rows of the new choice.";
                warnings.push(words.to_owned());
            }
            _ => {}
        }
        warnings
    }
}

pub(super) fn options_json(options: &DatasetOptions) -> Result<String> {
    serde_json::to_string(options).map_err(Error::internal)
}

impl Datasets {
    /// Changes only the options, which must be validated.
    pub async fn set_options(
        &self,
        actor: &Actor,
        id: &DatasetId,
        options: &DatasetOptions,
    ) -> Result<()> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE datasets SET options = $1, updated_at = $2 WHERE id = $3")
            .bind(options_json(options)?)
            .bind(self.clock.now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::Connector;

    fn setup<'a>(report: &str, mode: UpdateMode, menus: &'a Menus) -> ReportSetup<'a> {
        ReportSetup {
            report: Connector::LiveChat.report(report).unwrap(),
            mode,
            menus,
        }
    }

    #[test]
    fn every_choice_that_does_not_fit_is_told_beside_its_field() {
        let menus = Menus {
            start_days: Some(7),
            end_days: Some(1),
            ..Menus::default()
        };
        let months = Menus {
            group_by: Some(GroupBy::Month),
            ..menus.clone()
        };
        let with = |change: fn(&mut DatasetOptions)| {
            let mut options = DatasetOptions::default();
            change(&mut options);
            options
        };
        let fields = |options: DatasetOptions, setup: &ReportSetup<'_>| -> Vec<String> {
            options
                .check(setup, &[])
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|(field, _)| field)
                .collect()
        };
        use UpdateMode::{Append, Merge, Partition, Replace};
        for mode in UpdateMode::ALL {
            assert!(
                fields(DatasetOptions::default(), &setup("chat", mode, &menus)).is_empty(),
                "{mode:?}"
            );
        }
        for (options, setup, field) in [
            (
                DatasetOptions::default(),
                setup("agents", Partition, &menus),
                "update_mode",
            ),
            (
                DatasetOptions::default(),
                setup("chat_report", Partition, &months),
                "update_mode",
            ),
            (
                with(|o| o.key = vec!["nobody".to_owned()]),
                setup("chat", Merge, &menus),
                "key",
            ),
            (
                with(|o| o.key = vec!["_batch_id".to_owned()]),
                setup("chat", Merge, &menus),
                "key",
            ),
            (
                with(|o| o.key = vec!["id".to_owned(), "rate".to_owned(), "id".to_owned()]),
                setup("chat", Merge, &menus),
                "key",
            ),
            (
                with(|o| o.look_back = 2),
                setup("chat", Replace, &menus),
                "look_back",
            ),
            (
                with(|o| o.look_back = 2),
                setup("chat", Append, &menus),
                "look_back",
            ),
            (
                with(|o| o.look_back = 2),
                setup("agents", Merge, &menus),
                "look_back",
            ),
            (
                with(|o| o.look_back = 2),
                setup("chat_report", Merge, &menus),
                "look_back",
            ),
            (
                with(|o| o.look_back = 4_000),
                setup("chat", Merge, &menus),
                "look_back",
            ),
            (
                with(|o| o.hold_drop = 100),
                setup("chat", Replace, &menus),
                "hold_drop",
            ),
            (
                with(|o| o.hold_drop = 50),
                setup("chat", Append, &menus),
                "hold_drop",
            ),
        ] {
            assert_eq!(
                fields(options.clone(), &setup),
                [field],
                "{options:?} {:?}",
                setup.mode
            );
        }
        let own = with(|o| o.key = vec!["id".to_owned()])
            .check(&setup("chat", Merge, &menus), &[])
            .unwrap();
        assert!(
            own.key.is_empty(),
            "the report's own key is not a chosen one"
        );
    }

    #[test]
    fn what_does_not_fit_well_is_told_and_what_does_is_not() {
        let week = Menus {
            start_days: Some(7),
            end_days: Some(1),
            ..Menus::default()
        };
        let (day, none) = (
            Menus {
                start_days: Some(1),
                ..week.clone()
            },
            Menus::default(),
        );
        let told = |options: &DatasetOptions, report: &str, mode, menus: &Menus| {
            options.warnings(&setup(report, mode, menus)).join(" ")
        };
        let own = DatasetOptions::default();
        assert!(told(&own, "chat", UpdateMode::Append, &week).contains("Every run pulls 7 days"));
        assert!(
            told(&own, "chat", UpdateMode::Append, &day).contains("second run on the same day")
        );
        assert!(told(&own, "agents", UpdateMode::Append, &none).contains("snapshot"));
        assert!(
            told(&own, "dashboard_report", UpdateMode::Merge, &none).contains("as with Append")
        );
        let chosen = DatasetOptions {
            key: vec!["text".to_owned()],
            ..DatasetOptions::default()
        };
        assert!(told(&chosen, "chat_messages", UpdateMode::Merge, &week).contains("chat_id"));
        for mode in [
            UpdateMode::Replace,
            UpdateMode::Merge,
            UpdateMode::Partition,
        ] {
            assert_eq!(told(&own, "chat", mode, &week), "", "{mode:?}");
        }
    }

    #[test]
    fn what_is_stored_without_options_has_the_usual_ones() {
        assert_eq!(
            serde_json::from_str::<DatasetOptions>("{}").unwrap(),
            DatasetOptions::default()
        );
        let text = serde_json::to_string(&DatasetOptions {
            look_back: 3,
            on_added: SchemaRule::Stop,
            ..DatasetOptions::default()
        })
        .unwrap();
        assert_eq!(
            serde_json::from_str::<DatasetOptions>(&text)
                .unwrap()
                .on_added,
            SchemaRule::Stop
        );
    }
}
