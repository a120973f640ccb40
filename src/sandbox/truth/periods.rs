//! The period reports and the rankings, added up from whole chats and tickets as the archive tells them.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::super::chat::Chat;
use super::super::shift;
use super::super::ticket::{Step, Ticket};
use super::{Asked, chats, tickets};

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// None: there is no such report.
pub fn answer(asked: &Asked<'_>) -> Result<Option<Value>, String> {
    let report = asked.question.report.as_str();
    match report {
        "ranking_report" | "ticket_ranking_report" => return Ok(Some(ranking(asked))),
        "simultaneous_chats_report" => return simultaneous(asked).map(Some),
        _ => {}
    }
    let by = by(asked)?;
    let periods = if report == "availability_report" {
        availability(asked, by)?
    } else if let Some(value) = of_chats(report) {
        let chats = chats::found(asked).into_iter().map(|number| (asked.local(asked.world.started(number)), (number, asked.world.chat(number))));
        values(&sorted(asked, by, chats), |found| value(asked, found, by == By::Hour))
    } else if let Some((step, value)) = of_tickets(report) {
        let moment = |ticket: Ticket| Some((asked.local(ticket.first(step)?), ticket));
        let found = tickets::all(asked).into_iter().filter_map(moment).filter(|(at, _)| asked.day_is_asked(at.date()));
        values(&sorted(asked, by, found), value)
    } else {
        return Ok(None);
    };
    // A period of the goals report is a row for each currency.
    let rows = |value: &Value| value.get("value").and_then(Value::as_object).map_or(1, Map::len);
    Ok(Some(json!({"count": periods.values().map(rows).sum::<usize>(), "periods": periods})))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Day,
    Hour,
    Month,
}

impl By {
    fn period(self, at: DateTime) -> String {
        match self {
            Self::Day => at.date().to_string(),
            Self::Hour => format!("{:02}:00", at.hour()),
            Self::Month => at.strftime("%Y-%m").to_string(),
        }
    }
}

fn by(asked: &Asked<'_>) -> Result<By, String> {
    let question = asked.question;
    match question.group_by.as_deref() {
        None if question.date_from.is_some() && question.date_from == question.date_to => Ok(By::Hour),
        None | Some("day") => Ok(By::Day),
        Some("hour") => Ok(By::Hour),
        Some("month") => Ok(By::Month),
        Some(_) => Err("group_by is day, hour or month.".to_owned()),
    }
}

