//! Computes the chat reports of a period from the slots and seeds of its chats, without generating
//! chats. Chats, engagement, missed chats, ratings, queue, chatting time, goals and sales agree
//! with the archive's chats. Response times, availability and greeting counts are not in the
//! archive: they are seeded per chat and per hour, so that periods add up.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::super::chat;
use super::super::chat_profile::{ChatProfile, GoalKind};
use super::super::selection::ChatFilter;
use super::super::shift;
use super::super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    TotalChats,
    Engagement,
    NotReplied,
    Ratings,
    Queued,
    Waiting,
    Availability,
    ChattingTime,
    FirstResponse,
    Response,
    Goals,
    Greetings,
}

/// The filter of a report.
#[derive(Debug, Default)]
pub struct FigureQuery {
    pub filter: ChatFilter,
    pub goal: Option<u32>,
    pub greeting: Option<u32>,
    pub sales_tracker: bool,
    pub currency: Option<String>,
}

/// The count, sum, minimum and maximum of values.
#[derive(Default)]
struct FigureTotals {
    count: u64,
    sum: u64,
    min: Option<u64>,
    max: Option<u64>,
}

impl FigureTotals {
    fn of(values: impl Iterator<Item = u64>) -> Self {
        let mut totals = Self::default();
        for value in values {
            totals.count += 1;
            totals.sum += value;
            totals.min = Some(totals.min.map_or(value, |min| min.min(value)));
            totals.max = Some(totals.max.map_or(value, |max| max.max(value)));
        }
        totals
    }

    /// Rounded to the nearest; `None` if there are no values.
    fn average(&self) -> Option<u64> {
        (self.sum + self.count / 2).checked_div(self.count)
    }
}

impl Figure {
    /// The value of a period that consists of `spans` (unix seconds, without ends). `by_hour`: in
    /// minutes instead of hours.
    pub fn value(
        self,
        world: &World,
        spans: &[Range<i64>],
        figure_query: &FigureQuery,
        by_hour: bool,
    ) -> Map<String, Value> {
        let selections: Vec<_> = spans
            .iter()
            .map(|span| world.select(span.clone(), &figure_query.filter))
            .collect();
        let all = || selections.iter().flat_map(|selection| selection.all());
        let count = |holds: &dyn Fn(&ChatProfile) -> bool| {
            all().filter(|number| holds(world.profile(*number))).count()
        };
        let time = |seconds: u64| {
            if by_hour {
                json!({"minutes": rounded(seconds as f64 / 60.0)})
            } else {
                json!({"hours": rounded(seconds as f64 / 3_600.0)})
            }
        };
        let total = || {
            selections
                .iter()
                .map(|selection| selection.total())
                .sum::<u64>()
        };
        let value = match self {
            Self::TotalChats => json!({"chats": total()}),
            Self::Engagement => {
                let by = |engagement: &str| count(&|profile| profile.engagement == engagement);
                json!({
                    "chats_from_auto_invite": by("auto_invite"),
                    "chats_from_immediate_start": by("immediate_start"),
                    "chats_from_manual_invite": by("manual_invite"),
                })
            }
            Self::NotReplied => json!({"not_replied": count(&|profile| profile.missed)}),
            Self::Ratings => {
                let rated = |rating: &str| count(&|profile| profile.rating == rating);
                json!({"bad": rated("rated_bad"), "good": rated("rated_good"), "chats": total()})
            }
            Self::Queued => {
                let (left, entered) = (
                    count(&|profile| profile.queued && profile.missed),
                    count(&|profile| profile.queued && !profile.missed),
                );
                json!({
                    "queued": {"count": left + entered},
                    "left_queue": {"count": left},
                    "entered_chat": {"count": entered},
                })
            }
            Self::Waiting => {
                let waits = |holds: &dyn Fn(&ChatProfile) -> bool| {
                    let queued = all().filter(|number| {
                        world.profile(*number).queued && holds(world.profile(*number))
                    });
                    waits_json(&FigureTotals::of(
                        queued.map(|number| chat::queue_seconds(world.seed(), number)),
                    ))
                };
                json!({
                    "queued": waits(&|_| true),
                    "left_queue": waits(&|profile| profile.missed),
                    "entered_chat": waits(&|profile| !profile.missed),
                })
            }
            Self::Availability => {
                let staff = shift::staff(
                    figure_query.filter.groups.first().copied(),
                    figure_query.filter.agents.first().map(String::as_str),
                );
                time(
                    spans
                        .iter()
                        .map(|span| shift::accepting(world.seed(), &staff, span, world.now()))
                        .sum(),
                )
            }
            Self::ChattingTime => time(all().map(|number| world.seconds(number)).sum()),
            Self::FirstResponse => {
                let totals = FigureTotals::of(
                    all()
                        .filter_map(|number| world.waits(number))
                        .map(|(first, _)| first),
                );
                json!({"first_response_time": {"count": totals.count, "seconds": totals.average()}})
            }
            Self::Response => {
                let totals = FigureTotals::of(
                    all()
                        .filter_map(|number| world.waits(number))
                        .map(|(_, later)| later),
                );
                json!({"avg_response_time": {"count": totals.count, "seconds": totals.average()}})
            }
            Self::Goals => return goals(world, all(), figure_query),
            Self::Greetings => {
                let greeted = || {
                    all().filter_map(|number| {
                        world.greeting(number).map(|greeting| (number, greeting))
                    })
                };
                let greeted = || {
                    greeted().filter(|(_, (id, _))| {
                        figure_query.greeting.is_none_or(|wanted| wanted == *id)
                    })
                };
                let reached =
                    |kind: GoalKind| figure_query.goal.is_none_or(|goal| kind.id() == goal);
                json!({
                    "displayed": greeted().map(|(_, (_, shown))| shown).sum::<u64>(), "accepted": greeted().count(),
                    "goals": greeted().filter(|(number, _)| world.profile(*number).goal.is_some_and(reached)).count(),
                })
            }
        };
        if let Value::Object(value) = value {
            value
        } else {
            Map::new()
        }
    }
}

