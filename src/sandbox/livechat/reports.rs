//! Reports by period (day, hour or month), the rankings, and the occupancy.

use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use jiff::ToSpan;
use serde_json::{Map, Value, json};

use super::super::people::{AGENT_COUNT, AGENTS};
use super::super::selection::ChatFilter;
use super::super::ticket::{LIFE, Ticket, TicketStep};
use super::super::world::World;
use super::arguments::{
    DayRange, HandlerResult, JsonErrorResponse, QueryArguments, bad_argument, begin, day_span,
    hour_span,
};
use super::figures::{Figure, FigureQuery};
use super::ticket_figures::TicketFigure;

/// The maximum range of a period report.
const MAX_DAYS: i32 = 3_700;
/// The maximum duration of a chat, in seconds.
const MAX_CHAT_SECONDS: i64 = 2_430;

/// A report of chats with the parameters in the vendor's documentation.
pub async fn of_chats(
    State(world): State<Arc<World>>,
    request: Request,
    figure: Figure,
) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let days = report_days(&mut arguments, &world)?;
    let mut figure_query = FigureQuery::default();
    let filter = &mut figure_query.filter;
    if figure == Figure::NotReplied {
        filter.groups = arguments.parsed_list("groups")?;
        filter.agents = arguments.list("agents");
    } else {
        filter.groups = arguments.parsed("group")?.into_iter().collect();
    }
    if !matches!(
        figure,
        Figure::NotReplied | Figure::Queued | Figure::Waiting | Figure::Greetings
    ) {
        filter.agents = arguments.take("agent").into_iter().collect();
    }
    if !matches!(
        figure,
        Figure::Queued | Figure::Waiting | Figure::Availability
    ) {
        filter.tags = arguments.list("tag");
    }
    if matches!(figure, Figure::Goals | Figure::Greetings) {
        figure_query.goal = arguments.parsed("goal")?;
    }
    if figure == Figure::Goals {
        figure_query.sales_tracker = arguments.take("sales_tracker").is_some();
        figure_query.currency = arguments.take("currency");
    }
    if figure == Figure::Greetings {
        figure_query.greeting = arguments.parsed("greeting")?;
    }
    let by = if matches!(figure, Figure::Availability | Figure::ChattingTime) {
        None
    } else {
        arguments.take("group_by")
    };
    arguments.done()?;
    by_period(&days, by.as_deref(), |spans, by_hour| {
        figure.value(&world, spans, &figure_query, by_hour)
    })
}

pub async fn of_tickets(
    State(world): State<Arc<World>>,
    request: Request,
    figure: TicketFigure,
) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let days = report_days(&mut arguments, &world)?;
    let mut filter = ChatFilter {
        groups: arguments.parsed("group")?.into_iter().collect(),
        ..ChatFilter::default()
    };
    if !matches!(figure, TicketFigure::New | TicketFigure::Sources) {
        filter.agents = arguments.take("agent").into_iter().collect();
    }
    filter.tags = arguments.list("tag");
    let by = arguments.take("group_by");
    arguments.done()?;
    let tickets = tickets(&world, &days.span(), &filter);
    by_period(&days, by.as_deref(), |spans, _| {
        figure.value(&tickets, spans)
    })
}

/// The tickets that match the filter and may have steps in a span.
pub fn tickets(world: &World, span: &Range<i64>, filter: &ChatFilter) -> Vec<Ticket> {
    let passes = |ticket: &Ticket| {
        (filter.groups.is_empty()
            || filter
                .groups
                .iter()
                .any(|group| ticket.groups.contains(group)))
            && (filter.agents.is_empty()
                || ticket
                    .assignee
                    .is_some_and(|agent| filter.agents.iter().any(|login| login == agent.login)))
            && (filter.tags.is_empty()
                || ticket
                    .tags
                    .iter()
                    .any(|tag| filter.tags.iter().any(|wanted| wanted == tag)))
    };
    world
        .tickets_from(span.start.saturating_sub(LIFE))
        .take_while(|ticket| ticket.opened() < span.end)
        .filter(passes)
        .collect()
}

/// The last seven days if the request has none.
fn report_days(
    arguments: &mut QueryArguments,
    world: &World,
) -> Result<DayRange, JsonErrorResponse> {
    let days = DayRange::take(arguments, world, |to| to.saturating_sub(6.days()))?;
    if (days.to - days.from).get_days() > MAX_DAYS {
        return Err(JsonErrorResponse::argument("The range is too long"));
    }
    Ok(days)
}

