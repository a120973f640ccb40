//! Writes chats in LiveLeader's format: one XML 1.0 document with an element per chat. The document
//! is well-formed for any cell, and an XML reader gets the same text back, except for code points
//! that XML forbids.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde_json::Value;

use crate::clock::{Millis, timestamp};
use crate::connectors::report::{ColumnKind, Report};
use crate::datasets::columns::{ColumnInfo, MISFIT};
use crate::error::Result;

/// The elements of a chat that come from a declared column, in document order, with their columns.
/// Messages follow after all others.
const ELEMENTS: [(&str, &str); 9] = [
    ("id", "id"),
    ("referrer", "referrer"),
    ("keywords", "keywords"),
    ("operator", OPERATORS),
    ("visitorip", "visitor_ip"),
    ("start", "start"),
    ("stop", "stop"),
    ("duration", "duration"),
    ("url", "url"),
];
const OPERATORS: &str = "operators";
const OPERATOR_COUNT: &str = "operator_count";
const TRANSCRIPT: &str = "transcript";
const MESSAGE: &str = "msg";

/// Counts of a written document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XmlStats {
    /// Code points that XML forbids; each was written as U+FFFD.
    pub replaced: u64,
    /// Transcripts that are not a list of messages. Their chats have no messages.
    pub unreadable: u64,
}

/// The columns of a version that are read: the columns behind `ELEMENTS`, `_misfit`, and undeclared
/// text columns whose name is a valid element name.
pub fn columns(report: &Report, all: &[ColumnInfo]) -> Vec<ColumnInfo> {
    let is_known_column = |name: &str| {
        ELEMENTS.iter().any(|(_, column)| *column == name)
            || [OPERATOR_COUNT, TRANSCRIPT].contains(&name)
    };
    let is_element =
        |name: &str| name == MESSAGE || ELEMENTS.iter().any(|(element, _)| *element == name);
    let mut chosen = Vec::new();
    for column in all {
        if let Some(declared) = report.column(&column.name) {
            if is_known_column(declared.name) {
                chosen.push(ColumnInfo {
                    name: column.name.clone(),
                    kind: declared.kind,
                    declared: true,
                });
            }
        } else {
            let is_text = matches!(column.kind, ColumnKind::Text | ColumnKind::Json);
            let is_further = is_text
                && !column.name.starts_with('_')
                && is_name(&column.name)
                && !is_element(&column.name);
            if is_further || column.name == MISFIT {
                chosen.push(ColumnInfo {
                    declared: false,
                    ..column.clone()
                });
            }
        }
    }
    chosen
}

/// The positions of the columns in the batches of one source.
struct Layout {
    /// The position of each of `ELEMENTS`, where the column exists.
    elements: Vec<Option<usize>>,
    operator_count: Option<usize>,
    transcript: Option<usize>,
    misfit: Option<usize>,
    further: Vec<(usize, String)>,
}

impl Layout {
    fn new(columns: &[ColumnInfo]) -> Self {
        let at = |name: &str| columns.iter().position(|column| column.name == name);
        let further = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| !column.declared && column.name != MISFIT);
        Self {
            elements: ELEMENTS.iter().map(|(_, column)| at(column)).collect(),
            operator_count: at(OPERATOR_COUNT),
            transcript: at(TRANSCRIPT),
            misfit: at(MISFIT),
            further: further
                .map(|(at, column)| (at, column.name.clone()))
                .collect(),
        }
    }
}

/// Writes a document, chat by chat. Without a call of `end` the root element stays open, so that no
/// reader accepts the document as complete.
pub struct Writer<W> {
    out: W,
    layouts: Vec<Layout>,
    /// The buffer for the chat that is being written.
    text: String,
    stats: XmlStats,
}

impl<W: Write> Writer<W> {
    /// `sources`: the columns of each source, as returned by `columns`.
    pub fn begin<'a>(mut out: W, sources: impl Iterator<Item = &'a [ColumnInfo]>) -> Result<Self> {
        out.write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<chats>\n")?;
        Ok(Self {
            out,
            layouts: sources.map(Layout::new).collect(),
            text: String::new(),
            stats: XmlStats::default(),
        })
    }

    /// Writes row `index` of a batch of source number `source`.
    pub fn chat(&mut self, source: usize, batch: &RecordBatch, index: usize) -> Result<()> {
        let Self {
            out,
            layouts,
            text,
            stats,
        } = self;
        let Some(layout) = layouts.get(source) else {
            return Ok(());
        };
        let cell = |at: Option<usize>| {
            at.filter(|at| batch.column(*at).is_valid(index))
                .and_then(|at| cell(batch, at, index))
        };
        let misfits: BTreeMap<String, Value> = cell(layout.misfit)
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        text.clear();
        text.push_str("<chat>\n");
        for ((element, column), at) in ELEMENTS.iter().zip(&layout.elements) {
            // A misfit is written with the vendor's original value.
            let value = misfits
                .get(*column)
                .map(|value| Cow::Owned(plain(value)))
                .or_else(|| cell(*at));
            let Some(value) = value else { continue };
            if *column == OPERATORS {
                let is_one = layout
                    .operator_count
                    .and_then(|at| integer(batch, at, index))
                    == Some(1);
                let operators: Vec<&str> = if is_one {
                    vec![&value]
                } else {
                    value.split(", ").collect()
                };
                operators
                    .into_iter()
                    .for_each(|operator| write_element(text, element, operator, stats));
            } else {
                write_element(text, element, &value, stats);
            }
        }
        for (at, name) in &layout.further {
            if let Some(value) = cell(Some(*at)) {
                write_element(text, name, &value, stats);
            }
        }
        if let Some(transcript) = cell(layout.transcript) {
            match serde_json::from_str::<Vec<BTreeMap<String, Value>>>(&transcript) {
                Ok(messages) => messages
                    .iter()
                    .for_each(|message| write_message(text, message, stats)),
                Err(_) => stats.unreadable += 1,
            }
        }
        text.push_str("</chat>\n");
        out.write_all(text.as_bytes())?;
        Ok(())
    }

    /// The inner writer.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Closes the root element and returns the counts.
    pub fn end(&mut self) -> Result<XmlStats> {
        self.out.write_all(b"</chats>\n")?;
        Ok(self.stats)
    }
}

