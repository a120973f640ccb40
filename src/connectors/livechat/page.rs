//! One page of an archive, scanned for where its records are.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::client::{as_text, not_json};
use crate::connectors::upstream::Unread;

/// Only the newest so many records of a query can be read, on so many pages: the vendor's limit.
const MAX_RECORDS: u64 = 25_000;
const MAX_PAGES: u64 = 1_000;

/// One page: where its records are in the text, and what the vendor says the whole query holds.
#[derive(Clone, Debug)]
pub(super) struct Page {
    text: Bytes,
    records: Vec<Range<usize>>,
    pub total: u64,
    pub pages: u64,
}

impl Page {
    /// Scans `{"<list>": [...], "total": n, "pages": n}` once, without looking into the records. A total may be a text, `pages` may be
    /// missing, and null or `{}` may stand for a list without records. Without a total the page proves nothing, unless it is empty,
    /// which is `Unread::Nothing`.
    pub fn read(body: &Bytes, list: &'static str) -> Result<Self, Unread> {
        let text = as_text(body);
        let mut from = serde_json::Deserializer::from_slice(&text);
        let raw = from.deserialize_map(Scan(list)).map_err(|error| not_json(&text, &error))?;
        from.end().map_err(|error| not_json(&text, &error))?;
        let Some(raw) = raw.checked() else {
            let why = "the JSON has an unexpected structure: a field is missing".to_owned();
            return Err(if raw.holds_nothing() { Unread::Nothing { body: body.clone(), why } } else { Unread::Again(why) });
        };
        let begin = text.as_ptr() as usize;
        let places = raw.records.iter().map(|record| {
            let at = record.get().as_ptr() as usize - begin;
            at..at + record.get().len()
        });
        let (records, total, pages) = (places.collect(), raw.total, raw.pages);
        Ok(Self { text, records, total, pages })
    }

    /// Of a query that nothing answers.
    pub fn empty() -> Self {
        Self { text: Bytes::new(), records: Vec::new(), total: 0, pages: 0 }
    }

    /// How many records are on it.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The records, as they came.
    pub fn records(&self) -> impl Iterator<Item = &str> {
        // The text was checked as a whole, and records begin and end at its braces.
        self.records.iter().map(|at| std::str::from_utf8(&self.text[at.clone()]).unwrap_or_default())
    }

    /// Whether the vendor holds back the older part of the query.
    pub fn too_many(&self) -> bool {
        self.total > MAX_RECORDS || self.pages >= MAX_PAGES
    }

    /// How many pages there must be: what the vendor says, or what its total makes of the size of a full first page.
    pub fn needed(&self, per_page: u64) -> u64 {
        self.pages.max(if per_page == 0 { 0 } else { self.total.div_ceil(per_page) }).min(MAX_PAGES)
    }
}

struct Raw<'a> {
    records: Vec<&'a RawValue>,
    total: u64,
    pages: u64,
}

/// The fields as they came; none is missing, or null.
#[derive(Default)]
struct Scanned<'a> {
    records: Option<List<'a>>,
    total: Option<Number>,
    pages: Option<Number>,
    /// It has other fields.
    more: bool,
}

impl<'a> Scanned<'a> {
    /// None if it does not say how many records there are, or lacks those that it tells of.
    fn checked(&self) -> Option<Raw<'a>> {
        let total = self.total?.0;
        let records = match &self.records {
            Some(List(records)) => records.clone(),
            None if total == 0 => Vec::new(),
            None => return None,
        };
        Some(Raw { records, total, pages: self.pages.map_or(0, |pages| pages.0) })
    }

    fn holds_nothing(&self) -> bool {
        !self.more
            && self.total.is_none()
            && self.records.as_ref().is_none_or(|List(records)| records.is_empty())
            && self.pages.is_none_or(|pages| pages.0 <= 1)
    }
}

/// A list of records; `{}` is one without any, as some writers of JSON have it.
struct List<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<'de>, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = list.next_element()? {
                    records.push(record);
                }
                Ok(List(records))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<'de>, A::Error> {
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(List(Vec::new())),
                    Some(_) => Err(de::Error::custom("an object in place of a list")),
                }
            }
        }
        from.deserialize_any(Read)
    }
}

/// A whole number that may be written as a text.
#[derive(Clone, Copy)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.trim().parse().map(Number).map_err(E::custom)
            }
        }
        from.deserialize_any(Read)
    }
}

struct Scan(&'static str);

impl<'de> Visitor<'de> for Scan {
    type Value = Scanned<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}, total and pages", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scanned<'de>, A::Error> {
        let mut scanned = Scanned::default();
        let mut met = [false; 3];
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let field = match key.as_ref() {
                "total" => {
                    scanned.total = map.next_value()?;
                    0
                }
                "pages" => {
                    scanned.pages = map.next_value()?;
                    1
                }
                name if name == self.0 => {
                    scanned.records = map.next_value()?;
                    2
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    scanned.more = true;
                    continue;
                }
            };
            if std::mem::replace(&mut met[field], true) {
                return Err(de::Error::custom("the same field twice"));
            }
        }
        Ok(scanned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(usize, u64, u64), &'static str> {
        let page = Page::read(&Bytes::copy_from_slice(body.as_bytes()), "chats").map_err(|why| match why {
            Unread::Nothing { .. } => "nothing",
            _ => "again",
        })?;
        Ok((page.len(), page.total, page.needed(page.len() as u64)))
    }

    #[test]
    fn a_total_may_be_a_text_and_an_empty_list_may_be_null_or_an_object() {
        for (body, is) in [
            (r#"{"chats":[{"id":"a"},7],"total":60,"pages":30}"#, Ok((2, 60, 30))),
            (r#"{"chats":[{"id":"a"},7],"total":"60","pages":"30"}"#, Ok((2, 60, 30))),
            (r#"{"chats":[{},{}],"total":5,"more":1}"#, Ok((2, 5, 3))),
            (r#"{"chats":[{},{}],"total":5,"pages":null}"#, Ok((2, 5, 3))),
            (r#"{"chats":[],"total":0,"pages":0}"#, Ok((0, 0, 0))),
            (r#"{"chats":null,"total":0,"pages":1}"#, Ok((0, 0, 1))),
            (r#"{"chats":{},"total":"0"}"#, Ok((0, 0, 0))),
            (r#"{"total":0}"#, Ok((0, 0, 0))),
            // It does not say how many there are, so that it has to be said again.
            (r#"{"chats":[],"total":null,"pages":1}"#, Err("nothing")),
            (r#"{"chats":null}"#, Err("nothing")),
            ("{}", Err("nothing")),
            // There are records, and it holds none; or it holds some and does not say how many there are.
            (r#"{"chats":null,"total":3}"#, Err("again")),
            (r#"{"chats":[{}],"total":null,"pages":1}"#, Err("again")),
            (r#"{"chats":[],"pages":3}"#, Err("again")),
            (r#"{"chats":{"a":{}},"total":1}"#, Err("again")),
            (r#"{"chats":"","total":0}"#, Err("again")),
            (r#"{"chats":[],"total":-1}"#, Err("again")),
            (r#"{"chats":[],"total":"many"}"#, Err("again")),
            (r#"{"chats":[],"total":0,"total":0}"#, Err("again")),
            (r#"{"error":"no"}"#, Err("again")),
            (r#"{"error":"no","total":null}"#, Err("again")),
        ] {
            assert_eq!(read(body), is, "{body}");
        }
    }
}
