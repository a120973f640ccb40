//! Backfill: ask for days that are past, follow how far it is, stop it and go on.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::ToSpan;
use serde::Deserialize;

use super::dataset::{DatasetHead, open};
use super::dataset_coverage::why_not;
use super::run_live::Live;
use crate::error::Error;
use crate::ids::DatasetId;
use crate::puller::backfills::{Asked, Backfill, MOST_CHUNK, State as BackfillState, USUAL_CHUNK};
use crate::web::Web;
use crate::web::asked::Id;
use crate::web::forms::Form;
use crate::web::page::{Answer, go, show, show_with};
use crate::web::parts::{Chrome, Errors, Status, When};
use crate::web::person::Person;
use crate::web::words::{self, counted, grouped};

#[derive(Template)]
#[template(path = "pages/dataset_backfill.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    live: Option<Live>,
    why_not: String,
    fields: Fields,
    zone: String,
    most_chunk: u32,
    errors: Errors,
    newest: Option<Row>,
    earlier: Vec<Row>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Fields {
    from: String,
    to: String,
    chunk_days: String,
}

/// A backfill as a page shows it.
struct Row {
    days: String,
    status: Status,
    why: String,
    done: String,
    percent: i64,
    rows: String,
    by: String,
    asked: When,
    left: String,
    again: String,
    run_href: String,
    can_cancel: bool,
    can_resume: bool,
}

/// `GET /datasets/{id}/backfill`
pub async fn ask(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    web.datasets.get_to_run(&person.actor, &id).await?;
    show(&page(&web, &person, &id, None, Errors::default()).await?)
}

async fn page(web: &Web, person: &Person, id: &DatasetId, fields: Option<Fields>, errors: Errors) -> crate::error::Result<Page> {
    let opened = open(web, &person.actor, id, "history").await?;
    let today = web.clock.timestamp().to_zoned(opened.zone.clone()).date();
    let back = |days: i64| today.saturating_sub(days.days()).to_string();
    let usual = || Fields { from: back(30), to: back(1), chunk_days: USUAL_CHUNK.to_string() };
    let mut rows = web.puller.backfills(&person.actor, id).await?.into_iter().map(|backfill| row(&backfill, &opened));
    let newest = rows.next();
    let earlier = rows.collect();
    let why_not = why_not(&opened).to_owned();
    Ok(Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        why_not,
        fields: fields.unwrap_or_else(usual),
        zone: opened.dataset.time_zone.clone(),
        most_chunk: MOST_CHUNK,
        errors,
        newest,
        earlier,
        head: opened.head,
        live: opened.live,
    })
}

fn row(backfill: &Backfill, opened: &super::dataset::Opened) -> Row {
    let status = match backfill.state {
        BackfillState::Running => Status::new("info", true, "Running", ""),
        BackfillState::Stopped => Status::new("bad", false, "Stopped", ""),
        BackfillState::Cancelled => Status::new("", true, "Cancelled", ""),
        BackfillState::Finished => Status::new("good", false, "Succeeded", ""),
    };
    let (done, all) = (backfill.chunks_done(), backfill.chunks());
    Row {
        days: words::days(backfill.days.from, backfill.days.to),
        status,
        why: backfill.why.as_deref().map(|why| opened.dataset.fit_to_read(why)).unwrap_or_default(),
        done: format!("{} of {}", grouped(done), counted(all, "date range", "date ranges")),
        percent: done * 100 / all.max(1),
        rows: counted(backfill.rows, "row", "rows"),
        by: backfill.asked_by_name.clone().unwrap_or_else(|| "Unknown person".to_owned()),
        asked: When::ago(backfill.created_at, opened.now, &opened.zone),
        left: backfill.next().map_or_else(String::new, |next| words::days(next.from, next.to)),
        again: backfill.retry_at.map_or_else(String::new, |at| {
            format!("A date range failed. Chatlake retries it {} {}.", words::coming(at, opened.now, &opened.zone), opened.dataset.time_zone)
        }),
        run_href: backfill.run.as_ref().map_or_else(String::new, |run| format!("/runs/{run}")),
        can_cancel: matches!(backfill.state, BackfillState::Running | BackfillState::Stopped),
        can_resume: matches!(backfill.state, BackfillState::Stopped | BackfillState::Cancelled),
    }
}

/// `POST /datasets/{id}/backfill`
pub async fn begin(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>, Form(fields): Form<Fields>) -> Answer {
    let dataset = web.datasets.get_to_run(&person.actor, &id).await?;
    let today = web.clock.timestamp().to_zoned(super::dataset::zone_of(&dataset)).date();
    let mut errors = Errors::default();
    let asked = match Asked::check(&fields.from, &fields.to, &fields.chunk_days, today) {
        Ok(asked) => asked,
        Err(error) => match errors.take(error) {
            Some(other) => return Err(other.into()),
            None => return show_with(StatusCode::UNPROCESSABLE_ENTITY, &page(&web, &person, &id, Some(fields), errors).await?),
        },
    };
    web.puller.backfill(&person.actor, &id, &asked).await?;
    web.say_next(&person.session, "Backfill started with the newest days. The schedule continues.").await;
    go(&format!("/datasets/{id}/backfill"))
}

async fn newest(web: &Web, person: &Person, id: &DatasetId) -> crate::error::Result<Backfill> {
    web.datasets.get_to_run(&person.actor, id).await?;
    web.puller.newest_backfill(id).await?.ok_or_else(|| Error::conflict("no_backfill", "This DataSet has no backfill.").action("Start one."))
}

/// `POST /datasets/{id}/backfill/cancel`: the newest one.
pub async fn cancel(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let backfill = newest(&web, &person, &id).await?;
    web.puller.cancel_backfill(&person.actor, &id, &backfill.id).await?;
    web.say_next(&person.session, "Backfill cancelled. Finished date ranges are saved. You can resume it later.").await;
    go(&format!("/datasets/{id}/backfill"))
}

/// `POST /datasets/{id}/backfill/resume`: the newest one.
pub async fn resume(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let backfill = newest(&web, &person, &id).await?;
    web.puller.resume_backfill(&person.actor, &id, &backfill.id).await?;
    web.say_next(&person.session, "Backfill resumed.").await;
    go(&format!("/datasets/{id}/backfill"))
}
