//! Documents that replace the document of the period: too large, too deep or otherwise invalid.
//! None is ever completely in memory.

use std::borrow::Cow;
use std::iter::{from_fn, once};
use std::sync::Arc;

use bytes::Bytes;

use super::super::faults::{Doctype, FaultKind};
use super::super::people::AGENTS;
use super::super::session::{ChatSession, SessionMessage, id};
use super::PIECE;
use super::chat_writer::ChatWriter;
use super::document_faults::DocumentFaults;
use super::request::RequestedPeriod;
use crate::clock::Millis;

type ByteChunks = Box<dyn Iterator<Item = Bytes> + Send>;

/// No chat of the world has such a number.
const MADE_UP: u64 = 1 << 50;
const LINE: &str = "This is one of very many lines that say the same & nothing else; <b>it is long enough</b>, and there are more.";

pub fn chunks(kind: &FaultKind, seed: u64, period: &RequestedPeriod) -> ByteChunks {
    match kind {
        FaultKind::Doctype { how } => Box::new(once(Bytes::from(doctype(*how)))),
        FaultKind::Deep { levels } => {
            let (open, close) = (repeated(b"<x>", *levels), repeated(b"</x>", *levels));
            framed(seed, period, |_| {}, Box::new(open.chain(close)), "\n")
        }
        FaultKind::ManyAttributes { count } => {
            let begin = |chat_writer: &mut ChatWriter| {
                chat_writer.open_message("visitor", Ok(period.start))
            };
            framed(
                seed,
                period,
                begin,
                Box::new(attributes(*count)),
                ">many</msg>\n",
            )
        }
        FaultKind::LongText { bytes } => {
            let begin = |chat_writer: &mut ChatWriter| {
                chat_writer.open_message("visitor", Ok(period.start));
                chat_writer.out.push('>');
            };
            let last = Bytes::from("g".repeat((bytes % 5) as usize));
            let text = repeated(b"long ", bytes / 5).chain(once(last));
            framed(seed, period, begin, Box::new(text), "</msg>\n")
        }
        FaultKind::LargeChat { bytes } => Box::new(large_chat(seed, period, *bytes)),
        FaultKind::EndlessChats => Box::new(endless_chats(seed, period)),
        _ => Box::new(once(Bytes::from_static(
            b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
              <error>\n  <message>The export is not available right now.</message>\n</error>\n",
        ))),
    }
}

/// A document with one chat that has its own content between `begin` and `end`.
fn framed(
    seed: u64,
    period: &RequestedPeriod,
    begin: impl FnOnce(&mut ChatWriter),
    middle: ByteChunks,
    end: &str,
) -> ByteChunks {
    let chat = made_up(seed, 0, period.start);
    let mut chat_writer = ChatWriter::new(Arc::new(DocumentFaults::default()));
    chat_writer.head();
    chat_writer.open(&chat, false);
    begin(&mut chat_writer);
    let begin = chat_writer.take();
    chat_writer.out.push_str(end);
    chat.messages
        .iter()
        .for_each(|message| chat_writer.message(message, false));
    chat_writer.close();
    chat_writer.tail();
    Box::new(
        once(Bytes::from(begin))
            .chain(middle)
            .chain(once(Bytes::from(chat_writer.take()))),
    )
}

fn repeated(pattern: &'static [u8], times: u64) -> impl Iterator<Item = Bytes> {
    let each = (PIECE / pattern.len()) as u64;
    let filler = Bytes::from(pattern.repeat(each as usize));
    let mut left = times;
    from_fn(move || {
        let now = left.min(each);
        left -= now;
        (now > 0).then(|| filler.slice(..now as usize * pattern.len()))
    })
}

fn attributes(count: u64) -> impl Iterator<Item = Bytes> {
    let mut next = 0;
    from_fn(move || {
        let from = next;
        next = count.min(next + PIECE as u64 / 16);
        (from < next).then(|| {
            Bytes::from(
                (from..next)
                    .map(|at| format!(" a{at}=\"{at}\""))
                    .collect::<String>(),
            )
        })
    })
}

