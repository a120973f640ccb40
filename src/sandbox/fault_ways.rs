//! The ways in which some faults go wrong; the faults themselves are in `faults`.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::fault_bodies as bodies;
use crate::clock::Millis;

/// What a document type declaration does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doctype {
    /// Entities of entities: "billion laughs".
    Laughs,
    /// Entities that are a file, an address elsewhere, and one of the sandbox (which `/__calls` would tell).
    External,
    /// One long entity, many times.
    Quadratic,
    /// Parameter entities that fetch, and send a file away.
    Parameter,
}

/// The header that says how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    Absent,
    /// As a number, absurd and negative ones too.
    Seconds(i64),
    /// As an HTTP date so many seconds from now.
    Date(i64),
}

/// How a body ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// `Content-Length` promised more; the connection drops.
    Length,
    /// The last chunk never came; the connection drops.
    Chunked,
    /// All is well with the connection: the JSON just stops.
    Clean,
}

/// What is odd about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Odd {
    /// `"duration":1e999`
    HugeFloat,
    /// `"duration":9007199254740993`, one more than a double can tell.
    HugeInteger,
    /// `"duration":"forty"`
    WrongType,
    /// `"duration":40,"duration":41`
    DuplicateKey,
    /// A text with `\ud800` alone in it.
    LoneSurrogate,
    /// A chat without an id.
    NoId,
}

/// What is odd about the frame of a page of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// `"total":"60"`
    TextTotal,
    /// `"total":null`
    NullTotal,
    /// There is no `pages`.
    NoPages,
}

impl Frame {
    pub(super) fn put_into(self, json: &[u8]) -> Vec<u8> {
        let value =
            |name: &[u8]| String::from_utf8_lossy(&json[json.len() - bodies::after(json, name)..]).chars().take_while(char::is_ascii_digit).collect::<String>();
        match self {
            Self::TextTotal => {
                let total = value(br#""total":"#);
                bodies::replace_first(json, br#""total":"#, total.len(), format!("\"total\":\"{total}\"").as_bytes())
            }
            Self::NullTotal => bodies::replace_first(json, br#""total":"#, value(br#""total":"#).len(), br#""total":null"#),
            Self::NoPages => bodies::replace_first(json, br#","pages":"#, value(br#","pages":"#).len(), b""),
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
                Some(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.unsigned_abs())))
            }
        }
    }
}

impl Odd {
    /// Puts the odd value into the first record that has a place for it.
    pub(super) fn put_into(self, json: &[u8]) -> Vec<u8> {
        let duration = match self {
            Self::HugeFloat => r#""duration":1e999"#,
            Self::HugeInteger => r#""duration":9007199254740993"#,
            Self::WrongType => r#""duration":"forty""#,
            Self::DuplicateKey => r#""duration":40,"duration":41"#,
            Self::LoneSurrogate => return bodies::replace_first(json, br#""text":""#, 0, br#""text":"\ud800 "#),
            // Eight more letters of the id, a quote and a comma.
            Self::NoId => return bodies::replace_first(json, br#""id":"SB"#, 10, b""),
        };
        let digits = bodies::digits_after(json, br#""duration":"#);
        bodies::replace_first(json, br#""duration":"#, digits, duration.as_bytes())
    }
}
