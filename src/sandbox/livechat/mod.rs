//! LiveChat REST API v2 in the sandbox: authentication (here), parameters (`arguments`), and one
//! file for each kind of answer. The route table is in the sandbox's `mod.rs`; a new endpoint is a
//! handler in one of these files and a line there.

mod archive;
mod arguments;
mod chat;
mod dashboards;
mod figures;
mod lists;
mod reports;
mod ticket_figures;
mod tickets;
mod visitors;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine;
use serde::Serialize;

use super::world::World;
use arguments::{HandlerResult, JsonErrorResponse};
use figures::Figure;
use ticket_figures::TicketFigure;

pub const LOGIN: &str = "agent@sandbox.test";
pub const API_KEY: &str = "sandbox-key";
/// A personal access token contains a colon, like the vendor's.
pub const ACCESS_TOKEN: &str = "dal:sandbox-token";

/// Records per page of chats or tickets.
const PAGE: u64 = 25;
/// Older records of a query cannot be read.
const MAX_PAGES: u64 = 1_000;

pub fn router(world: Arc<World>) -> Router {
    let chats = |figure: Figure| -> MethodRouter<Arc<World>> {
        get(move |world, request| reports::of_chats(world, request, figure))
    };
    let tickets = |figure: TicketFigure| -> MethodRouter<Arc<World>> {
        get(move |world, request| reports::of_tickets(world, request, figure))
    };
    Router::new()
        .route("/agents", get(lists::agents))
        .route("/agents/{login}", get(lists::agent))
        .route("/groups", get(lists::groups))
        .route("/canned_responses", get(lists::canned_responses))
        .route("/goals", get(lists::goals))
        .route("/greetings", get(lists::greetings))
        .route("/tags", get(lists::tags))
        .route("/status", get(lists::status))
        .route("/status/{group}", get(lists::status_of))
        .route("/visitors", get(visitors::visitors))
        .route("/chats", get(archive::chats))
        .route("/tickets", get(tickets::tickets))
        .route("/reports/chats/total_chats", chats(Figure::TotalChats))
        .route("/reports/chats/engagement", chats(Figure::Engagement))
        .route(
            "/reports/chats/not_replied_chats",
            chats(Figure::NotReplied),
        )
        .route("/reports/chats/ratings", chats(Figure::Ratings))
        .route("/reports/chats/ratings/ranking", get(reports::chat_ranking))
        .route("/reports/chats/queued_visitors", chats(Figure::Queued))
        .route(
            "/reports/chats/queued_visitors/waiting_times",
            chats(Figure::Waiting),
        )
        .route("/reports/availability", chats(Figure::Availability))
        .route("/reports/chats/chatting_time", chats(Figure::ChattingTime))
        .route(
            "/reports/chats/first_response_time",
            chats(Figure::FirstResponse),
        )
        .route("/reports/chats/response_time", chats(Figure::Response))
        .route("/reports/chats/agents_occupancy", get(reports::occupancy))
        .route("/reports/chats/goals", chats(Figure::Goals))
        .route("/reports/chats/greetings", chats(Figure::Greetings))
        .route("/reports/tickets/new_tickets", tickets(TicketFigure::New))
        .route(
            "/reports/tickets/first_response_time",
            tickets(TicketFigure::FirstResponse),
        )
        .route(
            "/reports/tickets/solved_tickets",
            tickets(TicketFigure::Solved),
        )
        .route(
            "/reports/tickets/resolution_time",
            tickets(TicketFigure::Resolution),
        )
        .route(
            "/reports/tickets/ticket_sources",
            tickets(TicketFigure::Sources),
        )
        .route("/reports/tickets/ratings", tickets(TicketFigure::Ratings))
        .route(
            "/reports/tickets/ratings/ranking",
            get(reports::ticket_ranking),
        )
        .route("/reports/dashboard", get(dashboards::everything))
        .route(
            "/reports/dashboard/agent/{login}",
            get(dashboards::of_agent),
        )
        .route("/reports/dashboard/group/{id}", get(dashboards::of_group))
        .fallback(async || JsonErrorResponse::not_found())
        .method_not_allowed_fallback(async || {
            JsonErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
        .layer(from_fn(gate))
        .with_state(world)
}

/// Checks the credentials (401), then the version header (400).
async fn gate(request: Request, next: Next) -> Response {
    if !has_known_credentials(request.headers()) {
        return JsonErrorResponse::new(StatusCode::UNAUTHORIZED, "Wrong username or API key")
            .into_response();
    }
    if request
        .headers()
        .get("x-api-version")
        .is_none_or(|version| version != "2")
    {
        return JsonErrorResponse::argument("Header X-API-Version must be 2").into_response();
    }
    next.run(request).await
}

fn has_known_credentials(headers: &HeaderMap) -> bool {
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "));
    let decoded = basic.and_then(|text| base64::prelude::BASE64_STANDARD.decode(text.trim()).ok());
    let pair = decoded
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.split_once(':'));
    pair.is_some_and(|(login, key)| login == LOGIN && (key == API_KEY || key == ACCESS_TOKEN))
}

/// The number of pages that the vendor reports.
fn pages(total: u64) -> u64 {
    total.div_ceil(PAGE).min(MAX_PAGES)
}

/// Serializes directly into a sufficiently large buffer.
fn raw_json(value: &impl Serialize) -> HandlerResult {
    let mut bytes = Vec::with_capacity(256 * 1_024);
    serde_json::to_writer(&mut bytes, value).map_err(|why| {
        JsonErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string())
    })?;
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(bytes),
    )
        .into_response())
}
