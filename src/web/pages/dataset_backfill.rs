//! The Backfill page: start a backfill of past days, follow its progress, cancel and resume it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::ToSpan;
use serde::Deserialize;

use super::dataset::{DatasetHeader, open_dataset};
use super::dataset_coverage::no_backfill_reason;
use super::run_live::LiveRun;
use crate::error::Error;
use crate::ids::DatasetId;
use crate::puller::backfills::{
    Backfill, BackfillRange, BackfillState, DEFAULT_CHUNK_DAYS, MAX_CHUNK_DAYS,
};
use crate::web::Web;
use crate::web::components::{Chrome, DisplayTime, Errors, Status};
use crate::web::forms::Form;
use crate::web::humanize::{self, counted, grouped};
use crate::web::page::{PageResult, redirect, render, render_with_status};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Template)]
#[template(path = "pages/dataset_backfill.html")]
struct BackfillPage {
    chrome: Chrome,
    head: DatasetHeader,
    live: Option<LiveRun>,
    no_backfill_reason: String,
    fields: BackfillFields,
    zone: String,
    max_chunk: u32,
    errors: Errors,
    newest: Option<BackfillRow>,
    earlier: Vec<BackfillRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct BackfillFields {
    from: String,
    to: String,
    chunk_days: String,
}

/// A backfill in the list.
struct BackfillRow {
    days: String,
    status: Status,
    why: String,
    done: String,
    percent: i64,
    rows: String,
    by: String,
    requested: DisplayTime,
    left: String,
    again: String,
    run_href: String,
    can_cancel: bool,
    can_resume: bool,
}

/// `GET /datasets/{id}/backfill`
pub async fn form(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    web.datasets.get_to_run(&person.actor, &id).await?;
    render(&page(&web, &person, &id, None, Errors::default()).await?)
}

async fn page(
    web: &Web,
    person: &Person,
    id: &DatasetId,
    fields: Option<BackfillFields>,
    errors: Errors,
) -> crate::error::Result<BackfillPage> {
    let opened = open_dataset(web, &person.actor, id, "history").await?;
    let today = web.clock.timestamp().to_zoned(opened.zone.clone()).date();
    let back = |days: i64| today.saturating_sub(days.days()).to_string();
    let usual = || BackfillFields {
        from: back(30),
        to: back(1),
        chunk_days: DEFAULT_CHUNK_DAYS.to_string(),
    };
    let mut rows = web
        .puller
        .backfills(&person.actor, id)
        .await?
        .into_iter()
        .map(|backfill| row(&backfill, &opened));
    let newest = rows.next();
    let earlier = rows.collect();
    let no_backfill_reason = no_backfill_reason(&opened).to_owned();
    Ok(BackfillPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        no_backfill_reason,
        fields: fields.unwrap_or_else(usual),
        zone: opened.dataset.time_zone.clone(),
        max_chunk: MAX_CHUNK_DAYS,
        errors,
        newest,
        earlier,
        head: opened.head,
        live: opened.live,
    })
}

fn row(backfill: &Backfill, opened: &super::dataset::OpenedDataset) -> BackfillRow {
    let status = match backfill.state {
        BackfillState::Running => Status::new("info", true, "Running", ""),
        BackfillState::Stopped => Status::new("bad", false, "Stopped", ""),
        BackfillState::Cancelled => Status::new("", true, "Cancelled", ""),
        BackfillState::Finished => Status::new("good", false, "Succeeded", ""),
    };
    let (done, all) = (backfill.chunks_done(), backfill.chunks());
    BackfillRow {
        days: humanize::days(backfill.days.from, backfill.days.to),
        status,
        why: backfill
            .stop_reason
            .as_deref()
            .map(|why| opened.dataset.redact(why))
            .unwrap_or_default(),
        done: format!(
            "{} of {}",
            grouped(done),
            counted(all, "date range", "date ranges")
        ),
        percent: done * 100 / all.max(1),
        rows: counted(backfill.rows, "row", "rows"),
        by: backfill
            .requested_by_name
            .clone()
            .unwrap_or_else(|| "Unknown person".to_owned()),
        requested: DisplayTime::ago(backfill.created_at, opened.now, &opened.zone),
        left: backfill
            .next()
            .map_or_else(String::new, |next| humanize::days(next.from, next.to)),
        again: backfill.retry_at.map_or_else(String::new, |at| {
            format!(
                "A date range failed. Chatlake retries it {} {}.",
                humanize::calendar_time(at, opened.now, &opened.zone),
                opened.dataset.time_zone
            )
        }),
        run_href: backfill
            .run
            .as_ref()
            .map_or_else(String::new, |run| format!("/runs/{run}")),
        can_cancel: matches!(
            backfill.state,
            BackfillState::Running | BackfillState::Stopped
        ),
        can_resume: matches!(
            backfill.state,
            BackfillState::Stopped | BackfillState::Cancelled
        ),
    }
}

/// `POST /datasets/{id}/backfill`
pub async fn start(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    Form(fields): Form<BackfillFields>,
) -> PageResult {
    let dataset = web.datasets.get_to_run(&person.actor, &id).await?;
    let today = web
        .clock
        .timestamp()
        .to_zoned(super::dataset::zone_of(&dataset))
        .date();
    let mut errors = Errors::default();
    let range = match BackfillRange::check(&fields.from, &fields.to, &fields.chunk_days, today) {
        Ok(range) => range,
        Err(error) => match errors.take(error) {
            Some(other) => return Err(other.into()),
            None => {
                return render_with_status(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    &page(&web, &person, &id, Some(fields), errors).await?,
                );
            }
        },
    };
    web.puller.backfill(&person.actor, &id, &range).await?;
    web.flash(
        &person.session,
        "Backfill started with the newest days. The schedule continues.",
    )
    .await;
    redirect(&format!("/datasets/{id}/backfill"))
}

async fn newest(web: &Web, person: &Person, id: &DatasetId) -> crate::error::Result<Backfill> {
    web.datasets.get_to_run(&person.actor, id).await?;
    web.puller.newest_backfill(id).await?.ok_or_else(|| {
        Error::conflict("no_backfill", "This DataSet has no backfill.").action("Start one.")
    })
}

/// `POST /datasets/{id}/backfill/cancel`: cancels the newest backfill.
pub async fn cancel(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let backfill = newest(&web, &person, &id).await?;
    web.puller
        .cancel_backfill(&person.actor, &id, &backfill.id)
        .await?;
    web.flash(
        &person.session,
        "Backfill cancelled. Finished date ranges are saved. You can resume it later.",
    )
    .await;
    redirect(&format!("/datasets/{id}/backfill"))
}

/// `POST /datasets/{id}/backfill/resume`: resumes the newest backfill.
pub async fn resume(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let backfill = newest(&web, &person, &id).await?;
    web.puller
        .resume_backfill(&person.actor, &id, &backfill.id)
        .await?;
    web.flash(&person.session, "Backfill resumed.").await;
    redirect(&format!("/datasets/{id}/backfill"))
}
