//! Computes the ticket reports of a period. A ticket counts in the period of the step that the
//! report is about.

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::super::ticket::{Ticket, TicketStep};
use super::figures::rounded;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketFigure {
    New,
    FirstResponse,
    Solved,
    Resolution,
    Sources,
    Ratings,
}

impl TicketFigure {
    /// The time of the step that decides in which period a ticket counts.
    pub fn moment(self, ticket: &Ticket) -> Option<i64> {
        match self {
            Self::New | Self::Sources => Some(ticket.opened()),
            Self::FirstResponse => ticket.first(TicketStep::Answer),
            Self::Solved | Self::Resolution | Self::Ratings => ticket.first(TicketStep::Solved),
        }
    }

    /// The value of a period that consists of `spans` (unix seconds, without ends).
    pub fn value(self, tickets: &[Ticket], spans: &[Range<i64>]) -> Map<String, Value> {
        let here: Vec<_> = tickets
            .iter()
            .filter(|ticket| {
                self.moment(ticket)
                    .is_some_and(|at| spans.iter().any(|span| span.contains(&at)))
            })
            .collect();
        let durations = || {
            let seconds: i64 = here
                .iter()
                .filter_map(|ticket| self.moment(ticket).map(|at| at - ticket.opened()))
                .sum();
            let hours =
                (!here.is_empty()).then(|| rounded(seconds as f64 / 3_600.0 / here.len() as f64));
            json!({"count": here.len(), "hours": hours})
        };
        let value = match self {
            Self::New => json!({"new_tickets": here.len()}),
            Self::Solved => json!({"solved_tickets": here.len()}),
            Self::FirstResponse | Self::Resolution => durations(),
            Self::Sources => {
                let from =
                    |source: &str| here.iter().filter(|ticket| ticket.source == source).count();
                json!({
                    "tickets_from_chat_window": from("chat_window"),
                    "tickets_from_mail": from("mail"),
                    "tickets_from_chat": from("chat"),
                })
            }
            Self::Ratings => {
                let rated = |good: bool| {
                    here.iter()
                        .filter(|ticket| ticket.rating() == Some(good))
                        .count()
                };
                json!({"bad": rated(false), "good": rated(true)})
            }
        };
        if let Value::Object(value) = value {
            value
        } else {
            Map::new()
        }
    }
}
