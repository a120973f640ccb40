//! One record of JSON into one row, in one walk: a `Node` knows for every field name where its value goes, and a serde seed follows
//! it. A record that fails this walk is walked again field by field over the raw text, so that one odd value costs a cell.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::list_values::{Counted, Pick};
use super::values::{Cell, Take};
use crate::connectors::convert::{Converted, Decimal, TextOf, decoded};
use crate::connectors::report::{Column, ColumnKind, From};

/// A row before it is written, reused from record to record. Values borrow from the page.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    /// One per declared column.
    pub cells: Vec<Cell<'a>>,
    /// Fields that the report does not declare: the path joined by `_`, and the JSON as it came.
    pub extras: Vec<(Cow<'a, str>, &'a str)>,
    /// Values that fit no cell: the column (or path), and the JSON as it came.
    pub misfits: Vec<(Cow<'a, str>, &'a str)>,
}

/// Where misfits go that are not even an object with readable names.
const WHOLE: &str = "_record";

impl Row<'_> {
    pub fn new(columns: usize) -> Self {
        Self { cells: vec![Cell::Null; columns], extras: Vec::new(), misfits: Vec::new() }
    }

    pub fn clear(&mut self) {
        self.cells.fill(Cell::Null);
        self.extras.clear();
        self.misfits.clear();
    }
}

/// What becomes of the fields of one object.
#[derive(Debug, Default)]
pub(super) struct Node {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    /// Columns filled from this value.
    targets: Vec<Target>,
    /// Columns filled from below this value.
    inner: Option<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    column: usize,
    name: &'static str,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Cell(Take),
    Count,
    /// This field of each item.
    Joined(&'static str),
}

impl Node {
    /// The tree of names that fills these columns. A column `visitor_name` is found both at `visitor_name` and at `name` below
    /// `visitor`: the path joined by `_` is the name. `key`: the columns that tell rows apart.
    pub fn new(columns: &'static [Column], key: &[&str]) -> Self {
        let mut node = Node::default();
        for (at, column) in columns.iter().enumerate() {
            let target = |what| Target { column: at, name: column.name, what };
            match column.from {
                From::Path | From::PathOrChoice | From::Decimal | From::Verbatim | From::Item => {
                    node.path(column.name, target(What::Cell(Take::of(column, key))));
                }
                From::EpochSeconds => node.path(column.name, target(What::Cell(Take::Epoch))),
                From::Count(list) => node.step(list).targets.push(target(What::Count)),
                From::Joined(list, field) => node.step(list).targets.push(target(What::Joined(field))),
                From::ParentId | From::ParentStart | From::Position | From::Period | From::PeriodStart => {}
                From::Whole | From::Choice | From::Ratio(..) | From::ReadAt => {}
            }
        }
        node
    }

    fn path(&mut self, name: &str, target: Target) {
        for (at, _) in name.match_indices('_').filter(|(at, _)| *at > 0) {
            self.step(&name[..at]).inner.get_or_insert_default().path(&name[at + 1..], target);
        }
        self.step(name).targets.push(target);
    }

    fn step(&mut self, name: &str) -> &mut Step {
        let at = self.steps.iter().position(|step| step.name == name).unwrap_or_else(|| {
            self.steps.push(Step { name: name.to_owned(), targets: Vec::new(), inner: None });
            self.steps.len() - 1
        });
        &mut self.steps[at]
    }

    /// The step of a name. Fields mostly come in the order of the time before, so that the search begins after the last one found.
    fn find(&self, name: &str, guess: usize) -> Option<usize> {
        let (before, after) = self.steps.split_at(guess.min(self.steps.len()));
        let found = after.iter().position(|step| step.name == name).map(|at| at + before.len());
        found.or_else(|| before.iter().position(|step| step.name == name))
    }

    /// Walks one record into the row, which must be clear.
    pub fn walk<'a>(&self, json: &'a str, row: &mut Row<'a>) {
        let mut from = serde_json::Deserializer::from_str(json);
        if (Fast { node: self, prefix: "", row: &mut *row }).deserialize(&mut from).is_err() {
            row.clear();
            self.slow("", json, row);
        }
    }

