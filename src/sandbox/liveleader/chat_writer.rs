//! Writes a chat as XML: elements, indentation, escapes and times, directly into the text of a
//! chunk.

use std::fmt::Write;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::super::session::{ChatSession, SessionMessage};
use super::PIECE;
use super::document_faults::DocumentFaults;
use crate::clock::{Millis, timestamp};

/// Neither ISO 8601 nor the sample's format.
pub const ODD_START: &str = "the day before yesterday, 12.49";
pub const ODD_TIME: &str = "32-13-2008T25:61:99";

/// Three HTML entities, two bare ampersands, and the numbers of three invalid characters.
pub const LOOSE_TEXT: &str =
    " 10&nbsp;kr, caf&eacute;&hellip; AT&T, ?a=1&b=2 &#0;&#xD83D;&#x110000;.";

pub struct ChatWriter {
    pub out: String,
    document_faults: Arc<DocumentFaults>,
    /// The current message ends with invalid XML.
    loose: bool,
}

/// How a text is escaped; all variants encode the same text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// `&amp;`, `&lt;` and `&gt;`.
    Few,
    /// All five entities.
    All,
    /// Letters beyond ASCII as numeric references, too.
    Numbers,
    Cdata,
    /// The first half escaped, the second in CDATA.
    Half,
}

impl ChatWriter {
    pub fn new(document_faults: Arc<DocumentFaults>) -> Self {
        Self {
            out: String::with_capacity(PIECE + PIECE / 2),
            document_faults,
            loose: false,
        }
    }

    /// The text that was written since the last call.
    pub fn take(&mut self) -> String {
        std::mem::replace(&mut self.out, String::with_capacity(PIECE + PIECE / 2))
    }

    pub fn head(&mut self) {
        let declared = self
            .document_faults
            .encoding
            .map_or("UTF-8", super::encoding::Label::declared);
        let _ = write!(
            self.out,
            "<?xml version=\"1.0\" encoding=\"{declared}\"?>\n<chats>\n"
        );
    }

    pub fn tail(&mut self) {
        self.out.push_str("</chats>\n");
    }

    /// Writes a chat. `first`: apply the faults of the first chat.
    pub fn chat(&mut self, chat: &ChatSession, first: bool) {
        self.open(chat, first);
        let odd = if first && self.document_faults.odd_times {
            chat.messages.len() - 1
        } else {
            usize::MAX
        };
        let messages = if first && self.document_faults.bare {
            &[][..]
        } else {
            &chat.messages
        };
        for (at, message) in messages.iter().enumerate() {
            self.loose = first && self.document_faults.loose_text && at == 0;
            self.message(message, at == odd);
        }
        self.close();
    }

    /// Writes everything except the messages and the end tag.
    pub fn open(&mut self, chat: &ChatSession, first: bool) {
        let document_faults = self.document_faults.clone();
        if chat.variation.is_multiple_of(61) {
            self.out.push_str("  <!-- <chat> & so on: no chat -->\n");
        }
        self.out.push_str(if document_faults.unknown {
            "  <chat lang=\"no\" priority=\"2 &lt; 3\">\n"
        } else {
            "  <chat>\n"
        });
        let escape = Escape::of(chat.variation >> 8, &document_faults);
        let on_own_line = chat.variation >> 4 & 7 == 0;
        let mut element = |name: &str, text: &str| self.element(name, text, escape, on_own_line);
        if !(first && document_faults.no_id) {
            element("id", &chat.id);
        }
        chat.referrer
            .into_iter()
            .for_each(|referrer| element("referrer", referrer));
        chat.keywords
            .into_iter()
            .for_each(|keywords| element("keywords", keywords));
        if !(first && document_faults.bare) {
            for operator in &chat.operators {
                element(
                    "operator",
                    &if document_faults.capital_operators {
                        operator.to_uppercase()
                    } else {
                        (*operator).to_owned()
                    },
                );
            }
        }
        element("visitorip", &chat.visitor_ip);
        self.moment(
            "start",
            if first && document_faults.odd_times {
                Err(ODD_START)
            } else {
                Ok(chat.start)
            },
        );
        self.moment("stop", Ok(chat.stop));
        let _ = writeln!(self.out, "    <duration>{}</duration>", chat.duration);
        self.element("url", chat.url, escape, on_own_line);
        for (name, text) in &chat.about {
            self.element(name, text, escape, on_own_line);
        }
        if document_faults.unknown {
            self.out.push_str(concat!(
                "    <rating scale=\"5\">4</rating>\n",
                "    <tag>first</tag>\n    <tag>second &amp; last</tag>\n",
                "    <visitor kind=\"returning\">\n      <name>Kari</name>\n",
                "      <browser version=\"143\"><name>Firefox</name></browser>\n    </visitor>\n",
                "    <archived/>\n",
            ));
        }
    }

