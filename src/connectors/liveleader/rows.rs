//! Chats into rows: one builder for each report of a pull.

use std::borrow::Cow;
use std::fmt::Write;

use arrow::array::RecordBatch;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use jiff::tz::TimeZone;

use super::times::{self, Moment};
use super::xml::{Chat, Field, MessageRef};
use crate::connectors::PullError;
use crate::connectors::convert::{self, Converted, Moments};
use crate::connectors::report::{ColumnKind, ExportRows, Report, Shape};
use crate::connectors::table::{Cell, Table};

static ISO: DateTimePrinter = DateTimePrinter::new();

/// Builds the rows of one report.
pub(super) struct Rows {
    kind: ExportRows,
    table: Table,
    /// Times without a zone are meant in this one.
    zone: TimeZone,
}

/// By name, as JSON.
type Named<'n> = Vec<(&'n str, String)>;

impl Rows {
    pub fn new(report: &'static Report, zone: &TimeZone) -> Self {
        let kind = if let Shape::Export(kind) = report.shape { kind } else { ExportRows::Chats };
        Self { kind, table: Table::new(report.columns), zone: zone.clone() }
    }

    /// Gives these fields their columns before they come.
    pub fn expect(&mut self, names: &[String]) {
        self.table.expect(names);
    }

    /// The fields that came so far and that no column declares.
    pub fn extras(&self) -> Vec<String> {
        self.table.extras().map(str::to_owned).collect()
    }

    pub fn misfits(&self) -> u64 {
        self.table.misfits
    }

    pub fn take(&mut self) -> Vec<RecordBatch> {
        self.table.take()
    }

    /// The batch as it stands, with all columns; also without rows.
    pub fn batch(&mut self) -> Option<RecordBatch> {
        self.table.batch().ok()
    }

    /// All rows so far, of which `take` has not told yet.
    pub fn rest(&mut self) -> Option<Vec<RecordBatch>> {
        self.table.flush().ok()?;
        Some(self.table.take())
    }

    /// The rows of one chat; false when they could not be built.
    pub fn chat(&mut self, chat: &Chat) -> bool {
        match self.kind {
            ExportRows::Chats => self.whole(chat),
            ExportRows::Messages => (1..).zip(chat.messages()).all(|(position, message)| self.message(chat, position, message)),
            ExportRows::Operators => chat.operators().all(|operator| {
                let cells = [text(chat.field(Field::Id)), text(Some(operator))];
                self.table.write::<&str, &str>(&cells, &[], &[]).is_ok()
            }),
        }
    }

    /// Whether this chat gives the report no row.
    pub fn is_childless(&self, chat: &Chat) -> bool {
        match self.kind {
            ExportRows::Chats => false,
            ExportRows::Messages => chat.messages().len() == 0,
            ExportRows::Operators => chat.operators().next().is_none(),
        }
    }

    fn whole(&mut self, chat: &Chat) -> bool {
        let mut misfits = Named::new();
        let operators: Vec<&str> = chat.operators().collect();
        let (start, stop) = (chat.field(Field::Start), chat.field(Field::Stop));
        let cells = [
            text(chat.field(Field::Id)),
            text(chat.field(Field::Referrer)),
            text(chat.field(Field::Keywords)),
            if operators.is_empty() { Cell::Null } else { Cell::Text(operators.join(", ").into()) },
            count(operators.len()),
            text(chat.field(Field::VisitorIp)),
            self.moment("start", start, &mut misfits),
            self.moment("stop", stop, &mut misfits),
            integer("duration", chat.field(Field::Duration), &mut misfits),
            text(chat.field(Field::Url)),
            count(chat.messages().len()),
            Cell::Text(transcript(chat, &self.zone).into()),
        ];
        self.table.write(&cells, &grouped(chat.more()), &misfits).is_ok()
    }

