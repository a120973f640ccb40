//! Extracts one JSON record into one row in a single pass. A `FieldTree` maps each field name to
//! its columns, and a serde seed follows the tree (`StreamingPass`). If this pass fails, the record
//! is read again field by field from its raw text (`extract_tolerant`), so that one malformed value
//! costs only its cell.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::list_values::{JoinedField, ListLength};
use super::values::{Cell, Converter};
use crate::connectors::convert::{Converted, Decimal, LossyJsonText, decoded};
use crate::connectors::report::{Column, ColumnKind, ColumnSource};

/// A row before it is written, reused for each record. Values borrow from the page.
#[derive(Debug, Default)]
pub(super) struct RowBuffer<'a> {
    /// One cell for each declared column.
    pub cells: Vec<Cell<'a>>,
    /// Undeclared fields: the path joined by `_`, and the unchanged JSON.
    pub extras: Vec<(Cow<'a, str>, &'a str)>,
    /// Values that fit no cell: the column (or path), and the unchanged JSON.
    pub misfits: Vec<(Cow<'a, str>, &'a str)>,
}

/// The name of the misfit for a record that is no object or has unreadable names.
const RECORD_MISFIT: &str = "_record";

impl RowBuffer<'_> {
    pub fn new(columns: usize) -> Self {
        Self {
            cells: vec![Cell::Null; columns],
            extras: Vec::new(),
            misfits: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.cells.fill(Cell::Null);
        self.extras.clear();
        self.misfits.clear();
    }
}

/// Maps the field names of an object to columns.
#[derive(Debug, Default)]
pub(super) struct FieldTree {
    children: Vec<FieldNode>,
}

#[derive(Debug)]
struct FieldNode {
    name: String,
    /// Columns that are filled from this value.
    targets: Vec<ColumnTarget>,
    /// Columns that are filled from nested values.
    inner: Option<FieldTree>,
}

#[derive(Clone, Copy, Debug)]
struct ColumnTarget {
    column: usize,
    name: &'static str,
    extract: Extract,
}

#[derive(Clone, Copy, Debug)]
enum Extract {
    Cell(Converter),
    Count,
    /// This field of each item.
    Joined(&'static str),
}

impl FieldTree {
    /// Builds the tree that fills these columns. A column `visitor_name` is filled from
    /// `visitor_name` and from `name` in `visitor`: the path joined by `_` is the column's name.
    /// `key`: the key columns of the report.
    pub fn new(columns: &'static [Column], key: &[&str]) -> Self {
        let mut tree = FieldTree::default();
        for (at, column) in columns.iter().enumerate() {
            let target = |extract| ColumnTarget {
                column: at,
                name: column.name,
                extract,
            };
            match column.from {
                ColumnSource::Path
                | ColumnSource::PathOrChoice
                | ColumnSource::Decimal
                | ColumnSource::Verbatim
                | ColumnSource::Item => {
                    tree.add_path(
                        column.name,
                        target(Extract::Cell(Converter::of(column, key))),
                    );
                }
                ColumnSource::EpochSeconds => {
                    tree.add_path(column.name, target(Extract::Cell(Converter::Epoch)))
                }
                ColumnSource::Count(list) => tree.child(list).targets.push(target(Extract::Count)),
                ColumnSource::Joined(list, field) => tree
                    .child(list)
                    .targets
                    .push(target(Extract::Joined(field))),
                ColumnSource::ParentId
                | ColumnSource::ParentStart
                | ColumnSource::Position
                | ColumnSource::Period
                | ColumnSource::PeriodStart => {}
                ColumnSource::PeriodValue
                | ColumnSource::Choice
                | ColumnSource::Ratio(..)
                | ColumnSource::ReadAt => {}
            }
        }
        tree
    }

    fn add_path(&mut self, name: &str, target: ColumnTarget) {
        for (at, _) in name.match_indices('_').filter(|(at, _)| *at > 0) {
            self.child(&name[..at])
                .inner
                .get_or_insert_default()
                .add_path(&name[at + 1..], target);
        }
        self.child(name).targets.push(target);
    }

    fn child(&mut self, name: &str) -> &mut FieldNode {
        let at = self
            .children
            .iter()
            .position(|child| child.name == name)
            .unwrap_or_else(|| {
                self.children.push(FieldNode {
                    name: name.to_owned(),
                    targets: Vec::new(),
                    inner: None,
                });
                self.children.len() - 1
            });
        &mut self.children[at]
    }

