//! The period reports and the rankings, computed from complete chats and tickets.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::super::chat::Chat;
use super::super::shift;
use super::super::ticket::{Ticket, TicketStep};
use super::{TruthContext, chats, tickets};

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `None`: there is no such report.
pub fn answer(context: &TruthContext<'_>) -> Result<Option<Value>, String> {
    let report = context.question.report.as_str();
    match report {
        "ranking_report" | "ticket_ranking_report" => return Ok(Some(ranking(context))),
        "simultaneous_chats_report" => return simultaneous(context).map(Some),
        _ => {}
    }
    let by = by(context)?;
    let periods = if report == "availability_report" {
        availability(context, by)?
    } else if let Some(value) = of_chats(report) {
        let chats = chats::found(context).into_iter().map(|number| {
            (
                context.local(context.world.started(number)),
                (number, context.world.chat(number)),
            )
        });
        values(&sorted(context, by, chats), |found| {
            value(context, found, by == PeriodUnit::Hour)
        })
    } else if let Some((step, value)) = of_tickets(report) {
        let moment = |ticket: Ticket| Some((context.local(ticket.first(step)?), ticket));
        let found = tickets::all(context)
            .into_iter()
            .filter_map(moment)
            .filter(|(at, _)| context.day_matches(at.date()));
        values(&sorted(context, by, found), value)
    } else {
        return Ok(None);
    };
    // A period of the goals report has a row for each currency.
    let rows = |value: &Value| {
        value
            .get("value")
            .and_then(Value::as_object)
            .map_or(1, Map::len)
    };
    Ok(Some(
        json!({"count": periods.values().map(rows).sum::<usize>(), "periods": periods}),
    ))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PeriodUnit {
    Day,
    Hour,
    Month,
}

impl PeriodUnit {
    fn period(self, at: DateTime) -> String {
        match self {
            Self::Day => at.date().to_string(),
            Self::Hour => format!("{:02}:00", at.hour()),
            Self::Month => at.strftime("%Y-%m").to_string(),
        }
    }
}

fn by(context: &TruthContext<'_>) -> Result<PeriodUnit, String> {
    let question = context.question;
    match question.group_by.as_deref() {
        None if question.date_from.is_some() && question.date_from == question.date_to => {
            Ok(PeriodUnit::Hour)
        }
        None | Some("day") => Ok(PeriodUnit::Day),
        Some("hour") => Ok(PeriodUnit::Hour),
        Some("month") => Ok(PeriodUnit::Month),
        Some(_) => Err("group_by is day, hour or month.".to_owned()),
    }
}

/// Groups by period; empty periods are included if both days are given.
fn sorted<T>(
    context: &TruthContext<'_>,
    by: PeriodUnit,
    all: impl Iterator<Item = (DateTime, T)>,
) -> BTreeMap<String, Vec<T>> {
    let mut periods = BTreeMap::<String, Vec<T>>::new();
    if let (Some(from), Some(to)) = (context.question.date_from, context.question.date_to) {
        let mut day = from;
        while day <= to {
            let hours = if by == PeriodUnit::Hour { 0..24 } else { 0..1 };
            for hour in hours {
                periods.entry(by.period(day.at(hour, 0, 0, 0))).or_default();
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
    }
    for (at, one) in all {
        periods.entry(by.period(at)).or_default().push(one);
    }
    periods
}

fn values<T>(
    periods: &BTreeMap<String, Vec<T>>,
    value: impl Fn(&[T]) -> Value,
) -> BTreeMap<String, Value> {
    periods
        .iter()
        .map(|(period, found)| (period.clone(), value(found)))
        .collect()
}

type FoundChats = [(u64, Chat)];

fn of_chats(report: &str) -> Option<fn(&TruthContext<'_>, &FoundChats, bool) -> Value> {
    Some(match report {
        "chat_report" => |_, found, _| json!(found.len()),
        "chat_engagement_report" => |_, found, _| {
            let by = |engagement: &str| count(found, |chat| chat.engagement == engagement);
            let (auto, immediate, manual) = (
                by("auto_invite"),
                by("immediate_start"),
                by("manual_invite"),
            );
            json!({"chats_from_auto_invite": auto, "chats_from_immediate_start": immediate, "chats_from_manual_invite": manual})
        },
        "missed_chats_report" => {
            |_, found, _| json!({"not_replied": count(found, |chat| chat.missed)})
        }
        "ratings_report" => |_, found, _| {
            let rated = |rating: &str| count(found, |chat| chat.rating == rating);
            json!({"bad": rated("rated_bad"), "good": rated("rated_good"), "chats": found.len()})
        },
        "queued_visitor_report" => |_, found, _| {
            let queued = |left: Option<bool>| json!({"count": waits(found, left).len()});
            json!({"queued": queued(None), "left_queue": queued(Some(true)), "entered_chat": queued(Some(false))})
        },
        "queue_waiting_times_report" => |_, found, _| {
            let statistics = |left: Option<bool>| {
                let waits = waits(found, left);
                let seconds = |value: u64| json!({"seconds": value});
                let (min, max) = (
                    waits.iter().min().copied().unwrap_or(0),
                    waits.iter().max().copied().unwrap_or(0),
                );
                json!({"count": waits.len(), "min": seconds(min), "max": seconds(max), "average": seconds(mean(&waits).unwrap_or(0))})
            };
            json!({"queued": statistics(None), "left_queue": statistics(Some(true)), "entered_chat": statistics(Some(false))})
        },
        "chatting_time_report" => |_, found, by_hour| {
            time(
                found
                    .iter()
                    .map(|(_, chat)| chat.ended - chat.started)
                    .sum(),
                by_hour,
            )
        },
        "first_response_time_report" => |context, found, _| {
            let waits: Vec<u64> = found
                .iter()
                .filter_map(|(number, _)| Some(context.world.waits(*number)?.0))
                .collect();
            json!({"first_response_time": {"count": waits.len(), "seconds": mean(&waits)}})
        },
        "response_time_report" => |context, found, _| {
            let waits: Vec<u64> = found
                .iter()
                .filter_map(|(number, _)| Some(context.world.waits(*number)?.1))
                .collect();
            json!({"avg_response_time": {"count": waits.len(), "seconds": mean(&waits)}})
        },
        "goals_report" => |_, found, _| goals(found),
        "greetings_report" => |context, found, _| {
            let greeted: Vec<_> = found
                .iter()
                .filter_map(|(number, chat)| Some((chat, context.world.greeting(*number)?.1)))
                .collect();
            let reached = greeted
                .iter()
                .filter(|(chat, _)| !chat.goals.is_empty())
                .count();
            json!({"displayed": greeted.iter().map(|(_, shown)| shown).sum::<u64>(), "accepted": greeted.len(), "goals": reached})
        },
        _ => return None,
    })
}

fn count(found: &FoundChats, holds: impl Fn(&Chat) -> bool) -> usize {
    found.iter().filter(|(_, chat)| holds(chat)).count()
}

/// The waiting times of visitors who left the queue, of those who were answered, or of all.
fn waits(found: &FoundChats, left: Option<bool>) -> Vec<u64> {
    found
        .iter()
        .filter(|(_, chat)| left.is_none_or(|left| left == chat.missed))
        .filter_map(|(_, chat)| chat.queued_seconds)
        .collect()
}

fn mean(values: &[u64]) -> Option<u64> {
    (!values.is_empty())
        .then(|| (values.iter().sum::<u64>() as f64 / values.len() as f64).round() as u64)
}

fn time(seconds: i64, by_hour: bool) -> Value {
    let two_digits = |value: f64| (value * 100.0).round() / 100.0;
    if by_hour {
        json!({"minutes": two_digits(seconds as f64 / 60.0)})
    } else {
        json!({"hours": two_digits(seconds as f64 / 3_600.0)})
    }
}

fn goals(found: &FoundChats) -> Value {
    let all: Vec<_> = found.iter().flat_map(|(_, chat)| &chat.goals).collect();
    let mut value = json!({"goals": all.len()});
    for order in all.iter().filter_map(|goal| goal.order.as_ref()) {
        let sales = &mut value["value"][order.currency];
        let hundredths = order
            .price
            .replace('.', "")
            .parse::<u64>()
            .unwrap_or_default();
        let before = (sales["value"].as_f64().unwrap_or_default() * 100.0).round() as u64;
        *sales = json!({
            "sales_count": sales["sales_count"].as_u64().unwrap_or_default() + 1,
            "value": (before + hundredths) as f64 / 100.0,
        });
    }
    value
}

/// The step that decides in which period a ticket counts, and the value of a period.
type TicketValue = (TicketStep, fn(&[Ticket]) -> Value);

fn of_tickets(report: &str) -> Option<TicketValue> {
    Some(match report {
        "new_tickets_report" => (
            TicketStep::Opened,
            |found| json!({"new_tickets": found.len()}),
        ),
        "solved_ticket_report" => (
            TicketStep::Solved,
            |found| json!({"solved_tickets": found.len()}),
        ),
        "tickets_first_response_report" => (TicketStep::Answer, |found| {
            durations(found, TicketStep::Answer)
        }),
        "ticket_resolution_time_report" => (TicketStep::Solved, |found| {
            durations(found, TicketStep::Solved)
        }),
        "ticket_sources_report" => (TicketStep::Opened, |found| {
            let from = |source: &str| {
                found
                    .iter()
                    .filter(|ticket| ticket.source == source)
                    .count()
            };
            json!({"tickets_from_chat_window": from("chat_window"), "tickets_from_mail": from("mail"), "tickets_from_chat": from("chat")})
        }),
        "ticket_ratings_report" => (TicketStep::Solved, |found| {
            let rated = |good: bool| {
                found
                    .iter()
                    .filter(|ticket| ticket.rating() == Some(good))
                    .count()
            };
            json!({"bad": rated(false), "good": rated(true)})
        }),
        _ => return None,
    })
}

fn durations(found: &[Ticket], step: TicketStep) -> Value {
    let seconds: i64 = found
        .iter()
        .filter_map(|ticket| Some(ticket.first(step)? - ticket.first(TicketStep::Opened)?))
        .sum();
    let hours = (!found.is_empty())
        .then(|| (seconds as f64 / 3_600.0 / found.len() as f64 * 100.0).round() / 100.0);
    json!({"count": found.len(), "hours": hours})
}

/// The availability, counted minute by minute.
fn availability(
    context: &TruthContext<'_>,
    by: PeriodUnit,
) -> Result<BTreeMap<String, Value>, String> {
    let (Some(from), Some(to)) = (context.question.date_from, context.question.date_to) else {
        return Err("This report needs both days.".to_owned());
    };
    let begin = context
        .zone
        .to_timestamp(from.at(0, 0, 0, 0))
        .map_err(|why| why.to_string())?
        .as_second();
    let staff = shift::staff(context.question.group, context.question.agent.as_deref());
    let is_on = |at: i64| {
        staff.iter().any(|&agent| {
            ((at / 60 % 60) as u64) < shift::minutes(context.world.seed(), agent, at / 3_600)
        })
    };
    let moments = (begin..context.world.now())
        .step_by(60)
        .map(|at| (at, context.local(at)))
        .take_while(|(_, at)| at.date() <= to);
    let on = moments
        .filter(|(at, _)| is_on(*at))
        .map(|(at, local)| (local, (context.world.now() - at).min(60)));
    Ok(values(&sorted(context, by, on), |minutes| {
        time(minutes.iter().sum(), by == PeriodUnit::Hour)
    }))
}

/// `{"login": [good, bad]}` of rated agents.
fn ranking(context: &TruthContext<'_>) -> Value {
    let mut ratings = BTreeMap::<&str, [u64; 2]>::new();
    if context.question.report == "ranking_report" {
        for chat in chats::found(context)
            .into_iter()
            .map(|number| context.world.chat(number))
            .filter(|chat| chat.rating != "not_rated")
        {
            for agent in &chat.agents {
                ratings.entry(agent.login).or_default()[usize::from(chat.rating == "rated_bad")] +=
                    1;
            }
        }
    } else {
        for ticket in tickets::all(context) {
            let solved = ticket
                .first(TicketStep::Solved)
                .is_some_and(|at| context.day_matches(context.local(at).date()));
            if let (Some(agent), Some(good), true) = (ticket.assignee, ticket.rating(), solved) {
                ratings.entry(agent.login).or_default()[usize::from(!good)] += 1;
            }
        }
    }
    json!({"count": ratings.len(), "periods": ratings})
}

fn simultaneous(context: &TruthContext<'_>) -> Result<Value, String> {
    let (Some(from), Some(to)) = (context.question.date_from, context.question.date_to) else {
        return Err("This report needs both days.".to_owned());
    };
    let weekday = context.question.weekday.as_deref().unwrap_or("mon");
    let weekday = WEEKDAYS
        .iter()
        .position(|name| *name == weekday)
        .ok_or_else(|| "weekday is mon, tue ... sun.".to_owned())?;
    // A chat that started the evening before may still be in progress, so there is no filter by day
    // here.
    let everything = super::TruthQuestion {
        include_pending: 0,
        since: context.question.since,
        ..Default::default()
    };
    let everything = TruthContext {
        world: context.world,
        question: &everything,
        zone: context.zone.clone(),
    };
    let spans: Vec<_> = chats::found(&everything)
        .into_iter()
        .map(|number| {
            let started = context.world.started(number);
            (started, started + context.world.seconds(number) as i64)
        })
        .collect();
    let mut periods = BTreeMap::new();
    let mut day = from;
    while day <= to {
        for hour in 0..24 {
            let moment = context
                .zone
                .to_timestamp(day.at(hour, 0, 0, 0))
                .map_err(|why| why.to_string())?
                .as_second();
            let going = spans
                .iter()
                .filter(|(started, ended)| (*started..*ended).contains(&moment))
                .count();
            if day.weekday().to_monday_zero_offset() as usize == weekday {
                periods.insert(format!("{day} {hour:02}:00"), going);
            }
        }
        let Ok(next) = day.tomorrow() else { break };
        day = next;
    }
    Ok(json!({"count": periods.len(), "periods": periods}))
}
