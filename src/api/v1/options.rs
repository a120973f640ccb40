//! The further options of a DataSet in JSON. Absent fields of a patch leave the option unchanged.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::connectors::report::UpdateMode;
use crate::datasets::options::{DatasetOptions, OnEmpty, SchemaRule};
use crate::error::Error;

/// Data safeguards, and which days are pulled again.
#[derive(Serialize, ToSchema)]
pub struct OptionsBody {
    /// Merge and Partition: later runs start this many days before the first day that is missing;
    /// 0: each run pulls all days.
    look_back: u32,
    /// When a run returns no rows. keep: the existing rows stay; check: the run fails and the rows
    /// stay until a count of 0 or the next run confirms that there are none; empty: the DataSet
    /// becomes empty; fail: the run fails; usual: keep for Replace, else check.
    on_empty: &'static str,
    /// Replace: if rows drop by more than this percentage, the version waits for approval; 0:
    /// never.
    hold_drop: u8,
    /// When a column is new: accept, warn (accept, and show it on the run) or stop (the run fails).
    on_added: &'static str,
    /// When a column is removed.
    on_removed: &'static str,
    /// When the type of a column changes.
    on_retyped: &'static str,
    /// Reports with pages: days that ended less than 48 hours ago are read again until two
    /// consecutive reads agree.
    second_read: bool,
}

impl From<&DatasetOptions> for OptionsBody {
    fn from(options: &DatasetOptions) -> Self {
        Self {
            look_back: options.look_back,
            on_empty: options.on_empty.word(),
            hold_drop: options.hold_drop,
            on_added: options.on_added.word(),
            on_removed: options.on_removed.word(),
            on_retyped: options.on_retyped.word(),
            second_read: options.second_read,
        }
    }
}

/// Options to change. Absent options are unchanged.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsPatch {
    look_back: Option<u32>,
    on_empty: Option<String>,
    hold_drop: Option<u32>,
    on_added: Option<String>,
    on_removed: Option<String>,
    on_retyped: Option<String>,
    second_read: Option<bool>,
}

/// Applies `patch` to the options for `mode`. Options that only the previous mode supports are
/// reset unless the patch sets them.
pub fn apply_patch(
    now: &DatasetOptions,
    key: Option<Vec<String>>,
    patch: Option<OptionsPatch>,
    mode: UpdateMode,
) -> Result<DatasetOptions, Error> {
    let patch = patch.unwrap_or_default();
    let mut wrong = Vec::new();
    let mut rule = |field: &str, word: Option<String>, now: SchemaRule| {
        let Some(word) = word else { return now };
        SchemaRule::parse(&word).unwrap_or_else(|| {
            wrong.push((
                field.to_owned(),
                format!("{field} must be accept, warn or stop."),
            ));
            now
        })
    };
    let on_added = rule("on_added", patch.on_added, now.on_added);
    let on_removed = rule("on_removed", patch.on_removed, now.on_removed);
    let on_retyped = rule("on_retyped", patch.on_retyped, now.on_retyped);
    let on_empty = match patch.on_empty {
        None => now.on_empty,
        Some(word) => OnEmpty::parse(&word).unwrap_or_else(|| {
            wrong.push((
                "on_empty".to_owned(),
                "on_empty must be usual, keep, check, empty or fail.".to_owned(),
            ));
            now.on_empty
        }),
    };
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let keeps_days = matches!(mode, UpdateMode::Merge | UpdateMode::Partition);
    let look_back = patch
        .look_back
        .unwrap_or(if keeps_days { now.look_back } else { 0 });
    let hold_drop = patch.hold_drop.unwrap_or(if mode == UpdateMode::Append {
        0
    } else {
        now.hold_drop.into()
    });
    let hold_drop = u8::try_from(hold_drop).unwrap_or(u8::MAX);
    let second_read = patch.second_read.unwrap_or(now.second_read);
    Ok(DatasetOptions {
        key: key.unwrap_or_else(|| now.key.clone()),
        look_back,
        on_empty,
        hold_drop,
        on_added,
        on_removed,
        on_retyped,
        second_read,
    })
}
