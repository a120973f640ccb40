//! `GET /chats`: a page of the archive.

use std::sync::Arc;

use axum::extract::{Request, State};
use jiff::civil::Date;
use serde::Serialize;

use super::super::faults::PageFaults;
use super::super::selection::ContentFilter;
use super::super::world::World;
use super::arguments::{DayRange, HandlerResult, JsonErrorResponse, QueryArguments};
use super::chat::ChatJson;
use super::{MAX_PAGES, PAGE, pages, raw_json};

#[derive(Serialize)]
struct ChatsJson<'a> {
    chats: Vec<ChatJson<'a>>,
    total: u64,
    pages: u64,
}

pub async fn chats(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let page_faults = request
        .extensions()
        .get::<PageFaults>()
        .copied()
        .unwrap_or_default();
    let mut arguments = QueryArguments::of(&request);
    let days = DayRange::take(&mut arguments, &world, |_| Date::ZERO)?;
    let mut filter = arguments.filter()?;
    let page = arguments.page()?;
    filter.include_pending = arguments.flag("include_pending")?.unwrap_or_default();
    filter.tagged = arguments.flag("tagged")?;
    filter.has_goal = arguments.flag("has_goal")?;
    filter.goal = arguments.parsed("goal")?;
    filter.queued = arguments.flag("queued")?;
    filter.rate = arguments.word("rate", &["rated_good", "rated_bad", "not_rated"])?;
    filter.content = ContentFilter {
        query: arguments.take("query").filter(|query| !query.is_empty()),
        visitor: arguments.take("visitor_id"),
        city: arguments.take("city"),
        region: arguments.take("region"),
        country: arguments.take("country"),
        comment: arguments.flag("comment")?,
    };
    arguments.done()?;
    if page > MAX_PAGES {
        return Err(JsonErrorResponse::argument(format!(
            "Only the newest {} chats of a query can be read; narrow the dates",
            MAX_PAGES * PAGE
        )));
    }
    let selection = world.select(days.span(), &filter);
    let total = selection
        .total()
        .saturating_add_signed(page_faults.total_by);
    let page = if page_faults.repeat_page {
        page.saturating_sub(1).max(1)
    } else {
        page
    };
    let chats: Vec<_> = selection
        .numbers((page - 1) * PAGE, PAGE)
        .into_iter()
        .map(|number| world.chat(number))
        .collect();
    let chats = chats
        .iter()
        .map(|chat| ChatJson::new(chat, &days.zone))
        .collect();
    raw_json(&ChatsJson {
        chats,
        total,
        pages: pages(total),
    })
}
