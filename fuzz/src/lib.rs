//! Invariants that must hold for any input: one function for each fuzz target. `tests/it/corpus.rs`
//! includes this file and runs the functions over `corpus/`, so that inputs that a fuzzer once
//! found become ordinary tests.

use std::borrow::Cow;
use std::io::Read;

use chatlake::clock::{Millis, timestamp};
use chatlake::connectors::liveleader::times::moment;
use chatlake::connectors::liveleader::xml::{self, DocumentError, ExportedChat};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use quick_xml::events::Event;

// ---- the export document ----

/// The limits of a chat and of a text, as documented in `liveleader.md`.
const MAX_CHAT_BYTES: usize = 16 << 20;
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The approximate maximum length of a document after repetition: enough to reach the limit of one
/// text.
const MAX_UNPACKED_BYTES: usize = (1 << 20) + (256 << 10);
/// Only documents up to this size are also read in small pieces and cut at every position.
const SMALL_DOCUMENT_BYTES: usize = 512;

/// Checks a document. It may start with a line `#LABEL` or `#LABEL*TIMES`: the encoding in the
/// Content-Type header, and how often the part between two bytes 0x01 is repeated.
pub fn liveleader_xml(input: &[u8]) {
    let (label, document) = unpacked(input);
    let whole = read(&document, usize::MAX, label);
    // The result must not depend on the size of the pieces.
    if document.len() <= SMALL_DOCUMENT_BYTES {
        for piece in [1, 2, 7, 1_000] {
            assert_eq!(read(&document, piece, label), whole, "in pieces of {piece}");
        }
    }
    let (Ok(()), chats) = &whole else { return };
    let text = plain(&document, label);
    assert!(
        text.is_none_or(has_one_closed_root),
        "an incomplete document was accepted"
    );
    let step = if document.len() <= SMALL_DOCUMENT_BYTES {
        1
    } else {
        document.len() / 64
    };
    for cut in (0..document.len()).step_by(step) {
        let (ended, before) = read(&document[..cut], usize::MAX, label);
        if ended.is_ok() {
            // Only comments, instructions and white space may be missing.
            assert_eq!(&before, chats, "cut at {cut}: accepted with other chats");
            assert!(
                text.is_none_or(|text| text.get(cut..).is_some_and(is_idle)),
                "cut at {cut}, before the end of the root: accepted"
            );
        }
    }
}

/// The label and the document of an input.
fn unpacked(input: &[u8]) -> (Option<&str>, Cow<'_, [u8]>) {
    let line = input
        .strip_prefix(b"#")
        .and_then(|rest| Some(rest.split_at(rest.iter().position(|byte| *byte == b'\n')?)));
    let Some((Ok(line), rest)) = line.map(|(line, rest)| (std::str::from_utf8(line), &rest[1..]))
    else {
        return (None, input.into());
    };
    let (label, times) = line.split_once('*').map_or((line, 1), |(label, times)| {
        (label, times.parse().unwrap_or(1))
    });
    let label = Some(label).filter(|label| !label.is_empty());
    let parts: Vec<&[u8]> = rest.splitn(3, |byte| *byte == 1).collect();
    match parts[..] {
        [first, second, third] if times > 1 => (
            label,
            [
                first,
                &second.repeat(times.min(MAX_UNPACKED_BYTES / second.len().max(1))),
                third,
            ]
            .concat()
            .into(),
        ),
        _ => (label, rest.into()),
    }
}

/// The result of reading a document: how it ended, and each chat as text.
fn read(
    document: &[u8],
    piece: usize,
    label: Option<&str>,
) -> (Result<(), DocumentError>, Vec<String>) {
    let mut chats = Vec::new();
    let collect = |chat: &ExportedChat| {
        chats.push(describe(chat));
        true
    };
    let read = xml::read(
        SmallReads {
            left: document,
            piece,
        },
        label,
        collect,
    );
    if let Err(error) = &read {
        assert!(error.to_string().len() < 100, "{error}");
    }
    (read, chats)
}

