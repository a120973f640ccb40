//! Variants of some faults; the faults themselves are in `fault_kind`.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::broken_bodies as bodies;
use crate::clock::Millis;

/// The attack in a document type declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doctype {
    /// Nested entities: "billion laughs".
    Laughs,
    /// Entities that load a file, an external URL and a URL of the sandbox (which `/__calls` would
    /// show).
    External,
    /// One long entity, referenced many times.
    Quadratic,
    /// Parameter entities that load a URL and send a file.
    Parameter,
}

/// The form of the `Retry-After` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    Absent,
    /// A number of seconds, also an absurd or negative one.
    Seconds(i64),
    /// An HTTP date this number of seconds from now.
    Date(i64),
}

/// How a body ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The connection is dropped before the promised `Content-Length`.
    Length,
    /// The connection is dropped before the last chunk.
    Chunked,
    /// The response is correct HTTP, but the JSON is cut off.
    Clean,
}

/// The malformed value of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odd {
    /// `"duration":1e999`
    HugeFloat,
    /// `"duration":9007199254740993`, one more than a double can represent.
    HugeInteger,
    /// `"duration":"forty"`
    WrongType,
    /// `"duration":40,"duration":41`
    DuplicateKey,
    /// A text with a lone `\ud800`.
    LoneSurrogate,
    /// A chat without an id.
    NoId,
}

/// The malformed frame of a page of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// `"total":"60"`
    TextTotal,
    /// `"total":null`
    NullTotal,
    /// `pages` is missing.
    NoPages,
}

impl Frame {
    pub(super) fn put_into(self, json: &[u8]) -> Vec<u8> {
        let value = |name: &[u8]| {
            String::from_utf8_lossy(&json[json.len() - bodies::after(json, name)..])
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        };
        match self {
            Self::TextTotal => {
                let total = value(br#""total":"#);
                bodies::replace_first(
                    json,
                    br#""total":"#,
                    total.len(),
                    format!("\"total\":\"{total}\"").as_bytes(),
                )
            }
            Self::NullTotal => bodies::replace_first(
                json,
                br#""total":"#,
                value(br#""total":"#).len(),
                br#""total":null"#,
            ),
            Self::NoPages => {
                bodies::replace_first(json, br#","pages":"#, value(br#","pages":"#).len(), b"")
            }
        }
    }
}

impl RetryAfter {
    pub(super) fn text(self, now: Millis) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Seconds(seconds) => Some(seconds.to_string()),
            Self::Date(seconds) => {
                let at = (now / 1_000).saturating_add(seconds).max(0);
                Some(httpdate::fmt_http_date(
                    UNIX_EPOCH + Duration::from_secs(at.unsigned_abs()),
                ))
            }
        }
    }
}

impl Odd {
    /// Writes the malformed value into the first record that has this field.
    pub(super) fn put_into(self, json: &[u8]) -> Vec<u8> {
        let duration = match self {
            Self::HugeFloat => r#""duration":1e999"#,
            Self::HugeInteger => r#""duration":9007199254740993"#,
            Self::WrongType => r#""duration":"forty""#,
            Self::DuplicateKey => r#""duration":40,"duration":41"#,
            Self::LoneSurrogate => {
                return bodies::replace_first(json, br#""text":""#, 0, br#""text":"\ud800 "#);
            }
            // Removes the other eight characters of the id, a quote and a comma.
            Self::NoId => return bodies::replace_first(json, br#""id":"SB"#, 10, b""),
        };
        let digits = bodies::digits_after(json, br#""duration":"#);
        bodies::replace_first(json, br#""duration":"#, digits, duration.as_bytes())
    }
}