fn by_period(
    days: &DayRange,
    by: Option<&str>,
    value: impl Fn(&[Range<i64>], bool) -> Map<String, Value>,
) -> HandlerResult {
    let zone = &days.zone;
    let mut answer = Map::new();
    match by.unwrap_or(if days.from == days.to { "hour" } else { "day" }) {
        "day" => {
            for day in days.each() {
                answer.insert(
                    day.to_string(),
                    Value::Object(value(&[day_span(day, zone)], false)),
                );
            }
        }
        // For several days, an hour contains that hour of all days.
        "hour" => {
            for hour in 0..24i8 {
                let spans: Vec<_> = days.each().map(|day| hour_span(day, hour, zone)).collect();
                answer.insert(format!("{hour:02}:00"), Value::Object(value(&spans, true)));
            }
        }
        "month" => {
            let mut from = days.from;
            while from <= days.to {
                let to = from.last_of_month().min(days.to);
                let mut month = value(
                    &[DayRange {
                        from,
                        to,
                        zone: zone.clone(),
                    }
                    .span()],
                    false,
                );
                month.insert("begin".to_owned(), json!(from));
                month.insert("end".to_owned(), json!(to));
                answer.insert(
                    format!("{:04}-{:02}", from.year(), from.month()),
                    Value::Object(month),
                );
                from = to.saturating_add(1.day());
            }
        }
        _ => return Err(bad_argument("group_by")),
    }
    Ok(Json(Value::Object(answer)).into_response())
}

// ---- rankings ----

/// Good and bad ratings of each agent.
type Ratings = [(u64, u64); AGENT_COUNT];

pub async fn chat_ranking(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let (days, filter) = ranking_arguments(&world, &request)?;
    let mut ratings = Ratings::default();
    for number in world.select(days.span(), &filter).all() {
        let profile = world.profile(number);
        for &agent in &profile.agents {
            match profile.rating {
                "rated_good" => ratings[agent].0 += 1,
                "rated_bad" => ratings[agent].1 += 1,
                _ => {}
            }
        }
    }
    Ok(ranking_json(&ratings))
}

pub async fn ticket_ranking(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let (days, filter) = ranking_arguments(&world, &request)?;
    let (span, mut ratings) = (days.span(), Ratings::default());
    for ticket in tickets(&world, &span, &filter) {
        let position = AGENTS.iter().position(|agent| {
            ticket
                .assignee
                .is_some_and(|assignee| assignee.login == agent.login)
        });
        let (Some(agent), Some(good)) = (position, ticket.rating()) else {
            continue;
        };
        if ticket
            .first(TicketStep::Solved)
            .is_some_and(|at| span.contains(&at))
        {
            if good {
                ratings[agent].0 += 1
            } else {
                ratings[agent].1 += 1
            }
        }
    }
    Ok(ranking_json(&ratings))
}

fn ranking_arguments(
    world: &World,
    request: &Request,
) -> Result<(DayRange, ChatFilter), JsonErrorResponse> {
    let mut arguments = QueryArguments::of(request);
    let days = report_days(&mut arguments, world)?;
    let filter = ChatFilter {
        groups: arguments.parsed("group")?.into_iter().collect(),
        tags: arguments.list("tag"),
        ..ChatFilter::default()
    };
    arguments.done()?;
    Ok((days, filter))
}

/// Only rated agents, the best first.
fn ranking_json(ratings: &Ratings) -> axum::response::Response {
    let mut rated: Vec<_> = AGENTS
        .iter()
        .zip(ratings)
        .filter(|(_, (good, bad))| good + bad > 0)
        .map(|(agent, (good, bad))| (agent.login, *good, *bad))
        .collect();
    // Compares shares with integers.
    rated.sort_by_key(|(login, good, bad)| {
        (std::cmp::Reverse(good * 1_000_000 / (good + bad)), *login)
    });
    let ranking = rated.into_iter().map(|(login, good, bad)| {
        let total = good + bad;
        json!({
            "name": login,
            "good": good,
            "bad": bad,
            "total": total,
            "score": (good as f64 / total as f64 * 10_000.0).round() / 10_000.0,
        })
    });
    Json(json!({"ranking": ranking.collect::<Vec<_>>()})).into_response()
}

// ---- occupancy ----

/// The number of chats at each full hour, over all days with this weekday.
pub async fn occupancy(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let days = report_days(&mut arguments, &world)?;
    let weekday = arguments
        .take("weekday")
        .ok_or_else(|| JsonErrorResponse::argument("weekday is missing"))?;
    let weekday = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        .iter()
        .position(|name| *name == weekday)
        .ok_or_else(|| bad_argument("weekday"))?;
    arguments.done()?;
    let mut answer = Map::new();
    for day in days
        .each()
        .filter(|day| day.weekday().to_monday_zero_offset() as usize == weekday)
    {
        for hour in 0..24i8 {
            let moment = begin(day, hour, &days.zone);
            let begun = world.select(
                moment - MAX_CHAT_SECONDS..moment + 1,
                &ChatFilter::default(),
            );
            let going = begun
                .all()
                .filter(|number| world.started(*number) + world.seconds(*number) as i64 > moment)
                .count();
            answer.insert(format!("{day} {hour:02}:00"), json!(going));
        }
    }
    Ok(Json(Value::Object(answer)).into_response())
}
