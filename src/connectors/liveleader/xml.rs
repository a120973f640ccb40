//! The export document, read as a stream: chat by chat, with memory for one of them. Whatever is not one whole `<chats>` document is a
//! `Fault` that says what it is instead.

mod attributes;
mod chat;
mod fault;
mod feed;
mod reference;

use std::io::{BufRead, BufReader, Read};

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::errors::{Error as XmlError, IllFormedError};
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};

use attributes::Plain;
use chat::FIELDS;
pub use chat::{Chat, Field, MessageRef};
pub use fault::Fault;
use feed::{Feed, TooLong};
use reference::Meant;

/// Elements within elements.
const MOST_DEPTH: usize = 32;
const MOST_ATTRIBUTES: usize = 64;
/// Bytes of a name.
const LONGEST_NAME: usize = 256;
/// Bytes of one text, after decoding.
const LONGEST_TEXT: usize = 1 << 20;
/// Bytes of one piece of markup as it is on the way: a text, a tag, a comment.
const LONGEST_PIECE: usize = LONGEST_TEXT + (64 << 10);

/// Reads a document. `label` is the encoding that the answer's head names; what the document says itself counts more. `take` gets each
/// chat when it is whole, and says whether more are wanted. `Ok` only when the root was closed and nothing follows.
pub fn read(source: impl Read, label: Option<&str>, mut take: impl FnMut(&Chat) -> bool) -> Result<(), Fault> {
    let decoded = feed::decoded(source, label)?;
    let mut reader = Reader::from_reader(Feed::new(BufReader::with_capacity(64 << 10, decoded), LONGEST_PIECE));
    reader.config_mut().check_comments = false;
    // Told as text: see `reference`.
    reader.config_mut().allow_dangling_amp = true;
    let mut walk = Walk::default();
    let mut piece = Vec::new();
    loop {
        piece.clear();
        reader.get_mut().begin_piece();
        let event = reader.read_event_into(&mut piece);
        let at = || reader.buffer_position();
        // Looked at where it is: moving it costs as much as reading it.
        match &event {
            Ok(Event::Start(tag)) => walk.open(tag).map_err(|fault| fault.at(at()))?,
            Ok(Event::Empty(tag)) => {
                walk.open(tag).map_err(|fault| fault.at(at()))?;
                walk.close(&mut take)?;
            }
            Ok(Event::End(_)) => walk.close(&mut take)?,
            Ok(Event::Text(text)) => {
                // Only a bare ampersand is in a text as it came.
                walk.chat.repaired += u64::from(text.starts_with('&'));
                walk.text(&text.xml10_content(), false)?;
            }
            Ok(Event::CData(text)) => walk.text(&text.xml10_content(), true)?,
            Ok(Event::GeneralRef(name)) => walk.reference(name)?,
            Ok(Event::DocType(kind)) => return Err(if walk.is_page(kind) { Fault::WebPage } else { Fault::Doctype }),
            Ok(Event::Decl(_) | Event::PI(_) | Event::Comment(_)) => {}
            Ok(Event::Eof) => return walk.end(),
            Err(error) => {
                let at = reader.error_position();
                let ended = reader.get_mut().fill_buf().map_or(true, <[u8]>::is_empty);
                return Err(walk.fault(error, at, ended));
            }
        }
    }
}

/// What an open element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Root,
    /// Below the root, and no chat: passed over.
    Aside,
    Chat,
    Field(Field),
    Operator,
    Message,
    /// Not on the page: kept by its path, with the message when there is one.
    Unknown {
        message: bool,
    },
}

/// An open element.
#[derive(Debug)]
struct Open {
    kind: Kind,
    /// Of a field, an operator, and an unknown element: what is below it is called after it.
    path: String,
    text: String,
    /// Between these, text came as references or CDATA: white space there is meant.
    exact: Option<(usize, usize)>,
    has_children: bool,
}

/// The open elements, and beyond them closed ones, for their buffers.
#[derive(Debug, Default)]
struct Stack {
    all: Vec<Open>,
    depth: usize,
}

impl Stack {
    fn last(&mut self) -> Option<&mut Open> {
        self.all[..self.depth].last_mut()
    }

    /// The next one, as if it were open.
    fn next(&mut self) -> (&mut [Open], &mut Open) {
        if self.all.len() == self.depth {
            self.all.push(Open { kind: Kind::Aside, path: String::new(), text: String::new(), exact: None, has_children: false });
        }
        let (open, next) = self.all.split_at_mut(self.depth);
        (open, &mut next[0])
    }

    fn pop(&mut self) -> Option<&Open> {
        self.depth = self.depth.checked_sub(1)?;
        self.all.get(self.depth)
    }
}

#[derive(Debug, Default)]
struct Walk {
    chat: Chat,
    open: Stack,
    had_root: bool,
    /// Text came before any element.
    had_text: bool,
    had_chat: bool,
    had_aside: bool,
}

