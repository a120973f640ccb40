//! Serializes a chat in the format of LiveChat REST API v2, including its old and irregular
//! variants. Borrows from the chat and writes directly to bytes.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::super::chat::{Chat, ChatLine, ReachedGoal, SurveyAnswer, Visitor};
use super::super::people::{Agent, Place};

#[derive(Serialize)]
pub struct ChatJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(flatten)]
    visitor: VisitorJson<'a>,
    agents: Vec<AgentJson>,
    supervisors: Vec<AgentJson>,
    rate: &'static str,
    duration: i64,
    chat_start_url: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'static str>,
    group: &'static [u32],
    started: Written,
    started_timestamp: i64,
    ended: Written,
    ended_timestamp: i64,
    timezone: &'a str,
    prechat_survey: Vec<AnswerJson<'a>>,
    postchat_survey: Vec<AnswerJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_variables: Option<Vec<Pair<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    integration_variables: Option<[Pair<'a>; 1]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    goals: Vec<GoalJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Queue>,
    tags: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    tickets: Option<Vec<TicketJson<'a>>>,
    messages: Vec<MessageJson<'a>>,
    events: Vec<EventJson<'a>>,
    engagement: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<bool>,
    /// Undocumented fields: vendors add them without notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentiment: Option<Sentiment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ai_summary: Option<&'static str>,
}

/// Old answers have the visitor's fields next to the chat's own fields.
#[derive(Serialize)]
#[serde(untagged)]
enum VisitorJson<'a> {
    Now {
        visitor: VisitorObject<'a>,
    },
    Old {
        visitor_name: &'a str,
        visitor_id: &'a str,
        visitor_ip: &'a str,
    },
}

#[derive(Serialize)]
struct VisitorObject<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    ip: &'a str,
    #[serde(flatten)]
    place: &'static Place,
    user_agent: &'static str,
}

#[derive(Serialize)]
struct AgentJson {
    display_name: &'static str,
    email: &'static str,
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    key: &'static str,
    value: &'a str,
    id: u64,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct GoalJson<'a> {
    id: u32,
    name: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    date: Written,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<OrderJson<'a>>,
}

#[derive(Serialize)]
struct OrderJson<'a> {
    id: &'a str,
    description: &'static str,
    price: &'a str,
    currency: &'static str,
}

#[derive(Serialize)]
struct Queue {
    duration: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TicketJson<'a> {
    Id(&'a str),
    Object { id: &'a str },
}

#[derive(Serialize, Clone, Copy)]
struct MessageJson<'a> {
    author_name: &'a str,
    text: &'a str,
    date: Written,
    timestamp: i64,
    user_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'static str>,
}

#[derive(Serialize)]
struct EventJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [String]>,
    #[serde(flatten)]
    message: MessageJson<'a>,
}

#[derive(Serialize)]
struct Sentiment {
    score: f64,
    label: &'static str,
}

impl<'a> ChatJson<'a> {
    /// `zone` is the time zone of the query, in which the vendor formats its times.
    pub fn new(chat: &'a Chat, zone: &'a TimeZone) -> Self {
        let variation = chat.variation;
        let messages: Vec<_> = chat
            .lines
            .iter()
            .map(|line| MessageJson::new(line, chat, zone))
            .collect();
        ChatJson {
            kind: if chat.missed { "missed_chat" } else { "chat" },
            id: &chat.id,
            visitor: VisitorJson::new(&chat.visitor, variation.is_multiple_of(10)),
            agents: chat.agents.iter().map(AgentJson::from).collect(),
            supervisors: chat.supervisors.iter().map(AgentJson::from).collect(),
            rate: chat.rating,
            duration: chat.ended - chat.started,
            chat_start_url: chat.page,
            referrer: chat.referrer,
            group: chat.groups,
            started: Written::at(chat.started, zone),
            started_timestamp: chat.started,
            ended: Written::at(chat.ended, zone),
            ended_timestamp: chat.ended,
            timezone: zone.iana_name().unwrap_or("UTC"),
            prechat_survey: chat.before.iter().map(AnswerJson::from).collect(),
            postchat_survey: chat.after.iter().map(AnswerJson::from).collect(),
            custom_variables: chat
                .variables
                .as_ref()
                .map(|all| all.iter().map(|(key, value)| Pair { key, value }).collect()),
            integration_variables: (variation % 41 == 3).then_some([Pair {
                key: "shop_id",
                value: "00042",
            }]),
            goals: chat
                .goals
                .iter()
                .map(|goal| GoalJson::new(goal, zone))
                .collect(),
            queue: chat.queued_seconds.map(|duration| Queue { duration }),
            tags: &chat.tags,
            tickets: (!chat.tickets.is_empty()).then(|| {
                chat.tickets
                    .iter()
                    .map(|id| {
                        if variation & 2 == 0 {
                            TicketJson::Id(id)
                        } else {
                            TicketJson::Object { id }
                        }
                    })
                    .collect()
            }),
            events: events(chat, &messages, zone),
            messages,
            engagement: chat.engagement,
            pending: chat.pending.then_some(true),
            sentiment: (variation % 97 == 5).then_some(Sentiment {
                score: 0.73,
                label: "neutral, mostly",
            }),
            ai_summary: (variation % 89 == 7).then_some("Visitor asked; agent \"answered\"."),
        }
    }
}

