//! Bodies that break: slowly, early, never, or with one odd value. An error in such a body makes the server drop the connection.

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
/// What is sent before a break gets this long to leave, or it would be dropped with the connection.
const SETTLE: Duration = Duration::from_millis(30);

/// Replaces an answer's body; `promise` keeps the length of the whole one in the header, else there is none.
pub async fn rebuild(answer: Response, make: impl FnOnce(Bytes) -> Body, promise: bool) -> Response {
    let (mut head, body) = answer.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.remove(header::CONTENT_LENGTH);
    if promise {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    }
    Response::from_parts(head, make(whole))
}

/// `size` bytes at a time, with a pause before each but the first.
pub fn drip(whole: Bytes, size: usize, pause: Duration) -> Body {
    let size = size.max(1);
    Body::from_stream(stream::unfold((whole, false), move |(mut rest, begun)| async move {
        if rest.is_empty() {
            return None;
        }
        if begun {
            tokio::time::sleep(pause).await;
        }
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, io::Error>(piece), (rest, true)))
    }))
}

/// The first bytes, then silence for as long as the client stays.
pub fn stall(whole: Bytes, after: usize) -> Body {
    Body::from_stream(first(&whole, after).chain(stream::pending()))
}

/// The first bytes, then the connection drops.
pub fn cut(whole: Bytes, after: usize) -> Body {
    let end = stream::once(async {
        tokio::time::sleep(SETTLE).await;
        Err(dropped())
    });
    Body::from_stream(first(&whole, after).chain(end))
}

/// The connection drops before the first byte.
pub fn broken() -> Body {
    Body::from_stream(stream::once(async { Err::<Bytes, _>(dropped()) }))
}

/// The same again and again.
pub fn endless(begin: &'static [u8], again: &'static [u8]) -> Body {
    let filler = Bytes::from(again.repeat(CHUNK / again.len()));
    let begin = stream::once(async move { Ok::<_, io::Error>(Bytes::from_static(begin)) });
    Body::from_stream(begin.chain(stream::repeat_with(move || Ok(filler.clone()))))
}

/// Blanks, a mebibyte to about a kilobyte. After a flush the compressor is at a byte's edge and its window full of blanks, so the
/// second mebibyte's bytes can be sent again and again.
pub fn gzip_bomb() -> Body {
    let blanks = vec![b' '; MEBIBYTE];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let mut flushed =
        |bytes: &[u8]| encoder.write_all(bytes).and_then(|()| encoder.flush()).map(|()| std::mem::take(encoder.get_mut())).map(Bytes::from).unwrap_or_default();
    let begin = flushed(&blanks);
    let again = flushed(&blanks);
    let begin = stream::once(async { Ok::<_, io::Error>(begin) });
    Body::from_stream(begin.chain(stream::repeat_with(move || Ok(again.clone()))))
}

fn first(whole: &Bytes, after: usize) -> impl stream::Stream<Item = io::Result<Bytes>> + use<> {
    let begin = whole.slice(..after.min(whole.len()));
    stream::iter((!begin.is_empty()).then_some(Ok(begin)))
}

fn dropped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "dropped on purpose")
}

/// `json` with the first `what` and the `more` bytes after it replaced; as it is when `what` is not there.
pub fn replace_first(json: &[u8], what: &[u8], more: usize, by: &[u8]) -> Vec<u8> {
    let Some(at) = position(json, what) else { return json.to_vec() };
    let after = (at + what.len() + more).min(json.len());
    [&json[..at], by, &json[after..]].concat()
}

/// How many bytes there are after the first `what`; 0 when it is not there.
pub fn after(json: &[u8], what: &[u8]) -> usize {
    position(json, what).map_or(0, |at| json.len() - at - what.len())
}

/// An answer without records, which the vendor tells in this way instead; any other as it was.
pub async fn quiet(answer: Response, status: u16, body: &str) -> Response {
    let (head, whole) = answer.into_parts();
    let whole = to_bytes(whole, usize::MAX).await.unwrap_or_default();
    let is_document = position(&whole, b"<chats>").is_some() && position(&whole, b"<chat>").is_none();
    if position(&whole, br#""total":0,"#).is_none() && !is_document {
        return Response::from_parts(head, Body::from(whole));
    }
    let mut told = Response::new(Body::from(body.to_owned()));
    *told.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    told
}

/// How many digits follow the first `what`.
pub fn digits_after(json: &[u8], what: &[u8]) -> usize {
    position(json, what).map_or(0, |at| json[at + what.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn position(json: &[u8], what: &[u8]) -> Option<usize> {
    json.windows(what.len()).position(|window| window == what)
}
