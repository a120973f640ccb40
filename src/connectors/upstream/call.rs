//! One request and its answer: timeouts, size caps, decoding, and what went wrong in words that hold no address and no secret.

use std::error::Error as _;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use reqwest::{Request, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::guard::Blocked;
use super::rate::Arrival;
use super::{Limits, Reader, Unread};
use crate::connectors::pull_error::Cause;

/// An answer that came to its end.
pub(super) struct Got<T> {
    pub status: u16,
    pub headers: HeaderMap,
    /// What a good answer (status 200) was read as; of another one, its first bytes.
    pub body: Result<T, Unmet>,
}

/// An answer that is not what was asked for.
pub(super) enum Unmet {
    /// Its status is not 200.
    Status(Bytes),
    Unread(Unread),
}

/// Why there is no whole answer.
#[derive(Debug, PartialEq)]
pub(super) enum Broke {
    /// It may go better the next time.
    Cause(Cause),
    /// The address may not be dialled.
    Blocked,
    /// The answer is not one we read.
    Unreadable(String),
}

impl From<Cause> for Broke {
    fn from(cause: Cause) -> Self {
        Broke::Cause(cause)
    }
}

/// Sends the request and reads the answer to its end. `received` counts the bytes of the body as they come.
pub(super) async fn call<R: Reader>(
    client: &reqwest::Client,
    request: Request,
    limits: &Limits,
    received: &AtomicU64,
    begin: impl FnOnce() -> R,
) -> Result<Got<R::Out>, Broke> {
    let deadline = Instant::now() + limits.whole;
    let sent = timeout(limits.first_byte, client.execute(request)).await.map_err(|_| Cause::FirstByteTimeout)?;
    let mut response = sent.map_err(|error| sort(&error))?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    if status != 200 {
        // Of an error only the first words are of use, and the status alone says enough.
        let words = Whole::new(64 << 10);
        let read = timeout_at(deadline, read(&mut response, &headers, words, limits.most_bytes, limits, received)).await;
        let words = read.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or_default();
        return Ok(Got { status, headers, body: Err(Unmet::Status(words)) });
    }
    let reader = begin();
    let most = if R::ENDLESS { limits.most_streamed } else { limits.most_bytes };
    let reading = read(&mut response, &headers, reader, most, limits, received);
    // What comes piece by piece may take its time, as long as it comes.
    let read = if R::ENDLESS { reading.await? } else { timeout_at(deadline, reading).await.map_err(|_| Cause::TooSlow)?? };
    Ok(Got { status, headers, body: read.map_err(Unmet::Unread) })
}

async fn read<R: Reader>(
    response: &mut Response,
    headers: &HeaderMap,
    mut reader: R,
    most: usize,
    limits: &Limits,
    received: &AtomicU64,
) -> Result<Result<R::Out, Unread>, Broke> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let gzip = match (encodings.next().map(|value| value.as_bytes()), encodings.next()) {
        (None | Some(b"identity" | b""), None) => false,
        (Some(b"gzip" | b"x-gzip"), None) => true,
        _ => return Err(Broke::Unreadable("the encoding is neither plain nor gzip".to_owned())),
    };
    reader.begins(headers, response.content_length());
    let mut body = Decoder::new(gzip, most);
    let mut arrival = Arrival::new(limits);
    loop {
        let piece = next_piece(response, &mut arrival).await?;
        received.fetch_add(piece.as_ref().map_or(0, |piece| piece.len() as u64), Ordering::Relaxed);
        match piece {
            Some(piece) if gzip => {
                // In small slices, so that what one of them unpacks to is small before it is counted.
                for at in (0..piece.len()).step_by(SLICE) {
                    let plain = body.unpack(&piece[at..piece.len().min(at + SLICE)])?;
                    if !plain.is_empty() && !reader.piece(plain).await {
                        return Ok(reader.end().await);
                    }
                }
            }
            Some(piece) => {
                body.count(piece.len())?;
                if !reader.piece(piece).await {
                    return Ok(reader.end().await);
                }
            }
            None => {
                let rest = body.end()?;
                if !rest.is_empty() {
                    reader.piece(rest).await;
                }
                return Ok(reader.end().await);
            }
        }
    }
}

