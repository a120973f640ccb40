//! LiveLeader's data export as the sandbox answers it: one document for a whole period, written while it is sent. Who may ask and how is in
//! `asking`, which chats those are in `finding`, how a chat is written in `pen`, the document in `document`; what goes wrong on demand is
//! sorted in `manner`, and documents that are none of chats are in `oddities`.

mod asking;
mod document;
pub mod encoding;
mod finding;
pub mod manner;
mod oddities;
mod pen;

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
use asking::{Period, Refusal};
use document::Document;
use manner::Manner;

pub const EMAIL: &str = "operator@sandbox.test";
/// An operator without the account permission; the password is the same.
pub const GUEST: &str = "guest@sandbox.test";
/// An operator whose plan does not include the export; the password is the same.
pub const STARTER: &str = "starter@sandbox.test";
pub const PASSWORD: &str = "sandbox-password";
pub const PATH: &str = "/a/Srv";

/// A piece of a body is about so long.
const PIECE: usize = 64 * 1_024;

pub fn router(world: Arc<World>) -> Router {
    Router::new().route("/a/Srv", get(export)).with_state(world)
}

async fn export(State(world): State<Arc<World>>, request: Request) -> Result<Response, Refusal> {
    let manner = request.extensions().get::<Manner>().cloned().unwrap_or_default();
    let period = Period::of(&request)?;
    let (charset, body) = match manner.instead.clone() {
        Some(odd) => ("utf-8", pieces(oddities::pieces(&odd, world.seed(), &period))),
        None => (manner.encoding.map_or("utf-8", encoding::Label::charset), pieces(Document::new(world, period, manner))),
    };
    let kind = format!("text/xml; charset={charset}");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// A body that is made piece by piece, each when the one before has gone.
fn pieces(of: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::iter(of.map(Ok::<_, std::convert::Infallible>)))
}