fn waits_json(totals: &FigureTotals) -> Value {
    let seconds = |value: Option<u64>| json!({"seconds": value.unwrap_or_default()});
    json!({"count": totals.count, "min": seconds(totals.min), "max": seconds(totals.max), "average": seconds(totals.average())})
}

/// A period without sales has no `value`.
fn goals(
    world: &World,
    all: impl Iterator<Item = u64>,
    figure_query: &FigureQuery,
) -> Map<String, Value> {
    let (mut reached, mut sales) = (0u64, BTreeMap::<&str, (u64, u64)>::new());
    for number in all {
        let Some(kind) = world.profile(number).goal else {
            continue;
        };
        if figure_query.goal.is_some_and(|goal| goal != kind.id())
            || (figure_query.sales_tracker && kind != GoalKind::Sale)
        {
            continue;
        }
        reached += 1;
        let (cents, currency) = chat::sale(world.seed(), number);
        if kind == GoalKind::Sale
            && figure_query
                .currency
                .as_ref()
                .is_none_or(|wanted| wanted == currency)
        {
            let (count, sum) = sales.entry(currency).or_default();
            (*count, *sum) = (*count + 1, *sum + cents);
        }
    }
    let mut value = Map::new();
    value.insert("goals".to_owned(), json!(reached));
    if !sales.is_empty() {
        let by_currency = |(currency, (count, cents)): (&str, (u64, u64))| {
            (
                currency.to_owned(),
                json!({"sales_count": count, "value": cents as f64 / 100.0}),
            )
        };
        value.insert(
            "value".to_owned(),
            Value::Object(sales.into_iter().map(by_currency).collect()),
        );
    }
    value
}

/// Rounds to two decimals.
pub fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