    fn message(&mut self, chat: &Chat, position: usize, message: MessageRef<'_>) -> bool {
        let mut misfits = Named::new();
        let cells = [
            text(chat.field(Field::Id)),
            count(position),
            text(message.from()),
            message.from().map_or(Cell::Null, |from| Cell::Text(if from.eq_ignore_ascii_case("visitor") { "visitor" } else { "operator" }.into())),
            self.moment("time", message.time(), &mut misfits),
            text(Some(message.text())),
        ];
        self.table.write(&cells, &grouped(message.more()), &misfits).is_ok()
    }

    fn moment<'n>(&self, name: &'n str, told: Option<&str>, misfits: &mut Named<'n>) -> Cell<'static> {
        let Some(told) = told.filter(|told| !told.is_empty()) else { return Cell::Null };
        let converted = times::read(told, &self.zone).map_or_else(Converted::misfit, |moment| convert::moment(moment.at));
        cell(name, told, converted, misfits)
    }
}

fn text(told: Option<&str>) -> Cell<'_> {
    told.map_or(Cell::Null, |told| Cell::Text(Cow::Borrowed(told)))
}

fn count(number: usize) -> Cell<'static> {
    i64::try_from(number).map_or(Cell::Null, Cell::Integer)
}

fn integer<'n>(name: &'n str, told: Option<&str>, misfits: &mut Named<'n>) -> Cell<'static> {
    let Some(told) = told.filter(|told| !told.is_empty()) else { return Cell::Null };
    let Converted { cell: nearest, fits } = convert::text(ColumnKind::Integer, Moments::Written, Cow::Borrowed(told));
    let nearest = if let Cell::Integer(number) = nearest { Cell::Integer(number) } else { Cell::Null };
    cell(name, told, Converted { cell: nearest, fits }, misfits)
}

/// The cell of a value, which is kept beside it unless it fits.
fn cell<'n>(name: &'n str, told: &str, converted: Converted<'static>, misfits: &mut Named<'n>) -> Cell<'static> {
    if !converted.fits {
        misfits.push((name, json(told)));
    }
    converted.cell
}

fn json(text: &str) -> String {
    let mut all = String::with_capacity(text.len() + 2);
    push_json(&mut all, text);
    all
}

/// What came several times under one name is a list.
fn grouped<'a>(more: impl Iterator<Item = (&'a str, &'a str)>) -> Named<'a> {
    let mut named: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (name, value) in more {
        match named.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, others)) => others.push(value),
            None => named.push((name, value, Vec::new())),
        }
    }
    let all =
        |first, others: Vec<&str>| if others.is_empty() { json(first) } else { serde_json::Value::from_iter([first].into_iter().chain(others)).to_string() };
    named.into_iter().map(|(name, first, others)| (name, all(first, others))).collect()
}

/// `[{"from":"visitor","time":"2026-11-20T08:15:30.25Z","text":"Hello"}]`; a time in neither form is told as it came.
fn transcript(chat: &Chat, zone: &TimeZone) -> String {
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
        for (name, value) in grouped(message.more()) {
            // A name twice in one object would hide the first.
            let mark = if matches!(name, "from" | "time" | "text") { "_" } else { "" };
            all.push(',');
            push_json(&mut all, &format!("{mark}{name}"));
            all.push(':');
            // As in a column of its own: a list is told as a text.
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
    // All bytes, whatever the first ones are: many at a time are looked at so.
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
                // Writing into a String cannot fail, here and below.
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

/// As the CSV writes moments, with as many digits of a second as there are.
fn push_iso(all: &mut String, at: Timestamp) {
    drop(ISO.print_timestamp(&at, all));
}

/// When the chat began, if that can be told.
pub(super) fn start(chat: &Chat, zone: &TimeZone) -> Option<Moment> {
    times::read(chat.field(Field::Start)?, zone)
}

/// The chat's id; none if it has none, so that nothing tells it from others.
pub(super) fn id(chat: &Chat) -> Option<&str> {
    chat.field(Field::Id).filter(|id| !id.trim().is_empty())
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
