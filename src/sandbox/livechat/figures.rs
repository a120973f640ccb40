//! What the chat reports tell of a period, added up over the slots and seeds of its chats: no chat is made. Chats, engagement, missed
//! chats, ratings, queue, chatting time, goals and sales are what the archive itself tells chat by chat. Response times, availability and
//! how often a greeting was shown are not in the archive: they are seeded per chat and per hour, so that periods add up.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::super::cast::{Cast, GoalKind};
use super::super::chat;
use super::super::selection::Filter;
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

/// What a report leaves over.
#[derive(Debug, Default)]
pub struct Ask {
    pub filter: Filter,
    pub goal: Option<u32>,
    pub greeting: Option<u32>,
    pub sales_tracker: bool,
    pub currency: Option<String>,
}

/// How many, and what they add up to.
#[derive(Default)]
struct Tally {
    count: u64,
    sum: u64,
    least: Option<u64>,
    most: Option<u64>,
}

impl Tally {
    fn of(values: impl Iterator<Item = u64>) -> Self {
        let mut tally = Self::default();
        for value in values {
            tally.count += 1;
            tally.sum += value;
            tally.least = Some(tally.least.map_or(value, |least| least.min(value)));
            tally.most = Some(tally.most.map_or(value, |most| most.max(value)));
        }
        tally
    }

    /// Rounded to the nearest; none of none.
    fn average(&self) -> Option<u64> {
        (self.sum + self.count / 2).checked_div(self.count)
    }
}

impl Figure {
    /// The value of a period that is made of `spans` (unix seconds, ends not included). `by_hour`: in minutes where it would be hours.
    pub fn value(self, world: &World, spans: &[Range<i64>], ask: &Ask, by_hour: bool) -> Map<String, Value> {
        let selections: Vec<_> = spans.iter().map(|span| world.select(span.clone(), &ask.filter)).collect();
        let all = || selections.iter().flat_map(|selection| selection.all());
        let count = |holds: &dyn Fn(&Cast) -> bool| all().filter(|number| holds(world.cast(*number))).count();
        let time =
            |seconds: u64| if by_hour { json!({"minutes": rounded(seconds as f64 / 60.0)}) } else { json!({"hours": rounded(seconds as f64 / 3_600.0)}) };
        let total = || selections.iter().map(|selection| selection.total()).sum::<u64>();
        let value = match self {
            Self::TotalChats => json!({"chats": total()}),
            Self::Engagement => {
                let by = |engagement: &str| count(&|cast| cast.engagement == engagement);
                json!({
                    "chats_from_auto_invite": by("auto_invite"), "chats_from_immediate_start": by("immediate_start"),
                    "chats_from_manual_invite": by("manual_invite"),
                })
            }
            Self::NotReplied => json!({"not_replied": count(&|cast| cast.missed)}),
            Self::Ratings => {
                json!({"bad": count(&|cast| cast.rating == "rated_bad"), "good": count(&|cast| cast.rating == "rated_good"), "chats": total()})
            }
            Self::Queued => {
                let (left, entered) = (count(&|cast| cast.queued && cast.missed), count(&|cast| cast.queued && !cast.missed));
                json!({"queued": {"count": left + entered}, "left_queue": {"count": left}, "entered_chat": {"count": entered}})
            }
            Self::Waiting => {
                let waits = |holds: &dyn Fn(&Cast) -> bool| {
                    let queued = all().filter(|number| world.cast(*number).queued && holds(world.cast(*number)));
                    waits_json(&Tally::of(queued.map(|number| chat::queue_seconds(world.seed(), number))))
                };
                json!({"queued": waits(&|_| true), "left_queue": waits(&|cast| cast.missed), "entered_chat": waits(&|cast| !cast.missed)})
            }
            Self::Availability => {
                let staff = shift::staff(ask.filter.groups.first().copied(), ask.filter.agents.first().map(String::as_str));
                time(spans.iter().map(|span| shift::accepting(world.seed(), &staff, span, world.now())).sum())
            }
            Self::ChattingTime => time(all().map(|number| world.seconds(number)).sum()),
            Self::FirstResponse => {
                let tally = Tally::of(all().filter_map(|number| world.waits(number)).map(|(first, _)| first));
                json!({"first_response_time": {"count": tally.count, "seconds": tally.average()}})
            }
            Self::Response => {
                let tally = Tally::of(all().filter_map(|number| world.waits(number)).map(|(_, later)| later));
                json!({"avg_response_time": {"count": tally.count, "seconds": tally.average()}})
            }
            Self::Goals => return goals(world, all(), ask),
            Self::Greetings => {
                let greeted = || all().filter_map(|number| world.greeting(number).map(|greeting| (number, greeting)));
                let greeted = || greeted().filter(|(_, (id, _))| ask.greeting.is_none_or(|wanted| wanted == *id));
                let reached = |kind: GoalKind| ask.goal.is_none_or(|goal| kind.id() == goal);
                json!({
                    "displayed": greeted().map(|(_, (_, shown))| shown).sum::<u64>(), "accepted": greeted().count(),
                    "goals": greeted().filter(|(number, _)| world.cast(*number).goal.is_some_and(reached)).count(),
                })
            }
        };
        if let Value::Object(value) = value { value } else { Map::new() }
    }
}

fn waits_json(tally: &Tally) -> Value {
    let seconds = |value: Option<u64>| json!({"seconds": value.unwrap_or_default()});
    json!({"count": tally.count, "min": seconds(tally.least), "max": seconds(tally.most), "average": seconds(tally.average())})
}

/// A period without sales has no `value`.
fn goals(world: &World, all: impl Iterator<Item = u64>, ask: &Ask) -> Map<String, Value> {
    let (mut reached, mut sales) = (0u64, BTreeMap::<&str, (u64, u64)>::new());
    for number in all {
        let Some(kind) = world.cast(number).goal else { continue };
        if ask.goal.is_some_and(|goal| goal != kind.id()) || (ask.sales_tracker && kind != GoalKind::Sale) {
            continue;
        }
        reached += 1;
        let (cents, currency) = chat::sale(world.seed(), number);
        if kind == GoalKind::Sale && ask.currency.as_ref().is_none_or(|wanted| wanted == currency) {
            let (count, sum) = sales.entry(currency).or_default();
            (*count, *sum) = (*count + 1, *sum + cents);
        }
    }
    let mut value = Map::new();
    value.insert("goals".to_owned(), json!(reached));
    if !sales.is_empty() {
        let told = |(currency, (count, cents)): (&str, (u64, u64))| (currency.to_owned(), json!({"sales_count": count, "value": cents as f64 / 100.0}));
        value.insert("value".to_owned(), Value::Object(sales.into_iter().map(told).collect()));
    }
    value
}

/// To two digits behind the point.
pub fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