    pub fn close(&mut self) {
        self.out.push_str("  </chat>\n");
    }

    pub fn message(&mut self, message: &SessionMessage, odd: bool) {
        self.open_message(
            message.from,
            if odd { Err(ODD_TIME) } else { Ok(message.at) },
        );
        self.out.push_str(if self.document_faults.unknown {
            " read=\"true\">"
        } else {
            ">"
        });
        let on_own_line = message.variation & 3 == 0;
        self.out.push_str(if on_own_line { "\n      " } else { "" });
        self.text(
            &message.text,
            Escape::of(message.variation >> 8, &self.document_faults),
        );
        if self.loose {
            self.out.push_str(LOOSE_TEXT);
        }
        self.out.push_str(if on_own_line {
            "\n    </msg>\n"
        } else {
            "</msg>\n"
        });
    }

    /// The start tag without its closing bracket.
    pub fn open_message(&mut self, from: &str, at: Result<Millis, &str>) {
        self.out.push_str("    <msg from=\"");
        self.text(from, Escape::All);
        self.out.push_str("\" time=\"");
        self.time(at);
        self.out.push('"');
    }

    fn element(&mut self, name: &str, text: &str, escape: Escape, on_own_line: bool) {
        let attribute = if self.document_faults.unknown {
            " source=\"export\""
        } else {
            ""
        };
        self.out.extend(["    <", name, attribute]);
        if text.is_empty() && on_own_line {
            self.out.push_str("/>\n");
            return;
        }
        self.out
            .push_str(if on_own_line { ">\n      " } else { ">" });
        self.text(text, escape);
        self.out
            .extend([if on_own_line { "\n    </" } else { "</" }, name, ">\n"]);
    }

    fn moment(&mut self, name: &str, at: Result<Millis, &str>) {
        self.out.extend(["    <", name, ">"]);
        self.time(at);
        self.out.extend(["</", name, ">\n"]);
    }

    fn time(&mut self, at: Result<Millis, &str>) {
        match at {
            Err(odd) => self.out.push_str(odd),
            Ok(at) => match &self.document_faults.sample_times {
                Some(zone) => sample(&mut self.out, at, zone),
                None => iso(&mut self.out, at),
            },
        }
    }

    fn text(&mut self, text: &str, escape: Escape) {
        match escape {
            Escape::Cdata if !text.contains('\r') => cdata(&mut self.out, text),
            Escape::Half if !text.contains('\r') => {
                let half = text
                    .char_indices()
                    .map(|(at, _)| at)
                    .find(|at| at * 2 >= text.len())
                    .unwrap_or(text.len());
                escaped(&mut self.out, &text[..half], Escape::All);
                cdata(&mut self.out, &text[half..]);
            }
            escape => escaped(&mut self.out, text, escape),
        }
    }
}

