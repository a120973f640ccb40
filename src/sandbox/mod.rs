//! The sandbox: a simulator of the vendors, included in the binary. It answers from a seeded world
//! (`world`, `chat`, `people`; `session` is the same chat for LiveLeader). Chats are generated on
//! request, so a million of them use no memory. `faults` makes it fail on request. The vendors'
//! routes:
//!
//! | route | answers | file |
//! | --- | --- | --- |
//! | `GET /agents` (`status`) | array of agents | `livechat::lists` |
//! | `GET /agents/{login}` | one agent in detail | `livechat::lists` |
//! | `GET /groups` | array of groups | `livechat::lists` |
//! | `GET /canned_responses` (`group`, default 0) | array of canned responses | `livechat::lists` |
//! | `GET /goals` (`type`) | array of goals | `livechat::lists` |
//! | `GET /greetings` (`group`) | array of greetings | `livechat::lists` |
//! | `GET /tags` (`group`) | array of tags | `livechat::lists` |
//! | `GET /status`, `GET /status/{group}` | online or offline | `livechat::lists` |
//! | `GET /visitors` (`state`, `group[]`) | array of those on the site now | `livechat::visitors` |
//! | `GET /chats` (days, `page` and the fields of `selection::ChatFilter`) | a page of the archive | `livechat::archive` |
//! | `GET /tickets` (days, `page`, `order` and the fields of `TicketFilter` there) | a page of tickets | `livechat::tickets` |
//! | `GET /a/Srv` (`a=export`, `email`, `password`, `start`, `stop`) | LiveLeader's answered chats of a period, as XML | `liveleader` |
//!
//! LiveChat's reports (`livechat::reports`):
//!
//! | route | answers | values from |
//! | --- | --- | --- |
//! | `GET /reports/chats/total_chats` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `figures` |
//! | `GET /reports/chats/engagement` (the same) | by period | `figures` |
//! | `GET /reports/chats/not_replied_chats` (days, `groups[]`, `agents[]`, `group_by`, `tag[]`) | by period | `figures` |
//! | `GET /reports/chats/ratings` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `figures` |
//! | `GET /reports/chats/ratings/ranking` (days, `group`, `tag[]`) | agents, the best first | `reports` |
//! | `GET /reports/chats/queued_visitors` (days, `group`, `group_by`) | by period | `figures` |
//! | `GET /reports/chats/queued_visitors/waiting_times` (the same) | by period | `figures` |
//! | `GET /reports/availability` (days, `group`, `agent`) | hours by day, or minutes by hour of one day | `figures`, `shift` |
//! | `GET /reports/chats/chatting_time` (days, `group`, `agent`, `tag[]`) | the same | `figures` |
//! | `GET /reports/chats/first_response_time` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `figures` |
//! | `GET /reports/chats/response_time` (the same) | by period | `figures` |
//! | `GET /reports/chats/goals` (the same, and `goal`, `sales_tracker`, `currency`) | by period | `figures` |
//! | `GET /reports/chats/agents_occupancy` (days, `weekday`) | chats going on, by hour | `reports` |
//! | `GET /reports/chats/greetings` (days, `group`, `goal`, `greeting`, `group_by`, `tag[]`) | by period | `figures` |
//! | `GET /reports/tickets/new_tickets` (days, `group`, `group_by`, `tag[]`) | by period | `ticket_figures` |
//! | `GET /reports/tickets/first_response_time` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `ticket_figures` |
//! | `GET /reports/tickets/solved_tickets` (the same) | by period | `ticket_figures` |
//! | `GET /reports/tickets/resolution_time` (the same) | by period | `ticket_figures` |
//! | `GET /reports/tickets/ticket_sources` (days, `group`, `group_by`, `tag[]`) | by period | `ticket_figures` |
//! | `GET /reports/tickets/ratings` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `ticket_figures` |
//! | `GET /reports/tickets/ratings/ranking` (days, `group`, `tag[]`) | agents, the best first | `reports` |
//! | `GET /reports/dashboard` | the last seven days | `dashboards` |
//! | `GET /reports/dashboard/agent/{login}` | the same of one agent | `dashboards` |
//! | `GET /reports/dashboard/group/{id}` | the same of one group | `dashboards` |
//!
//! The sandbox's own routes:
//!
//! | route | answers | file |
//! | --- | --- | --- |
//! | `GET /__truth?report=...` (see `truth::TruthQuestion`) | the expected content, counted with separate code | `truth` |
//! | `GET, PUT, DELETE /__faults` (a fault or an array of them) | the active faults, see `faults` | `faults` |
//! | `GET, DELETE /__calls` | `{"total", "calls": [{"at", "method", "path", "query", "status"}]}`, the newest 10,000 | `call_log` |
//! | `POST /__end?chats=N` | `{"ended": N}`: ends this number of chats now | `world` |
//! | `POST /__mark` | `{"id": n}`: remembers the current chats, for `GET /__truth?report=chat&ids=1&since=n` | `changes` |
//!
//! "Days" are `date_from`, `date_to` and `timezone`. Reports are computed from the same chats and
//! tickets, except for values that an archive does not contain, which are seeded (see
//! `livechat::figures`). New chats and tickets start as the clock advances, by a closed formula
//! that is fixed since 1970 (`calendar`), so a chat keeps its id and its times when the sandbox is
//! restarted with equal options.
//!
//! Credentials: for LiveChat `agent@sandbox.test` with `sandbox-key`, or the personal access token
//! `dal:sandbox-token`; for LiveLeader `operator@sandbox.test` with `sandbox-password`. With the
//! same password, `guest@sandbox.test` (no permission) and `starter@sandbox.test` (a plan without
//! export) are refused. The call log contains no password. Routes that begin with two underscores
//! belong to the sandbox itself: they need no credentials, are not logged as calls and have no
//! faults.

