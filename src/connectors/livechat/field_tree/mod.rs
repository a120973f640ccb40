//! Extracts one JSON record into one row in a single pass. A `FieldTree` maps each field name to
//! its columns, and a serde seed follows the tree (`streaming_pass`). If this pass fails, the record
//! is read again field by field from its raw text (`tolerant_pass`), so that one malformed value
//! costs only its cell.

mod streaming_pass;
mod tolerant_pass;

use std::borrow::Cow;

use serde::de::DeserializeSeed;

use super::values::{Cell, Converter};
use crate::connectors::report::{Column, ColumnSource};
use streaming_pass::StreamingPass;

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
}

fn join<'a>(prefix: &str, name: Cow<'a, str>) -> Cow<'a, str> {
    if prefix.is_empty() {
        name
    } else {
        Cow::Owned(format!("{prefix}_{name}"))
    }
}
