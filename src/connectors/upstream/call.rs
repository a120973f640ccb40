//! Sends one request and reads its answer, with timeouts, size limits and decompression. Its errors
//! contain no address and no secret.

use std::error::Error as _;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use reqwest::{Request, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::guard::Blocked;
use super::rate::Arrival;
use super::{BodyReader, Limits, ReadError};
use crate::connectors::pull_error::Cause;

/// An answer that was read to its end.
pub(super) struct HttpResponse<T> {
    pub status: u16,
    pub headers: HeaderMap,
    /// The parsed body of a good answer (status 200), or the first bytes of any other answer.
    pub body: Result<T, BodyError>,
}

/// Why an answer has no parsed body.
pub(super) enum BodyError {
    /// The status is not 200.
    Status(Bytes),
    ReadError(ReadError),
}

/// Why there is no complete answer.
#[derive(Debug, PartialEq)]
pub(super) enum CallError {
    /// The cause may be temporary.
    Cause(Cause),
    /// Connecting to the address is not allowed.
    Blocked,
    /// The answer cannot be read, for example because its encoding is unknown.
    Unreadable(String),
}

impl From<Cause> for CallError {
    fn from(cause: Cause) -> Self {
        CallError::Cause(cause)
    }
}

/// Sends the request and reads the answer to its end. `received` counts the bytes of the body
/// before decompression.
pub(super) async fn call<R: BodyReader>(
    client: &reqwest::Client,
    request: Request,
    limits: &Limits,
    received: &AtomicU64,
    begin: impl FnOnce() -> R,
) -> Result<HttpResponse<R::Out>, CallError> {
    let deadline = Instant::now() + limits.attempt_timeout;
    let sent = timeout(limits.first_byte, client.execute(request))
        .await
        .map_err(|_| Cause::FirstByteTimeout)?;
    let mut response = sent.map_err(|error| classify_error(&error))?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    if status != 200 {
        // Of an error answer only the start of the body is used, so read errors are ignored.
        let body = BufferedBody::new(64 << 10);
        let read = timeout_at(
            deadline,
            read(
                &mut response,
                &headers,
                body,
                limits.max_bytes,
                limits,
                received,
            ),
        )
        .await;
        let body = read
            .ok()
            .and_then(Result::ok)
            .and_then(Result::ok)
            .unwrap_or_default();
        return Ok(HttpResponse {
            status,
            headers,
            body: Err(BodyError::Status(body)),
        });
    }
    let reader = begin();
    let max_bytes = if R::STREAMED {
        limits.max_streamed_bytes
    } else {
        limits.max_bytes
    };
    let reading = read(&mut response, &headers, reader, max_bytes, limits, received);
    // A streamed body has no total time limit, only a minimum rate.
    let read = if R::STREAMED {
        reading.await?
    } else {
        timeout_at(deadline, reading)
            .await
            .map_err(|_| Cause::TooSlow)??
    };
    Ok(HttpResponse {
        status,
        headers,
        body: read.map_err(BodyError::ReadError),
    })
}

async fn read<R: BodyReader>(
    response: &mut Response,
    headers: &HeaderMap,
    mut reader: R,
    max_bytes: usize,
    limits: &Limits,
    received: &AtomicU64,
) -> Result<Result<R::Out, ReadError>, CallError> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let gzip = match (
        encodings.next().map(|value| value.as_bytes()),
        encodings.next(),
    ) {
        (None | Some(b"identity" | b""), None) => false,
        (Some(b"gzip" | b"x-gzip"), None) => true,
        _ => {
            return Err(CallError::Unreadable(
                "the encoding is neither plain nor gzip".to_owned(),
            ));
        }
    };
    reader.on_head(headers, response.content_length());
    let mut body = Decoder::new(gzip, max_bytes);
    let mut arrival = Arrival::new(limits);
    loop {
        let piece = next_piece(response, &mut arrival).await?;
        received.fetch_add(
            piece.as_ref().map_or(0, |piece| piece.len() as u64),
            Ordering::Relaxed,
        );
        match piece {
            Some(piece) if gzip => {
                // Decompresses in small slices, so that the output of one slice is small before it
                // is counted.
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

/// The next compressed piece of the body; `None` at its end. Only the time in this function counts
/// for the transfer rate, because the time that the reader needs for a piece is not the vendor's.
async fn next_piece(
    response: &mut Response,
    arrival: &mut Arrival,
) -> Result<Option<Bytes>, CallError> {
    loop {
        let began = Instant::now();
        let chunk = timeout(arrival.poll_timeout(), response.chunk()).await;
        match chunk {
            Ok(piece) => {
                let piece = piece.map_err(|error| classify_error(&error))?;
                if let Some(piece) = &piece {
                    arrival.piece(began.elapsed(), piece.len())?;
                }
                return Ok(piece);
            }
            Err(_) => arrival.silence(began.elapsed())?,
        }
    }
}

/// The number of bytes to decompress at a time.
const SLICE: usize = 4 << 10;

/// Decompresses a body and counts its decompressed bytes.
struct Decoder {
    gzip: Option<Box<flate2::write::MultiGzDecoder<Vec<u8>>>>,
    /// Bytes before and after decompression.
    wire: usize,
    size: usize,
    max_bytes: usize,
}

/// A body that grows by more than this factor is rejected as a decompression bomb, unless it is
/// small.
const MAX_RATIO: usize = 100;
const RATIO_EXEMPT_BYTES: usize = 1 << 20;

impl Decoder {
    fn new(gzip: bool, max_bytes: usize) -> Self {
        let gzip = gzip.then(|| Box::new(flate2::write::MultiGzDecoder::new(Vec::new())));
        Self {
            gzip,
            wire: 0,
            size: 0,
            max_bytes,
        }
    }

    /// Counts bytes of a body that is not compressed.
    fn count(&mut self, bytes: usize) -> Result<(), CallError> {
        self.size += bytes;
        if self.size > self.max_bytes {
            Err(self.too_large())
        } else {
            Ok(())
        }
    }

    /// Decompresses one slice.
    fn unpack(&mut self, slice: &[u8]) -> Result<Bytes, CallError> {
        let Some(decoder) = &mut self.gzip else {
            return Ok(Bytes::new());
        };
        self.wire += slice.len();
        decoder.write_all(slice).map_err(|_| broken_gzip())?;
        let plain = std::mem::take(decoder.get_mut());
        self.size += plain.len();
        if self.size > self.max_bytes
            || (self.size > RATIO_EXEMPT_BYTES && self.size / MAX_RATIO > self.wire)
        {
            return Err(self.too_large());
        }
        Ok(plain.into())
    }

    fn too_large(&self) -> CallError {
        CallError::Unreadable(format!(
            "the answer is larger than {} MiB, or expands too much when unpacked",
            self.max_bytes >> 20
        ))
    }

    /// The rest of the output at the end; an error if the compressed data is cut off.
    fn end(self) -> Result<Bytes, CallError> {
        match self.gzip {
            Some(decoder) if self.wire > 0 => decoder
                .finish()
                .map(Bytes::from)
                .map_err(|_| Cause::ConnectionCut.into()),
            _ => Ok(Bytes::new()),
        }
    }
}

/// Collects a body in memory.
pub(super) struct BufferedBody {
    body: BytesMut,
    max_bytes: usize,
}

impl BufferedBody {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            body: BytesMut::new(),
            max_bytes,
        }
    }
}

impl BodyReader for BufferedBody {
    type Out = Bytes;
    const STREAMED: bool = false;

    fn on_head(&mut self, _: &HeaderMap, length: Option<u64>) {
        // Reserves memory for the promised length, but only up to a limit, because the length may
        // be wrong.
        let expected = length
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(0);
        self.body
            .reserve(expected.min(RATIO_EXEMPT_BYTES).min(self.max_bytes));
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        let room = self.max_bytes.saturating_sub(self.body.len());
        self.body.extend_from_slice(&piece[..piece.len().min(room)]);
        self.body.len() < self.max_bytes
    }

    async fn end(self) -> Result<Bytes, ReadError> {
        Ok(self.body.freeze())
    }
}

fn broken_gzip() -> CallError {
    CallError::Cause(Cause::ConnectionCut)
}

/// Classifies a request error. The error itself contains the address, so it is dropped.
fn classify_error(error: &reqwest::Error) -> CallError {
    let mut refused = false;
    let mut at: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(inner) = at {
        if inner.is::<Blocked>() {
            return CallError::Blocked;
        }
        if inner.is::<rustls::Error>() {
            return Cause::Certificate.into();
        }
        at = match inner.downcast_ref::<std::io::Error>() {
            Some(io) => {
                refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
                // `source` of an io error skips the error that it wraps, so that error is inspected
                // first.
                io.get_ref()
                    .map(|wrapped| wrapped as &(dyn std::error::Error + 'static))
                    .or_else(|| inner.source())
            }
            None => inner.source(),
        };
    }
    let cause = match () {
        () if error.is_dns() => Cause::NameNotFound,
        () if refused => Cause::ConnectionRefused,
        () if error.is_connect() && error.is_timeout() => Cause::ConnectTimeout,
        () if error.is_builder() => {
            return CallError::Unreadable("the request could not be built".to_owned());
        }
        () => Cause::ConnectionCut,
    };
    cause.into()
}
