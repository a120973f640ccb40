//! One run: its record, and while it is under way what it is doing.

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
use super::run_live::{self, Live, News, started_by};
use super::run_record::{Question, RunRecord};
use super::run_story::Story;
use crate::actor::Actor;
use crate::auth;
use crate::clock::millis;
use crate::connection::Connection;
use crate::datasets::Dataset;
use crate::error::{Error, Kind, Result};
use crate::ids::RunId;
use crate::puller::live::Progress;
use crate::puller::run::{Outcome, Run};
use crate::puller::windows;
use crate::quota::Slot;
use crate::web::Web;
use crate::web::asked::Id;
use crate::web::client_address::ClientAddress;
use crate::web::page::{Answer, go, show};
use crate::web::parts::{Chrome, Status};
use crate::web::person::Person;
use crate::web::words;

/// A page is told at most this often.
const SHORTEST_STEP: Duration = Duration::from_millis(300);
/// Where nothing moves, the catalogue is asked this often.
const LONGEST_STEP: Duration = Duration::from_secs(1);
/// When a page that could not be told should try again.
const RETRY_IN: Duration = Duration::from_secs(30);
/// A person's right to watch is looked up again this often.
const ASK_AGAIN: Duration = Duration::from_secs(5);

#[derive(Template)]
#[template(path = "pages/run.html")]
struct Page {
    chrome: Chrome,
    dataset_id: String,
    dataset_name: String,
    title: String,
    status: Status,
    when: String,
    live: Option<Live>,
    run: RunRecord,
    /// Its version waits to be accepted.
    held: bool,
    can_accept: bool,
    rows_href: String,
    story: Story,
}

/// `GET /runs/{id}`
pub async fn show_run(State(web): State<Web>, person: Person, Id(id): Id<RunId>) -> Answer {
    let run = web.puller.get(&person.actor, &id).await?;
    let dataset = web.datasets.get(&person.actor, &run.dataset_id).await?;
    let (zone, now) = (zone_of(&dataset), web.clock.now());
    let lines = windows::of_run(&web.db, &id).await?;
    let progress = web.puller.live.now(&id);
    let live = (!run.state.is_final()).then(|| Live::new(&run, &dataset, progress.as_ref(), now, &zone, dataset.is_run_by(&person.actor)));
    let held = run.outcome == Some(Outcome::Held);
    let rows_href = run.version_id.as_ref().filter(|_| held).map(|v| format!("/datasets/{}/download?version={v}", dataset.id)).unwrap_or_default();
    let took = run.duration(now).map_or_else(String::new, |took| format!(", {}", words::span(took)));
    let by = started_by(&run);
    show(&Page {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        title: format!("Run of {}", words::short(run.started_at.unwrap_or(run.queued_at), now, &zone)),
        status: run_live::status(&run),
        when: format!("Started by {}{took}. Times in {}.", if by == "Schedule" { "the schedule".to_owned() } else { by }, dataset.time_zone),
        live,
        held,
        can_accept: dataset.is_changed_by(&person.actor),
        rows_href,
        run: RunRecord::new(&run, &lines, &Question { dataset: &dataset, zone: &zone, now, own_page: true, told_above: false }),
        story: Story::new(&run, &lines, &dataset, &zone, now),
        dataset_id: dataset.id.to_string(),
        dataset_name: dataset.name,
    })
}

/// `POST /runs/{id}/accept`: the version that was held is what people read from now on.
pub async fn accept(State(web): State<Web>, person: Person, Id(id): Id<RunId>) -> Answer {
    let run = web.puller.accept(&person.actor, &id).await?;
    web.say_next(&person.session, "Published. This is the current version now.").await;
    go(&format!("/datasets/{}", run.dataset_id))
}

/// `POST /runs/{id}/discard`: the version that was held is let go.
pub async fn discard(State(web): State<Web>, person: Person, address: ClientAddress, Id(id): Id<RunId>) -> Answer {
    let run = web.puller.discard(person.by(address), &id).await?;
    web.say_next(&person.session, "Discarded. The current version is unchanged.").await;
    go(&format!("/datasets/{}", run.dataset_id))
}

/// `GET /runs/{id}/progress`: one look, for browsers to which no events come through.
pub async fn progress(State(web): State<Web>, person: Person, Id(id): Id<RunId>) -> Answer {
    let run = web.puller.get(&person.actor, &id).await?;
    let dataset = web.datasets.get(&person.actor, &run.dataset_id).await?;
    let progress = web.puller.live.now(&id);
    Ok(Json(news(&web, &run, &dataset, progress.as_ref())).into_response())
}

