//! `GET /tickets`: a page of the tickets with activity in the range, sorted by their last change.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use axum::extract::{Request, State};
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::faults::PageFaults;
use super::super::ticket::{LIFE, Ticket, TicketContent, TicketStep};
use super::super::world::World;
use super::arguments::{DayRange, HandlerResult, JsonErrorResponse, QueryArguments};
use super::lists::extend;
use super::{MAX_PAGES, PAGE, pages, raw_json};

#[derive(Serialize)]
struct TicketsJson {
    tickets: Vec<Value>,
    total: u64,
    pages: u64,
}

/// The filter of a query; missing values match everything.
struct TicketFilter {
    span: Range<i64>,
    group: Option<u32>,
    assignee: Option<String>,
    assigned: Option<bool>,
    status: Option<String>,
    source: Option<String>,
    tags: Vec<String>,
    tagged: Option<bool>,
    requester: Option<String>,
    query: Option<String>,
}

pub async fn tickets(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let page_faults = request
        .extensions()
        .get::<PageFaults>()
        .copied()
        .unwrap_or_default();
    let mut arguments = QueryArguments::of(&request);
    let days = DayRange::take(&mut arguments, &world, |_| Date::ZERO)?;
    let page = arguments.page()?;
    let ascending = arguments.word("order", &["asc", "desc"])?.as_deref() == Some("asc");
    let wanted = TicketFilter {
        span: days.span(),
        group: arguments.parsed("group")?,
        assignee: arguments.take("assignee"),
        assigned: arguments.flag("assigned")?,
        status: arguments.word("status", &["open", "pending", "solved", "spam"])?,
        source: arguments.take("source"),
        tags: arguments
            .take("tag")
            .into_iter()
            .chain(arguments.list("tag"))
            .collect(),
        tagged: arguments.flag("tagged")?,
        requester: arguments.take("requester[mail]"),
        query: arguments
            .take("query")
            .filter(|query| !query.is_empty())
            .map(|query| query.to_lowercase()),
    };
    arguments.done()?;
    if page > MAX_PAGES {
        return Err(JsonErrorResponse::argument(format!(
            "Only {} tickets of a query can be read; narrow the dates",
            MAX_PAGES * PAGE
        )));
    }
    let mut found: Vec<_> = world
        .tickets_from(wanted.span.start.saturating_sub(LIFE))
        .filter(|ticket| wanted.holds(ticket))
        .collect();
    found.sort_by_key(|ticket| Reverse((ticket.modified(), ticket.number)));
    if ascending {
        found.reverse();
    }
    let total = (found.len() as u64).saturating_add_signed(page_faults.total_by);
    let page = if page_faults.repeat_page {
        page.saturating_sub(1).max(1)
    } else {
        page
    };
    let tickets = found
        .iter()
        .skip(((page - 1) * PAGE) as usize)
        .take(PAGE as usize)
        .map(ticket_json)
        .collect();
    raw_json(&TicketsJson {
        tickets,
        total,
        pages: pages(total),
    })
}

impl TicketFilter {
    fn holds(&self, ticket: &Ticket) -> bool {
        let assignee = ticket.assignee.map(|agent| agent.login);
        ticket.active_in(&self.span)
            && self
                .group
                .is_none_or(|group| ticket.groups.contains(&group))
            && self
                .assignee
                .as_ref()
                .is_none_or(|login| assignee == Some(login))
            && self
                .assigned
                .is_none_or(|assigned| assigned == assignee.is_some())
            && self
                .status
                .as_ref()
                .is_none_or(|status| status == ticket.status())
            && self
                .source
                .as_ref()
                .is_none_or(|source| source == ticket.source)
            && (self.tags.is_empty()
                || ticket
                    .tags
                    .iter()
                    .any(|tag| self.tags.iter().any(|wanted| wanted == tag)))
            && self
                .tagged
                .is_none_or(|tagged| tagged != ticket.tags.is_empty())
            && self.says(ticket)
    }

    fn says(&self, ticket: &Ticket) -> bool {
        if self.requester.is_none() && self.query.is_none() {
            return true;
        }
        let TicketContent {
            name,
            mail,
            subject,
            messages,
        } = ticket.content();
        let holds = |query: &String| {
            [&*ticket.id(), &name, &mail, &subject]
                .iter()
                .chain(&messages)
                .any(|text| text.to_lowercase().contains(query))
        };
        self.requester.as_ref().is_none_or(|wanted| *wanted == mail)
            && self.query.as_ref().is_none_or(holds)
    }
}

fn ticket_json(ticket: &Ticket) -> Value {
    let TicketContent {
        name,
        mail,
        subject,
        messages,
    } = ticket.content();
    let events = ticket
        .steps
        .iter()
        .zip(messages)
        .map(|((at, step), message)| {
            let (author, to) = match (step, ticket.assignee) {
                (TicketStep::Opened | TicketStep::Reply, _) => {
                    (json!({"id": mail, "name": name, "type": "client"}), None)
                }
                (_, Some(agent)) => (
                    json!({"id": agent.login, "name": agent.name, "type": "agent"}),
                    (*step == TicketStep::Answer).then_some(&mail),
                ),
                (_, None) => (json!({"id": "", "name": "System", "type": "system"}), None),
            };
            let kind = if matches!(
                step,
                TicketStep::Solved | TicketStep::Reopened | TicketStep::Spam
            ) {
                "event"
            } else {
                "message"
            };
            let mut event = json!({
                "author": author,
                "date": at,
                "is_private": *step == TicketStep::Note,
                "message": message,
                "type": kind,
                "source": {"type": ticket.source},
            });
            if let Some(to) = to {
                extend(&mut event, json!({"to": to}));
            }
            event
        });
    let opened = ticket.open_spans().into_iter().map(|(from, to)| {
        to.map_or_else(
            || json!({"from": from}),
            |to| json!({"from": from, "to": to}),
        )
    });
    let first = ticket.first(TicketStep::Answer).map_or_else(
        || json!({}),
        |at| json!({"date": at, "seconds": at - ticket.opened()}),
    );
    let source = if ticket.source == "mail" {
        json!({"type": "mail", "to": "help@sandbox.test"})
    } else {
        json!({"type": ticket.source})
    };
    let mut json = json!({
        "id": ticket.id(),
        "requester": {"mail": mail, "name": name},
        "groups": ticket.groups,
        "status": ticket.status(),
        "subject": subject,
        "modified": ticket.modified(),
        "source": source,
        "opened": opened.collect::<Vec<_>>(),
        "firstResponse": first,
        "tags": ticket.tags,
        "events": events.collect::<Vec<_>>(),
    });
    if let Some(agent) = ticket.assignee {
        extend(
            &mut json,
            json!({"assignee": {"id": agent.login, "name": agent.name}}),
        );
    }
    // An undocumented field.
    if let Some(good) = ticket.rating() {
        extend(
            &mut json,
            json!({"rate": if good { "rated_good" } else { "rated_bad" }}),
        );
    }
    json
}
