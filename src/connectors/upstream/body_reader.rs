//! Consumes the body of a good answer: the trait for streamed bodies, and a reader that collects and
//! checks a body.

use bytes::Bytes;
use reqwest::header::HeaderMap;

use super::call::BufferedBody;
use super::sniff;
use crate::connectors::PullError;

/// A complete answer with status 200.
#[derive(Clone, Debug)]
pub struct OkResponse {
    pub body: Bytes,
}

/// Consumes the body of a good answer piece by piece.
pub trait BodyReader: Send {
    type Out: Send;
    /// The body is streamed: it has no total time limit, and its maximum size is
    /// `Limits::max_streamed_bytes`.
    const STREAMED: bool;

    /// Called before the first piece, with the headers and the Content-Length.
    fn on_head(&mut self, _headers: &HeaderMap, _length: Option<u64>) {}

    /// Called with each decompressed piece. Returns false to stop reading.
    fn piece(&mut self, piece: Bytes) -> impl Future<Output = bool> + Send;

    /// Called after the last piece.
    fn end(self) -> impl Future<Output = Result<Self::Out, ReadError>> + Send;

    /// The vendor said twice, with the same status and body, that there is no data: 204, 404, or
    /// 200 with an empty answer. Returns the value for that, or `None` if it is not acceptable.
    fn on_empty(self, _status: u16) -> impl Future<Output = Option<Self::Out>> + Send
    where
        Self: Sized,
    {
        std::future::ready(None)
    }
}

/// Why a complete answer cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadError {
    /// Another attempt may succeed.
    Retry(String),
    /// The answer is a web page.
    WebPage,
    /// The answer has no data: an empty body, or JSON that is null or empty. `why`: the error if
    /// that is not acceptable.
    Empty {
        body: Bytes,
        why: String,
    },
    Fatal(PullError),
}

impl From<String> for ReadError {
    fn from(why: String) -> Self {
        ReadError::Retry(why)
    }
}

/// A reader that collects the body and passes it to `read`.
pub(super) struct CheckedReader<'r, F, T> {
    pub buffer: BufferedBody,
    pub read: &'r F,
    pub on_empty: fn(u16) -> Option<T>,
}

impl<T: Send, E: Into<ReadError>, F: Fn(&Bytes) -> Result<T, E> + Sync> BodyReader
    for CheckedReader<'_, F, T>
{
    type Out = (OkResponse, T);
    const STREAMED: bool = false;

    fn on_head(&mut self, headers: &HeaderMap, length: Option<u64>) {
        self.buffer.on_head(headers, length);
    }

    async fn piece(&mut self, piece: Bytes) -> bool {
        self.buffer.piece(piece).await
    }

    async fn end(self) -> Result<Self::Out, ReadError> {
        let body = self.buffer.end().await?;
        match (self.read)(&body).map_err(Into::into) {
            Ok(value) => Ok((OkResponse { body }, value)),
            Err(ReadError::Retry(_)) if sniff::looks_like_web_page(&body) => {
                Err(ReadError::WebPage)
            }
            Err(ReadError::Retry(why)) if sniff::is_empty_body(&body) => {
                Err(ReadError::Empty { body, why })
            }
            Err(why) => Err(why),
        }
    }

    async fn on_empty(self, status: u16) -> Option<Self::Out> {
        (self.on_empty)(status).map(|value| (OkResponse { body: Bytes::new() }, value))
    }
}
