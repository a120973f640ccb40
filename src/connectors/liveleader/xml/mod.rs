//! Parses the export document as a stream, chat by chat, with memory for one chat. Anything except
//! one complete `<chats>` document is a `DocumentError` with the reason.

mod attributes;
mod chat;
mod document_error;
mod input;
mod reference;

use std::io::{BufRead, BufReader, Read};

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::errors::{Error as XmlError, IllFormedError};
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};

use attributes::PlainAttributes;
use chat::FIELDS;
pub use chat::{ChatField, ExportedChat, MessageRef};
pub use document_error::DocumentError;
use input::{LimitedInput, TooLong};
use reference::Resolved;

/// The maximum depth of nested elements.
const MAX_DEPTH: usize = 32;
const MAX_ATTRIBUTES: usize = 64;
/// The maximum number of bytes of a name.
const MAX_NAME_BYTES: usize = 256;
/// The maximum number of bytes of one text, after decoding.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The maximum number of bytes of one piece of markup before decoding: a text, a tag or a comment.
const MAX_MARKUP_BYTES: usize = MAX_TEXT_BYTES + (64 << 10);

/// Parses a document. `label` is the encoding in the Content-Type header; the document's own
/// declaration takes precedence. `on_chat` is called with each complete chat and returns whether to
/// continue. Returns `Ok` only if the root was closed and nothing follows it.
pub fn read(
    source: impl Read,
    label: Option<&str>,
    mut on_chat: impl FnMut(&ExportedChat) -> bool,
) -> Result<(), DocumentError> {
    let decoded = input::decoded(source, label)?;
    let mut reader = Reader::from_reader(LimitedInput::new(
        BufReader::with_capacity(64 << 10, decoded),
        MAX_MARKUP_BYTES,
    ));
    reader.config_mut().check_comments = false;
    // A bare ampersand is returned as text: see `reference`.
    reader.config_mut().allow_dangling_amp = true;
    let mut state = DocumentWalk::default();
    let mut piece = Vec::new();
    loop {
        piece.clear();
        reader.get_mut().begin_piece();
        let event = reader.read_event_into(&mut piece);
        let at = || reader.buffer_position();
        // Borrows the event: moving it would cost as much as parsing it.
        match &event {
            Ok(Event::Start(tag)) => state.open(tag).map_err(|error| error.at(at()))?,
            Ok(Event::Empty(tag)) => {
                state.open(tag).map_err(|error| error.at(at()))?;
                state.close(&mut on_chat)?;
            }
            Ok(Event::End(_)) => state.close(&mut on_chat)?,
            Ok(Event::Text(text)) => {
                // A text starts with an ampersand only if the ampersand is bare.
                state.chat.repaired += u64::from(text.starts_with('&'));
                state.text(&text.xml10_content(), false)?;
            }
            Ok(Event::CData(text)) => state.text(&text.xml10_content(), true)?,
            Ok(Event::GeneralRef(name)) => state.reference(name)?,
            Ok(Event::DocType(kind)) => {
                return Err(if state.is_page(kind) {
                    DocumentError::WebPage
                } else {
                    DocumentError::Doctype
                });
            }
            Ok(Event::Decl(_) | Event::PI(_) | Event::Comment(_)) => {}
            Ok(Event::Eof) => return state.end(),
            Err(error) => {
                let at = reader.error_position();
                let ended = reader.get_mut().fill_buf().map_or(true, <[u8]>::is_empty);
                return Err(state.document_error(error, at, ended));
            }
        }
    }
}

/// The kind of an open element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ElementKind {
    Root,
    /// Below the root, and no chat: ignored.
    Ignored,
    Chat,
    Field(ChatField),
    Operator,
    Message,
    /// Not in the vendor's documentation: stored by its path, in the message if it is inside one.
    Unknown {
        message: bool,
    },
}

/// An open element.
#[derive(Debug)]
struct OpenElement {
    kind: ElementKind,
    /// The path of a field, an operator or an unknown element; nested elements append their names.
    path: String,
    text: String,
    /// The range of text from references or CDATA: white space in it is not trimmed.
    exact: Option<(usize, usize)>,
    has_children: bool,
}

