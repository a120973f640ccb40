//! The errors of a document.

use std::fmt;

use super::chat::MAX_CHAT_BYTES;
use super::{MAX_ATTRIBUTES, MAX_DEPTH, MAX_NAME_BYTES, MAX_TEXT_BYTES};

/// Why a document was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// Empty, or only white space.
    Empty,
    /// A web page.
    WebPage,
    /// Text that is no XML.
    NotXml,
    /// It ends before its root is closed.
    Cut,
    /// The root is not `chats`; its name, if it is a plain word.
    OtherRoot(Option<String>),
    /// Content after the root.
    Trailing,
    /// A second root.
    TwoRoots,
    /// Elements below the root, but no chats.
    NoChats,
    /// Text between the chats.
    StrayText,
    Doctype,
    TooDeep,
    TooManyAttributes,
    LongName,
    LongText,
    LargeChat,
    /// An unknown encoding, with the name in the document.
    UnknownEncoding,
    /// Not well-formed, at this byte.
    Broken {
        at: u64,
    },
    /// The callback stopped the parser.
    Stopped,
}

impl DocumentError {
    /// Another request would return the same error at the same cost.
    pub fn is_final(&self) -> bool {
        use DocumentError::{
            Doctype, LargeChat, LongName, LongText, TooDeep, TooManyAttributes, UnknownEncoding,
        };
        matches!(
            self,
            Doctype
                | TooDeep
                | TooManyAttributes
                | LongName
                | LongText
                | LargeChat
                | UnknownEncoding
        )
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentError::Empty => f.write_str("the answer is empty"),
            DocumentError::WebPage => f.write_str("a web page instead of XML"),
            DocumentError::NotXml => f.write_str("text instead of XML"),
            DocumentError::Cut => f.write_str("the document ends before </chats>"),
            DocumentError::OtherRoot(Some(name)) => {
                write!(f, "a <{name}> document instead of <chats>")
            }
            DocumentError::OtherRoot(None) => {
                f.write_str("another XML document instead of <chats>")
            }
            DocumentError::Trailing => f.write_str("text after </chats>"),
            DocumentError::TwoRoots => f.write_str("another document after </chats>"),
            DocumentError::NoChats => {
                f.write_str("the document contains something other than chats")
            }
            DocumentError::StrayText => f.write_str("the document contains text between chats"),
            DocumentError::Doctype => {
                f.write_str("the document has a document type declaration, which is not allowed")
            }
            DocumentError::TooDeep => {
                write!(f, "elements are nested deeper than {MAX_DEPTH} levels")
            }
            DocumentError::TooManyAttributes => {
                write!(f, "an element has more than {MAX_ATTRIBUTES} attributes")
            }
            DocumentError::LongName => write!(f, "a name is longer than {MAX_NAME_BYTES} bytes"),
            DocumentError::LongText => {
                write!(f, "a text is longer than {} MiB", MAX_TEXT_BYTES >> 20)
            }
            DocumentError::LargeChat => {
                write!(f, "a chat is larger than {} MiB", MAX_CHAT_BYTES >> 20)
            }
            DocumentError::UnknownEncoding => f.write_str("unknown text encoding"),
            DocumentError::Broken { at } => write!(f, "XML syntax error at byte {at}"),
            DocumentError::Stopped => f.write_str("reading stopped early"),
        }
    }
}

impl DocumentError {
    /// Adds the position, if the error has one.
    pub(super) fn at(self, at: u64) -> Self {
        if matches!(self, DocumentError::Broken { .. }) {
            DocumentError::Broken { at }
        } else {
            self
        }
    }
}
