//! LiveLeader's data export in the sandbox: one document for a whole period, generated while it is
//! sent. `request` checks parameters and credentials, `session_query` finds the chats,
//! `chat_writer` writes a chat and `document` the document. `document_faults` collects the faults
//! of a document, and `fault_documents` has documents that replace it.

mod chat_writer;
mod document;
pub mod document_faults;
pub mod encoding;
mod fault_documents;
mod request;
mod session_query;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;

use super::world::World;
use document::Document;
use document_faults::DocumentFaults;
use request::{RequestedPeriod, TextErrorResponse};

pub const EMAIL: &str = "operator@sandbox.test";
/// An operator without the account permission; the password is the same.
pub const GUEST: &str = "guest@sandbox.test";
/// An operator whose plan does not include the export; the password is the same.
pub const STARTER: &str = "starter@sandbox.test";
pub const PASSWORD: &str = "sandbox-password";
pub const PATH: &str = "/a/Srv";

/// The approximate size of a chunk.
const PIECE: usize = 64 * 1_024;

pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/a/Srv", get(export)).with_state(world)
}

async fn export(
    State(world): State<Arc<World>>,
    request: Request,
) -> Result<Response, TextErrorResponse> {
    let document_faults = request
        .extensions()
        .get::<DocumentFaults>()
        .cloned()
        .unwrap_or_default();
    let period = RequestedPeriod::of(&request)?;
    let (charset, body) = match document_faults.replacement.clone() {
        Some(odd) => (
            "utf-8",
            body_of(fault_documents::chunks(&odd, world.seed(), &period)),
        ),
        None => (
            document_faults
                .encoding
                .map_or("utf-8", encoding::Label::charset),
            body_of(Document::new(world, period, document_faults)),
        ),
    };
    let kind = format!("text/xml; charset={charset}");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// A body that is generated chunk by chunk, each after the previous one was sent.
fn body_of(of: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::iter(of.map(Ok::<_, std::convert::Infallible>)))
}