/// The open elements, followed by closed ones whose buffers are reused.
#[derive(Debug, Default)]
struct ElementStack {
    all: Vec<OpenElement>,
    depth: usize,
}

impl ElementStack {
    fn last(&mut self) -> Option<&mut OpenElement> {
        self.all[..self.depth].last_mut()
    }

    /// The next element, which is not open yet.
    fn next(&mut self) -> (&mut [OpenElement], &mut OpenElement) {
        if self.all.len() == self.depth {
            self.all.push(OpenElement {
                kind: ElementKind::Ignored,
                path: String::new(),
                text: String::new(),
                exact: None,
                has_children: false,
            });
        }
        let (open, next) = self.all.split_at_mut(self.depth);
        (open, &mut next[0])
    }

    fn pop(&mut self) -> Option<&OpenElement> {
        self.depth = self.depth.checked_sub(1)?;
        self.all.get(self.depth)
    }
}

#[derive(Debug, Default)]
struct DocumentWalk {
    chat: ExportedChat,
    open: ElementStack,
    had_root: bool,
    /// There was text before the first element.
    had_text: bool,
    had_chat: bool,
    had_ignored: bool,
}

impl DocumentWalk {
    fn is_page(&self, doctype: &str) -> bool {
        !self.had_root
            && doctype
                .trim_start()
                .get(..4)
                .is_some_and(|name| name.eq_ignore_ascii_case("html"))
    }