impl Walk {
    fn is_page(&self, doctype: &str) -> bool {
        !self.had_root && doctype.trim_start().get(..4).is_some_and(|name| name.eq_ignore_ascii_case("html"))
    }

    /// `ended`: no more bytes come.
    fn fault(&self, error: &XmlError, at: u64, ended: bool) -> Fault {
        match error {
            XmlError::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<TooLong>()) => Fault::LongText,
            // Whoever feeds us knows better why there is no more.
            XmlError::Io(_) => Fault::Cut,
            _ if !self.had_root && self.had_text => Fault::NotXml,
            XmlError::IllFormed(IllFormedError::MismatchedEndTag { .. } | IllFormedError::UnmatchedEndTag(_)) => Fault::Broken { at },
            _ if ended => Fault::Cut,
            _ => Fault::Broken { at },
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Fault> {
        let name = tag.name();
        let name = name.as_ref();
        if name.len() > LONGEST_NAME {
            return Err(Fault::LongName);
        }
        if self.open.depth >= MOST_DEPTH {
            return Err(Fault::TooDeep);
        }
        let (open, next) = self.open.next();
        let Some(parent) = open.last_mut() else { return self.root(tag, name) };
        parent.has_children = true;
        let message = matches!(parent.kind, Kind::Message | Kind::Unknown { message: true });
        let kind = match parent.kind {
            Kind::Root if name == "chat" => Kind::Chat,
            Kind::Root | Kind::Aside => Kind::Aside,
            Kind::Chat => match name {
                "msg" => Kind::Message,
                "operator" => Kind::Operator,
                _ => match FIELDS.iter().find(|(known, _)| *known == name) {
                    Some((_, field)) if self.chat.field(*field).is_none() => Kind::Field(*field),
                    _ => Kind::Unknown { message: false },
                },
            },
            _ => Kind::Unknown { message },
        };
        (next.kind, next.exact, next.has_children) = (kind, None, false);
        next.path.clear();
        next.text.clear();
        match kind {
            Kind::Chat => {
                self.had_chat = true;
                self.chat.clear();
            }
            Kind::Message => self.chat.begin_message()?,
            Kind::Aside => self.had_aside = true,
            _ => {
                if !matches!(parent.kind, Kind::Chat | Kind::Message) {
                    next.path.push_str(&parent.path);
                    next.path.push('_');
                }
                plain_name(name, &mut next.path);
            }
        }
        if kind != Kind::Aside && !tag.attributes_raw().is_empty() {
            attributes(&mut self.chat, tag, kind, &next.path)?;
        }
        self.open.depth += 1;
        Ok(())
    }

    fn root(&mut self, tag: &BytesStart<'_>, name: &str) -> Result<(), Fault> {
        if self.had_root {
            return Err(Fault::TwoRoots);
        }
        if name.eq_ignore_ascii_case("html") {
            return Err(Fault::WebPage);
        }
        if self.had_text {
            return Err(Fault::NotXml);
        }
        if name != "chats" {
            let plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            return Err(Fault::OtherRoot(plain.then(|| name.to_owned())));
        }
        count_attributes(tag)?;
        self.had_root = true;
        self.open.next().1.kind = Kind::Root;
        self.open.depth = 1;
        Ok(())
    }

    fn text(&mut self, text: &str, exact: bool) -> Result<(), Fault> {
        let Some(open) = self.open.last() else {
            if is_white(text) {
                return Ok(());
            }
            if self.had_root {
                return Err(Fault::Trailing);
            }
            self.had_text = true;
            return Ok(());
        };
        if matches!(open.kind, Kind::Root | Kind::Chat | Kind::Aside) && is_white(text) {
            return Ok(());
        }
        match open.kind {
            Kind::Root => return Err(Fault::StrayText),
            Kind::Aside => return Ok(()),
            _ if open.text.len() + text.len() > LONGEST_TEXT => return Err(Fault::LongText),
            // No column's name: it is kept with what has no room.
            Kind::Chat => return self.chat.keep_more(false, "_text", text),
            _ => {}
        }
        let from = open.text.len();
        open.text.push_str(text);
        if exact {
            let first = open.exact.map_or(from, |(first, _)| first);
            open.exact = Some((first, open.text.len()));
        }
        Ok(())
    }

    fn reference(&mut self, name: &BytesRef<'_>) -> Result<(), Fault> {
        let name = name.xml10_content();
        let meant = reference::meant(&name);
        self.chat.repaired += u64::from(!matches!(meant, Meant::Char(_) | Meant::Text(_)));
        match meant {
            Meant::Char(c) | Meant::RepairedChar(c) => self.text(c.encode_utf8(&mut [0; 4]), true),
            Meant::Text(text) | Meant::Repaired(text) => self.text(text, true),
            Meant::Bare => self.text(&format!("&{name};"), false),
        }
    }

    fn close(&mut self, take: &mut impl FnMut(&Chat) -> bool) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Err(Fault::Trailing) };
        let text = trimmed(&open.text, open.exact);
        match open.kind {
            Kind::Root | Kind::Aside => {}
            Kind::Chat => {
                if !take(&self.chat) {
                    return Err(Fault::Enough);
                }
            }
            Kind::Field(field) => self.chat.fields[field as usize] = Some(self.chat.keep(text)?),
            Kind::Operator => {
                let span = self.chat.keep(text)?;
                self.chat.operators.push(span);
            }
            Kind::Message => {
                let span = self.chat.keep(text)?;
                if let Some(message) = self.chat.messages.last_mut() {
                    message.text = span;
                }
            }
            Kind::Unknown { message } => {
                if !text.is_empty() || !open.has_children {
                    self.chat.keep_more(message, &open.path, text)?;
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Fault> {
        match (self.had_root, self.open.depth == 0, self.had_text) {
            (true, true, _) if self.had_aside && !self.had_chat => Err(Fault::NoChats),
            (true, true, _) => Ok(()),
            (true, false, _) => Err(Fault::Cut),
            (false, _, true) => Err(Fault::NotXml),
            (false, _, false) => Err(Fault::Empty),
        }
    }
}

/// White space of XML.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

fn is_white(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// A column's name: colons of prefixes would make it one that other programs stumble over.
fn plain_name(name: &str, into: &mut String) {
    if name.contains(':') {
        into.extend(name.chars().map(|c| if c == ':' { '_' } else { c }));
    } else {
        into.push_str(name);
    }
}

/// Keeps what a tag says. `path` is that of its element.
fn attributes(chat: &mut Chat, tag: &BytesStart<'_>, kind: Kind, path: &str) -> Result<(), Fault> {
    if let Some(plain) = Plain::of(tag.attributes_raw()) {
        return plain.iter().try_for_each(|(name, value)| attribute(chat, kind, path, name, value));
    }
    count_attributes(tag)?;
    for told in tag.attributes() {
        let told = told.map_err(|error| broken_attribute(&error))?;
        let name = told.key.as_ref();
        if name.len() > LONGEST_NAME {
            return Err(Fault::LongName);
        }
        // One that is not XML through and through is read as it is meant.
        let (value, repaired) = match told.normalized_value_with(XmlVersion::Implicit1_0, 1, resolve_xml_entity) {
            Ok(value) => (value, 0),
            Err(_) => {
                let (value, repaired) = reference::attribute(&told.value);
                (value.into(), repaired)
            }
        };
        chat.repaired += repaired;
        if value.len() > LONGEST_TEXT {
            return Err(Fault::LongText);
        }
        attribute(chat, kind, path, name, &value)?;
    }
    Ok(())
}

fn attribute(chat: &mut Chat, kind: Kind, path: &str, name: &str, value: &str) -> Result<(), Fault> {
    let mut called = String::new();
    match (kind, name) {
        (Kind::Message, "from" | "time") => {
            let span = chat.keep(value)?;
            if let Some(message) = chat.messages.last_mut() {
                *(if name == "from" { &mut message.from } else { &mut message.time }) = Some(span);
            }
            return Ok(());
        }
        (Kind::Chat | Kind::Message, _) => {}
        _ => {
            called.push_str(path);
            called.push('_');
        }
    }
    plain_name(name, &mut called);
    chat.keep_more(matches!(kind, Kind::Message | Kind::Unknown { message: true }), &called, value)
}

fn count_attributes(tag: &BytesStart<'_>) -> Result<(), Fault> {
    // Before any is looked into: finding duplicates among very many takes its time.
    let most = tag.attributes_raw().bytes().filter(|b| *b == b'=').count();
    if most <= MOST_ATTRIBUTES {
        return Ok(());
    }
    let mut attributes = tag.attributes();
    attributes.with_checks(false);
    if attributes.take(MOST_ATTRIBUTES + 1).count() > MOST_ATTRIBUTES { Err(Fault::TooManyAttributes) } else { Ok(()) }
}

fn broken_attribute(_: &AttrError) -> Fault {
    Fault::Broken { at: 0 }
}

/// The text without the line breaks that only indent it: white space at its ends that was written as such and holds a line break.
fn trimmed(text: &str, exact: Option<(usize, usize)>) -> &str {
    let (first, last) = exact.unwrap_or((text.len(), 0));
    let lead = text[..first].len() - text[..first].trim_start_matches(WHITE).len();
    let from = if text[..lead].contains('\n') { lead } else { 0 };
    let last = last.max(from);
    let rest = &text[last..];
    let kept = rest.trim_end_matches(WHITE).len();
    let to = if rest[kept..].contains('\n') { last + kept } else { text.len() };
    &text[from..to]
}

#[cfg(test)]
mod tests;