/// A cell as text. `None` for a type that no element has.
fn cell(batch: &RecordBatch, at: usize, index: usize) -> Option<Cow<'_, str>> {
    let column = batch.column(at);
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Some(Cow::Borrowed(texts.value(index)));
    }
    if let Some(moments) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        return Some(Cow::Owned(moment(moments.value(index).div_euclid(1_000))));
    }
    integer(batch, at, index).map(|number| Cow::Owned(number.to_string()))
}

fn integer(batch: &RecordBatch, at: usize, index: usize) -> Option<i64> {
    batch
        .column(at)
        .as_primitive_opt::<Int64Type>()
        .filter(|numbers| numbers.is_valid(index))
        .map(|numbers| numbers.value(index))
}

/// Formats a time as `2026-11-20T08:15:30.123+00:00`.
fn moment(millis: Millis) -> String {
    timestamp(millis)
        .strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00")
        .to_string()
}

/// A string as itself, any other value as JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn write_element(into: &mut String, name: &str, text: &str, stats: &mut XmlStats) {
    // Writing into a String cannot fail, here and below.
    let _ = write!(into, "<{name}>");
    write_text(into, text, stats);
    let _ = writeln!(into, "</{name}>");
}

fn write_message(into: &mut String, message: &BTreeMap<String, Value>, stats: &mut XmlStats) {
    into.push('<');
    into.push_str(MESSAGE);
    let known = ["from", "time"]
        .into_iter()
        .filter_map(|name| Some((name, message.get(name)?)));
    let further = message
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, _)| !["from", "time", "text"].contains(name) && is_name(name));
    for (name, value) in known.chain(further) {
        if let Some(value) = value.as_str() {
            let _ = write!(into, " {name}=\"");
            write_attribute(into, value, stats);
            into.push('"');
        }
    }
    into.push('>');
    write_text(
        into,
        message
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or_default(),
        stats,
    );
    let _ = writeln!(into, "</{MESSAGE}>");
}

/// Writes element text. Leading and trailing white space is escaped so that no reader takes it for
/// indentation, and CR is escaped so that it does not become LF.
fn write_text(into: &mut String, text: &str, stats: &mut XmlStats) {
    let inner = text.trim();
    let before = text.len() - text.trim_start().len();
    for c in text[..before].chars() {
        write_reference(into, c, stats);
    }
    let mut from = 0;
    for (at, c) in inner.char_indices() {
        let written = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\r' => "&#13;",
            '\t' | '\n' => continue,
            c if is_forbidden(c) => {
                stats.replaced += 1;
                "\u{fffd}"
            }
            _ => continue,
        };
        into.push_str(&inner[from..at]);
        into.push_str(written);
        from = at + c.len_utf8();
    }
    into.push_str(&inner[from..]);
    for c in text[before + inner.len()..].chars() {
        write_reference(into, c, stats);
    }
}

/// Writes an attribute value. White space is escaped, because a reader would turn it into spaces.
fn write_attribute(into: &mut String, text: &str, stats: &mut XmlStats) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\t' | '\n' | '\r' => write_reference(into, c, stats),
            c if is_forbidden(c) => {
                stats.replaced += 1;
                into.push('\u{fffd}');
            }
            c => into.push(c),
        }
    }
}

fn write_reference(into: &mut String, c: char, stats: &mut XmlStats) {
    if is_forbidden(c) {
        stats.replaced += 1;
        into.push('\u{fffd}');
    } else {
        let _ = write!(into, "&#{};", u32::from(c));
    }
}

/// Whether XML 1.0 forbids the character, even as a reference.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether `text` is a valid element or attribute name for every reader. Older readers accept fewer
/// letters, and a colon would be a namespace.
fn is_name(text: &str) -> bool {
    let is_letter = |c: char| {
        c.is_ascii_alphabetic()
            || c == '_'
            || matches!(c, 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ı' | 'Ή' | 'Ύ'..='Ρ' | 'Σ'..='ώ' | 'Ў'..='я')
            || matches!(c, 'א'..='ת' | 'ء'..='غ' | 'ف'..='ي')
            || matches!(c, 'ぁ'..='ゔ' | 'ァ'..='ヺ' | '一'..='\u{9fa5}' | '가'..='힣')
    };
    let mut chars = text.chars();
    chars.next().is_some_and(is_letter)
        && chars.all(|c| is_letter(c) || c.is_ascii_digit() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests;