    /// Walks a part of a record into a row that may hold others already.
    pub fn walk_more<'a>(&self, json: &'a str, row: &mut Row<'a>) {
        self.slow("", json, row);
    }

    /// Fields of a record that were read one by one.
    pub fn fields<'a>(&self, fields: &[(Cow<'a, str>, &'a str)], row: &mut Row<'a>) {
        let mut guess = 0;
        for (name, value) in fields {
            match self.find(name, guess) {
                Some(at) => {
                    guess = at + 1;
                    self.steps[at].slow("", value, row);
                }
                None => row.extras.push((name.clone(), value)),
            }
        }
    }

    /// The second walk: every value alone, so that a value that does not fit leaves the others in peace.
    fn slow<'a>(&self, prefix: &str, json: &'a str, row: &mut Row<'a>) {
        let Ok(Fields(fields)) = serde_json::from_str(json) else {
            row.misfits.push((Cow::Owned(if prefix.is_empty() { WHOLE.to_owned() } else { prefix.to_owned() }), json));
            return;
        };
        // A name with half of a surrogate pair cannot be a column's name as it came.
        if fields.iter().any(|(name, _)| name.contains(char::REPLACEMENT_CHARACTER)) {
            row.misfits.push((Cow::Owned(if prefix.is_empty() { WHOLE.to_owned() } else { prefix.to_owned() }), json));
        }
        let mut guess = 0;
        // A field with the very name of a column comes before what is found below another one: see `Step::slow`.
        let (above, below): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(_, value)| !value.starts_with('{'));
        for (name, value) in above.into_iter().chain(below) {
            match self.find(&name, guess) {
                Some(at) => {
                    guess = at + 1;
                    self.steps[at].slow(prefix, value, row);
                }
                None => row.extras.push((join(prefix, name), value)),
            }
        }
    }
}

fn join<'a>(prefix: &str, name: Cow<'a, str>) -> Cow<'a, str> {
    if prefix.is_empty() { name } else { Cow::Owned(format!("{prefix}_{name}")) }
}

impl Step {
    /// Where a scalar alone goes, which is nearly always.
    fn cell(&self) -> Option<(usize, Take)> {
        match (self.targets.as_slice(), &self.inner) {
            ([Target { column, what: What::Cell(take), .. }], None) => Some((*column, *take)),
            _ => None,
        }
    }

    /// Where the length of a list alone goes: the list is walked once and nothing of it is kept.
    fn count(&self) -> Option<usize> {
        match (self.targets.as_slice(), &self.inner) {
            ([Target { column, what: What::Count, .. }], None) => Some(*column),
            _ => None,
        }
    }

    /// Puts a value of any kind where it belongs. Nothing here fails: what does not fit becomes a misfit.
    fn slow<'a>(&self, prefix: &str, json: &'a str, row: &mut Row<'a>) {
        let object = json.starts_with('{');
        let whole = self.targets.iter().any(|target| matches!(target.what, What::Cell(Take::As(ColumnKind::Json))));
        if let Some(inner) = &self.inner
            && object
            && !whole
        {
            return inner.slow(&join(prefix, Cow::Borrowed(self.name.as_str())), json, row);
        }
        if self.targets.is_empty() {
            // An object was expected. Nothing in its place is nothing; anything else is a field of its own.
            if json != "null" {
                row.extras.push((Cow::Owned(join(prefix, Cow::Borrowed(self.name.as_str())).into_owned()), json));
            }
            return;
        }
        for target in &self.targets {
            let Converted { cell, fits } = target.what.convert(json);
            let told = &mut row.cells[target.column];
            // The same column twice keeps the first value.
            let differs = cell != Cell::Null && *told != Cell::Null && *told != cell;
            // A list that is none is in a column of its own already.
            let kept = whole && cell == Cell::Null;
            if *told == Cell::Null {
                *told = cell;
            }
            if differs && !prefix.is_empty() {
                // Both `chat_start_time` and `start_time` below `chat`, which say different things: the second gets a column of its own.
                row.extras.push((Cow::Owned(format!("{}_2", target.name)), json));
            } else if differs || (!fits && !kept) {
                row.misfits.push((Cow::Borrowed(target.name), json));
            }
        }
    }
}

impl What {
    fn convert(self, json: &str) -> Converted<'_> {
        match self {
            What::Cell(take) => take.convert(json),
            _ if json == "null" => Converted::fitting(Cell::Null),
            What::Count => match serde_json::from_str(json) {
                Ok(Counted(n)) => Converted::fitting(Cell::Integer(n)),
                Err(_) => Converted::misfit(),
            },
            What::Joined(field) => match Pick(field).deserialize(&mut serde_json::Deserializer::from_str(json)) {
                Ok((names, _)) if names.is_empty() => Converted::fitting(Cell::Null),
                Ok((names, fits)) => Converted { cell: Cell::Text(Cow::Owned(names)), fits },
                Err(_) => Converted::misfit(),
            },
        }
    }
}

