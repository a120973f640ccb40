//! Actions on the versions of a DataSet with a confirmation page: revert to one, delete one, change
//! the retention.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::dataset::zone_of;
use crate::datasets::versions::{Integrity, RetentionOverride, Version};
use crate::ids::{DatasetId, VersionId};
use crate::puller::queue;
use crate::web::Web;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Chrome, Errors};
use crate::web::forms::Form;
use crate::web::humanize::{self, counted, signed};
use crate::web::page::{PageResult, redirect, render, render_with_status};
use crate::web::person::Person;
use crate::web::query::{PathId, PathIds};

#[derive(Template)]
#[template(path = "pages/version_revert.html")]
struct RevertPage {
    chrome: Chrome,
    id: String,
    version: String,
    number: u64,
    made: String,
    rows: String,
    columns: String,
    current: String,
    problem: String,
}

#[derive(Template)]
#[template(path = "pages/version_delete.html")]
struct DeletePage {
    chrome: Chrome,
    id: String,
    version: String,
    number: u64,
    made: String,
    rows: String,
    frees: String,
    problem: String,
}

#[derive(Template)]
#[template(path = "pages/dataset_retention.html")]
struct RetentionPage {
    chrome: Chrome,
    id: String,
    name: String,
    versions: String,
    days: String,
    usual_versions: String,
    usual_days: String,
    sizes: String,
    errors: Errors,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct RetentionFields {
    versions: String,
    days: String,
}

async fn is_busy(web: &Web, id: &DatasetId) -> crate::error::Result<bool> {
    Ok(queue::of_dataset(&web.db, id, 0, 2)
        .await?
        .iter()
        .any(|run| run.state == crate::puller::run::RunState::Running))
}

/// `GET /datasets/{id}/versions/{version}/revert`
pub async fn revert_form(
    State(web): State<Web>,
    person: Person,
    PathIds(id, version): PathIds<DatasetId, VersionId>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let (_, version) = web.datasets.version(&person.actor, &id, &version).await?;
    let (zone, now) = (zone_of(&dataset), web.clock.now());
    let current = dataset.current.as_ref();
    let problem = if current.is_some_and(|current| current.version == version.id) {
        "This is already the current version."
    } else if is_busy(&web, &id).await? {
        "A run is in progress and would replace these rows when it finishes. \
         Cancel the run, or wait until it has ended. Then revert."
    } else if web
        .datasets
        .versions
        .integrity(&id)
        .await?
        .iter()
        .any(|of| of.version == version.id && of.state() == Integrity::Damaged)
    {
        "Stored files of this version are damaged or missing, so some of its rows cannot be read. \
         Choose another version."
    } else {
        ""
    };
    render(&RevertPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        version: version.id.to_string(),
        number: version.number,
        made: humanize::short(version.created_at, now, &zone),
        rows: counted(signed(version.rows), "row", "rows"),
        columns: counted(signed(version.columns.len() as u64), "column", "columns"),
        current: current.map_or_else(String::new, |current| {
            format!(
                "Version {} ({})",
                current.number,
                counted(current.rows, "row", "rows")
            )
        }),
        problem: problem.to_owned(),
    })
}

/// `POST /datasets/{id}/versions/{version}/revert`
pub async fn revert(
    State(web): State<Web>,
    person: Person,
    address: ClientAddress,
    PathIds(id, version): PathIds<DatasetId, VersionId>,
) -> PageResult {
    let run = web
        .puller
        .revert(person.audit_actor(address), &id, &version)
        .await?;
    let back_to = run.reverted_to.unwrap_or_default();
    web.flash(
        &person.session,
        format!("Reverted to version {back_to}. The previous version is still in History."),
    )
    .await;
    redirect(&format!("/datasets/{id}/history"))
}

/// `GET /datasets/{id}/versions/{version}/delete`
pub async fn delete_form(
    State(web): State<Web>,
    person: Person,
    PathIds(id, version): PathIds<DatasetId, VersionId>,
) -> PageResult {
    let dataset = web.datasets.get_to_change(&person.actor, &id).await?;
    let (_, version) = web.datasets.version(&person.actor, &id, &version).await?;
    let sizes = web.datasets.versions.sizes(&id).await?;
    let is_current = dataset
        .current
        .as_ref()
        .is_some_and(|current| current.version == version.id);
    render(&DeletePage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        version: version.id.to_string(),
        number: version.number,
        made: humanize::short(version.created_at, web.clock.now(), &zone_of(&dataset)),
        rows: counted(signed(version.rows), "row", "rows"),
        frees: frees(&version, sizes.alone.get(&version.id).copied().unwrap_or(0)),
        problem: if is_current {
            "The current version cannot be deleted. Revert to another version first.".to_owned()
        } else {
            String::new()
        },
    })
}