/// One chat of about this number of bytes, with one message per millisecond.
fn large_chat(
    seed: u64,
    period: &RequestedPeriod,
    bytes: u64,
) -> impl Iterator<Item = Bytes> + use<> {
    let count = (bytes / 180).max(1) as i64;
    let start = period.start;
    let mut chat = made_up(seed, 0, start);
    chat.stop = start + count - 1;
    chat.duration = (chat.stop - start) / 1_000;
    let mut chat_writer = ChatWriter::new(Arc::new(DocumentFaults::default()));
    chat_writer.head();
    chat_writer.open(&chat, false);
    let (mut next, mut ended) = (0, false);
    from_fn(move || {
        if ended {
            return None;
        }
        while chat_writer.out.len() < PIECE && next < count {
            chat_writer.message(&line(start + next), false);
            next += 1;
        }
        if next == count {
            chat_writer.close();
            chat_writer.tail();
            ended = true;
        }
        Some(Bytes::from(chat_writer.take()))
    })
}

fn endless_chats(seed: u64, period: &RequestedPeriod) -> impl Iterator<Item = Bytes> + use<> {
    let start = period.start;
    let mut chat_writer = ChatWriter::new(Arc::new(DocumentFaults::default()));
    chat_writer.head();
    let mut next = 0;
    from_fn(move || {
        while chat_writer.out.len() < PIECE {
            chat_writer.chat(&made_up(seed, next, start), false);
            next += 1;
        }
        Some(Bytes::from(chat_writer.take()))
    })
}

fn made_up(seed: u64, number: u64, start: Millis) -> ChatSession {
    ChatSession {
        id: id(seed, MADE_UP + number),
        referrer: None,
        keywords: None,
        operators: vec![AGENTS[1].login],
        visitor_ip: "192.0.2.1".to_owned(),
        start,
        stop: start + 1,
        duration: 0,
        url: "https://shop.sandbox.test/",
        about: Vec::new(),
        messages: vec![
            line(start),
            SessionMessage {
                from: AGENTS[1].login,
                ..line(start + 1)
            },
        ],
        variation: !0,
    }
}

fn line(at: Millis) -> SessionMessage {
    SessionMessage {
        from: "visitor",
        at,
        text: Cow::Borrowed(LINE),
        variation: !0,
    }
}

/// Small documents that expand, or load external data, in a parser that accepts their declarations.
fn doctype(how: Doctype) -> String {
    let (declarations, text) = match how {
        Doctype::Laughs => {
            let more = (1..10).map(|level| {
                format!(
                    "  <!ENTITY lol{level} \"{}\">\n",
                    format!("&lol{};", level - 1).repeat(10)
                )
            });
            (
                "  <!ENTITY lol0 \"lol\">\n".to_owned() + more.collect::<String>().as_str(),
                "&lol9;".to_owned(),
            )
        }
        Doctype::External => (
            r#"  <!ENTITY file SYSTEM "file:///etc/passwd">
  <!ENTITY far SYSTEM "http://127.0.0.1:9/far.txt">
  <!ENTITY near SYSTEM "/a/near.txt">
"#
            .to_owned(),
            "&file;&far;&near;".to_owned(),
        ),
        Doctype::Quadratic => (
            format!("  <!ENTITY a \"{}\">\n", "a".repeat(50_000)),
            "&a;".repeat(20_000),
        ),
        Doctype::Parameter => (
            r#"  <!ENTITY % file SYSTEM "file:///etc/passwd">
  <!ENTITY % remote SYSTEM "/a/remote.dtd">
  %remote;
  <!ENTITY % wrapped "<!ENTITY &#37; send SYSTEM '/a/sent?%file;'>">
  %wrapped;
  %send;
"#
            .to_owned(),
            "Hello".to_owned(),
        ),
    };
    let mut chat_writer = ChatWriter::new(Arc::new(DocumentFaults::default()));
    chat_writer.open(&made_up(0, 0, 0), false);
    let chat = chat_writer.take();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE chats [\n{declarations}]>\n\
         <chats>\n{chat}    \
         <msg from=\"visitor\" time=\"1970-01-01T00:00:00.000+00:00\">{text}</msg>\n  \
         </chat>\n</chats>\n"
    )
}