impl<'a> VisitorJson<'a> {
    fn new(visitor: &'a Visitor, old: bool) -> Self {
        if old {
            return Self::Old {
                visitor_name: &visitor.name,
                visitor_id: &visitor.id,
                visitor_ip: &visitor.ip,
            };
        }
        Self::Now {
            visitor: VisitorObject {
                id: &visitor.id,
                name: &visitor.name,
                email: visitor.email.as_deref(),
                ip: &visitor.ip,
                place: visitor.place,
                user_agent: visitor.user_agent,
            },
        }
    }
}

impl From<&&'static Agent> for AgentJson {
    fn from(agent: &&'static Agent) -> Self {
        Self {
            display_name: agent.name,
            email: agent.login,
        }
    }
}

impl<'a> From<&'a SurveyAnswer> for AnswerJson<'a> {
    fn from(answer: &'a SurveyAnswer) -> Self {
        Self {
            key: answer.key,
            value: &answer.value,
            id: answer.id,
        }
    }
}

impl<'a> GoalJson<'a> {
    fn new(goal: &'a ReachedGoal, zone: &TimeZone) -> Self {
        let order = goal.order.as_ref().map(|order| OrderJson {
            id: &order.id,
            description: order.description,
            price: &order.price,
            currency: order.currency,
        });
        Self {
            id: goal.id,
            name: goal.name,
            kind: order.is_some().then_some("sales_tracker"),
            date: Written::at(goal.at, zone),
            timestamp: goal.at,
            order,
        }
    }
}

impl<'a> MessageJson<'a> {
    fn new(line: &'a ChatLine, chat: &'a Chat, zone: &TimeZone) -> Self {
        let (author_name, user_type) = match line.by {
            None => (&*chat.visitor.name, "visitor"),
            Some(agent) => (agent.name, "agent"),
        };
        Self {
            author_name,
            text: &line.text,
            date: Written::at(line.at, zone),
            timestamp: line.at,
            user_type,
            agent_id: line.by.map(|agent| agent.login),
        }
    }
}

/// All events: the messages, then files, then the end.
fn events<'a>(chat: &'a Chat, messages: &[MessageJson<'a>], zone: &TimeZone) -> Vec<EventJson<'a>> {
    let mut events: Vec<_> = messages
        .iter()
        .map(|message| EventJson {
            kind: "message",
            event_type: None,
            files: None,
            message: *message,
        })
        .collect();
    let at_end = MessageJson {
        author_name: &chat.visitor.name,
        text: "",
        date: Written::at(chat.ended, zone),
        timestamp: chat.ended,
        user_type: "visitor",
        agent_id: None,
    };
    if !chat.files.is_empty() {
        events.push(EventJson {
            kind: "attachment",
            event_type: None,
            files: Some(&chat.files),
            message: at_end,
        });
    }
    if !chat.pending {
        let closed = MessageJson {
            text: "The chat was closed.",
            ..at_end
        };
        events.push(EventJson {
            kind: "event",
            event_type: Some("closed"),
            files: None,
            message: closed,
        });
    }
    events
}

/// A time in the vendor's format: `Wed, 01/23/13 11:40:53 am`.
#[derive(Clone, Copy)]
pub struct Written(DateTime);

impl Written {
    /// `seconds` since 1970.
    pub fn at(seconds: i64, zone: &TimeZone) -> Self {
        Self(zone.to_datetime(Timestamp::from_second(seconds).unwrap_or_default()))
    }

    /// Formatted without the time library for speed, because a page has about six hundred of these.
    fn text(self) -> [u8; 25] {
        const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
        let mut text = *b"ddd, 00/00/00 00:00:00 xm";
        let hour = self.0.hour();
        text[..3].copy_from_slice(DAYS[self.0.weekday().to_monday_zero_offset() as usize]);
        let mut two = |at: usize, value: i8| {
            text[at] = b'0' + value as u8 / 10;
            text[at + 1] = b'0' + value as u8 % 10;
        };
        two(5, self.0.month());
        two(8, self.0.day());
        two(11, (self.0.year().rem_euclid(100)) as i8);
        two(14, if hour % 12 == 0 { 12 } else { hour % 12 });
        two(17, self.0.minute());
        two(20, self.0.second());
        text[23] = if hour < 12 { b'a' } else { b'p' };
        text
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_the_vendors_format() {
        let written = |seconds| {
            String::from_utf8(Written::at(seconds, &TimeZone::UTC).text().to_vec()).unwrap()
        };
        assert_eq!(written(1_358_941_253), "Wed, 01/23/13 11:40:53 am");
        assert_eq!(written(1_358_899_200), "Wed, 01/23/13 12:00:00 am");
        assert_eq!(written(1_358_944_496), "Wed, 01/23/13 12:34:56 pm");
    }
}
