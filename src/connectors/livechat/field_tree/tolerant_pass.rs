//! The second pass over a record: reads each value separately, so that one malformed value does not
//! affect the others.

use std::borrow::Cow;

use serde::de::DeserializeSeed;

use super::super::list_values::{JoinedField, ListLength};
use super::super::raw_fields::RawFields;
use super::super::values::{Cell, Converter};
use super::{Extract, FieldNode, FieldTree, RowBuffer, join};
use crate::connectors::convert::Converted;
use crate::connectors::report::ColumnKind;

/// The name of the misfit for a record that is no object or has unreadable names.
const RECORD_MISFIT: &str = "_record";

impl FieldTree {
    /// The second pass: reads each value separately, so that one malformed value does not affect
    /// the others.
    pub(super) fn extract_tolerant<'a>(
        &self,
        prefix: &str,
        json: &'a str,
        row: &mut RowBuffer<'a>,
    ) {
        let Ok(RawFields(fields)) = serde_json::from_str(json) else {
            row.misfits.push((misfit_name(prefix), json));
            return;
        };
        // A name with a lone surrogate cannot be a column's name.
        if fields
            .iter()
            .any(|(name, _)| name.contains(char::REPLACEMENT_CHARACTER))
        {
            row.misfits.push((misfit_name(prefix), json));
        }
        let mut guess = 0;
        // A field with exactly the column's name takes precedence over a nested one: see
        // `FieldNode::extract_tolerant`.
        let (above, below): (Vec<_>, Vec<_>) = fields
            .into_iter()
            .partition(|(_, value)| !value.starts_with('{'));
        for (name, value) in above.into_iter().chain(below) {
            match self.find(&name, guess) {
                Some(at) => {
                    guess = at + 1;
                    self.children[at].extract_tolerant(prefix, value, row);
                }
                None => row.extras.push((join(prefix, name), value)),
            }
        }
    }
}

/// The name of the misfit for an object that cannot be read: its path, or `_record` for the record.
fn misfit_name<'a>(prefix: &str) -> Cow<'a, str> {
    Cow::Owned(if prefix.is_empty() {
        RECORD_MISFIT.to_owned()
    } else {
        prefix.to_owned()
    })
}

impl FieldNode {
    /// Writes a value of any type to its columns. Never fails: a value that does not fit becomes a
    /// misfit.
    pub(super) fn extract_tolerant<'a>(
        &self,
        prefix: &str,
        json: &'a str,
        row: &mut RowBuffer<'a>,
    ) {
        let object = json.starts_with('{');
        let takes_json = self.targets.iter().any(|target| {
            matches!(
                target.extract,
                Extract::Cell(Converter::As(ColumnKind::Json))
            )
        });
        if let Some(inner) = &self.inner
            && object
            && !takes_json
        {
            return inner.extract_tolerant(
                &join(prefix, Cow::Borrowed(self.name.as_str())),
                json,
                row,
            );
        }
        if self.targets.is_empty() {
            // An object was expected. Null is ignored; any other value becomes an undeclared field.
            if json != "null" {
                row.extras.push((
                    Cow::Owned(join(prefix, Cow::Borrowed(self.name.as_str())).into_owned()),
                    json,
                ));
            }
            return;
        }
        for target in &self.targets {
            let Converted { cell, fits } = target.extract.convert(json);
            let current = &mut row.cells[target.column];
            // If a column gets two values, the first one stays.
            let differs = cell != Cell::Null && *current != Cell::Null && *current != cell;
            // A value that should be a list but is none already has its own column.
            let has_own_column = takes_json && cell == Cell::Null;
            if *current == Cell::Null {
                *current = cell;
            }
            if differs && !prefix.is_empty() {
                // `chat_start_time` and `start_time` in `chat` have different values: the second
                // one gets its own column.
                row.extras
                    .push((Cow::Owned(format!("{}_2", target.name)), json));
            } else if differs || (!fits && !has_own_column) {
                row.misfits.push((Cow::Borrowed(target.name), json));
            }
        }
    }
}

impl Extract {
    fn convert(self, json: &str) -> Converted<'_> {
        match self {
            Extract::Cell(converter) => converter.convert(json),
            _ if json == "null" => Converted::fitting(Cell::Null),
            Extract::Count => match serde_json::from_str(json) {
                Ok(ListLength(n)) => Converted::fitting(Cell::Integer(n)),
                Err(_) => Converted::misfit(),
            },
            Extract::Joined(field) => match JoinedField(field)
                .deserialize(&mut serde_json::Deserializer::from_str(json))
            {
                Ok((names, _)) if names.is_empty() => Converted::fitting(Cell::Null),
                Ok((names, fits)) => Converted {
                    cell: Cell::Text(Cow::Owned(names)),
                    fits,
                },
                Err(_) => Converted::misfit(),
            },
        }
    }
}
