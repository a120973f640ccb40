//! One request and its answer: timeouts, size caps, decoding, and what went wrong in words that hold no address and no secret.

use std::error::Error as _;
use std::io::Write;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use reqwest::{Request, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::Limits;
use super::guard::Blocked;
use crate::connectors::pull_error::Cause;

/// A whole answer, whatever its status.
pub(super) struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
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

/// Sends the request and reads the answer to its end.
pub(super) async fn call(client: &reqwest::Client, request: Request, limits: &Limits) -> Result<Got, Broke> {
    let deadline = Instant::now() + limits.whole;
    let sent = timeout(limits.first_byte, client.execute(request)).await.map_err(|_| Cause::FirstByteTimeout)?;
    let mut response = sent.map_err(|error| sort(&error))?;
    let status = response.status().as_u16();
    // Of an error only the first words are of use.
    let most = if status == 200 { limits.most_bytes } else { limits.most_bytes.min(64 << 10) };
    let headers = std::mem::take(response.headers_mut());
    let read = timeout_at(deadline, read(&mut response, &headers, most, limits.no_progress)).await.map_err(|_| Cause::TooSlow)?;
    match read {
        Ok(body) => Ok(Got { status, headers, body }),
        // The status says enough.
        Err(_) if status != 200 => Ok(Got { status, headers, body: Bytes::new() }),
        Err(broke) => Err(broke),
    }
}

async fn read(response: &mut Response, headers: &HeaderMap, most: usize, no_progress: Duration) -> Result<Bytes, Broke> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let gzip = match (encodings.next().map(|value| value.as_bytes()), encodings.next()) {
        (None | Some(b"identity" | b""), None) => false,
        (Some(b"gzip" | b"x-gzip"), None) => true,
        _ => return Err(Broke::Unreadable("its encoding is neither plain nor gzip".to_owned())),
    };
    // What a length promises is believed only as far as the cap: it saves moving the body while it grows.
    let expected = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(most);
    let mut body = Decoder::new(gzip, expected, most);
    loop {
        let piece = timeout(no_progress, response.chunk()).await.map_err(|_| Cause::NoProgress)?;
        match piece.map_err(|error| sort(&error))? {
            Some(piece) => body.take(&piece)?,
            None => return body.end(),
        }
    }
}

/// Collects a body and counts it as it is after decoding.
struct Decoder {
    kind: Kind,
    /// Bytes as they came.
    wire: usize,
    most: usize,
}

enum Kind {
    Plain(BytesMut),
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
}

/// A body that grows by more than this when it is unpacked is an attack, not data; small ones may.
const MOST_RATIO: usize = 100;
const FREE_OF_RATIO: usize = 1 << 20;

impl Decoder {
    fn new(gzip: bool, expected: usize, most: usize) -> Self {
        let kind = match gzip {
            true => Kind::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))),
            false => Kind::Plain(BytesMut::with_capacity(expected.min(FREE_OF_RATIO))),
        };
        Self { kind, wire: 0, most }
    }

    fn take(&mut self, piece: &Bytes) -> Result<(), Broke> {
        match &mut self.kind {
            Kind::Plain(body) => {
                self.wire += piece.len();
                if self.wire > self.most {
                    return Err(self.too_large());
                }
                body.extend_from_slice(piece);
            }
            Kind::Gzip(decoder) => {
                // In small slices, so that what one of them unpacks to is small before it is counted.
                for slice in piece.chunks(4 << 10) {
                    self.wire += slice.len();
                    decoder.write_all(slice).map_err(|_| broken_gzip())?;
                    let size = decoder.get_ref().len();
                    if size > self.most || (size > FREE_OF_RATIO && size / MOST_RATIO > self.wire) {
                        return Err(self.too_large());
                    }
                }
            }
        }
        Ok(())
    }

    fn too_large(&self) -> Broke {
        Broke::Unreadable(format!("the answer is larger than {} MiB, or unpacks to far more than came", self.most >> 20))
    }

    fn end(self) -> Result<Bytes, Broke> {
        match self.kind {
            Kind::Plain(body) => Ok(body.freeze()),
            Kind::Gzip(decoder) if self.wire > 0 => decoder.finish().map(Bytes::from).map_err(|_| Cause::ConnectionCut.into()),
            Kind::Gzip(_) => Ok(Bytes::new()),
        }
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
