//! LiveChat REST API v2 as the sandbox answers it. An argument that is not known is refused, so that a typing mistake in a connector
//! shows. The route table is in `mod.rs`; a new endpoint is a handler here (or in a file of its own) and a line there.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::Serialize;
use serde_json::{Value, json};

use super::faults::Twist;
use super::livechat_chat::ChatJson;
use super::people::{AGENTS, Agent, GROUPS, Group};
use super::world::{Filter, World};

pub const LOGIN: &str = "agent@sandbox.test";
pub const API_KEY: &str = "sandbox-key";
/// A Personal Access Token holds a colon, as the vendor's do.
pub const ACCESS_TOKEN: &str = "dal:sandbox-token";

const PAGE: u64 = 25;
/// Older chats of a query are out of reach.
const MOST_PAGES: u64 = 1_000;
/// The longest range a period report takes.
const MOST_DAYS: i32 = 3_700;

pub fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/agents", get(agents))
        .route("/agents/{login}", get(agent))
        .route("/groups", get(groups))
        .route("/chats", get(chats))
        .route("/reports/chats/total_chats", get(total_chats))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "Not found"))
        .method_not_allowed_fallback(async || Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"))
        .layer(from_fn(gate))
        .with_state(world)
}

/// An answer that is not 200.
struct Refusal(StatusCode, String);

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self(status, message.into())
    }

    fn argument(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1, "errors": [self.1] }))).into_response()
    }
}

type Answer = Result<Response, Refusal>;

/// Who asks, then how: 401 without good credentials, 400 without the version header.
async fn gate(request: Request, next: Next) -> Response {
    if !known(request.headers()) {
        return Refusal::new(StatusCode::UNAUTHORIZED, "Wrong username or API key").into_response();
    }
    if request.headers().get("x-api-version").is_none_or(|version| version != "2") {
        return Refusal::argument("Header X-API-Version must be 2").into_response();
    }
    next.run(request).await
}

fn known(headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Basic "));
    let decoded = given.and_then(|text| base64::prelude::BASE64_STANDARD.decode(text.trim()).ok());
    let pair = decoded.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.split_once(':'));
    pair.is_some_and(|(login, key)| login == LOGIN && (key == API_KEY || key == ACCESS_TOKEN))
}

/// The arguments of a request; each is taken once, and none may be left over.
struct Arguments(Vec<(String, String)>);

impl Arguments {
    fn of(request: &Request) -> Self {
        Self(url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(at).1)
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        let parse = |text: String| text.parse().map_err(|_| Refusal::argument(format!("Wrong value of {name}")));
        self.take(name).map(parse).transpose()
    }

    fn zone(&mut self) -> Result<TimeZone, Refusal> {
        let Some(name) = self.take("timezone") else { return Ok(TimeZone::UTC) };
        TimeZone::get(&name).map_err(|_| Refusal::argument("Wrong value of timezone"))
    }

    fn filter(&mut self) -> Result<Filter, Refusal> {
        Ok(Filter { group: self.parsed("group")?, agent: self.take("agent"), include_pending: false })
    }

    fn done(self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::argument(format!("Unknown or repeated argument: {name}"))),
        }
    }
}

/// Days from one to another, both included, in a zone.
struct Days {
    from: Date,
    to: Date,
    zone: TimeZone,
}

impl Days {
    fn take(arguments: &mut Arguments, world: &World, default_from: impl Fn(Date) -> Date) -> Result<Self, Refusal> {
        let zone = arguments.zone()?;
        let to = arguments.parsed("date_to")?.unwrap_or_else(|| zone.to_datetime(world.clock().timestamp()).date());
        let from = arguments.parsed("date_from")?.unwrap_or_else(|| default_from(to));
        if from > to {
            return Err(Refusal::argument("date_from is after date_to"));
        }
        Ok(Self { from, to, zone })
    }

    /// In unix seconds, the end not included.
    fn span(&self) -> Range<i64> {
        begin(self.from, 0, &self.zone)..begin(self.to.saturating_add(1.day()), 0, &self.zone)
    }
}

/// The unix second at which an hour of a day begins; an hour that a clock change leaves out begins where the next one does.
fn begin(day: Date, hour: i8, zone: &TimeZone) -> i64 {
    let time = Time::new(hour, 0, 0, 0).unwrap_or_default();
    let edge = if day < Date::ZERO { i64::MIN } else { i64::MAX };
    zone.to_timestamp(day.to_datetime(time)).map_or(edge, |moment| moment.as_second())
}

// ---- lists ----

#[derive(Serialize)]
struct AgentJson {
    login: &'static str,
    name: &'static str,
    permission: &'static str,
    avatar: String,
    status: &'static str,
}

impl From<&'static Agent> for AgentJson {
    fn from(agent: &'static Agent) -> Self {
        let avatar = format!("https://cdn.sandbox.test/avatars/{}.png", agent.login.len());
        Self { login: agent.login, name: agent.name, permission: agent.permission, avatar, status: agent.status }
    }
}

async fn agents(request: Request) -> Answer {
    let mut arguments = Arguments::of(&request);
    let status = arguments.take("status");
    arguments.done()?;
    let all = AGENTS.iter().filter(|agent| status.as_ref().is_none_or(|status| agent.status == status));
    Ok(Json(all.map(AgentJson::from).collect::<Vec<_>>()).into_response())
}

