//! Follows the events of the XML reader through a document, and collects one chat at a time.

use quick_xml::errors::{Error as XmlError, IllFormedError};
use quick_xml::events::{BytesRef, BytesStart};

use super::attributes::{count_attributes, plain_name, store_attributes};
use super::chat::{ExportedChat, FIELDS};
use super::document_error::DocumentError;
use super::input::TooLong;
use super::open_elements::{ElementKind, ElementStack};
use super::reference::{self, Resolved};
use super::white_space::{is_white, trimmed};
use super::{MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES};

#[derive(Debug, Default)]
pub(super) struct DocumentWalk {
    pub chat: ExportedChat,
    open: ElementStack,
    had_root: bool,
    /// There was text before the first element.
    had_text: bool,
    had_chat: bool,
    had_ignored: bool,
}

impl DocumentWalk {
    pub fn is_page(&self, doctype: &str) -> bool {
        !self.had_root
            && doctype
                .trim_start()
                .get(..4)
                .is_some_and(|name| name.eq_ignore_ascii_case("html"))
    }

    /// Translates an error of the XML reader. `ended`: the input has no more bytes.
    pub fn document_error(&self, error: &XmlError, at: u64, ended: bool) -> DocumentError {
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

    pub fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), DocumentError> {
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
            store_attributes(&mut self.chat, tag, kind, &next.path)?;
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

    pub fn text(&mut self, text: &str, exact: bool) -> Result<(), DocumentError> {
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

    pub fn reference(&mut self, name: &BytesRef<'_>) -> Result<(), DocumentError> {
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

    pub fn close(
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

    pub fn end(self) -> Result<(), DocumentError> {
        match (self.had_root, self.open.depth == 0, self.had_text) {
            (true, true, _) if self.had_ignored && !self.had_chat => Err(DocumentError::NoChats),
            (true, true, _) => Ok(()),
            (true, false, _) => Err(DocumentError::Cut),
            (false, _, true) => Err(DocumentError::NotXml),
            (false, _, false) => Err(DocumentError::Empty),
        }
    }
}
