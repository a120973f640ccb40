//! Writes the document of a period's chats, chunk by chunk.

use std::sync::Arc;

use bytes::Bytes;

use super::super::session::ChatSession;
use super::super::world::World;
use super::PIECE;
use super::chat_writer::ChatWriter;
use super::document_faults::DocumentFaults;
use super::request::RequestedPeriod;
use super::session_query::sessions;

pub struct Document {
    sessions: Box<dyn Iterator<Item = ChatSession> + Send>,
    document_faults: Arc<DocumentFaults>,
    chat_writer: ChatWriter,
    next: DocumentStage,
    /// The first chat, for faults that repeat it.
    first: Option<ChatSession>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DocumentStage {
    Begin,
    First,
    Others,
    Done,
}

impl Document {
    pub fn new(
        world: Arc<World>,
        period: RequestedPeriod,
        document_faults: DocumentFaults,
    ) -> Self {
        let document_faults = Arc::new(document_faults);
        Self {
            sessions: sessions(world, period, &document_faults),
            chat_writer: ChatWriter::new(document_faults.clone()),
            document_faults,
            next: DocumentStage::Begin,
            first: None,
        }
    }

    fn chats(&mut self) {
        while self.chat_writer.out.len() < PIECE {
            let Some(session) = self.sessions.next() else {
                self.end();
                return;
            };
            self.chat_writer
                .chat(&session, self.next == DocumentStage::First);
            if self.next == DocumentStage::First {
                self.first = Some(session);
                self.next = DocumentStage::Others;
            }
        }
    }

    fn end(&mut self) {
        if let Some(first) = self.first.as_ref().filter(|_| self.document_faults.twice) {
            self.chat_writer.chat(first, false);
        }
        self.chat_writer.tail();
        if self.document_faults.two_roots {
            self.chat_writer.out.push_str("<chats>\n");
            self.first
                .iter()
                .for_each(|first| self.chat_writer.chat(first, false));
            self.chat_writer.tail();
        }
        if self.document_faults.trailing {
            self.chat_writer.out.push_str("That is all.\n");
        }
        self.next = DocumentStage::Done;
    }

    fn encoded(&self, text: String, begins: bool) -> Bytes {
        let text = if self.document_faults.crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        };
        let Some(label) = self.document_faults.encoding else {
            return Bytes::from(text);
        };
        let mark = if begins { label.mark() } else { b"" };
        Bytes::from([mark, &label.encode(&text)].concat())
    }
}

impl Iterator for Document {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let begins = self.next == DocumentStage::Begin;
        match self.next {
            DocumentStage::Done => return None,
            DocumentStage::Begin => {
                self.chat_writer.head();
                self.next = DocumentStage::First;
            }
            DocumentStage::First | DocumentStage::Others => {}
        }
        self.chats();
        let text = self.chat_writer.take();
        Some(self.encoded(text, begins))
    }
}