async fn agent(State(world): State<Arc<World>>, Path(login): Path<String>, request: Request) -> Answer {
    Arguments::of(&request).done()?;
    let position = AGENTS.iter().position(|agent| agent.login == login).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "Agent not found"))?;
    let agent = &AGENTS[position];
    let mut detail = serde_json::to_value(AgentJson::from(agent)).unwrap_or_default();
    let groups: Vec<_> =
        GROUPS.iter().filter(|group| group.agents.is_some_and(|of| of.contains(&position))).map(|group| json!({"id": group.id, "name": group.name})).collect();
    let more = json!({
        "login_status": agent.status, "daily_summary": position % 2, "job_title": agent.job_title,
        "notifications": {"new_visitor": 1, "incoming_chat": position % 2, "unassigned_tickets": 0},
        "max_chats_count": 3 + position, "groups": groups, "last_logout": world.clock().now() / 1_000 - 3_600 * (position as i64 + 1),
    });
    if let (Value::Object(detail), Value::Object(more)) = (&mut detail, more) {
        detail.extend(more);
    }
    Ok(Json(detail).into_response())
}

#[derive(Serialize)]
struct GroupJson {
    id: u32,
    name: &'static str,
    language: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<Vec<&'static str>>,
    status: &'static str,
}

impl From<&'static Group> for GroupJson {
    fn from(group: &'static Group) -> Self {
        let agents = group.agents.map(|of| of.iter().map(|&at| AGENTS[at].login).collect());
        Self { id: group.id, name: group.name, language: group.language, agents, status: group.status }
    }
}

async fn groups(request: Request) -> Answer {
    Arguments::of(&request).done()?;
    Ok(Json(GROUPS.iter().map(GroupJson::from).collect::<Vec<_>>()).into_response())
}

// ---- the archive ----

#[derive(Serialize)]
struct ChatsJson<'a> {
    chats: Vec<ChatJson<'a>>,
    total: u64,
    pages: u64,
}

async fn chats(State(world): State<Arc<World>>, request: Request) -> Answer {
    let twist = request.extensions().get::<Twist>().copied().unwrap_or_default();
    let mut arguments = Arguments::of(&request);
    let days = Days::take(&mut arguments, &world, |_| Date::ZERO)?;
    let mut filter = arguments.filter()?;
    let page = arguments.parsed::<u64>("page")?.unwrap_or(1);
    filter.include_pending = match arguments.take("include_pending").as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(Refusal::argument("Wrong value of include_pending")),
    };
    arguments.done()?;
    if page == 0 {
        return Err(Refusal::argument("Wrong value of page"));
    }
    if page > MOST_PAGES {
        return Err(Refusal::argument(format!("Only the newest {} chats of a query can be read; narrow the dates", MOST_PAGES * PAGE)));
    }
    let selection = world.select(days.span(), &filter);
    let total = selection.total().saturating_add_signed(twist.total_by);
    let page = if twist.repeat_page { page.saturating_sub(1).max(1) } else { page };
    let chats: Vec<_> = selection.numbers((page - 1) * PAGE, PAGE).into_iter().map(|number| world.chat(number)).collect();
    let chats = chats.iter().map(|chat| ChatJson::new(chat, &days.zone)).collect();
    raw_json(&ChatsJson { chats, total, pages: total.div_ceil(PAGE).min(MOST_PAGES) })
}

/// Straight to bytes, into a buffer that is large enough from the start.
fn raw_json(value: &impl Serialize) -> Answer {
    let mut bytes = Vec::with_capacity(256 * 1_024);
    serde_json::to_writer(&mut bytes, value).map_err(|why| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response())
}

// ---- reports ----

async fn total_chats(State(world): State<Arc<World>>, request: Request) -> Answer {
    let mut arguments = Arguments::of(&request);
    let days = Days::take(&mut arguments, &world, |to| to.saturating_sub(6.days()))?;
    let filter = arguments.filter()?;
    let by = arguments.take("group_by");
    arguments.done()?;
    if (days.to - days.from).get_days() > MOST_DAYS {
        return Err(Refusal::argument("The range is too long"));
    }
    let count = |span: Range<i64>| world.select(span, &filter).total();
    let mut answer = serde_json::Map::new();
    match by.as_deref().unwrap_or(if days.from == days.to { "hour" } else { "day" }) {
        "day" => {
            for day in each_day(&days) {
                answer.insert(day.to_string(), json!({"chats": count(begin(day, 0, &days.zone)..begin(day.saturating_add(1.day()), 0, &days.zone))}));
            }
        }
        // Over several days, an hour tells what came at that hour of any of them.
        "hour" => {
            for hour in 0..24i8 {
                let chats: u64 = each_day(&days).map(|day| count(hour_span(day, hour, &days.zone))).sum();
                answer.insert(format!("{hour:02}:00"), json!({"chats": chats}));
            }
        }
        "month" => {
            let mut from = days.from;
            while from <= days.to {
                let to = from.last_of_month().min(days.to);
                let chats = count(Days { from, to, zone: days.zone.clone() }.span());
                answer.insert(format!("{:04}-{:02}", from.year(), from.month()), json!({"chats": chats, "begin": from, "end": to}));
                from = to.saturating_add(1.day());
            }
        }
        _ => return Err(Refusal::argument("Wrong value of group_by")),
    }
    Ok(Json(Value::Object(answer)).into_response())
}

fn each_day(days: &Days) -> impl Iterator<Item = Date> {
    days.from.series(Span::new().days(1)).take_while(|day| *day <= days.to)
}

/// An hour that a clock change repeats is told as one.
fn hour_span(day: Date, hour: i8, zone: &TimeZone) -> Range<i64> {
    let end = if hour == 23 { begin(day.saturating_add(1.day()), 0, zone) } else { begin(day, hour + 1, zone) };
    begin(day, hour, zone)..end
}
