//! Chats as LiveLeader writes them: one XML 1.0 document, an element for each. Whatever is in a cell, the document is well-formed and an
//! XML reader gets exactly that text back, save for code points that XML forbids.

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

/// The elements of a chat that have a declared column, in their order, and the column. Messages come after all others.
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

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Code points that XML forbids, each now U+FFFD.
    pub replaced: u64,
    /// Transcripts that are no list of messages, so that their chats have none.
    pub unreadable: u64,
}

/// The columns to read of a version: those of the report that elements are made of, `_misfit`, and texts that the report does not
/// declare, where their name can be that of an element.
pub fn columns(report: &Report, all: &[ColumnInfo]) -> Vec<ColumnInfo> {
    let made_of = |name: &str| ELEMENTS.iter().any(|(_, column)| *column == name) || [OPERATOR_COUNT, TRANSCRIPT].contains(&name);
    let is_element = |name: &str| name == MESSAGE || ELEMENTS.iter().any(|(element, _)| *element == name);
    let mut chosen = Vec::new();
    for column in all {
        if let Some(declared) = report.column(&column.name) {
            if made_of(declared.name) {
                chosen.push(ColumnInfo { name: column.name.clone(), kind: declared.kind, declared: true });
            }
        } else {
            let is_text = matches!(column.kind, ColumnKind::Text | ColumnKind::Json);
            let is_further = is_text && !column.name.starts_with('_') && is_name(&column.name) && !is_element(&column.name);
            if is_further || column.name == MISFIT {
                chosen.push(ColumnInfo { declared: false, ..column.clone() });
            }
        }
    }
    chosen
}

/// Where the columns of one source are.
struct Layout {
    /// For each of `ELEMENTS`, where there is one.
    elements: Vec<Option<usize>>,
    operator_count: Option<usize>,
    transcript: Option<usize>,
    misfit: Option<usize>,
    further: Vec<(usize, String)>,
}

impl Layout {
    fn new(columns: &[ColumnInfo]) -> Self {
        let at = |name: &str| columns.iter().position(|column| column.name == name);
        let further = columns.iter().enumerate().filter(|(_, column)| !column.declared && column.name != MISFIT);
        Self {
            elements: ELEMENTS.iter().map(|(_, column)| at(column)).collect(),
            operator_count: at(OPERATOR_COUNT),
            transcript: at(TRANSCRIPT),
            misfit: at(MISFIT),
            further: further.map(|(at, column)| (at, column.name.clone())).collect(),
        }
    }
}

/// Writes a document, chat by chat. Without `end` it stays open, which no reader takes for whole.
pub struct Writer<W> {
    out: W,
    layouts: Vec<Layout>,
    /// The chat that is being written.
    text: String,
    told: Told,
}

impl<W: Write> Writer<W> {
    /// `sources`: the columns of each, as `columns` chose them.
    pub fn begin<'a>(mut out: W, sources: impl Iterator<Item = &'a [ColumnInfo]>) -> Result<Self> {
        out.write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<chats>\n")?;
        Ok(Self { out, layouts: sources.map(Layout::new).collect(), text: String::new(), told: Told::default() })
    }

    /// Writes row `index` of a batch of this source.
    pub fn chat(&mut self, source: usize, batch: &RecordBatch, index: usize) -> Result<()> {
        let Self { out, layouts, text, told } = self;
        let Some(layout) = layouts.get(source) else { return Ok(()) };
        let cell = |at: Option<usize>| at.filter(|at| batch.column(*at).is_valid(index)).and_then(|at| cell(batch, at, index));
        let misfits: BTreeMap<String, Value> = cell(layout.misfit).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        text.clear();
        text.push_str("<chat>\n");
        for ((element, column), at) in ELEMENTS.iter().zip(&layout.elements) {
            // What did not fit its column is written as it came.
            let value = misfits.get(*column).map(|value| Cow::Owned(plain(value))).or_else(|| cell(*at));
            let Some(value) = value else { continue };
            if *column == OPERATORS {
                let is_one = layout.operator_count.and_then(|at| integer(batch, at, index)) == Some(1);
                let operators: Vec<&str> = if is_one { vec![&value] } else { value.split(", ").collect() };
                operators.into_iter().for_each(|operator| write_element(text, element, operator, told));
            } else {
                write_element(text, element, &value, told);
            }
        }
        for (at, name) in &layout.further {
            if let Some(value) = cell(Some(*at)) {
                write_element(text, name, &value, told);
            }
        }
        if let Some(transcript) = cell(layout.transcript) {
            match serde_json::from_str::<Vec<BTreeMap<String, Value>>>(&transcript) {
                Ok(messages) => messages.iter().for_each(|message| write_message(text, message, told)),
                Err(_) => told.unreadable += 1,
            }
        }
        text.push_str("</chat>\n");
        out.write_all(text.as_bytes())?;
        Ok(())
    }

    /// Where it writes to.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Closes the document.
    pub fn end(&mut self) -> Result<Told> {
        self.out.write_all(b"</chats>\n")?;
        Ok(self.told)
    }
}