    /// Translates an error of the XML reader. `ended`: the input has no more bytes.
    fn document_error(&self, error: &XmlError, at: u64, ended: bool) -> DocumentError {
        match error {
            XmlError::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<TooLong>()) => {
                DocumentError::LongText
            }
            // The source of the bytes knows the real cause.
            XmlError::Io(_) => DocumentError::Cut,
            _ if !self.had_root && self.had_text => DocumentError::NotXml,
            XmlError::IllFormed(
                IllFormedError::MismatchedEndTag { .. } | IllFormedError::UnmatchedEndTag(_),
            ) => DocumentError::Broken { at },
            _ if ended => DocumentError::Cut,
            _ => DocumentError::Broken { at },
        }
    }

    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), DocumentError> {
        let name = tag.name();
        let name = name.as_ref();
        if name.len() > MAX_NAME_BYTES {
            return Err(DocumentError::LongName);
        }
        if self.open.depth >= MAX_DEPTH {
            return Err(DocumentError::TooDeep);
        }
        let (open, next) = self.open.next();
        let Some(parent) = open.last_mut() else {
            return self.root(tag, name);
        };
        parent.has_children = true;
        let message = matches!(
            parent.kind,
            ElementKind::Message | ElementKind::Unknown { message: true }
        );
        let kind = match parent.kind {
            ElementKind::Root if name == "chat" => ElementKind::Chat,
            ElementKind::Root | ElementKind::Ignored => ElementKind::Ignored,
            ElementKind::Chat => match name {
                "msg" => ElementKind::Message,
                "operator" => ElementKind::Operator,
                _ => match FIELDS.iter().find(|(known, _)| *known == name) {
                    Some((_, field)) if self.chat.field(*field).is_none() => {
                        ElementKind::Field(*field)
                    }
                    _ => ElementKind::Unknown { message: false },
                },
            },
            _ => ElementKind::Unknown { message },
        };
        (next.kind, next.exact, next.has_children) = (kind, None, false);
        next.path.clear();
        next.text.clear();
        match kind {
            ElementKind::Chat => {
                self.had_chat = true;
                self.chat.clear();
            }
            ElementKind::Message => self.chat.begin_message()?,
            ElementKind::Ignored => self.had_ignored = true,
            _ => {
                if !matches!(parent.kind, ElementKind::Chat | ElementKind::Message) {
                    next.path.push_str(&parent.path);
                    next.path.push('_');
                }
                plain_name(name, &mut next.path);
            }
        }
        if kind != ElementKind::Ignored && !tag.attributes_raw().is_empty() {
            attributes(&mut self.chat, tag, kind, &next.path)?;
        }
        self.open.depth += 1;
        Ok(())
    }

    fn root(&mut self, tag: &BytesStart<'_>, name: &str) -> Result<(), DocumentError> {
        if self.had_root {
            return Err(DocumentError::TwoRoots);
        }
        if name.eq_ignore_ascii_case("html") {
            return Err(DocumentError::WebPage);
        }
        if self.had_text {
            return Err(DocumentError::NotXml);
        }
        if name != "chats" {
            let plain = name.len() <= 40
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            return Err(DocumentError::OtherRoot(plain.then(|| name.to_owned())));
        }
        count_attributes(tag)?;
        self.had_root = true;
        self.open.next().1.kind = ElementKind::Root;
        self.open.depth = 1;
        Ok(())
    }

    fn text(&mut self, text: &str, exact: bool) -> Result<(), DocumentError> {
        let Some(open) = self.open.last() else {
            if is_white(text) {
                return Ok(());
            }
            if self.had_root {
                return Err(DocumentError::Trailing);
            }
            self.had_text = true;
            return Ok(());
        };
        if matches!(
            open.kind,
            ElementKind::Root | ElementKind::Chat | ElementKind::Ignored
        ) && is_white(text)
        {
            return Ok(());
        }
        match open.kind {
            ElementKind::Root => return Err(DocumentError::StrayText),
            ElementKind::Ignored => return Ok(()),
            _ if open.text.len() + text.len() > MAX_TEXT_BYTES => {
                return Err(DocumentError::LongText);
            }
            // This is no column name, so the value goes to `_more`.
            ElementKind::Chat => return self.chat.store_extra(false, "_text", text),
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

    fn reference(&mut self, name: &BytesRef<'_>) -> Result<(), DocumentError> {
        let name = name.xml10_content();
        let resolved = reference::resolve(&name);
        self.chat.repaired += u64::from(!matches!(resolved, Resolved::Char(_) | Resolved::Text(_)));
        match resolved {
            Resolved::Char(c) | Resolved::RepairedChar(c) => {
                self.text(c.encode_utf8(&mut [0; 4]), true)
            }
            Resolved::Text(text) | Resolved::Repaired(text) => self.text(text, true),
            Resolved::Bare => self.text(&format!("&{name};"), false),
        }
    }

    fn close(
        &mut self,
        on_chat: &mut impl FnMut(&ExportedChat) -> bool,
    ) -> Result<(), DocumentError> {
        let Some(open) = self.open.pop() else {
            return Err(DocumentError::Trailing);
        };
        let text = trimmed(&open.text, open.exact);
        match open.kind {
            ElementKind::Root | ElementKind::Ignored => {}
            ElementKind::Chat => {
                if !on_chat(&self.chat) {
                    return Err(DocumentError::Stopped);
                }
            }
            ElementKind::Field(field) => {
                self.chat.fields[field as usize] = Some(self.chat.store(text)?)
            }
            ElementKind::Operator => {
                let span = self.chat.store(text)?;
                self.chat.operators.push(span);
            }
            ElementKind::Message => {
                let span = self.chat.store(text)?;
                if let Some(message) = self.chat.messages.last_mut() {
                    message.text = span;
                }
            }
            ElementKind::Unknown { message } => {
                if !text.is_empty() || !open.has_children {
                    self.chat.store_extra(message, &open.path, text)?;
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), DocumentError> {
        match (self.had_root, self.open.depth == 0, self.had_text) {
            (true, true, _) if self.had_ignored && !self.had_chat => Err(DocumentError::NoChats),
            (true, true, _) => Ok(()),
            (true, false, _) => Err(DocumentError::Cut),
            (false, _, true) => Err(DocumentError::NotXml),
            (false, _, false) => Err(DocumentError::Empty),
        }
    }
}

/// The white space characters of XML.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

fn is_white(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// Makes a column name: the colons of prefixes are replaced, because other programs cannot handle
/// them.
fn plain_name(name: &str, into: &mut String) {
    if name.contains(':') {
        into.extend(name.chars().map(|c| if c == ':' { '_' } else { c }));
    } else {
        into.push_str(name);
    }
}

/// Stores the attributes of a tag. `path` is the path of its element.
fn attributes(
    chat: &mut ExportedChat,
    tag: &BytesStart<'_>,
    kind: ElementKind,
    path: &str,
) -> Result<(), DocumentError> {
    if let Some(plain) = PlainAttributes::of(tag.attributes_raw()) {
        return plain
            .iter()
            .try_for_each(|(name, value)| attribute(chat, kind, path, name, value));
    }
    count_attributes(tag)?;
    for raw_attribute in tag.attributes() {
        let raw_attribute = raw_attribute.map_err(|error| broken_attribute(&error))?;
        let name = raw_attribute.key.as_ref();
        if name.len() > MAX_NAME_BYTES {
            return Err(DocumentError::LongName);
        }
        // A value with invalid references is decoded leniently.
        let (value, repaired) = match raw_attribute.normalized_value_with(
            XmlVersion::Implicit1_0,
            1,
            resolve_xml_entity,
        ) {
            Ok(value) => (value, 0),
            Err(_) => {
                let (value, repaired) = reference::attribute(&raw_attribute.value);
                (value.into(), repaired)
            }
        };
        chat.repaired += repaired;
        if value.len() > MAX_TEXT_BYTES {
            return Err(DocumentError::LongText);
        }
        attribute(chat, kind, path, name, &value)?;
    }
    Ok(())
}

fn attribute(
    chat: &mut ExportedChat,
    kind: ElementKind,
    path: &str,
    name: &str,
    value: &str,
) -> Result<(), DocumentError> {
    let mut column_name = String::new();
    match (kind, name) {
        (ElementKind::Message, "from" | "time") => {
            let span = chat.store(value)?;
            if let Some(message) = chat.messages.last_mut() {
                *(if name == "from" {
                    &mut message.from
                } else {
                    &mut message.time
                }) = Some(span);
            }
            return Ok(());
        }
        (ElementKind::Chat | ElementKind::Message, _) => {}
        _ => {
            column_name.push_str(path);
            column_name.push('_');
        }
    }
    plain_name(name, &mut column_name);
    chat.store_extra(
        matches!(
            kind,
            ElementKind::Message | ElementKind::Unknown { message: true }
        ),
        &column_name,
        value,
    )
}

fn count_attributes(tag: &BytesStart<'_>) -> Result<(), DocumentError> {
    // Counted before parsing, because the duplicate check of very many attributes is slow.
    let equal_signs = tag.attributes_raw().bytes().filter(|b| *b == b'=').count();
    if equal_signs <= MAX_ATTRIBUTES {
        return Ok(());
    }
    let mut attributes = tag.attributes();
    attributes.with_checks(false);
    if attributes.take(MAX_ATTRIBUTES + 1).count() > MAX_ATTRIBUTES {
        Err(DocumentError::TooManyAttributes)
    } else {
        Ok(())
    }
}

fn broken_attribute(_: &AttrError) -> DocumentError {
    DocumentError::Broken { at: 0 }
}

/// Removes line breaks that are only indentation: literal white space with a line break at the
/// start or end.
fn trimmed(text: &str, exact: Option<(usize, usize)>) -> &str {
    let (first, last) = exact.unwrap_or((text.len(), 0));
    let lead = text[..first].len() - text[..first].trim_start_matches(WHITE).len();
    let from = if text[..lead].contains('\n') { lead } else { 0 };
    let last = last.max(from);
    let rest = &text[last..];
    let trimmed_length = rest.trim_end_matches(WHITE).len();
    let to = if rest[trimmed_length..].contains('\n') {
        last + trimmed_length
    } else {
        text.len()
    };
    &text[from..to]
}

#[cfg(test)]
mod tests;