fn news(web: &Web, run: &Run, dataset: &Dataset, progress: Option<&Progress>) -> News {
    // What a run did last may still be in memory when its end is written.
    let progress = progress.filter(|_| !run.state.is_final());
    Live::new(run, dataset, progress, web.clock.now(), &zone_of(dataset), false).news(run)
}

/// `GET /runs/{id}/events`: an event `progress` whenever something moves. The last one is final; when the server stops first, `stopping`
/// comes instead. Only so many are served at once; the script of a page that gets none looks at `progress` now and then.
pub async fn events(State(web): State<Web>, person: Person, connection: Connection, Id(id): Id<RunId>) -> Answer {
    let run = web.puller.get(&person.actor, &id).await?;
    let Some(slot) = web.event_streams.try_take(&person.actor.user) else {
        let until = web.clock.now() + millis(RETRY_IN);
        let error = Error::new(Kind::TooMany { until }, "too_many_event_streams", "Too many open pages follow a run right now.");
        return Err(error.action("Reload the page to see the progress of the run.").into());
    };
    let dataset = web.datasets.get(&person.actor, &run.dataset_id).await?;
    let looked_at = tokio::time::Instant::now();
    let moves = web.puller.live.follow(&id);
    let watching = Watching { web, actor: person.actor, run, dataset, moves, looked_at, first: true, over: false };
    let events = Sse::new(watching.events(slot, connection)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    Ok(([(CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")], events).into_response())
}

/// Somebody who watches a run.
struct Watching {
    web: Web,
    actor: Actor,
    run: Run,
    dataset: Dataset,
    /// Fires on progress; none while the run is not under way in this process.
    moves: Option<watch::Receiver<Progress>>,
    looked_at: tokio::time::Instant,
    first: bool,
    over: bool,
}

impl Watching {
    /// Looks in a task of its own: the stream is asked for more only while its client reads, and a look inside of it would keep its
    /// database connection until then. The slot is in use until the stream is dropped. `connection` is closed when the right to watch ends
    /// while the client reads nothing.
    fn events(mut self, slot: Slot, connection: Connection) -> impl Stream<Item = std::result::Result<Event, Infallible>> + use<> {
        let (to, from) = mpsc::channel(1);
        let (web, actor) = (self.web.clone(), self.actor.clone());
        let telling = async move {
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
                () = telling => {}
                () = auth::until_ended(&web.db, &web.clock, &actor) => connection.abort(),
            }
        });
        futures_util::stream::unfold((from, slot), |(mut from, slot)| async move {
            let event = from.recv().await?;
            Some((Ok(event), (from, slot)))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        if self.first {
            self.first = false;
        } else {
            let stop = self.web.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {
                    self.over = true;
                    return Some(Event::default().event("stopping").data("{}"));
                }
                () = self.wait() => {}
            }
        }
        // Whoever may no longer see the run is told nothing more.
        self.look().await.ok()?;
        let progress = self.moves.as_ref().map(|moves| moves.borrow().clone());
        let news = news(&self.web, &self.run, &self.dataset, progress.as_ref());
        self.over = news.is_final;
        Event::default().event("progress").json_data(news).ok()
    }

    /// Until there is something to tell.
    async fn wait(&mut self) {
        let Some(moves) = &mut self.moves else { return tokio::time::sleep(LONGEST_STEP).await };
        tokio::time::sleep(SHORTEST_STEP).await;
        if let Ok(Err(_)) = tokio::time::timeout(LONGEST_STEP, moves.changed()).await {
            self.moves = None;
        }
    }

    /// Reads the run again, unless it moves here and was read just now.
    async fn look(&mut self) -> Result<()> {
        if self.moves.is_some() && self.looked_at.elapsed() < ASK_AGAIN {
            return Ok(());
        }
        self.looked_at = tokio::time::Instant::now();
        if !auth::still_good(&self.web.db, &self.web.clock, &self.actor).await {
            return Err(Error::not_found("run"));
        }
        self.run = self.web.puller.get(&self.actor, &self.run.id).await?;
        if self.moves.is_none() {
            self.moves = self.web.puller.live.follow(&self.run.id);
        }
        Ok(())
    }
}