mod calendar;
mod call_log;
mod changes;
mod chat;
mod chat_profile;
pub mod faults;
mod limit;
mod lists;
pub mod livechat;
pub mod liveleader;
mod people;
mod selection;
mod serve;
mod session;
mod shift;
#[cfg(test)]
mod tests;
mod ticket;
pub mod truth;
mod visitor;
mod world;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use call_log::Call;
use call_log::CallLog;
use faults::{Fault, FaultKind, Faults, PageFaults, RetryAfter, Vendor};
use limit::Limit;
use liveleader::document_faults::DocumentFaults;
use world::World;

use crate::clock::Clock;

/// The options of the sandbox's world. Equal options at an equal moment give equal worlds; at
/// different moments, the worlds agree where they overlap.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The exact number of chats in the archive at the start; pending ones and those that end later
    /// are added. Each `days` days have this number of new chats.
    pub chats: u64,
    /// The approximate number of days before today that the archive covers; at least 1.
    pub days: u32,
    pub seed: u64,
    /// The minimum duration of each call.
    pub delay: Duration,
    /// The maximum number of calls in any 60 seconds; `None` is no limit.
    pub requests_per_minute: Option<u32>,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            chats: 2_000,
            days: 60,
            seed: 1,
            delay: Duration::ZERO,
            requests_per_minute: None,
        }
    }
}

/// A running sandbox. Cheap to clone; all clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    faults: Faults,
    calls: CallLog,
    limit: Limit,
    delay: Duration,
}

impl Sandbox {
    /// The archive starts with the newest chats that have ended by now. `clock` defines "today";
    /// new chats are added as it advances.
    pub fn new(options: SandboxOptions, clock: Clock) -> Self {
        let (delay, limit) = (options.delay, Limit::new(options.requests_per_minute));
        Self(Arc::new(Inner {
            world: Arc::new(World::new(&options, clock)),
            faults: Faults::default(),
            calls: CallLog::default(),
            limit,
            delay,
        }))
    }

    /// The active faults; can be changed at any time.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The newest calls to the vendors' routes, oldest first, at most 10,000.
    pub fn calls(&self) -> Vec<Call> {
        self.0.calls.list()
    }

    /// The number of calls since the start or `forget_calls`.
    pub fn calls_total(&self) -> u64 {
        self.0.calls.total()
    }

    pub fn forget_calls(&self) {
        self.0.calls.forget();
    }

    /// Ends `count` more chats now: they become the newest of the archive.
    pub fn end_chats(&self, count: u64) {
        self.0.world.end_chats(count);
    }

