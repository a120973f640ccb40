//! What a list in a record comes to when only its length, or one field of its items, is wanted.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::walk::Fields;

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

/// One text field of every item of a list, joined by ", "; items without it are passed over.
pub(super) struct Pick(pub &'static str);

impl<'de> DeserializeSeed<'de> for Pick {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pick {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<String, A::Error> {
        let mut joined = String::new();
        while let Some(Fields(fields)) = list.next_element()? {
            let found = fields.iter().find(|(name, _)| *name == self.0);
            let text: Option<String> = found.and_then(|(_, json)| serde_json::from_str(json).ok());
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                if !joined.is_empty() {
                    joined.push_str(", ");
                }
                joined.push_str(&text);
            }
        }
        Ok(joined)
    }
}
