//! The sandbox: our stand-in for the vendors, shipped in the binary. It answers from a seeded world (`world`, `chat`,
//! `people`; `session` is the same chat for LiveLeader) whose chats are made when asked for, so a million of them cost no memory, and it goes
//! wrong on demand (`faults`). Start reading here:
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
//! | `GET /chats` (days, `page`, `group`, `agent`, `tag[]`, `include_pending` and what a `selection::Filter` has) | a page of the archive | `livechat::archive`, `livechat::chat` |
//! | `GET /tickets` (days, `page`, `order`, `group`, `assignee`, `status`, `tag` ... all that is documented) | a page of tickets | `livechat::tickets` |
//! | `GET /reports/chats/total_chats` (days, `group`, `agent`, `group_by`, `tag[]`) | by period, see `livechat::figures` | `livechat::reports` |
//! | `GET /reports/chats/engagement` (the same) | by period | `livechat::reports` |
//! | `GET /reports/chats/not_replied_chats` (days, `groups[]`, `agents[]`, `group_by`, `tag[]`) | by period | `livechat::reports` |
//! | `GET /reports/chats/ratings` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `livechat::reports` |
//! | `GET /reports/chats/ratings/ranking` (days, `group`, `tag[]`) | agents, the best first | `livechat::reports` |
//! | `GET /reports/chats/queued_visitors` (days, `group`, `group_by`) | by period | `livechat::reports` |
//! | `GET /reports/chats/queued_visitors/waiting_times` (the same) | by period | `livechat::reports` |
//! | `GET /reports/availability` (days, `group`, `agent`) | hours by day, or minutes by hour of one day | `livechat::reports`, `shift` |
//! | `GET /reports/chats/chatting_time` (days, `group`, `agent`, `tag[]`) | the same | `livechat::reports` |
//! | `GET /reports/chats/first_response_time` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | `livechat::reports` |
//! | `GET /reports/chats/response_time` (the same) | by period | `livechat::reports` |
//! | `GET /reports/chats/agents_occupancy` (days, `weekday`) | chats going on, by hour | `livechat::reports` |
//! | `GET /reports/chats/goals` (days, `group`, `agent`, `goal`, `group_by`, `tag[]`, `sales_tracker`, `currency`) | by period | `livechat::reports` |
//! | `GET /reports/chats/greetings` (days, `group`, `goal`, `greeting`, `group_by`, `tag[]`) | by period | `livechat::reports` |
//! | `GET /reports/tickets/new_tickets` (days, `group`, `group_by`, `tag[]`) | by period | `livechat::reports`, `livechat::ticket_figures` |
//! | `GET /reports/tickets/first_response_time` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | the same |
//! | `GET /reports/tickets/solved_tickets` (the same) | by period | the same |
//! | `GET /reports/tickets/resolution_time` (the same) | by period | the same |
//! | `GET /reports/tickets/ticket_sources` (days, `group`, `group_by`, `tag[]`) | by period | the same |
//! | `GET /reports/tickets/ratings` (days, `group`, `agent`, `group_by`, `tag[]`) | by period | the same |
//! | `GET /reports/tickets/ratings/ranking` (days, `group`, `tag[]`) | agents, the best first | `livechat::reports` |
//! | `GET /reports/dashboard` | the last seven days | `livechat::dashboards` |
//! | `GET /reports/dashboard/agent/{login}` | the same of one agent | `livechat::dashboards` |
//! | `GET /reports/dashboard/group/{id}` | the same of one group | `livechat::dashboards` |
//! | `GET /a/Srv` (`a=export`, `email`, `password`, `start`, `stop`) | LiveLeader's answered chats of a period, as XML | `liveleader` |
//! | `GET /__truth?report=...` (see `truth::Question`) | what there is, counted without the code above | `truth` |
//! | `GET, PUT, DELETE /__faults` (a fault or an array of them) | what goes wrong, see `faults` | `faults` |
//! | `GET, DELETE /__calls` | `{"total", "calls": [{"at", "method", "path", "query", "status"}]}`, the newest 10,000 | `calls` |
//! | `POST /__end?chats=N` | `{"ended": N}`: so many chats end just now | `world` |
//! | `POST /__mark` | `{"id": n}`: remembers which chats there are, for `GET /__truth?report=chat&ids=1&since=n` | `changes` |
//!
//! "Days" are `date_from`, `date_to` and `timezone`. What reports tell is added up from the same chats and tickets, but for what an archive
//! does not hold, which is seeded (see `livechat::figures`). The world goes on with the clock: chats and tickets begin by a closed form that is
//! fixed since 1970 (`calendar`), so a chat keeps its id and its times when the sandbox is started again with equal options.
//!
//! Credentials: of LiveChat `agent@sandbox.test` with `sandbox-key` or the Personal Access Token `dal:sandbox-token`; of LiveLeader
//! `operator@sandbox.test` with `sandbox-password`, while `guest@sandbox.test` (no permission) and `starter@sandbox.test` (a plan without
//! export) are refused with the same one. The record of calls keeps no password. Routes that begin with two underscores are the sandbox's
//! own: they need no credentials, are not counted as calls and meet no faults.

mod calendar;
mod calls;
mod cast;
mod changes;
mod chat;
mod fault_bodies;
mod fault_ways;
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

