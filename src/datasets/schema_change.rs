//! The changes of the columns between two versions, and whether they stop a run.

use serde::{Deserialize, Serialize};

use super::columns::ColumnInfo;
use super::options::{DatasetOptions, SchemaRule};
use crate::connectors::report::ColumnKind;

/// The difference to the previous version. At least one list is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub retyped: Vec<Retyped>,
    /// The strictest rule of the changes that occurred.
    pub verdict: SchemaRule,
}

/// A column whose kind changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retyped {
    pub name: String,
    pub from: ColumnKind,
    pub to: ColumnKind,
}

/// Compares the columns of a run, `pulled`, with those of the run before it; `None` without a
/// difference. Chatlake's own columns, which begin with an underscore, are ignored.
pub fn between(
    before: &[ColumnInfo],
    pulled: &[ColumnInfo],
    options: &DatasetOptions,
) -> Option<SchemaChange> {
    let named = |columns: &[ColumnInfo], name: &str| {
        columns
            .iter()
            .find(|column| column.name == name)
            .map(|column| column.kind)
    };
    let theirs = |columns: &'_ [ColumnInfo]| {
        columns
            .iter()
            .filter(|column| !column.name.starts_with('_'))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (before, pulled) = (theirs(before), theirs(pulled));
    let only = |these: &[ColumnInfo], others: &[ColumnInfo]| -> Vec<String> {
        these
            .iter()
            .filter(|column| named(others, &column.name).is_none())
            .map(|column| column.name.clone())
            .collect()
    };
    let (added, removed) = (only(&pulled, &before), only(&before, &pulled));
    let retyped: Vec<Retyped> = pulled
        .iter()
        .filter_map(|column| {
            let from = named(&before, &column.name).filter(|from| *from != column.kind)?;
            Some(Retyped {
                name: column.name.clone(),
                from,
                to: column.kind,
            })
        })
        .collect();
    let rules = [
        (!added.is_empty(), options.on_added),
        (!removed.is_empty(), options.on_removed),
        (!retyped.is_empty(), options.on_retyped),
    ];
    let verdict = rules
        .into_iter()
        .filter(|(happened, _)| *happened)
        .map(|(_, rule)| rule)
        .max()?;
    Some(SchemaChange {
        added,
        removed,
        retyped,
        verdict,
    })
}

/// Like `between`, but only added columns and columns of another kind: missing columns still exist
/// in the rows that stay.
pub fn additions(
    before: &[ColumnInfo],
    pulled: &[ColumnInfo],
    options: &DatasetOptions,
) -> Option<SchemaChange> {
    let stays: Vec<ColumnInfo> = before
        .iter()
        .filter(|column| pulled.iter().all(|other| other.name != column.name))
        .cloned()
        .collect();
    between(before, &[pulled, &stays].concat(), options)
}

impl SchemaChange {
    /// "2 columns are new: mood, mood_score. 1 column was removed: rate."
    pub fn in_words(&self) -> String {
        let counted = |names: &[String], one: &str, many: &str| match names.len() {
            0 => None,
            1 => Some(format!("1 column {one}: {}.", names[0])),
            number => Some(format!("{number} columns {many}: {}.", listed(names))),
        };
        let retyped: Vec<String> = self
            .retyped
            .iter()
            .map(|r| format!("{} ({}, was {})", r.name, r.to.word(), r.from.word()))
            .collect();
        let parts = [
            counted(&self.added, "is new", "are new"),
            counted(&self.removed, "was removed", "were removed"),
            counted(&retyped, "has another type", "have another type"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// The first few names, and the number of further ones.
fn listed(names: &[String]) -> String {
    const MAX_LISTED: usize = 12;
    let shown = names
        .iter()
        .take(MAX_LISTED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MAX_LISTED {
        format!("{shown} and {} more", names.len() - MAX_LISTED)
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: ColumnKind) -> ColumnInfo {
        ColumnInfo {
            name: name.to_owned(),
            kind,
            declared: false,
        }
    }

    #[test]
    fn added_removed_and_retyped_columns_are_told_and_the_strictest_rule_is_the_verdict() {
        use ColumnKind::{Integer, Json, Text};
        let before = [
            column("id", Text),
            column("old", Text),
            column("n", Text),
            column("_misfit", Json),
        ];
        let pulled = [
            column("id", Text),
            column("n", Integer),
            column("new", Text),
            column("_batch_id", Integer),
        ];
        let change = between(
            &before,
            &pulled,
            &DatasetOptions {
                on_added: SchemaRule::Accept,
                on_removed: SchemaRule::Stop,
                ..DatasetOptions::default()
            },
        )
        .unwrap();
        assert_eq!(
            (change.added.as_slice(), change.removed.as_slice()),
            (&["new".to_owned()][..], &["old".to_owned()][..])
        );
        assert_eq!(
            change.retyped,
            [Retyped {
                name: "n".to_owned(),
                from: Text,
                to: Integer
            }]
        );
        assert_eq!(change.verdict, SchemaRule::Stop);
        assert_eq!(
            change.in_words(),
            "1 column is new: new. 1 column was removed: old. 1 column has another type: n \
             (integer, was text)."
        );
        assert_eq!(
            between(&before, &before[..3], &DatasetOptions::default()),
            None,
            "columns of ours do not count"
        );
        let added = between(
            &pulled[..2],
            &pulled,
            &DatasetOptions {
                on_added: SchemaRule::Accept,
                on_removed: SchemaRule::Stop,
                ..DatasetOptions::default()
            },
        )
        .unwrap();
        assert_eq!(
            added.verdict,
            SchemaRule::Accept,
            "only what happened is judged"
        );
    }
}