/// Whether a simpler parser finds one closed root with the name `chats`.
fn has_one_closed_root(document: &str) -> bool {
    let mut reader = quick_xml::Reader::from_str(document);
    // A bare ampersand is part of the text.
    reader.config_mut().allow_dangling_amp = true;
    let (mut depth, mut roots) = (0, 0);
    loop {
        let is_root = depth == 0;
        match reader.read_event() {
            Ok(Event::Start(tag) | Event::Empty(tag))
                if is_root && tag.name().as_ref() != "chats" =>
            {
                return false;
            }
            Ok(Event::Start(_)) => {
                depth += 1;
                roots += usize::from(is_root);
            }
            Ok(Event::Empty(_)) => roots += usize::from(is_root),
            Ok(Event::End(_)) => depth -= 1,
            Ok(Event::Eof) => return depth == 0 && roots == 1,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// Whether the rest is only comments, instructions and white space.
fn is_idle(mut rest: &str) -> bool {
    loop {
        rest = rest.trim_start();
        let comment = rest
            .strip_prefix("<!--")
            .and_then(|rest| rest.split_once("-->"));
        let Some((_, after)) = comment.or_else(|| rest.strip_prefix("<?")?.split_once("?>")) else {
            return rest.is_empty();
        };
        rest = after;
    }
}

/// The text of a document that is certainly in UTF-8; `None` if its encoding is not certain.
fn plain<'d>(document: &'d [u8], label: Option<&str>) -> Option<&'d str> {
    let text = std::str::from_utf8(document).ok()?;
    (label.is_none()
        && !text.starts_with('\u{feff}')
        && !text.contains("encoding")
        && !text.contains('\0'))
    .then_some(text)
}

/// All values of a chat as text.
fn describe(chat: &ExportedChat) -> String {
    use xml::ChatField::{Duration, Id, Keywords, Referrer, Start, Stop, Url, VisitorIp};
    let fields: Vec<_> = [
        Id, Referrer, Keywords, VisitorIp, Start, Stop, Duration, Url,
    ]
    .into_iter()
    .map(|field| chat.field(field))
    .collect();
    let operators: Vec<_> = chat.operators().collect();
    let extras: Vec<_> = chat.extras().collect();
    let messages: Vec<_> = chat
        .messages()
        .map(|message| {
            (
                message.from(),
                message.time(),
                message.text(),
                message.extras().collect::<Vec<_>>(),
            )
        })
        .collect();
    let of_messages = messages.iter().flat_map(|(from, time, text, extras)| {
        from.iter()
            .chain(time)
            .copied()
            .chain([*text])
            .chain(extras.iter().map(|(_, value)| *value))
    });
    let texts = fields
        .iter()
        .flatten()
        .copied()
        .chain(operators.iter().copied())
        .chain(extras.iter().map(|(_, value)| *value))
        .chain(of_messages);
    let mut size = 0;
    for text in texts {
        assert!(text.len() <= MAX_TEXT_BYTES);
        size += text.len();
    }
    assert!(size <= MAX_CHAT_BYTES);
    format!("{fields:?} {operators:?} {extras:?} {messages:?}")
}

/// A reader that returns a fixed number of bytes at a time.
struct SmallReads<'d> {
    left: &'d [u8],
    piece: usize,
}

impl Read for SmallReads<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let limit = into.len().min(self.piece);
        self.left.read(&mut into[..limit])
    }
}

// ---- times ----

/// Checks a time as text, after an optional line with the name of a time zone.
pub fn liveleader_times(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let named = text
        .split_once('\n')
        .and_then(|(name, rest)| Some((TimeZone::get(name).ok()?, rest)));
    let (zone, text) = named.unwrap_or((TimeZone::UTC, &text));
    let parsed = moment(text, &zone);
    if let Some(at) = parsed {
        assert!(
            jiff::Timestamp::from_millisecond(at).is_ok(),
            "{text:?} is {at}, outside the range of timestamps"
        );
        assert!(text.trim().len() <= 64);
    }
    assert_eq!(
        moment(&format!("\n  {text}\t"), &zone),
        parsed,
        "white space around a time must not change it"
    );
    if let Some(at) = some_time(input) {
        every_form_reads_back(at, &zone);
    }
}

/// A time made of the last bytes of the input.
fn some_time(input: &[u8]) -> Option<DateTime> {
    let bytes: &[u8; 8] = input.last_chunk()?;
    let small = |at: usize, limit: u8| i8::try_from(bytes[at] % limit).ok();
    let year = i16::from_le_bytes([bytes[0], bytes[1]]).rem_euclid(9_998) + 1;
    let hundredths = i32::from(bytes[7] % 100);
    DateTime::new(
        year,
        small(2, 12)? + 1,
        small(3, 31)? + 1,
        small(4, 24)?,
        small(5, 60)?,
        small(6, 60)?,
        hundredths * 10_000_000,
    )
    .ok()
}

/// Checks that a time is parsed back from the sample's format and from ISO 8601.
fn every_form_reads_back(at: DateTime, zone: &TimeZone) {
    let millis = |zone: &TimeZone| {
        zone.to_ambiguous_timestamp(at)
            .compatible()
            .ok()
            .map(jiff::Timestamp::as_millisecond)
    };
    let hundredths = at.subsec_nanosecond() / 10_000_000;
    let sample = format!("{}{hundredths:02}", at.strftime("%d-%m-%YT%H:%M:%S"));
    let iso = at.strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    let local = millis(zone);
    assert_eq!(moment(&sample, zone), local, "{sample}");
    assert_eq!(moment(&iso, zone), local, "{iso}");
    let utc: Option<Millis> = millis(&TimeZone::UTC);
    for offset in ["Z", "z", "+00:00", "-00:00", "+00", "+0000"] {
        let text = format!("{iso}{offset}");
        assert_eq!(moment(&text, zone), utc, "{text}");
    }
    let hours = at.hour() - 12;
    let ahead = format!(
        "{iso}{}{:02}:30",
        if hours < 0 { '-' } else { '+' },
        hours.abs()
    );
    let minutes = i64::from(hours) * 60 + if hours < 0 { -30 } else { 30 };
    let wanted = utc
        .map(|utc| utc - minutes * 60_000)
        .filter(|at| jiff::Timestamp::from_millisecond(*at).is_ok());
    assert_eq!(moment(&ahead, zone), wanted, "{ahead}");
    // Times that Chatlake itself writes.
    if let Some(utc) = utc {
        assert_eq!(moment(&timestamp(utc).to_string(), zone), Some(utc));
    }
}
