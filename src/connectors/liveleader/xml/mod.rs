//! Parses the export document as a stream, chat by chat, with memory for one chat. Anything except
//! one complete `<chats>` document is a `DocumentError` with the reason. `document_walk` handles the
//! events of the XML reader, with the elements of `open_elements` and the attributes of `attributes`.

mod attributes;
mod chat;
mod document_error;
mod document_walk;
mod input;
mod open_elements;
mod reference;
mod white_space;

use std::io::{BufRead, BufReader, Read};

use quick_xml::Reader;
use quick_xml::events::Event;

pub use chat::{ChatField, ExportedChat, MessageRef};
pub use document_error::DocumentError;
use document_walk::DocumentWalk;
use input::LimitedInput;

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

#[cfg(test)]
mod tests;