    /// The index of the child with this name. Fields mostly have the same order in each record, so
    /// the search starts after the last match.
    fn find(&self, name: &str, guess: usize) -> Option<usize> {
        let (before, after) = self.children.split_at(guess.min(self.children.len()));
        let found = after
            .iter()
            .position(|child| child.name == name)
            .map(|at| at + before.len());
        found.or_else(|| before.iter().position(|child| child.name == name))
    }

    /// Extracts one record into the row, which must be empty.
    pub fn extract<'a>(&self, json: &'a str, row: &mut RowBuffer<'a>) {
        let mut from = serde_json::Deserializer::from_str(json);
        if (StreamingPass {
            tree: self,
            prefix: "",
            row: &mut *row,
        })
        .deserialize(&mut from)
        .is_err()
        {
            row.clear();
            self.extract_tolerant("", json, row);
        }
    }

    /// Extracts a part of a record into a row that may already have values.
    pub fn extract_more<'a>(&self, json: &'a str, row: &mut RowBuffer<'a>) {
        self.extract_tolerant("", json, row);
    }

    /// Extracts fields that were already split.
    pub fn fields<'a>(&self, fields: &[(Cow<'a, str>, &'a str)], row: &mut RowBuffer<'a>) {
        let mut guess = 0;
        for (name, value) in fields {
            match self.find(name, guess) {
                Some(at) => {
                    guess = at + 1;
                    self.children[at].extract_tolerant("", value, row);
                }
                None => row.extras.push((name.clone(), value)),
            }
        }
    }

    /// The second pass: reads each value separately, so that one malformed value does not affect
    /// the others.
    fn extract_tolerant<'a>(&self, prefix: &str, json: &'a str, row: &mut RowBuffer<'a>) {
        let Ok(RawFields(fields)) = serde_json::from_str(json) else {
            row.misfits.push((
                Cow::Owned(if prefix.is_empty() {
                    RECORD_MISFIT.to_owned()
                } else {
                    prefix.to_owned()
                }),
                json,
            ));
            return;
        };
        // A name with a lone surrogate cannot be a column's name.
        if fields
            .iter()
            .any(|(name, _)| name.contains(char::REPLACEMENT_CHARACTER))
        {
            row.misfits.push((
                Cow::Owned(if prefix.is_empty() {
                    RECORD_MISFIT.to_owned()
                } else {
                    prefix.to_owned()
                }),
                json,
            ));
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

fn join<'a>(prefix: &str, name: Cow<'a, str>) -> Cow<'a, str> {
    if prefix.is_empty() {
        name
    } else {
        Cow::Owned(format!("{prefix}_{name}"))
    }
}

impl FieldNode {
    /// The column for a field with a single scalar, which is the usual case.
    fn cell(&self) -> Option<(usize, Converter)> {
        match (self.targets.as_slice(), &self.inner) {
            (
                [
                    ColumnTarget {
                        column,
                        extract: Extract::Cell(converter),
                        ..
                    },
                ],
                None,
            ) => Some((*column, *converter)),
            _ => None,
        }
    }

    /// The column for the length of a list, if nothing else of the list is used.
    fn count(&self) -> Option<usize> {
        match (self.targets.as_slice(), &self.inner) {
            (
                [
                    ColumnTarget {
                        column,
                        extract: Extract::Count,
                        ..
                    },
                ],
                None,
            ) => Some(*column),
            _ => None,
        }
    }