/// By period; empty ones are there too when both days are given.
fn sorted<T>(asked: &Asked<'_>, by: By, all: impl Iterator<Item = (DateTime, T)>) -> BTreeMap<String, Vec<T>> {
    let mut periods = BTreeMap::<String, Vec<T>>::new();
    if let (Some(from), Some(to)) = (asked.question.date_from, asked.question.date_to) {
        let mut day = from;
        while day <= to {
            let hours = if by == By::Hour { 0..24 } else { 0..1 };
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

fn values<T>(periods: &BTreeMap<String, Vec<T>>, value: impl Fn(&[T]) -> Value) -> BTreeMap<String, Value> {
    periods.iter().map(|(period, found)| (period.clone(), value(found))).collect()
}

type Found = [(u64, Chat)];

fn of_chats(report: &str) -> Option<fn(&Asked<'_>, &Found, bool) -> Value> {
    Some(match report {
        "chat_report" => |_, found, _| json!(found.len()),
        "chat_engagement_report" => |_, found, _| {
            let by = |engagement: &str| count(found, |chat| chat.engagement == engagement);
            let (auto, immediate, manual) = (by("auto_invite"), by("immediate_start"), by("manual_invite"));
            json!({"chats_from_auto_invite": auto, "chats_from_immediate_start": immediate, "chats_from_manual_invite": manual})
        },
        "missed_chats_report" => |_, found, _| json!({"not_replied": count(found, |chat| chat.missed)}),
        "ratings_report" => |_, found, _| {
            let rated = |rating: &str| count(found, |chat| chat.rating == rating);
            json!({"bad": rated("rated_bad"), "good": rated("rated_good"), "chats": found.len()})
        },
        "queued_visitor_report" => |_, found, _| {
            let queued = |left: Option<bool>| json!({"count": waits(found, left).len()});
            json!({"queued": queued(None), "left_queue": queued(Some(true)), "entered_chat": queued(Some(false))})
        },
        "queue_waiting_times_report" => |_, found, _| {
            let told = |left: Option<bool>| {
                let waits = waits(found, left);
                let seconds = |value: u64| json!({"seconds": value});
                let (least, most) = (waits.iter().min().copied().unwrap_or(0), waits.iter().max().copied().unwrap_or(0));
                json!({"count": waits.len(), "min": seconds(least), "max": seconds(most), "average": seconds(mean(&waits).unwrap_or(0))})
            };
            json!({"queued": told(None), "left_queue": told(Some(true)), "entered_chat": told(Some(false))})
        },
        "chatting_time_report" => |_, found, by_hour| time(found.iter().map(|(_, chat)| chat.ended - chat.started).sum(), by_hour),
        "first_response_time_report" => |asked, found, _| {
            let waits: Vec<u64> = found.iter().filter_map(|(number, _)| Some(asked.world.waits(*number)?.0)).collect();
            json!({"first_response_time": {"count": waits.len(), "seconds": mean(&waits)}})
        },
        "response_time_report" => |asked, found, _| {
            let waits: Vec<u64> = found.iter().filter_map(|(number, _)| Some(asked.world.waits(*number)?.1)).collect();
            json!({"avg_response_time": {"count": waits.len(), "seconds": mean(&waits)}})
        },
        "goals_report" => |_, found, _| goals(found),
        "greetings_report" => |asked, found, _| {
            let greeted: Vec<_> = found.iter().filter_map(|(number, chat)| Some((chat, asked.world.greeting(*number)?.1))).collect();
            let reached = greeted.iter().filter(|(chat, _)| !chat.goals.is_empty()).count();
            json!({"displayed": greeted.iter().map(|(_, shown)| shown).sum::<u64>(), "accepted": greeted.len(), "goals": reached})
        },
        _ => return None,
    })
}

fn count(found: &Found, holds: impl Fn(&Chat) -> bool) -> usize {
    found.iter().filter(|(_, chat)| holds(chat)).count()
}

/// How long those waited who left the queue, who were answered, or all.
fn waits(found: &Found, left: Option<bool>) -> Vec<u64> {
    found.iter().filter(|(_, chat)| left.is_none_or(|left| left == chat.missed)).filter_map(|(_, chat)| chat.queued_seconds).collect()
}

fn mean(values: &[u64]) -> Option<u64> {
    (!values.is_empty()).then(|| (values.iter().sum::<u64>() as f64 / values.len() as f64).round() as u64)
}

fn time(seconds: i64, by_hour: bool) -> Value {
    let two_digits = |value: f64| (value * 100.0).round() / 100.0;
    if by_hour { json!({"minutes": two_digits(seconds as f64 / 60.0)}) } else { json!({"hours": two_digits(seconds as f64 / 3_600.0)}) }
}

fn goals(found: &Found) -> Value {
    let all: Vec<_> = found.iter().flat_map(|(_, chat)| &chat.goals).collect();
    let mut value = json!({"goals": all.len()});
    for order in all.iter().filter_map(|goal| goal.order.as_ref()) {
        let sales = &mut value["value"][order.currency];
        let hundredths = order.price.replace('.', "").parse::<u64>().unwrap_or_default();
        let before = (sales["value"].as_f64().unwrap_or_default() * 100.0).round() as u64;
        *sales = json!({"sales_count": sales["sales_count"].as_u64().unwrap_or_default() + 1, "value": (before + hundredths) as f64 / 100.0});
    }
    value
}

/// The step that decides in which period a ticket counts, and the value of a period.
type TicketValue = (Step, fn(&[Ticket]) -> Value);

fn of_tickets(report: &str) -> Option<TicketValue> {
    Some(match report {
        "new_tickets_report" => (Step::Opened, |found| json!({"new_tickets": found.len()})),
        "solved_ticket_report" => (Step::Solved, |found| json!({"solved_tickets": found.len()})),
        "tickets_first_response_report" => (Step::Answer, |found| took(found, Step::Answer)),
        "ticket_resolution_time_report" => (Step::Solved, |found| took(found, Step::Solved)),
        "ticket_sources_report" => (Step::Opened, |found| {
            let from = |source: &str| found.iter().filter(|ticket| ticket.source == source).count();
            json!({"tickets_from_chat_window": from("chat_window"), "tickets_from_mail": from("mail"), "tickets_from_chat": from("chat")})
        }),
        "ticket_ratings_report" => (Step::Solved, |found| {
            let rated = |good: bool| found.iter().filter(|ticket| ticket.rating() == Some(good)).count();
            json!({"bad": rated(false), "good": rated(true)})
        }),
        _ => return None,
    })
}

fn took(found: &[Ticket], step: Step) -> Value {
    let seconds: i64 = found.iter().filter_map(|ticket| Some(ticket.first(step)? - ticket.first(Step::Opened)?)).sum();
    let hours = (!found.is_empty()).then(|| (seconds as f64 / 3_600.0 / found.len() as f64 * 100.0).round() / 100.0);
    json!({"count": found.len(), "hours": hours})
}

/// Minute by minute.
fn availability(asked: &Asked<'_>, by: By) -> Result<BTreeMap<String, Value>, String> {
    let (Some(from), Some(to)) = (asked.question.date_from, asked.question.date_to) else { return Err("This report needs both days.".to_owned()) };
    let begin = asked.zone.to_timestamp(from.at(0, 0, 0, 0)).map_err(|why| why.to_string())?.as_second();
    let staff = shift::staff(asked.question.group, asked.question.agent.as_deref());
    let is_on = |at: i64| staff.iter().any(|&agent| ((at / 60 % 60) as u64) < shift::minutes(asked.world.seed(), agent, at / 3_600));
    let moments = (begin..asked.world.now()).step_by(60).map(|at| (at, asked.local(at))).take_while(|(_, at)| at.date() <= to);
    let on = moments.filter(|(at, _)| is_on(*at)).map(|(at, local)| (local, (asked.world.now() - at).min(60)));
    Ok(values(&sorted(asked, by, on), |minutes| time(minutes.iter().sum(), by == By::Hour)))
}

/// `{"login": [good, bad]}` of those that were rated.
fn ranking(asked: &Asked<'_>) -> Value {
    let mut ratings = BTreeMap::<&str, [u64; 2]>::new();
    if asked.question.report == "ranking_report" {
        for chat in chats::found(asked).into_iter().map(|number| asked.world.chat(number)).filter(|chat| chat.rating != "not_rated") {
            for agent in &chat.agents {
                ratings.entry(agent.login).or_default()[usize::from(chat.rating == "rated_bad")] += 1;
            }
        }
    } else {
        for ticket in tickets::all(asked) {
            let solved = ticket.first(Step::Solved).is_some_and(|at| asked.day_is_asked(asked.local(at).date()));
            if let (Some(agent), Some(good), true) = (ticket.assignee, ticket.rating(), solved) {
                ratings.entry(agent.login).or_default()[usize::from(!good)] += 1;
            }
        }
    }
    json!({"count": ratings.len(), "periods": ratings})
}

fn simultaneous(asked: &Asked<'_>) -> Result<Value, String> {
    let (Some(from), Some(to)) = (asked.question.date_from, asked.question.date_to) else { return Err("This report needs both days.".to_owned()) };
    let weekday = asked.question.weekday.as_deref().unwrap_or("mon");
    let weekday = WEEKDAYS.iter().position(|name| *name == weekday).ok_or_else(|| "weekday is mon, tue ... sun.".to_owned())?;
    // A chat that began the evening before may still go on: so no filter by day here.
    let everything = super::Question { include_pending: 0, since: asked.question.since, ..Default::default() };
    let everything = Asked { world: asked.world, question: &everything, zone: asked.zone.clone() };
    let spans: Vec<_> = chats::found(&everything)
        .into_iter()
        .map(|number| {
            let started = asked.world.started(number);
            (started, started + asked.world.seconds(number) as i64)
        })
        .collect();
    let mut periods = BTreeMap::new();
    let mut day = from;
    while day <= to {
        for hour in 0..24 {
            let moment = asked.zone.to_timestamp(day.at(hour, 0, 0, 0)).map_err(|why| why.to_string())?.as_second();
            let going = spans.iter().filter(|(started, ended)| (*started..*ended).contains(&moment)).count();
            if day.weekday().to_monday_zero_offset() as usize == weekday {
                periods.insert(format!("{day} {hour:02}:00"), going);
            }
        }
        let Ok(next) = day.tomorrow() else { break };
        day = next;
    }
    Ok(json!({"count": periods.len(), "periods": periods}))
}
