//! The first pass over a record: deserializes each value directly into its cell. It fails on a value
//! that does not fit, and then the second pass reads the record.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::list_values::ListLength;
use super::super::values::{Cell, Converter};
use super::{ColumnTarget, Extract, FieldNode, FieldTree, RowBuffer, join};

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
}

/// The first pass.
pub(super) struct StreamingPass<'w, 'a> {
    pub tree: &'w FieldTree,
    pub prefix: &'w str,
    pub row: &'w mut RowBuffer<'a>,
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
