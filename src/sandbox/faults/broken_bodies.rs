//! Response bodies with faults: slow, cut off, endless, or with one malformed value. An error in
//! such a body makes the server drop the connection.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, StreamExt};

const CHUNK: usize = 64 * 1_024;
const MEBIBYTE: usize = 1_024 * 1_024;
/// The time to flush data before the connection is dropped; otherwise it would be lost.
const FLUSH_DELAY: Duration = Duration::from_millis(30);

/// Replaces the body of an answer. If `promise` is true, Content-Length stays that of the complete
/// body; otherwise there is none.
pub async fn rebuild(
    answer: Response,
    make: impl FnOnce(Bytes) -> Body,
    promise: bool,
) -> Response {
    let (mut head, body) = answer.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.remove(header::CONTENT_LENGTH);
    if promise {
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    }
    Response::from_parts(head, make(whole))
}

/// Sends `size` bytes at a time, with a pause before each piece except the first.
pub fn drip(whole: Bytes, size: usize, pause: Duration) -> Body {
    let size = size.max(1);
    Body::from_stream(stream::unfold(
        (whole, false),
        move |(mut rest, begun)| async move {
            if rest.is_empty() {
                return None;
            }
            if begun {
                tokio::time::sleep(pause).await;
            }
            let piece = rest.split_to(size.min(rest.len()));
            Some((Ok::<_, io::Error>(piece), (rest, true)))
        },
    ))
}

/// Sends the first bytes, then nothing while the client stays connected.
pub fn stall(whole: Bytes, after: usize) -> Body {
    Body::from_stream(first(&whole, after).chain(stream::pending()))
}

/// Sends the first bytes, then drops the connection.
pub fn cut(whole: Bytes, after: usize) -> Body {
    let end = stream::once(async {
        tokio::time::sleep(FLUSH_DELAY).await;
        Err(dropped())
    });
    Body::from_stream(first(&whole, after).chain(end))
}

/// Drops the connection before the first byte.
pub fn broken() -> Body {
    Body::from_stream(stream::once(async { Err::<Bytes, _>(dropped()) }))
}

/// Sends `begin` and then the same bytes without end.
pub fn endless(begin: &'static [u8], repeated: &'static [u8]) -> Body {
    let filler = Bytes::from(repeated.repeat(CHUNK / repeated.len()));
    let begin = stream::once(async move { Ok::<_, io::Error>(Bytes::from_static(begin)) });
    Body::from_stream(begin.chain(stream::repeat_with(move || Ok(filler.clone()))))
}

/// Spaces, compressed from one mebibyte to about one kilobyte. After a flush the compressor is at a
/// byte boundary and its window is full of spaces, so the bytes of the second mebibyte can be
/// repeated without end.
pub fn gzip_bomb() -> Body {
    let blanks = vec![b' '; MEBIBYTE];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let mut flushed = |bytes: &[u8]| {
        encoder
            .write_all(bytes)
            .and_then(|()| encoder.flush())
            .map(|()| std::mem::take(encoder.get_mut()))
            .map(Bytes::from)
            .unwrap_or_default()
    };
    let begin = flushed(&blanks);
    let repeated = flushed(&blanks);
    let begin = stream::once(async { Ok::<_, io::Error>(begin) });
    Body::from_stream(begin.chain(stream::repeat_with(move || Ok(repeated.clone()))))
}

fn first(whole: &Bytes, after: usize) -> impl stream::Stream<Item = io::Result<Bytes>> + use<> {
    let begin = whole.slice(..after.min(whole.len()));
    stream::iter((!begin.is_empty()).then_some(Ok(begin)))
}

fn dropped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "dropped on purpose")
}

/// Replaces the first `what` and the `more` bytes after it; unchanged if `what` does not occur.
pub fn replace_first(json: &[u8], what: &[u8], more: usize, by: &[u8]) -> Vec<u8> {
    let Some(at) = position(json, what) else {
        return json.to_vec();
    };
    let after = (at + what.len() + more).min(json.len());
    [&json[..at], by, &json[after..]].concat()
}

/// The number of bytes after the first `what`; 0 if it does not occur.
pub fn after(json: &[u8], what: &[u8]) -> usize {
    position(json, what).map_or(0, |at| json.len() - at - what.len())
}

/// Replaces an answer without records by this status and body; any other answer is unchanged.
pub async fn quiet(answer: Response, status: u16, body: &str) -> Response {
    let (head, whole) = answer.into_parts();
    let whole = to_bytes(whole, usize::MAX).await.unwrap_or_default();
    let is_document =
        position(&whole, b"<chats>").is_some() && position(&whole, b"<chat>").is_none();
    if position(&whole, br#""total":0,"#).is_none() && !is_document {
        return Response::from_parts(head, Body::from(whole));
    }
    let mut answer = Response::new(Body::from(body.to_owned()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    answer
}

/// The number of digits after the first `what`.
pub fn digits_after(json: &[u8], what: &[u8]) -> usize {
    position(json, what).map_or(0, |at| {
        json[at + what.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    })
}

fn position(json: &[u8], what: &[u8]) -> Option<usize> {
    json.windows(what.len()).position(|window| window == what)
}