fn frees(version: &Version, alone: u64) -> String {
    match alone {
        0 if version.bytes == 0 => "It uses no disk space.".to_owned(),
        0 => "Other versions use the same files, so no disk space is freed.".to_owned(),
        alone => format!(
            "{} of disk space is freed within a day.",
            humanize::size(signed(alone))
        ),
    }
}

/// `POST /datasets/{id}/versions/{version}/delete`
pub async fn delete(
    State(web): State<Web>,
    person: Person,
    address: ClientAddress,
    PathIds(id, version): PathIds<DatasetId, VersionId>,
) -> PageResult {
    let deleted = web
        .datasets
        .delete_version(person.audit_actor(address), &id, &version)
        .await?;
    web.flash(
        &person.session,
        format!("Version {} deleted.", deleted.number),
    )
    .await;
    redirect(&format!("/datasets/{id}/history"))
}

/// `GET /datasets/{id}/retention`
pub async fn retention_form(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    web.datasets.get_to_change(&person.actor, &id).await?;
    let own = web.datasets.versions.retention_override(&id).await?;
    let text = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    render(
        &retention_page(
            &web,
            &person,
            &id,
            RetentionFields {
                versions: text(own.versions),
                days: text(own.days),
            },
            Errors::default(),
        )
        .await?,
    )
}

async fn retention_page(
    web: &Web,
    person: &Person,
    id: &DatasetId,
    fields: RetentionFields,
    errors: Errors,
) -> crate::error::Result<RetentionPage> {
    let dataset = web.datasets.get_to_change(&person.actor, id).await?;
    let usual = web.datasets.versions.default_retention();
    Ok(RetentionPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        id: id.to_string(),
        name: dataset.name,
        versions: fields.versions,
        days: fields.days,
        usual_versions: usual.versions.to_string(),
        usual_days: usual.days.to_string(),
        sizes: storage_text(web, id).await?,
        errors,
    })
}

/// The disk space of all versions, in a sentence.
pub async fn storage_text(web: &Web, id: &DatasetId) -> crate::error::Result<String> {
    let sizes = web.datasets.versions.sizes(id).await?;
    let going = if sizes.pending_deletion == 0 {
        String::new()
    } else {
        format!(
            " Another {} is freed within a day.",
            humanize::size(signed(sizes.pending_deletion))
        )
    };
    let of = counted(signed(sizes.alone.len() as u64), "version", "versions");
    Ok(format!(
        "{of}, {} on disk.{going}",
        humanize::size(signed(sizes.stored))
    ))
}

/// `POST /datasets/{id}/retention`
pub async fn set_retention(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
    Form(fields): Form<RetentionFields>,
) -> PageResult {
    web.datasets.get_to_change(&person.actor, &id).await?;
    let mut errors = Errors::default();
    let mut number = |field: &str, text: &str| match text.trim() {
        "" => None,
        text => match text.parse::<u32>() {
            Ok(number) => Some(number),
            Err(_) => {
                errors.add(field, "Enter a whole number, or leave empty.");
                None
            }
        },
    };
    let retention = RetentionOverride {
        versions: number("versions", &fields.versions),
        days: number("days", &fields.days),
    };
    if let Err(error) = retention.check()
        && let Some(other) = errors.take(error)
    {
        return Err(other.into());
    }
    if !errors.is_empty() {
        let page = retention_page(&web, &person, &id, fields, errors).await?;
        return render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let deleted = web
        .datasets
        .set_retention(&person.actor, &id, retention)
        .await?;
    let sentence = if deleted == 0 {
        "Saved.".to_owned()
    } else {
        format!(
            "Saved. {} deleted.",
            counted(signed(deleted), "version", "versions")
        )
    };
    web.flash(&person.session, sentence).await;
    redirect(&format!("/datasets/{id}/history"))
}

/// `POST /datasets/{id}/duplicate`
pub async fn duplicate(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let dataset = web.datasets.get(&person.actor, &id).await?;
    let copy = web.puller.duplicate(&person.actor, &id).await?;
    web.flash(
        &person.session,
        format!(
            "Copied the settings of “{}”. This DataSet has no rows yet.",
            dataset.name
        ),
    )
    .await;
    redirect(&format!("/datasets/{copy}/settings"))
}