/// The first walk.
struct Fast<'w, 'a> {
    node: &'w Node,
    prefix: &'w str,
    row: &'w mut Row<'a>,
}

impl<'de> DeserializeSeed<'de> for Fast<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fast<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        // Nothing below is nothing; a whole record that is nothing is odd.
        if self.prefix.is_empty() { Err(E::custom("not an object")) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Fast { node, prefix, row } = self;
        let mut guess = 0;
        while let Some(found) = map.next_key_seed(Find { node, guess })? {
            let at = match found {
                Ok(at) => at,
                Err(name) => {
                    let raw: &'de RawValue = map.next_value()?;
                    row.extras.push((join(prefix, name), raw.get()));
                    continue;
                }
            };
            guess = at + 1;
            let step = &node.steps[at];
            if let Some((column, take)) = step.cell() {
                let cell = map.next_value_seed(take)?;
                if row.cells[column] == Cell::Null {
                    row.cells[column] = cell;
                } else if row.cells[column] != cell && cell != Cell::Null {
                    return Err(de::Error::custom("the same column twice"));
                }
            } else if let Some(column) = step.count().filter(|column| row.cells[*column] == Cell::Null) {
                if let Some(Counted(n)) = map.next_value()? {
                    row.cells[column] = Cell::Integer(n);
                }
            } else if let (Some(inner), true) = (&step.inner, step.targets.is_empty()) {
                let prefix = join(prefix, Cow::Borrowed(step.name.as_str()));
                map.next_value_seed(Fast { node: inner, prefix: &prefix, row: &mut *row })?;
            } else if prefix.is_empty() && step.targets.iter().any(|target| row.cells[target.column] != Cell::Null) {
                return Err(de::Error::custom("the same column twice"));
            } else {
                let raw: &'de RawValue = map.next_value()?;
                step.slow(prefix, raw.get(), row);
            }
        }
        Ok(())
    }
}

/// Reads a field's name as its step, or as itself when there is none.
struct Find<'w> {
    node: &'w Node,
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Result<usize, Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Result<usize, Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(self.node.find(name, self.guess).ok_or(Cow::Borrowed(name)))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.node.find(name, self.guess).ok_or_else(|| Cow::Owned(name.to_owned())))
    }
}

/// Reads a field's name, whatever is in it.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Ok(from.deserialize_bytes(TextOf)?.0)
    }
}

/// The fields of an object, values as they came, names twice if they come twice.
pub(super) struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key_seed(Name)? {
                    let raw: &'de RawValue = map.next_value()?;
                    fields.push((name, raw.get()));
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Read)
    }
}

/// The parts of a record that its items need: id, start and the list, as they came.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    pub id: Option<&'a str>,
    pub start: Option<&'a str>,
    pub list: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// None if the record is no object.
    pub fn read(json: &'a str, id: &str, start: &str, list: &str) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(json).ok()?;
        let find = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value).filter(|value| *value != "null");
        Some(Self { id: find(id), start: find(start), list: find(list) })
    }
}

/// The id of a record as text, and nothing else of it: what is in a text, or the digits of a number. None if there is no such field, or
/// if it is neither text nor number, or blank.
pub(super) fn id_of<'a>(json: &'a str, name: &str) -> Option<Cow<'a, str>> {
    id_text(field_of(json, name)?)
}

/// As `id_of`, of the value of the field.
pub(super) fn id_text(json: &str) -> Option<Cow<'_, str>> {
    let text = match Decimal::read(json) {
        Some(number) => number.key(),
        None => decoded(json)?.0,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// One field of a record as it came, and nothing else of it. None if the record is no object or lacks it.
pub(super) fn field_of<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    struct Read<'w, 'a>(&'w str, &'w mut Option<&'a str>);
    impl<'de> Visitor<'de> for Read<'_, 'de> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key_seed(Name)? {
                if key == self.0 {
                    let raw: &'de RawValue = map.next_value()?;
                    *self.1 = Some(raw.get());
                    // The rest is of no interest; the error that ends the walk here is thrown away.
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
