//! Scans one page of an archive for the positions of its records.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::client::{as_text, not_json};
use crate::connectors::upstream::ReadError;

/// The vendor's limit: only this number of the newest records of a query can be read, on this
/// number of pages.
const MAX_RECORDS: u64 = 25_000;
const MAX_PAGES: u64 = 1_000;

/// One page: the positions of its records in the text, and the vendor's total for the whole query.
#[derive(Clone, Debug)]
pub(super) struct ArchivePage {
    text: Bytes,
    records: Vec<Range<usize>>,
    pub total: u64,
    pub pages: u64,
}

impl ArchivePage {
    /// Scans `{"<list>": [...], "total": n, "pages": n}` once, without parsing the records. The
    /// total may be a text, `pages` may be missing, and null or `{}` count as an empty list. A page
    /// without a total is an error; if it is empty as well, the error is `ReadError::Empty`.
    pub fn read(body: &Bytes, list: &'static str) -> Result<Self, ReadError> {
        let text = as_text(body);
        let mut from = serde_json::Deserializer::from_slice(&text);
        let raw = from
            .deserialize_map(Scan(list))
            .map_err(|error| not_json(&text, &error))?;
        from.end().map_err(|error| not_json(&text, &error))?;
        let Some(raw) = raw.complete() else {
            let why = "the JSON has an unexpected structure: a field is missing".to_owned();
            return Err(if raw.is_without_data() {
                ReadError::Empty {
                    body: body.clone(),
                    why,
                }
            } else {
                ReadError::Retry(why)
            });
        };
        let begin = text.as_ptr() as usize;
        let places = raw.records.iter().map(|record| {
            let at = record.get().as_ptr() as usize - begin;
            at..at + record.get().len()
        });
        let (records, total, pages) = (places.collect(), raw.total, raw.pages);
        Ok(Self {
            text,
            records,
            total,
            pages,
        })
    }

    /// The page of a query without records.
    pub fn empty() -> Self {
        Self {
            text: Bytes::new(),
            records: Vec::new(),
            total: 0,
            pages: 0,
        }
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The unchanged records.
    pub fn records(&self) -> impl Iterator<Item = &str> {
        // The text was validated as a whole, and records begin and end at braces.
        self.records
            .iter()
            .map(|at| std::str::from_utf8(&self.text[at.clone()]).unwrap_or_default())
    }

    /// Whether the query has more records than the vendor's limit, so that the older ones cannot be
    /// read.
    pub fn is_over_limit(&self) -> bool {
        self.total > MAX_RECORDS || self.pages >= MAX_PAGES
    }

    /// The number of pages: as the vendor says, or computed from its total and the size of a full
    /// first page.
    pub fn page_count(&self, per_page: u64) -> u64 {
        self.pages
            .max(if per_page == 0 {
                0
            } else {
                self.total.div_ceil(per_page)
            })
            .min(MAX_PAGES)
    }
}

struct Raw<'a> {
    records: Vec<&'a RawValue>,
    total: u64,
    pages: u64,
}

/// The fields of a page; `None` is missing or null.
#[derive(Default)]
struct Scanned<'a> {
    records: Option<RecordList<'a>>,
    total: Option<Number>,
    pages: Option<Number>,
    /// The page has other fields.
    more: bool,
}

impl<'a> Scanned<'a> {
    /// `None` if the page has no total, or fewer records than it should have.
    fn complete(&self) -> Option<Raw<'a>> {
        let total = self.total?.0;
        let records = match &self.records {
            Some(RecordList(records)) => records.clone(),
            None if total == 0 => Vec::new(),
            None => return None,
        };
        Some(Raw {
            records,
            total,
            pages: self.pages.map_or(0, |pages| pages.0),
        })
    }

    /// Whether the page has neither records nor a total nor other fields.
    fn is_without_data(&self) -> bool {
        !self.more
            && self.total.is_none()
            && self
                .records
                .as_ref()
                .is_none_or(|RecordList(records)| records.is_empty())
            && self.pages.is_none_or(|pages| pages.0 <= 1)
    }
}

/// A list of records. Some JSON writers encode an empty list as `{}`.
struct RecordList<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for RecordList<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = RecordList<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<RecordList<'de>, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = list.next_element()? {
                    records.push(record);
                }
                Ok(RecordList(records))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RecordList<'de>, A::Error> {
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(RecordList(Vec::new())),
                    Some(_) => Err(de::Error::custom("an object in place of a list")),
                }
            }
        }
        from.deserialize_any(Read)
    }
}

/// An integer that may be written as a text.
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
        let mut seen = [false; 3];
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
            if std::mem::replace(&mut seen[field], true) {
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
        let page = ArchivePage::read(&Bytes::copy_from_slice(body.as_bytes()), "chats").map_err(
            |why| match why {
                ReadError::Empty { .. } => "nothing",
                _ => "again",
            },
        )?;
        Ok((page.len(), page.total, page.page_count(page.len() as u64)))
    }

    #[test]
    fn a_total_may_be_a_text_and_an_empty_list_may_be_null_or_an_object() {
        for (body, is) in [
            (
                r#"{"chats":[{"id":"a"},7],"total":60,"pages":30}"#,
                Ok((2, 60, 30)),
            ),
            (
                r#"{"chats":[{"id":"a"},7],"total":"60","pages":"30"}"#,
                Ok((2, 60, 30)),
            ),
            (r#"{"chats":[{},{}],"total":5,"more":1}"#, Ok((2, 5, 3))),
            (r#"{"chats":[{},{}],"total":5,"pages":null}"#, Ok((2, 5, 3))),
            (r#"{"chats":[],"total":0,"pages":0}"#, Ok((0, 0, 0))),
            (r#"{"chats":null,"total":0,"pages":1}"#, Ok((0, 0, 1))),
            (r#"{"chats":{},"total":"0"}"#, Ok((0, 0, 0))),
            (r#"{"total":0}"#, Ok((0, 0, 0))),
            // Without a total, the answer must be confirmed by a second one.
            (r#"{"chats":[],"total":null,"pages":1}"#, Err("nothing")),
            (r#"{"chats":null}"#, Err("nothing")),
            ("{}", Err("nothing")),
            // The total says that there are records but the page has none, or the page has records
            // but no total.
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
