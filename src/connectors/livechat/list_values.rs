//! What a list in a record comes to when only its length, or one field of its items, is wanted.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::walk::Fields;
use crate::connectors::convert::decoded;

/// How many items a list has.
pub(super) struct Counted(pub i64);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Counted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counted, A::Error> {
                let mut n = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(Counted(n))
            }
        }
        from.deserialize_seq(Read)
    }
}

/// One text field of every item of a list, joined by ", ", and whether every text is whole; items without the field are passed over.
pub(super) struct Pick(pub &'static str);

impl<'de> DeserializeSeed<'de> for Pick {
    type Value = (String, bool);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pick {
    type Value = (String, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut joined, mut all_whole) = (String::new(), true);
        while let Some(Fields(fields)) = list.next_element()? {
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
