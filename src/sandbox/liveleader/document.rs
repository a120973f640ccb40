//! The document of a period's chats, piece by piece.

use std::sync::Arc;

use bytes::Bytes;

use super::super::session::Session;
use super::super::world::World;
use super::PIECE;
use super::asking::Period;
use super::finding::sessions;
use super::manner::Manner;
use super::pen::Pen;

pub struct Document {
    sessions: Box<dyn Iterator<Item = Session> + Send>,
    manner: Arc<Manner>,
    pen: Pen,
    next: Part,
    /// Kept for those who tell it again.
    first: Option<Session>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Begin,
    First,
    Others,
    Done,
}

impl Document {
    pub fn new(world: Arc<World>, period: Period, manner: Manner) -> Self {
        let manner = Arc::new(manner);
        Self { sessions: sessions(world, period, &manner), pen: Pen::new(manner.clone()), manner, next: Part::Begin, first: None }
    }

    fn chats(&mut self) {
        while self.pen.out.len() < PIECE {
            let Some(session) = self.sessions.next() else {
                self.end();
                return;
            };
            self.pen.chat(&session, self.next == Part::First);
            if self.next == Part::First {
                self.first = Some(session);
                self.next = Part::Others;
            }
        }
    }

    fn end(&mut self) {
        if let Some(first) = self.first.as_ref().filter(|_| self.manner.twice) {
            self.pen.chat(first, false);
        }
        self.pen.tail();
        if self.manner.two_roots {
            self.pen.out.push_str("<chats>\n");
            self.first.iter().for_each(|first| self.pen.chat(first, false));
            self.pen.tail();
        }
        if self.manner.trailing {
            self.pen.out.push_str("That is all.\n");
        }
        self.next = Part::Done;
    }

    fn encoded(&self, text: String, begins: bool) -> Bytes {
        let text = if self.manner.crlf { text.replace('\n', "\r\n") } else { text };
        let Some(label) = self.manner.encoding else { return Bytes::from(text) };
        let mark = if begins { label.mark() } else { b"" };
        Bytes::from([mark, &label.encode(&text)].concat())
    }
}

impl Iterator for Document {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let begins = self.next == Part::Begin;
        match self.next {
            Part::Done => return None,
            Part::Begin => {
                self.pen.head();
                self.next = Part::First;
            }
            Part::First | Part::Others => {}
        }
        self.chats();
        let text = self.pen.take();
        Some(self.encoded(text, begins))
    }
}
