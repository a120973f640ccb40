//! Actions on a DataSet without a page of their own: run, share, publish.

use axum::extract::State;
use serde::Deserialize;

use crate::ids::DatasetId;
use crate::puller::queue;
use crate::puller::run::Trigger;
use crate::web::Web;
use crate::web::client_address::ClientAddress;
use crate::web::forms::Form;
use crate::web::page::{PageResult, redirect};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Sharing {
    shared: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Publishing {
    published: String,
}

/// `POST /datasets/{id}/run`: starts a run, unless one is in progress.
pub async fn run(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let dataset = web.datasets.get_to_run(&person.actor, &id).await?;
    let before = queue::of_dataset(&web.db, &id, 0, 2).await?;
    let run = web
        .puller
        .run_now(&person.actor, &id, Trigger::Manual)
        .await?;
    let was_active = before.iter().any(|there| there.id == run.id);
    let sentence = match (was_active, &dataset.current) {
        (true, _) => "A run is already in progress.",
        (false, Some(_)) => "Run started. The current version stays available until it finishes.",
        (false, None) => "Run started.",
    };
    web.flash(&person.session, sentence).await;
    redirect(&format!("/datasets/{id}"))
}

/// `POST /datasets/{id}/sharing`
pub async fn share(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    Form(fields): Form<Sharing>,
) -> PageResult {
    let shared = fields.shared == "true";
    web.datasets.share(&person.actor, &id, shared).await?;
    let sentence = if shared {
        "Everyone signed in can view this DataSet."
    } else {
        "Only the owner and admins can view this DataSet."
    };
    web.flash(&person.session, sentence).await;
    redirect(&format!("/datasets/{id}/settings"))
}

/// `POST /datasets/{id}/publishing`
pub async fn publish(
    State(web): State<Web>,
    from: ClientAddress,
    person: Person,
    PathId(id): PathId<DatasetId>,
    Form(fields): Form<Publishing>,
) -> PageResult {
    let published = fields.published == "true";
    web.datasets
        .publish(person.audit_actor(from), &id, published)
        .await?;
    let sentence = if published {
        "The LiveLeader API serves these chats."
    } else {
        "The LiveLeader API no longer serves these chats."
    };
    web.flash(&person.session, sentence).await;
    redirect(&format!("/datasets/{id}/settings"))
}
