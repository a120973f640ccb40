//! Builds rows from chats, with one builder for each report of a pull.

use std::borrow::Cow;
use std::fmt::Write;

use arrow::array::RecordBatch;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use super::times::{self, Moment};
use super::xml::{ChatField, ExportedChat, MessageRef};
use crate::connectors::PullError;
use crate::connectors::convert::{self, Converted, TimestampEncoding};
use crate::connectors::report::{ColumnKind, ExportRows, Report, Shape};
use crate::connectors::table::{Cell, TableBuilder};

static ISO: DateTimePrinter = DateTimePrinter::new();

/// The row builder of one report.
pub(super) struct ChatRows {
    kind: ExportRows,
    table: TableBuilder,
    /// The time zone of times without a zone.
    zone: TimeZone,
}

/// JSON values by name.
type Named<'n> = Vec<(&'n str, String)>;

impl ChatRows {
    pub fn new(report: &'static Report, zone: &TimeZone) -> Self {
        let kind = if let Shape::Export(kind) = report.shape {
            kind
        } else {
            ExportRows::Chats
        };
        Self {
            kind,
            table: TableBuilder::new(report.columns),
            zone: zone.clone(),
        }
    }

    /// Adds columns for these undeclared fields before their first value.
    pub fn add_extra_columns(&mut self, names: &[String]) {
        self.table.add_extra_columns(names);
    }

    /// The undeclared fields so far.
    pub fn extras(&self) -> Vec<String> {
        self.table.extras().map(str::to_owned).collect()
    }

    pub fn misfits(&self) -> u64 {
        self.table.misfits
    }

    pub fn take_batches(&mut self) -> Vec<RecordBatch> {
        self.table.take_batches()
    }

    /// The current batch with all columns, also when it has no rows.
    pub fn batch(&mut self) -> Option<RecordBatch> {
        self.table.batch().ok()
    }

    /// All rows that `take_batches` has not returned yet.
    pub fn finish_batches(&mut self) -> Option<Vec<RecordBatch>> {
        self.table.flush().ok()?;
        Some(self.table.take_batches())
    }

    /// Writes the rows of one chat; false if they could not be built.
    pub fn chat(&mut self, chat: &ExportedChat) -> bool {
        match self.kind {
            ExportRows::Chats => self.chat_row(chat),
            ExportRows::Messages => (1..)
                .zip(chat.messages())
                .all(|(position, message)| self.message_row(chat, position, message)),
            ExportRows::Operators => chat.operators().all(|operator| {
                let cells = [text(chat.field(ChatField::Id)), text(Some(operator))];
                self.table.write::<&str, &str>(&cells, &[], &[]).is_ok()
            }),
        }
    }

    /// Whether this chat has no rows in the report.
    pub fn has_no_rows(&self, chat: &ExportedChat) -> bool {
        match self.kind {
            ExportRows::Chats => false,
            ExportRows::Messages => chat.messages().len() == 0,
            ExportRows::Operators => chat.operators().next().is_none(),
        }
    }

    fn chat_row(&mut self, chat: &ExportedChat) -> bool {
        let mut misfits = Named::new();
        let operators: Vec<&str> = chat.operators().collect();
        let (start, stop) = (chat.field(ChatField::Start), chat.field(ChatField::Stop));
        let cells = [
            text(chat.field(ChatField::Id)),
            text(chat.field(ChatField::Referrer)),
            text(chat.field(ChatField::Keywords)),
            if operators.is_empty() {
                Cell::Null
            } else {
                Cell::Text(operators.join(", ").into())
            },
            count(operators.len()),
            text(chat.field(ChatField::VisitorIp)),
            self.moment("start", start, &mut misfits),
            self.moment("stop", stop, &mut misfits),
            integer("duration", chat.field(ChatField::Duration), &mut misfits),
            text(chat.field(ChatField::Url)),
            count(chat.messages().len()),
            Cell::Text(transcript(chat, &self.zone).into()),
        ];
        self.table
            .write(&cells, &grouped(chat.extras()), &misfits)
            .is_ok()
    }

    fn message_row(
        &mut self,
        chat: &ExportedChat,
        position: usize,
        message: MessageRef<'_>,
    ) -> bool {
        let mut misfits = Named::new();
        let cells = [
            text(chat.field(ChatField::Id)),
            count(position),
            text(message.from()),
            message.from().map_or(Cell::Null, |from| {
                Cell::Text(
                    if from.eq_ignore_ascii_case("visitor") {
                        "visitor"
                    } else {
                        "operator"
                    }
                    .into(),
                )
            }),
            self.moment("time", message.time(), &mut misfits),
            text(Some(message.text())),
        ];
        self.table
            .write(&cells, &grouped(message.extras()), &misfits)
            .is_ok()
    }

    fn moment<'n>(
        &self,
        name: &'n str,
        text: Option<&str>,
        misfits: &mut Named<'n>,
    ) -> Cell<'static> {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Cell::Null;
        };
        let converted = times::read(text, &self.zone)
            .map_or_else(Converted::misfit, |moment| convert::moment(moment.at));
        cell(name, text, converted, misfits)
    }
}

fn text(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))
}

fn count(number: usize) -> Cell<'static> {
    i64::try_from(number).map_or(Cell::Null, Cell::Integer)
}