/// A cell as text; none when it is of a kind that no element has.
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
    batch.column(at).as_primitive_opt::<Int64Type>().filter(|numbers| numbers.is_valid(index)).map(|numbers| numbers.value(index))
}

/// `2026-11-20T08:15:30.123+00:00`
fn moment(millis: Millis) -> String {
    timestamp(millis).strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00").to_string()
}

/// A text as itself, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn write_element(into: &mut String, name: &str, text: &str, told: &mut Told) {
    // Writing into a String cannot fail, here and below.
    let _ = write!(into, "<{name}>");
    write_text(into, text, told);
    let _ = writeln!(into, "</{name}>");
}

fn write_message(into: &mut String, message: &BTreeMap<String, Value>, told: &mut Told) {
    into.push('<');
    into.push_str(MESSAGE);
    let known = ["from", "time"].into_iter().filter_map(|name| Some((name, message.get(name)?)));
    let further = message.iter().map(|(name, value)| (name.as_str(), value)).filter(|(name, _)| !["from", "time", "text"].contains(name) && is_name(name));
    for (name, value) in known.chain(further) {
        if let Some(value) = value.as_str() {
            let _ = write!(into, " {name}=\"");
            write_attribute(into, value, told);
            into.push('"');
        }
    }
    into.push('>');
    write_text(into, message.get("text").and_then(Value::as_str).unwrap_or_default(), told);
    let _ = writeln!(into, "</{MESSAGE}>");
}

/// Text of an element. White space at both ends is written so that it cannot be taken for indentation, and CR so that it does not
/// become LF.
fn write_text(into: &mut String, text: &str, told: &mut Told) {
    let inner = text.trim();
    let before = text.len() - text.trim_start().len();
    for c in text[..before].chars() {
        write_reference(into, c, told);
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
                told.replaced += 1;
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
        write_reference(into, c, told);
    }
}

/// Text of an attribute, whose white space a reader would make spaces.
fn write_attribute(into: &mut String, text: &str, told: &mut Told) {
    for c in text.chars() {
        match c {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\t' | '\n' | '\r' => write_reference(into, c, told),
            c if is_forbidden(c) => {
                told.replaced += 1;
                into.push('\u{fffd}');
            }
            c => into.push(c),
        }
    }
}

fn write_reference(into: &mut String, c: char, told: &mut Told) {
    if is_forbidden(c) {
        told.replaced += 1;
        into.push('\u{fffd}');
    } else {
        let _ = write!(into, "&#{};", u32::from(c));
    }
}

/// What no XML 1.0 document may hold, not even as a reference.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether it can name an element or attribute for every reader: older ones know fewer letters, and a colon means a namespace.
fn is_name(text: &str) -> bool {
    let is_letter = |c: char| {
        c.is_ascii_alphabetic()
            || c == '_'
            || matches!(c, 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ı' | 'Ή' | 'Ύ'..='Ρ' | 'Σ'..='ώ' | 'Ў'..='я' | 'א'..='ת' | 'ء'..='غ' | 'ف'..='ي')
            || matches!(c, 'ぁ'..='ゔ' | 'ァ'..='ヺ' | '一'..='\u{9fa5}' | '가'..='힣')
    };
    let mut chars = text.chars();
    chars.next().is_some_and(is_letter) && chars.all(|c| is_letter(c) || c.is_ascii_digit() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests;
