//! A page of chats as plain structs, for the comparison.

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Page {
    pub chats: Vec<Chat>,
    pub pages: u64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
pub struct Chat {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    visitor: Option<Visitor>,
    visitor_id: Option<String>,
    visitor_name: Option<String>,
    visitor_ip: Option<String>,
    agents: Vec<Agent>,
    supervisors: Vec<Agent>,
    rate: String,
    duration: i64,
    chat_start_url: String,
    referrer: Option<String>,
    group: Vec<u32>,
    started: String,
    started_timestamp: i64,
    ended: String,
    ended_timestamp: i64,
    timezone: String,
    prechat_survey: Vec<Answer>,
    postchat_survey: Vec<Answer>,
    custom_variables: Option<Vec<Pair>>,
    integration_variables: Option<Vec<Pair>>,
    goals: Option<Vec<Goal>>,
    queue: Option<Queue>,
    tags: Vec<String>,
    tickets: Option<Vec<Ticket>>,
    pub messages: Vec<Message>,
    events: Vec<Event>,
    engagement: String,
    pending: Option<bool>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Visitor {
    id: String,
    name: String,
    email: Option<String>,
    ip: String,
    city: String,
    region: String,
    country: String,
    country_code: String,
    timezone: String,
    user_agent: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Agent {
    display_name: String,
    email: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Answer {
    key: String,
    value: String,
    id: u64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Pair {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Goal {
    id: u64,
    name: String,
    date: String,
    timestamp: i64,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Queue {
    duration: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "parsed, but not read")]
enum Ticket {
    Id(String),
    Object { id: String },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
pub struct Message {
    author_name: String,
    text: String,
    date: String,
    timestamp: i64,
    user_type: String,
    agent_id: Option<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed, but not read")]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    event_type: Option<String>,
    files: Option<Vec<String>>,
    author_name: Option<String>,
    text: Option<String>,
    date: Option<String>,
    timestamp: Option<i64>,
    user_type: Option<String>,
    agent_id: Option<String>,
}
