//! Why a document is not read, each kind told apart.

use std::fmt;

use super::chat::LARGEST_CHAT;
use super::{LONGEST_NAME, LONGEST_TEXT, MOST_ATTRIBUTES, MOST_DEPTH};

/// Why a document was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but white space, or nothing at all.
    Empty,
    /// A page for people.
    WebPage,
    /// Text that is no XML.
    NotXml,
    /// It ends before its root is closed.
    Cut,
    /// Another root than `chats`; its name when it is a plain word.
    OtherRoot(Option<String>),
    /// Something after the root.
    Trailing,
    /// Another root after the root.
    TwoRoots,
    /// No chats, but something else below the root.
    NoChats,
    /// Text among the chats.
    StrayText,
    Doctype,
    TooDeep,
    TooManyAttributes,
    LongName,
    LongText,
    LargeChat,
    /// An encoding that nobody knows, by the name the document gives.
    UnknownEncoding,
    /// Not well-formed, at this byte.
    Broken {
        at: u64,
    },
    /// Whoever takes the chats wants no more.
    Enough,
}

impl Fault {
    /// Asking again would only bring the same, at the same cost.
    pub fn is_final(&self) -> bool {
        use Fault::{Doctype, LargeChat, LongName, LongText, TooDeep, TooManyAttributes, UnknownEncoding};
        matches!(self, Doctype | TooDeep | TooManyAttributes | LongName | LongText | LargeChat | UnknownEncoding)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => f.write_str("the answer is empty"),
            Fault::WebPage => f.write_str("a web page instead of XML"),
            Fault::NotXml => f.write_str("text instead of XML"),
            Fault::Cut => f.write_str("the document ends before </chats>"),
            Fault::OtherRoot(Some(name)) => write!(f, "a <{name}> document instead of <chats>"),
            Fault::OtherRoot(None) => f.write_str("another XML document instead of <chats>"),
            Fault::Trailing => f.write_str("text after </chats>"),
            Fault::TwoRoots => f.write_str("another document after </chats>"),
            Fault::NoChats => f.write_str("the document contains something other than chats"),
            Fault::StrayText => f.write_str("the document contains text between chats"),
            Fault::Doctype => f.write_str("the document has a document type declaration, which is not allowed"),
            Fault::TooDeep => write!(f, "elements are nested deeper than {MOST_DEPTH} levels"),
            Fault::TooManyAttributes => write!(f, "an element has more than {MOST_ATTRIBUTES} attributes"),
            Fault::LongName => write!(f, "a name is longer than {LONGEST_NAME} bytes"),
            Fault::LongText => write!(f, "a text is longer than {} MiB", LONGEST_TEXT >> 20),
            Fault::LargeChat => write!(f, "a chat is larger than {} MiB", LARGEST_CHAT >> 20),
            Fault::UnknownEncoding => f.write_str("unknown text encoding"),
            Fault::Broken { at } => write!(f, "XML syntax error at byte {at}"),
            Fault::Enough => f.write_str("reading stopped early"),
        }
    }
}

impl Fault {
    /// With the place, where it has one.
    pub(super) fn at(self, at: u64) -> Self {
        if matches!(self, Fault::Broken { .. }) { Fault::Broken { at } } else { self }
    }
}
