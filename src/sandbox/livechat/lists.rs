//! The short lists: agents, groups, canned responses, goals, greetings, tags and the status.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::lists::{CANNED, Canned, GOALS, GREETINGS, Goal, Greeting, group_of_tag};
use super::super::people::{AGENTS, Agent, GROUPS, Group, TAGS};
use super::super::world::World;
use super::arguments::{HandlerResult, JsonErrorResponse, QueryArguments};

/// 2026-01-01: the creation time of the configuration.
const SET_UP: i64 = 1_767_225_600;

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
        Self {
            login: agent.login,
            name: agent.name,
            permission: agent.permission,
            avatar,
            status: agent.status,
        }
    }
}

pub async fn agents(request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let status = arguments.take("status");
    arguments.done()?;
    let all = AGENTS
        .iter()
        .filter(|agent| status.as_ref().is_none_or(|status| agent.status == status));
    Ok(Json(all.map(AgentJson::from).collect::<Vec<_>>()).into_response())
}

pub async fn agent(
    State(world): State<Arc<World>>,
    Path(login): Path<String>,
    request: Request,
) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    let position = AGENTS
        .iter()
        .position(|agent| agent.login == login)
        .ok_or_else(|| JsonErrorResponse::new(StatusCode::NOT_FOUND, "Agent not found"))?;
    let agent = &AGENTS[position];
    let mut detail = serde_json::to_value(AgentJson::from(agent)).unwrap_or_default();
    let groups: Vec<_> = GROUPS
        .iter()
        .filter(|group| group.agents.is_some_and(|of| of.contains(&position)))
        .map(|group| json!({"id": group.id, "name": group.name}))
        .collect();
    let more = json!({
        "login_status": agent.status, "daily_summary": position % 2, "job_title": agent.job_title,
        "notifications": {"new_visitor": 1, "incoming_chat": position % 2, "unassigned_tickets": 0},
        "max_chats_count": 3 + position, "groups": groups, "last_logout": world.now() - 3_600 * (position as i64 + 1),
    });
    extend(&mut detail, more);
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
        let agents = group
            .agents
            .map(|of| of.iter().map(|&at| AGENTS[at].login).collect());
        Self {
            id: group.id,
            name: group.name,
            language: group.language,
            agents,
            status: group.status,
        }
    }
}

pub async fn groups(request: Request) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    Ok(Json(GROUPS.iter().map(GroupJson::from).collect::<Vec<_>>()).into_response())
}

pub async fn canned_responses(request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let group = arguments.parsed("group")?.unwrap_or(0);
    arguments.done()?;
    Ok(Json(
        CANNED
            .iter()
            .filter(|canned| canned.group == group)
            .map(canned_json)
            .collect::<Vec<_>>(),
    )
    .into_response())
}

fn canned_json(canned: &Canned) -> Value {
    let age = 3_600 * (canned.id % 1_000) as i64;
    let mut json = json!({
        "id": canned.id, "group": canned.group, "text": canned.text, "creation_date": SET_UP + age,
        "created_by": AGENTS[(canned.id % 3) as usize].login, "tags": canned.tags,
    });
    if canned.changed {
        extend(
            &mut json,
            json!({"modification_date": SET_UP + 2 * age, "modified_by": AGENTS[0].login}),
        );
    }
    json
}

pub async fn goals(request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let kind = arguments.take("type");
    arguments.done()?;
    Ok(Json(
        GOALS
            .iter()
            .filter(|goal| kind.as_ref().is_none_or(|kind| goal.kind == kind))
            .map(goal_json)
            .collect::<Vec<_>>(),
    )
    .into_response())
}

fn goal_json(goal: &Goal) -> Value {
    let mut json =
        json!({"id": goal.id, "name": goal.name, "active": goal.active, "type": goal.kind});
    let more = match goal.kind {
        "custom_variable" => {
            json!({"custom_variable_name": "level", "custom_variable_value": "gold"})
        }
        "url" => {
            json!({"url": "https://shop.sandbox.test/hjelp/?a=1&b=2", "match_type": "substring"})
        }
        "sales_tracker" => json!({
            "sales_tracker_id": "ST1", "value_type": "dynamic", "value": "0.00", "currency": "NOK", "time_range": 30,
            "order_field_name": "order_id", "value_field_name": "order_price",
        }),
        _ => return json,
    };
    extend(&mut json, more);
    json
}

pub async fn greetings(request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let group = arguments.parsed::<u32>("group")?;
    arguments.done()?;
    Ok(Json(
        GREETINGS
            .iter()
            .filter(|greeting| group.is_none_or(|group| greeting.group == group))
            .map(greeting_json)
            .collect::<Vec<_>>(),
    )
    .into_response())
}

fn greeting_json(greeting: &Greeting) -> Value {
    let rules: Vec<_> = (1..=greeting.rules)
        .map(|rule| {
            json!({
                "id": greeting.id * 10 + rule,
                "value": (rule * 30).to_string(),
                "type": "time_on_page",
                "operator": "greater_than",
                "condition": "and",
            })
        })
        .collect();
    json!({
        "id": greeting.id,
        "active": greeting.active,
        "name": greeting.name,
        "rules": rules,
        "properties": {
            "active": u8::from(greeting.active).to_string(),
            "greeting-message_text": greeting.text,
            "window_style": "ballöng, blå",
        },
        "group": greeting.group,
    })
}

pub async fn tags(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let group = arguments.parsed::<u32>("group")?;
    arguments.done()?;
    let counts = |tag: &str| {
        world
            .profiles()
            .iter()
            .filter(|profile| profile.tags.contains(&tag))
            .count()
    };
    let tags = TAGS.iter().enumerate().filter(|(at, _)| group.is_none_or(|group| group_of_tag(*at) == group)).map(|(at, tag)| {
        json!({
            "name": tag, "author": AGENTS[at % 3].login, "creation_date": SET_UP + 86_400 * at as i64,
            "count": {"inChats": counts(tag), "inTickets": at * 3}, "group": group_of_tag(at),
        })
    });
    Ok(Json(tags.collect::<Vec<_>>()).into_response())
}

pub async fn status(request: Request) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    Ok(status_json(GROUPS.iter().any(is_online)))
}

pub async fn status_of(Path(id): Path<String>, request: Request) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    let group = GROUPS
        .iter()
        .find(|group| group.id.to_string() == id)
        .ok_or_else(JsonErrorResponse::not_found)?;
    Ok(status_json(is_online(group)))
}

fn is_online(group: &Group) -> bool {
    group.status == "accepting chats"
}

fn status_json(online: bool) -> axum::response::Response {
    Json(json!({"status": if online { "online" } else { "offline" }})).into_response()
}

/// Appends the fields of one object to another.
pub fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
