//! One chat of a document: its text in one place, and where in it everything is.

use super::Fault;

/// Bytes of one chat, with an allowance for each of its parts.
pub(super) const LARGEST_CHAT: usize = 16 << 20;
/// What a field or message counts beside its bytes.
const PART: usize = 32;

/// Where something is in the text of a chat, which is short enough for this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    from: u32,
    to: u32,
}

/// Name and value of something that the page does not name.
type More = (Span, Span);

/// An element of a chat that appears once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Id,
    Referrer,
    Keywords,
    VisitorIp,
    Start,
    Stop,
    Duration,
    Url,
}

pub(super) const FIELDS: [(&str, Field); 8] = [
    ("id", Field::Id),
    ("referrer", Field::Referrer),
    ("keywords", Field::Keywords),
    ("visitorip", Field::VisitorIp),
    ("start", Field::Start),
    ("stop", Field::Stop),
    ("duration", Field::Duration),
    ("url", Field::Url),
];

/// One chat as the document tells it. It is reused from chat to chat.
#[derive(Debug, Default)]
pub struct Chat {
    text: String,
    pub(super) fields: [Option<Span>; FIELDS.len()],
    pub(super) operators: Vec<Span>,
    pub(super) messages: Vec<Message>,
    more: Vec<More>,
    /// Of all messages, one after the other.
    more_of_messages: Vec<More>,
    size: usize,
    pub(super) repaired: u64,
}

/// One message of a chat, in places of its text.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub from: Option<Span>,
    pub time: Option<Span>,
    pub text: Span,
    /// Where in `more_of_messages` its own are.
    more: Span,
}

/// One message of a chat.
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'c> {
    chat: &'c Chat,
    message: &'c Message,
}

impl Chat {
    pub fn field(&self, field: Field) -> Option<&str> {
        self.fields[field as usize].map(|span| self.at(span))
    }

    pub fn operators(&self) -> impl Iterator<Item = &str> {
        self.operators.iter().map(|span| self.at(*span))
    }

    pub fn messages(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        self.messages.iter().map(|message| MessageRef { chat: self, message })
    }

    /// What the page does not name: elements and attributes, by their path joined by `_`, in the order of the document.
    pub fn more(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.more.iter().map(|(name, value)| (self.at(*name), self.at(*value)))
    }

    /// Ampersands, entities and character references of it that are not XML: what they stand for, or themselves, are in the texts.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    fn at(&self, span: Span) -> &str {
        self.text.get(span.from as usize..span.to as usize).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.fields = Default::default();
        self.operators.clear();
        self.messages.clear();
        self.more.clear();
        self.more_of_messages.clear();
        self.size = 0;
        self.repaired = 0;
    }

    pub(super) fn keep(&mut self, text: &str) -> Result<Span, Fault> {
        self.size += PART;
        self.put(text)
    }

    fn put(&mut self, text: &str) -> Result<Span, Fault> {
        self.size += text.len();
        if self.size > LARGEST_CHAT {
            return Err(Fault::LargeChat);
        }
        let from = place(self.text.len())?;
        self.text.push_str(text);
        Ok(Span { from, to: place(self.text.len())? })
    }

    pub(super) fn begin_message(&mut self) -> Result<(), Fault> {
        self.keep("")?;
        let at = place(self.more_of_messages.len())?;
        self.messages.push(Message { more: Span { from: at, to: at }, ..Message::default() });
        Ok(())
    }

    pub(super) fn keep_more(&mut self, message: bool, name: &str, text: &str) -> Result<(), Fault> {
        let more = (self.put(name)?, self.keep(text)?);
        match self.messages.last_mut().filter(|_| message) {
            Some(message) => {
                self.more_of_messages.push(more);
                message.more.to = place(self.more_of_messages.len())?;
            }
            None => self.more.push(more),
        }
        Ok(())
    }
}

fn place(at: usize) -> Result<u32, Fault> {
    u32::try_from(at).map_err(|_| Fault::LargeChat)
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

    /// As `Chat::more`, of this message.
    pub fn more(self) -> impl ExactSizeIterator<Item = (&'c str, &'c str)> {
        let Span { from, to } = self.message.more;
        let all = self.chat.more_of_messages.get(from as usize..to as usize).unwrap_or_default();
        all.iter().map(move |(name, value)| (self.chat.at(*name), self.chat.at(*value)))
    }
}