pub use calls::Call;
use calls::Calls;
use faults::{Fault, Faults, Kind, RetryAfter, Twist, Vendor};
use limit::Limit;
use liveleader::manner::Manner;
use world::World;

use crate::clock::Clock;

/// What the sandbox's world is like. Equal options at an equal moment make equal worlds; at another, they agree where they overlap.
#[derive(Clone, Debug)]
pub struct Options {
    /// Chats in the archive at the start, exactly; pending ones and those that end later come on top. As many come in each `days` days.
    pub chats: u64,
    /// About how far back they reach, from today; at least 1.
    pub days: u32,
    pub seed: u64,
    /// How long each call takes, at least.
    pub delay: Duration,
    /// The most calls in any 60 seconds; none is no limit.
    pub requests_per_minute: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { chats: 2_000, days: 60, seed: 1, delay: Duration::ZERO, requests_per_minute: None }
    }
}

/// A running stand-in. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    faults: Faults,
    calls: Calls,
    limit: Limit,
    delay: Duration,
}

impl Sandbox {
    /// The archive begins with the newest chats that have ended by now; `clock` goes on to say what "today" is, and new ones come with it.
    pub fn new(options: Options, clock: Clock) -> Self {
        let (delay, limit) = (options.delay, Limit::new(options.requests_per_minute));
        Self(Arc::new(Inner { world: Arc::new(World::new(&options, clock)), faults: Faults::default(), calls: Calls::default(), limit, delay }))
    }

    /// What goes wrong; set it at any time.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The newest calls to the vendors' routes, oldest first, at most 10,000.
    pub fn calls(&self) -> Vec<Call> {
        self.0.calls.list()
    }

    /// How many calls there were since the start or `forget_calls`.
    pub fn calls_total(&self) -> u64 {
        self.0.calls.total()
    }

    pub fn forget_calls(&self) {
        self.0.calls.forget();
    }

    /// Lets `count` more chats end just now: they are the newest of the archive.
    pub fn end_chats(&self, count: u64) {
        self.0.world.end_chats(count);
    }

    /// Remembers which chats there are: `Question::since` takes what this gives.
    pub fn mark(&self) -> u64 {
        self.0.world.mark()
    }

    /// What there is; the sentence says what is wrong with the question.
    pub fn truth(&self, question: &truth::Question) -> Result<Value, String> {
        truth::answer(&self.0.world, question)
    }

    /// All routes. Served by anything but `serve`, a `HangUp` fault still sends the head of an answer.
    pub fn router(&self) -> Router {
        let world = &self.0.world;
        let vendors = livechat::router(world.clone()).merge(liveleader::router(world.clone())).layer(from_fn_with_state(self.clone(), meet));
        Router::new()
            .route("/__truth", get(tell_truth))
            .route("/__faults", get(list_faults).put(set_faults).delete(clear_faults))
            .route("/__calls", get(list_calls).delete(forget_calls))
            .route("/__end", post(end_chats))
            .route("/__mark", post(mark))
            .with_state(self.clone())
            .fallback_service(vendors)
    }

    /// Answers until `shutdown`; then open connections get a second to finish.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        serve::serve(self.router(), listener, shutdown).await
    }
}

/// What every call to a vendor's route goes through: the delay, the limit, the faults, and the record.
async fn meet(State(Sandbox(inner)): State<Sandbox>, mut request: Request, next: Next) -> Response {
    let asked = Call::of(&request, inner.world.clock().now());
    let (now, vendor, struck) = (asked.at, Vendor::at(&asked.path), inner.faults.strike(&asked));
    let open = inner.calls.open(asked);
    let wait = inner.delay + faults::lateness(&struck);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let too_many = inner.limit.take(now).err().map(|seconds| Kind::TooManyRequests { retry_after: RetryAfter::Seconds(seconds) });
    let answer = match too_many.iter().chain(&struck).find_map(|kind| kind.instead(now, vendor)) {
        Some(answer) => answer,
        None => {
            request.extensions_mut().insert(Twist::of(&struck));
            request.extensions_mut().insert(Manner::of(&struck));
            let mut answer = next.run(request).await;
            if answer.status() == StatusCode::OK {
                inner.world.end_chats(faults::shift(&struck));
                faults::mutations(&struck).for_each(|seed| inner.world.mutate(seed));
                for kind in &struck {
                    answer = kind.change(answer).await;
                }
            }
            answer
        }
    };
    open.answered(&answer);
    answer
}

// ---- the sandbox's own routes ----

async fn tell_truth(State(sandbox): State<Sandbox>, Query(question): Query<truth::Question>) -> Response {
    // Counting a million chats takes a while; other calls need not wait for it.
    let told = tokio::task::spawn_blocking(move || sandbox.truth(&question)).await;
    match told.unwrap_or_else(|_| Err("The count did not end.".to_owned())) {
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

/// Replaces all faults that are set.
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
struct End {
    chats: u64,
}

async fn end_chats(State(sandbox): State<Sandbox>, Query(End { chats }): Query<End>) -> Json<Value> {
    // A slip of the finger must not fill the memory: these few are the only chats that are kept.
    let chats = chats.min(100_000);
    sandbox.end_chats(chats);
    Json(json!({"ended": chats}))
}

async fn mark(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({"id": sandbox.mark()}))
}