    /// Writes a value of any type to its columns. Never fails: a value that does not fit becomes a
    /// misfit.
    fn extract_tolerant<'a>(&self, prefix: &str, json: &'a str, row: &mut RowBuffer<'a>) {
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

/// The first pass.
struct StreamingPass<'w, 'a> {
    tree: &'w FieldTree,
    prefix: &'w str,
    row: &'w mut RowBuffer<'a>,
}

impl<'de> DeserializeSeed<'de> for StreamingPass<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StreamingPass<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        // A nested null is ignored; a record that is null is malformed.
        if self.prefix.is_empty() {
            Err(E::custom("not an object"))
        } else {
            Ok(())
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let StreamingPass { tree, prefix, row } = self;
        let mut guess = 0;
        while let Some(found) = map.next_key_seed(FieldSeed { tree, guess })? {
            let at = match found {
                Ok(at) => at,
                Err(name) => {
                    let raw: &'de RawValue = map.next_value()?;
                    row.extras.push((join(prefix, name), raw.get()));
                    continue;
                }
            };
            guess = at + 1;
            let child = &tree.children[at];
            if let Some((column, converter)) = child.cell() {
                let cell = map.next_value_seed(converter)?;
                if row.cells[column] == Cell::Null {
                    row.cells[column] = cell;
                } else if row.cells[column] != cell && cell != Cell::Null {
                    return Err(de::Error::custom("the same column twice"));
                }
            } else if let Some(column) = child
                .count()
                .filter(|column| row.cells[*column] == Cell::Null)
            {
                if let Some(ListLength(n)) = map.next_value()? {
                    row.cells[column] = Cell::Integer(n);
                }
            } else if let (Some(inner), true) = (&child.inner, child.targets.is_empty()) {
                let prefix = join(prefix, Cow::Borrowed(child.name.as_str()));
                map.next_value_seed(StreamingPass {
                    tree: inner,
                    prefix: &prefix,
                    row: &mut *row,
                })?;
            } else if prefix.is_empty()
                && child
                    .targets
                    .iter()
                    .any(|target| row.cells[target.column] != Cell::Null)
            {
                return Err(de::Error::custom("the same column twice"));
            } else {
                let raw: &'de RawValue = map.next_value()?;
                child.extract_tolerant(prefix, raw.get(), row);
            }
        }
        Ok(())
    }
}

/// Deserializes a field name as the index of its child, or as text if there is none.
struct FieldSeed<'w> {
    tree: &'w FieldTree,
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Result<usize, Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Result<usize, Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(self.tree.find(name, self.guess).ok_or(Cow::Borrowed(name)))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self
            .tree
            .find(name, self.guess)
            .ok_or_else(|| Cow::Owned(name.to_owned())))
    }
}

/// Deserializes a field name, also with invalid characters.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Ok(from.deserialize_bytes(LossyJsonText)?.0)
    }
}

/// The fields of an object with unchanged values; duplicate names stay.
pub(super) struct RawFields<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key_seed(NameSeed)? {
                    let raw: &'de RawValue = map.next_value()?;
                    fields.push((name, raw.get()));
                }
                Ok(RawFields(fields))
            }
        }
        from.deserialize_map(Read)
    }
}

/// The parts of a record that its items need: id, start and the list, unchanged.
#[derive(Debug, Default)]
pub(super) struct RecordHead<'a> {
    pub id: Option<&'a str>,
    pub start: Option<&'a str>,
    pub list: Option<&'a str>,
}

impl<'a> RecordHead<'a> {
    /// `None` if the record is no object.
    pub fn read(json: &'a str, id: &str, start: &str, list: &str) -> Option<Self> {
        let RawFields(fields) = serde_json::from_str(json).ok()?;
        let find = |wanted: &str| {
            fields
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| *value)
                .filter(|value| *value != "null")
        };
        Some(Self {
            id: find(id),
            start: find(start),
            list: find(list),
        })
    }
}

/// Reads only the id of a record, as text: the content of a string or the digits of a number.
/// `None` if the field is missing, blank or of another type.
pub(super) fn id_of<'a>(json: &'a str, name: &str) -> Option<Cow<'a, str>> {
    id_text(field_of(json, name)?)
}

/// Like `id_of`, for the value of the field.
pub(super) fn id_text(json: &str) -> Option<Cow<'_, str>> {
    let text = match Decimal::read(json) {
        Some(number) => number.key(),
        None => decoded(json)?.0,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// Reads only one field of a record, unchanged. `None` if the record is no object or has no such
/// field.
pub(super) fn field_of<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    struct Read<'w, 'a>(&'w str, &'w mut Option<&'a str>);
    impl<'de> Visitor<'de> for Read<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key_seed(NameSeed)? {
                if key == self.0 {
                    let raw: &'de RawValue = map.next_value()?;
                    *self.1 = Some(raw.get());
                    // The rest of the record is not needed; this returns early, and the resulting
                    // error is ignored.
                    return Ok(());
                }
                map.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }
    let mut found = None;
    let _ = serde_json::Deserializer::from_str(json).deserialize_map(Read(name, &mut found));
    found
}
