//! Deserializers that reduce a list to its length or to one field of its items.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::raw_fields::RawFields;
use crate::connectors::convert::decoded;

/// Reads the number of items in a list.
pub(super) struct ListLength(pub i64);

impl<'de> Deserialize<'de> for ListLength {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = ListLength;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ListLength, A::Error> {
                let mut n = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(ListLength(n))
            }
        }
        from.deserialize_seq(Read)
    }
}

/// Reads one text field of each item of a list, joined by ", ", and whether every text is complete.
/// Items without the field are skipped.
pub(super) struct JoinedField(pub &'static str);

impl<'de> DeserializeSeed<'de> for JoinedField {
    type Value = (String, bool);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for JoinedField {
    type Value = (String, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut joined, mut all_whole) = (String::new(), true);
        while let Some(RawFields(fields)) = list.next_element()? {
            let found = fields.iter().find(|(name, _)| *name == self.0);
            let text = found.and_then(|(_, json)| decoded(json));
            if let Some((text, whole)) = text.filter(|(text, _)| !text.is_empty()) {
                all_whole &= whole;
                if !joined.is_empty() {
                    joined.push_str(", ");
                }
                joined.push_str(&text);
            }
        }
        Ok((joined, all_whole))
    }
}