/// The next piece of the body as it came; none at its end. Only the time in here is the vendor's: what the reader takes for a piece does
/// not count.
async fn next_piece(response: &mut Response, arrival: &mut Arrival) -> Result<Option<Bytes>, Broke> {
    loop {
        let began = Instant::now();
        let came = timeout(arrival.patience(), response.chunk()).await;
        match came {
            Ok(piece) => {
                let piece = piece.map_err(|error| sort(&error))?;
                if let Some(piece) = &piece {
                    arrival.piece(began.elapsed(), piece.len())?;
                }
                return Ok(piece);
            }
            Err(_) => arrival.silence(began.elapsed())?,
        }
    }
}

/// Bytes that are unpacked at a time.
const SLICE: usize = 4 << 10;

/// Unpacks a body and counts it as it is after that.
struct Decoder {
    gzip: Option<Box<flate2::write::MultiGzDecoder<Vec<u8>>>>,
    /// Bytes as they came, and after unpacking.
    wire: usize,
    size: usize,
    most: usize,
}

/// A body that grows by more than this when it is unpacked is an attack, not data; small ones may.
const MOST_RATIO: usize = 100;
const FREE_OF_RATIO: usize = 1 << 20;

impl Decoder {
    fn new(gzip: bool, most: usize) -> Self {
        let gzip = gzip.then(|| Box::new(flate2::write::MultiGzDecoder::new(Vec::new())));
        Self { gzip, wire: 0, size: 0, most }
    }

    /// Counts bytes that came plain.
    fn count(&mut self, bytes: usize) -> Result<(), Broke> {
        self.size += bytes;
        if self.size > self.most { Err(self.too_large()) } else { Ok(()) }
    }

    /// What a few packed bytes stand for.
    fn unpack(&mut self, slice: &[u8]) -> Result<Bytes, Broke> {
        let Some(decoder) = &mut self.gzip else { return Ok(Bytes::new()) };
        self.wire += slice.len();
        decoder.write_all(slice).map_err(|_| broken_gzip())?;
        let plain = std::mem::take(decoder.get_mut());
        self.size += plain.len();
        if self.size > self.most || (self.size > FREE_OF_RATIO && self.size / MOST_RATIO > self.wire) {
            return Err(self.too_large());
        }
        Ok(plain.into())
    }

    fn too_large(&self) -> Broke {
        Broke::Unreadable(format!("the answer is larger than {} MiB, or expands too much when unpacked", self.most >> 20))
    }

    /// What is left at the end; an error when the end is missing.
    fn end(self) -> Result<Bytes, Broke> {
        match self.gzip {
            Some(decoder) if self.wire > 0 => decoder.finish().map(Bytes::from).map_err(|_| Cause::ConnectionCut.into()),
            _ => Ok(Bytes::new()),
        }
    }
}

/// A body that is read when it is whole.
pub(super) struct Whole {
    body: BytesMut,
    most: usize,
}

impl Whole {
    pub fn new(most: usize) -> Self {
        Self { body: BytesMut::new(), most }
    }
}

impl Reader for Whole {
    type Out = Bytes;
    const ENDLESS: bool = false;

    fn begins(&mut self, _: &HeaderMap, length: Option<u64>) {
        // What a length promises is believed only so far: it saves moving the body while it grows.
        let expected = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        self.body.reserve(expected.min(FREE_OF_RATIO).min(self.most));
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        let room = self.most.saturating_sub(self.body.len());
        self.body.extend_from_slice(&piece[..piece.len().min(room)]);
        self.body.len() < self.most
    }

    async fn end(self) -> Result<Bytes, Unread> {
        Ok(self.body.freeze())
    }
}

fn broken_gzip() -> Broke {
    Broke::Cause(Cause::ConnectionCut)
}

/// What a failed request means. The error itself, which holds the address, goes no further.
fn sort(error: &reqwest::Error) -> Broke {
    let mut refused = false;
    let mut at: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(inner) = at {
        if inner.is::<Blocked>() {
            return Broke::Blocked;
        }
        if inner.is::<rustls::Error>() {
            return Cause::Certificate.into();
        }
        at = match inner.downcast_ref::<std::io::Error>() {
            Some(io) => {
                refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
                // An io error hides what it wraps, which may be another one, from `source`.
                io.get_ref().map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| inner.source())
            }
            None => inner.source(),
        };
    }
    let cause = match () {
        () if error.is_dns() => Cause::NameNotFound,
        () if refused => Cause::ConnectionRefused,
        () if error.is_connect() && error.is_timeout() => Cause::ConnectTimeout,
        () if error.is_builder() => return Broke::Unreadable("the request could not be built".to_owned()),
        () => Cause::ConnectionCut,
    };
    cause.into()
}
