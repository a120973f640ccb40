//! The page of a run: its record, and its progress while it is active.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio::sync::{mpsc, watch};

use super::dataset::zone_of;
use super::run_live::{self, LiveRun, RunEvent, started_by};
use super::run_record::{RecordContext, RunRecord};
use super::run_timeline::RunTimeline;
use crate::actor::Actor;
use crate::auth;
use crate::clock::millis;
use crate::connection::Connection;
use crate::datasets::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::RunId;
use crate::puller::ledger;
use crate::puller::live::Progress;
use crate::puller::run::{Run, RunOutcome};
use crate::quota::Slot;
use crate::web::Web;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Chrome, Status};
use crate::web::humanize;
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::Person;
use crate::web::query::PathId;

/// The minimum time between two events of a page.
const MIN_EVENT_INTERVAL: Duration = Duration::from_millis(300);
/// The maximum time between two reads of the catalogue while there is no progress.
const MAX_EVENT_INTERVAL: Duration = Duration::from_secs(1);
/// When a page that got no event stream may request one again.
const RETRY_IN: Duration = Duration::from_secs(30);
/// The interval at which the permission to watch is checked again.
const REAUTHORIZE_EVERY: Duration = Duration::from_secs(5);

#[derive(Template)]
#[template(path = "pages/run.html")]
struct RunPage {
    chrome: Chrome,
    dataset_id: String,
    dataset_name: String,
    title: String,
    status: Status,
    when: String,
    live: Option<LiveRun>,
    run: RunRecord,
    /// Whether the version of the run is pending approval.
    held: bool,
    can_accept: bool,
    rows_href: String,
    timeline: RunTimeline,
}

/// `GET /runs/{id}`
pub async fn show_run(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<RunId>,
) -> PageResult {
    let run = web.puller.get(&person.actor, &id).await?;
    let dataset = web.datasets.get(&person.actor, &run.dataset_id).await?;
    let (zone, now) = (zone_of(&dataset), web.clock.now());
    let lines = ledger::of_run(&web.db, &id).await?;
    let progress = web.puller.live.current(&id);
    let live = (!run.state.is_final()).then(|| {
        LiveRun::new(
            &run,
            &dataset,
            progress.as_ref(),
            now,
            &zone,
            dataset.can_be_run_by(&person.actor),
        )
    });
    let held = run.outcome == Some(RunOutcome::PendingApproval);
    let rows_href = run
        .version_id
        .as_ref()
        .filter(|_| held)
        .map(|v| format!("/datasets/{}/download?version={v}", dataset.id))
        .unwrap_or_default();
    let took = run
        .duration(now)
        .map_or_else(String::new, |took| format!(", {}", humanize::span(took)));
    let by = started_by(&run);
    render(&RunPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        title: format!(
            "Run of {}",
            humanize::short(run.started_at.unwrap_or(run.queued_at), now, &zone)
        ),
        status: run_live::status(&run),
        when: format!(
            "Started by {}{took}. Times in {}.",
            if by == "Schedule" {
                "the schedule".to_owned()
            } else {
                by
            },
            dataset.time_zone
        ),
        live,
        held,
        can_accept: dataset.can_be_changed_by(&person.actor),
        rows_href,
        run: RunRecord::new(
            &run,
            &lines,
            &RecordContext {
                dataset: &dataset,
                zone: &zone,
                now,
                own_page: true,
                hide_failure: false,
            },
        ),
        timeline: RunTimeline::new(&run, &lines, &dataset, &zone, now),
        dataset_id: dataset.id.to_string(),
        dataset_name: dataset.name,
    })
}

/// `POST /runs/{id}/accept`: publishes the version that is pending approval.
pub async fn accept(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<RunId>,
) -> PageResult {
    let run = web.puller.accept(&person.actor, &id).await?;
    web.flash(
        &person.session,
        "Published. This is the current version now.",
    )
    .await;
    redirect(&format!("/datasets/{}", run.dataset_id))
}

/// `POST /runs/{id}/discard`: discards the version that is pending approval.
pub async fn discard(
    State(web): State<Web>,
    person: Person,
    address: ClientAddress,
    PathId(id): PathId<RunId>,
) -> PageResult {
    let run = web.puller.discard(person.audit_actor(address), &id).await?;
    web.flash(
        &person.session,
        "Discarded. The current version is unchanged.",
    )
    .await;
    redirect(&format!("/datasets/{}", run.dataset_id))
}

/// `GET /runs/{id}/progress`: the current progress, for browsers that receive no events.
pub async fn progress(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<RunId>,
) -> PageResult {
    let run = web.puller.get(&person.actor, &id).await?;
    let dataset = web.datasets.get(&person.actor, &run.dataset_id).await?;
    let progress = web.puller.live.current(&id);
    Ok(Json(run_event(&web, &run, &dataset, progress.as_ref())).into_response())
}