impl Escape {
    fn of(variation: u64, document_faults: &DocumentFaults) -> Self {
        let narrow = document_faults
            .encoding
            .is_some_and(super::encoding::Label::is_narrow);
        match variation & 15 {
            0 | 1 if !narrow => Self::Cdata,
            2 if !narrow => Self::Half,
            3 => Self::Numbers,
            4..=8 => Self::All,
            _ => Self::Few,
        }
    }
}

fn cdata(out: &mut String, text: &str) {
    out.push_str("<![CDATA[");
    out.push_str(&text.replace("]]>", "]]]]><![CDATA[>"));
    out.push_str("]]>");
}

/// A carriage return is always a numeric reference: a literal one would be read as a line break.
fn escaped(out: &mut String, text: &str, escape: Escape) {
    let mut written_to = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'\r' => "&#13;",
            b'"' if escape != Escape::Few => "&quot;",
            b'\'' if escape != Escape::Few => "&apos;",
            _ => continue,
        };
        plain(out, &text[written_to..at], escape);
        out.push_str(entity);
        written_to = at + 1;
    }
    plain(out, &text[written_to..], escape);
}

fn plain(out: &mut String, text: &str, escape: Escape) {
    if escape != Escape::Numbers || text.is_ascii() {
        out.push_str(text);
        return;
    }
    for letter in text.chars() {
        let number = u32::from(letter);
        let _ = match number {
            0..128 => out.write_char(letter),
            _ if number.is_multiple_of(2) => write!(out, "&#{number};"),
            _ => write!(out, "&#x{number:X};"),
        };
    }
}

/// `2026-11-20T08:15:30.123+00:00`, formatted without the time library for speed, because a chat
/// has about a dozen.
fn iso(out: &mut String, at: Millis) {
    let moment = Offset::UTC.to_datetime(timestamp(at));
    digits(out, moment.year().unsigned_abs().into(), 4);
    out.push('-');
    digits(out, moment.month() as u32, 2);
    out.push('-');
    digits(out, moment.day() as u32, 2);
    clock(out, moment);
    out.push('.');
    digits(out, moment.millisecond() as u32, 3);
    out.push_str("+00:00");
}

/// `23-10-2008T12:49:1231`: the last two digits are hundredths.
fn sample(out: &mut String, at: Millis, zone: &TimeZone) {
    let moment = zone.to_datetime(timestamp(at));
    digits(out, moment.day() as u32, 2);
    out.push('-');
    digits(out, moment.month() as u32, 2);
    out.push('-');
    digits(out, moment.year().unsigned_abs().into(), 4);
    clock(out, moment);
    digits(out, moment.millisecond() as u32 / 10, 2);
}

fn clock(out: &mut String, moment: DateTime) {
    out.push('T');
    digits(out, moment.hour() as u32, 2);
    out.push(':');
    digits(out, moment.minute() as u32, 2);
    out.push(':');
    digits(out, moment.second() as u32, 2);
}

fn digits(out: &mut String, value: u32, places: u32) {
    for place in (0..places).rev() {
        out.push(char::from(b'0' + (value / 10u32.pow(place) % 10) as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_both_ways() {
        let written = |write: &dyn Fn(&mut String)| {
            let mut out = String::new();
            write(&mut out);
            out
        };
        assert_eq!(
            written(&|out| iso(out, 1_795_162_530_007)),
            "2026-11-20T08:15:30.007+00:00"
        );
        assert_eq!(
            written(&|out| sample(out, 1_224_766_152_319, &TimeZone::UTC)),
            "23-10-2008T12:49:1231"
        );
        assert_eq!(
            written(&|out| sample(
                out,
                1_224_766_152_309,
                &TimeZone::get("Europe/Oslo").unwrap()
            )),
            "23-10-2008T14:49:1230"
        );
        assert_eq!(
            written(&|out| cdata(out, "a]]>b")),
            "<![CDATA[a]]]]><![CDATA[>b]]>"
        );
        assert_eq!(
            written(&|out| escaped(out, "é<\r\n'", Escape::Numbers)),
            "&#xE9;&lt;&#13;\n&apos;"
        );
    }
}
