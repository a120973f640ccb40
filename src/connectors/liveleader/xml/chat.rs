//! One chat of a document: a single text buffer, and the positions of all values in it.

use super::DocumentError;

/// The maximum size of a chat, including an allowance for each of its parts.
pub(super) const MAX_CHAT_BYTES: usize = 16 << 20;
/// The allowance for a field or message in addition to its bytes.
const PART_OVERHEAD: usize = 32;

/// A range in a chat's text buffer, which is short enough for 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    from: u32,
    to: u32,
}

/// Name and value of an undocumented element or attribute.
type ExtraField = (Span, Span);

/// An element that occurs once in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatField {
    Id,
    Referrer,
    Keywords,
    VisitorIp,
    Start,
    Stop,
    Duration,
    Url,
}

pub(super) const FIELDS: [(&str, ChatField); 8] = [
    ("id", ChatField::Id),
    ("referrer", ChatField::Referrer),
    ("keywords", ChatField::Keywords),
    ("visitorip", ChatField::VisitorIp),
    ("start", ChatField::Start),
    ("stop", ChatField::Stop),
    ("duration", ChatField::Duration),
    ("url", ChatField::Url),
];

/// One chat of the document. The buffers are reused for each chat.
#[derive(Debug, Default)]
pub struct ExportedChat {
    text: String,
    pub(super) fields: [Option<Span>; FIELDS.len()],
    pub(super) operators: Vec<Span>,
    pub(super) messages: Vec<ChatMessage>,
    extras: Vec<ExtraField>,
    /// The extras of all messages, one after the other.
    message_extras: Vec<ExtraField>,
    size: usize,
    pub(super) repaired: u64,
}

/// One message of a chat, as ranges in the text buffer.
#[derive(Debug, Default)]
pub(super) struct ChatMessage {
    pub from: Option<Span>,
    pub time: Option<Span>,
    pub text: Span,
    /// The range of its extras in `message_extras`.
    extras: Span,
}

/// One message of a chat.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'c> {
    chat: &'c ExportedChat,
    message: &'c ChatMessage,
}

impl ExportedChat {
    pub fn field(&self, field: ChatField) -> Option<&str> {
        self.fields[field as usize].map(|span| self.at(span))
    }

    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.operators.iter().map(|span| self.at(*span))
    }

    pub fn messages(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        self.messages.iter().map(|message| MessageRef {
            chat: self,
            message,
        })
    }

    /// Undocumented elements and attributes, by their path joined by `_`, in document order.
    pub fn extras(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.extras
            .iter()
            .map(|(name, value)| (self.at(*name), self.at(*value)))
    }

    /// The number of ampersands, entities and character references in the chat that are not valid
    /// XML. They were decoded or kept as text.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    fn at(&self, span: Span) -> &str {
        self.text
            .get(span.from as usize..span.to as usize)
            .unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.fields = Default::default();
        self.operators.clear();
        self.messages.clear();
        self.extras.clear();
        self.message_extras.clear();
        self.size = 0;
        self.repaired = 0;
    }

    pub(super) fn store(&mut self, text: &str) -> Result<Span, DocumentError> {
        self.size += PART_OVERHEAD;
        self.append(text)
    }

    fn append(&mut self, text: &str) -> Result<Span, DocumentError> {
        self.size += text.len();
        if self.size > MAX_CHAT_BYTES {
            return Err(DocumentError::LargeChat);
        }
        let from = text_offset(self.text.len())?;
        self.text.push_str(text);
        Ok(Span {
            from,
            to: text_offset(self.text.len())?,
        })
    }

    pub(super) fn begin_message(&mut self) -> Result<(), DocumentError> {
        self.store("")?;
        let at = text_offset(self.message_extras.len())?;
        self.messages.push(ChatMessage {
            extras: Span { from: at, to: at },
            ..ChatMessage::default()
        });
        Ok(())
    }

    pub(super) fn store_extra(
        &mut self,
        message: bool,
        name: &str,
        text: &str,
    ) -> Result<(), DocumentError> {
        let extra = (self.append(name)?, self.store(text)?);
        match self.messages.last_mut().filter(|_| message) {
            Some(message) => {
                self.message_extras.push(extra);
                message.extras.to = text_offset(self.message_extras.len())?;
            }
            None => self.extras.push(extra),
        }
        Ok(())
    }
}

fn text_offset(at: usize) -> Result<u32, DocumentError> {
    u32::try_from(at).map_err(|_| DocumentError::LargeChat)
}

impl<'c> MessageRef<'c> {
    pub fn from(self) -> Option<&'c str> {
        self.message.from.map(|span| self.chat.at(span))
    }

    pub fn time(self) -> Option<&'c str> {
        self.message.time.map(|span| self.chat.at(span))
    }

    pub fn text(self) -> &'c str {
        self.chat.at(self.message.text)
    }

    /// Like `ExportedChat::extras`, for this message.
    pub fn extras(self) -> impl ExactSizeIterator<Item = (&'c str, &'c str)> {
        let Span { from, to } = self.message.extras;
        let all = self
            .chat
            .message_extras
            .get(from as usize..to as usize)
            .unwrap_or_default();
        all.iter()
            .map(move |(name, value)| (self.chat.at(*name), self.chat.at(*value)))
    }
}