fn run_event(web: &Web, run: &Run, dataset: &Dataset, progress: Option<&Progress>) -> RunEvent {
    // The progress in memory may be older than the final state of the run.
    let progress = progress.filter(|_| !run.state.is_final());
    LiveRun::new(
        run,
        dataset,
        progress,
        web.clock.now(),
        &zone_of(dataset),
        false,
    )
    .to_event(run)
}

/// `GET /runs/{id}/events`: an event stream with an event `progress` for every change. The last
/// event is final, or `stopping` if the server stops first. `web.event_streams` limits the number
/// of streams; a page without a stream polls `progress`.
pub async fn events(
    State(web): State<Web>,
    person: Person,
    connection: Connection,
    PathId(id): PathId<RunId>,
) -> PageResult {
    let run = web.puller.get(&person.actor, &id).await?;
    let Some(slot) = web.event_streams.try_acquire(&person.actor.user) else {
        let until = web.clock.now() + millis(RETRY_IN);
        let error = Error::new(
            ErrorKind::TooMany { until },
            "too_many_event_streams",
            "Too many open pages follow a run right now.",
        );
        return Err(error
            .action("Reload the page to see the progress of the run.")
            .into());
    };
    let dataset = web.datasets.get(&person.actor, &run.dataset_id).await?;
    let checked_at = tokio::time::Instant::now();
    let progress = web.puller.live.subscribe(&id);
    let watcher = RunWatcher {
        web,
        actor: person.actor,
        run,
        dataset,
        progress,
        checked_at,
        first: true,
        is_over: false,
    };
    let events = Sse::new(watcher.events(slot, connection))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    Ok((
        [
            (CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        events,
    )
        .into_response())
}

/// The state of one event stream.
struct RunWatcher {
    web: Web,
    actor: Actor,
    run: Run,
    dataset: Dataset,
    /// Fires on progress; `None` if the run is not active in this process.
    progress: Option<watch::Receiver<Progress>>,
    checked_at: tokio::time::Instant,
    first: bool,
    is_over: bool,
}

impl RunWatcher {
    /// Starts a task that reads the run and sends its events through a channel. The stream is
    /// polled only while the client reads, so a query inside of it could hold a database connection
    /// for as long as the client does not read. The stream owns `slot` until it is dropped. A
    /// second task closes `connection` when the person loses access, even if the client reads
    /// nothing.
    fn events(
        mut self,
        slot: Slot,
        connection: Connection,
    ) -> impl Stream<Item = std::result::Result<Event, Infallible>> + use<> {
        let (to, from) = mpsc::channel(1);
        let (web, actor) = (self.web.clone(), self.actor.clone());
        let sending = async move {
            loop {
                let next = tokio::select! {
                    next = self.next() => next,
                    () = to.closed() => return,
                };
                let Some(event) = next else { return };
                if to.send(event).await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = sending => {}
                () = auth::until_revoked(&web.db, &web.clock, &actor) => connection.abort(),
            }
        });
        futures_util::stream::unfold((from, slot), |(mut from, slot)| async move {
            let event = from.recv().await?;
            Some((Ok(event), (from, slot)))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        if self.first {
            self.first = false;
        } else {
            let stop = self.web.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {
                    self.is_over = true;
                    return Some(Event::default().event("stopping").data("{}"));
                }
                () = self.wait() => {}
            }
        }
        // A person who may no longer see the run gets no further events.
        self.refresh().await.ok()?;
        let progress = self
            .progress
            .as_ref()
            .map(|progress| progress.borrow().clone());
        let event = run_event(&self.web, &self.run, &self.dataset, progress.as_ref());
        self.is_over = event.is_final;
        Event::default().event("progress").json_data(event).ok()
    }

    /// Waits until there is a change to send.
    async fn wait(&mut self) {
        let Some(progress) = &mut self.progress else {
            return tokio::time::sleep(MAX_EVENT_INTERVAL).await;
        };
        tokio::time::sleep(MIN_EVENT_INTERVAL).await;
        if let Ok(Err(_)) = tokio::time::timeout(MAX_EVENT_INTERVAL, progress.changed()).await {
            self.progress = None;
        }
    }

    /// Reads the run again, unless it is active in this process and was read a moment ago.
    async fn refresh(&mut self) -> Result<()> {
        if self.progress.is_some() && self.checked_at.elapsed() < REAUTHORIZE_EVERY {
            return Ok(());
        }
        self.checked_at = tokio::time::Instant::now();
        if !auth::is_still_authorized(&self.web.db, &self.web.clock, &self.actor).await {
            return Err(Error::not_found("run"));
        }
        self.run = self.web.puller.get(&self.actor, &self.run.id).await?;
        if self.progress.is_none() {
            self.progress = self.web.puller.live.subscribe(&self.run.id);
        }
        Ok(())
    }
}
