//! The dashboards: an overview of the last seven days (UTC). The vendor does not document their
//! format, so this one is invented: nested and with lists. Its numbers are those of the reports.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use jiff::ToSpan;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::super::people::{AGENTS, GROUPS};
use super::super::selection::ChatFilter;
use super::super::world::World;
use super::arguments::{DayRange, HandlerResult, JsonErrorResponse, QueryArguments, day_span};
use super::figures::{Figure, FigureQuery};
use super::lists::extend;
use super::reports::tickets;
use super::ticket_figures::TicketFigure;

pub async fn everything(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    Ok(Json(dashboard(&world, ChatFilter::default())).into_response())
}

pub async fn of_agent(
    State(world): State<Arc<World>>,
    Path(login): Path<String>,
    request: Request,
) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    let agent = AGENTS
        .iter()
        .find(|agent| agent.login == login)
        .ok_or_else(JsonErrorResponse::not_found)?;
    let mut dashboard = dashboard(
        &world,
        ChatFilter {
            agents: vec![login],
            ..ChatFilter::default()
        },
    );
    extend(
        &mut dashboard,
        json!({"agent": {"login": agent.login, "name": agent.name}}),
    );
    Ok(Json(dashboard).into_response())
}

pub async fn of_group(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    request: Request,
) -> HandlerResult {
    QueryArguments::of(&request).done()?;
    let group = GROUPS
        .iter()
        .find(|group| group.id.to_string() == id)
        .ok_or_else(JsonErrorResponse::not_found)?;
    let mut dashboard = dashboard(
        &world,
        ChatFilter {
            groups: vec![group.id],
            ..ChatFilter::default()
        },
    );
    extend(
        &mut dashboard,
        json!({"group": {"id": group.id, "name": group.name, "status": group.status}}),
    );
    Ok(Json(dashboard).into_response())
}

fn dashboard(world: &World, filter: ChatFilter) -> Value {
    let to = TimeZone::UTC.to_datetime(world.clock().timestamp()).date();
    let days = DayRange {
        from: to.saturating_sub(6.days()),
        to,
        zone: TimeZone::UTC,
    };
    let span = days.span();
    let found = tickets(world, &span, &filter);
    let figure_query = FigureQuery {
        filter,
        ..FigureQuery::default()
    };
    let value =
        |figure: Figure| figure.value(world, std::slice::from_ref(&span), &figure_query, false);
    let mut chats = value(Figure::TotalChats);
    let by_day: Map<_, _> = days
        .each()
        .map(|day| {
            (
                day.to_string(),
                json!(
                    world
                        .select(day_span(day, &days.zone), &figure_query.filter)
                        .total()
                ),
            )
        })
        .collect();
    chats.insert("by_day".to_owned(), Value::Object(by_day));
    chats.insert(
        "engagement".to_owned(),
        Value::Object(value(Figure::Engagement)),
    );
    json!({
        "period": {"from": days.from, "to": days.to}, "chats": chats, "ratings": value(Figure::Ratings), "queue": value(Figure::Queued),
        "response": value(Figure::FirstResponse), "availability": value(Figure::Availability),
        "tickets": {
            "new": TicketFigure::New.value(&found, std::slice::from_ref(&span)),
            "solved": TicketFigure::Solved.value(&found, std::slice::from_ref(&span)),
        },
    })
}