fn integer<'n>(name: &'n str, text: Option<&str>, misfits: &mut Named<'n>) -> Cell<'static> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Cell::Null;
    };
    let Converted {
        cell: nearest,
        fits,
    } = convert::text(
        ColumnKind::Integer,
        TimestampEncoding::Text,
        Cow::Borrowed(text),
    );
    let nearest = if let Cell::Integer(number) = nearest {
        Cell::Integer(number)
    } else {
        Cell::Null
    };
    cell(
        name,
        text,
        Converted {
            cell: nearest,
            fits,
        },
        misfits,
    )
}

/// Converts a value into its cell. A value that does not fit is also added to the misfits.
fn cell<'n>(
    name: &'n str,
    text: &str,
    converted: Converted<'static>,
    misfits: &mut Named<'n>,
) -> Cell<'static> {
    if !converted.fits {
        misfits.push((name, json(text)));
    }
    converted.cell
}

fn json(text: &str) -> String {
    let mut all = String::with_capacity(text.len() + 2);
    push_json(&mut all, text);
    all
}

/// Groups values by name; several values of one name become a list.
fn grouped<'a>(more: impl Iterator<Item = (&'a str, &'a str)>) -> Named<'a> {
    let mut named: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (name, value) in more {
        match named.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, others)) => others.push(value),
            None => named.push((name, value, Vec::new())),
        }
    }
    let all = |first, others: Vec<&str>| {
        if others.is_empty() {
            json(first)
        } else {
            serde_json::Value::from_iter([first].into_iter().chain(others)).to_string()
        }
    };
    named
        .into_iter()
        .map(|(name, first, others)| (name, all(first, others)))
        .collect()
}

/// `[{"from":"visitor","time":"2026-11-20T08:15:30.25Z","text":"Hello"}]`; a time in an unknown
/// format stays unchanged.
fn transcript(chat: &ExportedChat, zone: &TimeZone) -> String {
    let mut all = String::from("[");
    for (at, message) in chat.messages().enumerate() {
        all.push_str(if at > 0 { ",{" } else { "{" });
        if let Some(from) = message.from() {
            all.push_str("\"from\":");
            push_json(&mut all, from);
            all.push(',');
        }
        if let Some(time) = message.time() {
            all.push_str("\"time\":");
            match times::read(time, zone) {
                Some(moment) => {
                    all.push('"');
                    push_iso(&mut all, moment.at);
                    all.push('"');
                }
                None => push_json(&mut all, time),
            }
            all.push(',');
        }
        all.push_str("\"text\":");
        push_json(&mut all, message.text());
        for (name, value) in grouped(message.extras()) {
            // A duplicate name in the object would hide the first one.
            let mark = if matches!(name, "from" | "time" | "text") {
                "_"
            } else {
                ""
            };
            all.push(',');
            push_json(&mut all, &format!("{mark}{name}"));
            all.push(':');
            // Like in a column: a list becomes a text.
            if value.starts_with('"') {
                all.push_str(&value);
            } else {
                push_json(&mut all, &value);
            }
        }
        all.push('}');
    }
    all.push(']');
    all
}

fn push_json(all: &mut String, text: &str) {
    let escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    all.push('"');
    // Looks at all bytes without an early exit, so that the loop is vectorized.
    if text.bytes().fold(false, |any, byte| any | escaped(byte)) {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(escaped) {
            let (plain, from) = rest.split_at(at);
            all.push_str(plain);
            let mut from = from.chars();
            match from.next().unwrap_or_default() {
                '"' => all.push_str("\\\""),
                '\\' => all.push_str("\\\\"),
                '\n' => all.push_str("\\n"),
                '\r' => all.push_str("\\r"),
                '\t' => all.push_str("\\t"),
                '\u{8}' => all.push_str("\\b"),
                '\u{c}' => all.push_str("\\f"),
                // Writing to a String cannot fail, here and below.
                other => drop(write!(all, "\\u{:04x}", u32::from(other))),
            }
            rest = from.as_str();
        }
        all.push_str(rest);
    } else {
        all.push_str(text);
    }
    all.push('"');
}

/// Formats a timestamp like the CSV export, with as many decimals as it has.
fn push_iso(all: &mut String, at: Timestamp) {
    drop(ISO.print_timestamp(&at, all));
}

/// The start of the chat, if it can be parsed.
pub(super) fn start(chat: &ExportedChat, zone: &TimeZone) -> Option<Moment> {
    times::read(chat.field(ChatField::Start)?, zone)
}

/// The chat's id; `None` if it has none and so cannot be identified.
pub(super) fn id(chat: &ExportedChat) -> Option<&str> {
    chat.field(ChatField::Id).filter(|id| !id.trim().is_empty())
}

pub(super) fn unwritable() -> PullError {
    super::document::malformed("the rows could not be built".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_is_json_as_a_library_writes_it(text in "(?s)[\0-\x20\"\\\\\x7f]{0,3}.{0,40}[\0-\x20\"\\\\é😀a-z]{0,5}") {
            let mut ours = String::new();
            push_json(&mut ours, &text);
            proptest::prop_assert_eq!(ours, serde_json::Value::from(text).to_string());
        }
    }
}
