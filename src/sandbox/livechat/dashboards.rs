//! The dashboards: the last seven days (UTC) at a glance. The vendor's own shape is documented nowhere, so this one is invented: nested,
//! with lists, as dashboards are. Its numbers are those of the reports.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::super::people::{AGENTS, GROUPS};
use super::super::selection::Filter;
use super::super::world::World;
use super::arguments::{Answer, Arguments, Days, Refusal, day_span};
use super::figures::{Ask, Figure};
use super::lists::extend;
use super::reports::tickets;
use super::ticket_figures::TicketFigure;

pub async fn everything(State(world): State<Arc<World>>, request: Request) -> Answer {
    Arguments::of(&request).done()?;
    Ok(Json(dashboard(&world, Filter::default())).into_response())
}

pub async fn of_agent(State(world): State<Arc<World>>, Path(login): Path<String>, request: Request) -> Answer {
    Arguments::of(&request).done()?;
    let agent = AGENTS.iter().find(|agent| agent.login == login).ok_or_else(Refusal::not_found)?;
    let mut dashboard = dashboard(&world, Filter { agents: vec![login], ..Filter::default() });
    extend(&mut dashboard, json!({"agent": {"login": agent.login, "name": agent.name}}));
    Ok(Json(dashboard).into_response())
}

pub async fn of_group(State(world): State<Arc<World>>, Path(id): Path<String>, request: Request) -> Answer {
    Arguments::of(&request).done()?;
    let group = GROUPS.iter().find(|group| group.id.to_string() == id).ok_or_else(Refusal::not_found)?;
    let mut dashboard = dashboard(&world, Filter { groups: vec![group.id], ..Filter::default() });
    extend(&mut dashboard, json!({"group": {"id": group.id, "name": group.name, "status": group.status}}));
    Ok(Json(dashboard).into_response())
}

fn dashboard(world: &World, filter: Filter) -> Value {
    let to = TimeZone::UTC.to_datetime(world.clock().timestamp()).date();
    let days = Days { from: to.saturating_sub(6.days()), to, zone: TimeZone::UTC };
    let span = days.span();
    let found = tickets(world, &span, &filter);
    let ask = Ask { filter, ..Ask::default() };
    let value = |figure: Figure| figure.value(world, std::slice::from_ref(&span), &ask, false);
    let mut chats = value(Figure::TotalChats);
    let by_day: Map<_, _> = days.each().map(|day| (day.to_string(), json!(world.select(day_span(day, &days.zone), &ask.filter).total()))).collect();
    chats.insert("by_day".to_owned(), Value::Object(by_day));
    chats.insert("engagement".to_owned(), Value::Object(value(Figure::Engagement)));
    json!({
        "period": {"from": days.from, "to": days.to}, "chats": chats, "ratings": value(Figure::Ratings), "queue": value(Figure::Queued),
        "response": value(Figure::FirstResponse), "availability": value(Figure::Availability),
        "tickets": {
            "new": TicketFigure::New.value(&found, std::slice::from_ref(&span)),
            "solved": TicketFigure::Solved.value(&found, std::slice::from_ref(&span)),
        },
    })
}
