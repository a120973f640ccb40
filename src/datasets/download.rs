//! What a download of a version needs besides its bytes: a tag that tells one body from another, and an early, visible end when whoever
//! began it may no longer have it.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use super::export::Options;
use crate::clock::Clock;
use crate::ids::VersionId;

/// The `ETag` of a version as CSV with these options: equal tags, equal bytes.
pub fn tag(version: &VersionId, options: &Options) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{version} {:?} {} {}", options.columns, options.bom, options.guard));
    let hex: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether an `If-None-Match` header names this tag. Proxies that compress mark tags as weak; the rows are the same.
pub fn is_known(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// How often a running download is asked about.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// The stream, for as long as `allowed` answers true; then an error, so that the connection breaks and no short file looks whole.
pub fn while_allowed<S, F, A>(stream: S, clock: Clock, allowed: F) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send,
    F: Fn() -> A + Send + 'static,
    A: Future<Output = bool> + Send,
{
    let revoked = async move {
        loop {
            clock.wait(ASK_EVERY).await;
            if !allowed().await {
                return io::Error::other("the right to this download has ended");
            }
        }
    };
    let mut revoked = Box::pin(revoked);
    let mut stream = Box::pin(stream);
    let mut over = false;
    futures_util::stream::poll_fn(move |context| {
        if over {
            return std::task::Poll::Ready(None);
        }
        if let std::task::Poll::Ready(why) = revoked.as_mut().poll(context) {
            over = true;
            return std::task::Poll::Ready(Some(Err(why)));
        }
        stream.poll_next_unpin(context)
    })
}