    /// Remembers the current chats; returns an id for `TruthQuestion::since`.
    pub fn mark(&self) -> u64 {
        self.0.world.mark()
    }

    /// The expected content; `Err` describes an error in the question.
    pub fn truth(&self, question: &truth::TruthQuestion) -> Result<Value, String> {
        truth::answer(&self.0.world, question)
    }

    /// All routes. If another server than `serve` runs them, a `HangUp` fault sends the head of a
    /// response.
    pub fn router(&self) -> Router {
        let world = &self.0.world;
        let vendors = livechat::router(world.clone())
            .merge(liveleader::router(world.clone()))
            .layer(from_fn_with_state(self.clone(), vendor_middleware));
        Router::new()
            .route("/__truth", get(get_truth))
            .route(
                "/__faults",
                get(list_faults).put(set_faults).delete(clear_faults),
            )
            .route("/__calls", get(list_calls).delete(forget_calls))
            .route("/__end", post(end_chats))
            .route("/__mark", post(mark))
            .with_state(self.clone())
            .fallback_service(vendors)
    }

    /// Serves until `shutdown`; then open connections have one second to finish.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        serve::serve(self.router(), listener, shutdown).await
    }
}

/// Middleware for every call to a vendor's route: delay, rate limit, faults and the call log.
async fn vendor_middleware(
    State(Sandbox(inner)): State<Sandbox>,
    mut request: Request,
    next: Next,
) -> Response {
    let call = Call::of(&request, inner.world.clock().now());
    let (now, vendor, active) = (
        call.at,
        Vendor::at(&call.path),
        inner.faults.take_matching(&call),
    );
    let open = inner.calls.open(call);
    let wait = inner.delay + faults::lateness(&active);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let too_many = inner
        .limit
        .take(now)
        .err()
        .map(|seconds| FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(seconds),
        });
    let answer = match too_many
        .iter()
        .chain(&active)
        .find_map(|kind| kind.replacement(now, vendor))
    {
        Some(answer) => answer,
        None => {
            request.extensions_mut().insert(PageFaults::of(&active));
            request.extensions_mut().insert(DocumentFaults::of(&active));
            let mut answer = next.run(request).await;
            if answer.status() == StatusCode::OK {
                inner.world.end_chats(faults::shift(&active));
                faults::mutations(&active).for_each(|seed| inner.world.mutate(seed));
                for kind in &active {
                    answer = kind.apply_to(answer).await;
                }
            }
            answer
        }
    };
    open.answered(&answer);
    answer
}

// ---- the sandbox's own routes ----

async fn get_truth(
    State(sandbox): State<Sandbox>,
    Query(question): Query<truth::TruthQuestion>,
) -> Response {
    // Runs in a blocking thread, because counting a million chats takes a while.
    let answer = tokio::task::spawn_blocking(move || sandbox.truth(&question)).await;
    match answer.unwrap_or_else(|_| Err("The count failed.".to_owned())) {
        Ok(truth) => Json(truth).into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, Json(json!({"error": why}))).into_response(),
    }
}

async fn list_faults(State(sandbox): State<Sandbox>) -> Json<Vec<Fault>> {
    Json(sandbox.faults().list())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    More(Vec<Fault>),
    One(Fault),
}

/// Replaces all active faults.
async fn set_faults(State(sandbox): State<Sandbox>, Json(faults): Json<OneOrMore>) -> StatusCode {
    sandbox.faults().set(match faults {
        OneOrMore::More(faults) => faults,
        OneOrMore::One(fault) => vec![fault],
    });
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.faults().clear();
    StatusCode::NO_CONTENT
}

async fn list_calls(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({"total": sandbox.calls_total(), "calls": sandbox.calls()}))
}

async fn forget_calls(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.forget_calls();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct EndQuery {
    chats: u64,
}

async fn end_chats(
    State(sandbox): State<Sandbox>,
    Query(EndQuery { chats }): Query<EndQuery>,
) -> Json<Value> {
    // These chats are stored in memory, so a typing mistake must not add too many.
    let chats = chats.min(100_000);
    sandbox.end_chats(chats);
    Json(json!({"ended": chats}))
}

async fn mark(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({"id": sandbox.mark()}))
}
