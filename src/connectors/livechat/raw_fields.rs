//! Reads fields of a record without converting them: all of them, a few, or only the id.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::connectors::convert::{Decimal, LossyJsonText, decoded};

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
