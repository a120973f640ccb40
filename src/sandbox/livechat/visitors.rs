//! `GET /visitors`: the visitors who are on the site now.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::visitor::{OnSite, on_site};
use super::super::world::World;
use super::arguments::{HandlerResult, QueryArguments};
use super::chat::Written;
use super::lists::extend;

pub async fn visitors(State(world): State<Arc<World>>, request: Request) -> HandlerResult {
    let mut arguments = QueryArguments::of(&request);
    let state = arguments.take("state");
    let groups: Vec<u32> = arguments.parsed_list("group")?;
    arguments.done()?;
    let mut all = on_site(world.seed(), world.now());
    all.retain(|visitor| {
        state.as_ref().is_none_or(|state| visitor.state == state)
            && (groups.is_empty() || groups.contains(&visitor.group))
    });
    Ok(Json(all.iter().map(visitor_json).collect::<Vec<_>>()).into_response())
}

fn visitor_json(visitor: &OnSite) -> Value {
    let (variation, place) = (visitor.variation, visitor.place);
    let written = |at: i64| Written::at(at, &TimeZone::UTC);
    let entered = visitor.path.last().copied().unwrap_or_default();
    let begun = visitor.path.first().map(|(at, _)| *at).unwrap_or_default();
    let talks = !visitor.operators.is_empty();
    let mut json = json!({
        "id": visitor.id,
        "name": visitor.name,
        "ip": visitor.ip,
        "host": format!("{}.example.net", visitor.ip.replace('.', "-")),
        "browser": "Firefox 143",
        "language": place.country_code.to_lowercase(),
        "city": place.city,
        "region": place.region,
        "country": place.country,
        "country_code": place.country_code,
        "latitude": format!("{}.{:04}", variation % 90, variation % 9_973),
        "longitude": format!("-{}.{:04}", variation % 180, variation % 9_967),
        "timezone": place.timezone,
        "state": visitor.state,
        "group": visitor.group,
        "queue_start_time": if visitor.state == "queued" { json!(begun + 30) } else { json!("") },
        "invitation": if visitor.state == "invited" { "Second visit" } else { "" },
        "referrer": if variation.is_multiple_of(3) { "https://www.example.com/" } else { "" },
    });
    let steps: Vec<_> = visitor
        .path
        .iter()
        .map(|(at, page)| {
            json!({
                "page": page,
                "title": "Shop, «sko»",
                "invitation": "",
                "time": written(*at),
                "time_ref": "",
                "time_ts": at,
            })
        })
        .collect();
    let operators = visitor
        .operators
        .iter()
        .map(|agent| json!({"id": agent.login, "display_name": agent.name}));
    let survey = visitor
        .survey
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value}));
    extend(
        &mut json,
        json!({
            "page_current": entered.1,
            "page_address": entered.1,
            "page_title": "Shop, «sko»",
            "page_entered": written(entered.0),
            "page_entered_ts": entered.0,
            "page_time": "1 min",
            "page_time_ts": 60,
            "last_visit": written(begun - 86_400),
            "last_visit_ts": begun - 86_400,
            "page_views": visitor.path.len(),
            "visits": 1 + variation % 9,
            "chats": variation % 4,
            "greetings_accepted": variation % 2,
            "greetings_all": 2 + variation % 3,
            "greetings_refused": 1,
            "operators": operators.collect::<Vec<_>>(),
            "prechat_survey": survey.collect::<Vec<_>>(),
            "visit_path": steps,
        }),
    );
    if talks {
        let chat = json!({
            "chat_id": format!("SV{:08X}", variation as u32),
            "chat_start_time": written(begun + 45),
            "chat_start_time_ts": begun + 45,
        });
        extend(&mut json, chat);
    }
    if let Some(level) = visitor.variables {
        extend(
            &mut json,
            json!({"custom_variables": [{"key": "level", "value": level}]}),
        );
    }
    json
}
