//! Texts about damaged rows: which versions are damaged, and how to fix them.

use jiff::tz::TimeZone;

use crate::clock::Millis;
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::versions::{Integrity, VersionIntegrity};
use crate::error::Result;
use crate::web::Web;
use crate::web::components::{Action, Band};
use crate::web::humanize;

/// The maximum number of older versions that are checked to find an intact one.
const MAX_CANDIDATES: usize = 3;

/// The banner above every tab. `None` while no damage of the current version is known.
pub async fn damage_band(
    web: &Web,
    dataset: &Dataset,
    mine: bool,
    can_run: bool,
    now: Millis,
    zone: &TimeZone,
) -> Result<Option<Band>> {
    let Some(current) = &dataset.current else {
        return Ok(None);
    };
    let known = web.datasets.versions.integrity(&dataset.id).await?;
    let Some(damaged) = known
        .iter()
        .find(|of| of.version == current.version && of.state() == Integrity::Damaged)
    else {
        return Ok(None);
    };
    let mut intact = None;
    for of in known
        .iter()
        .filter(|of| of.number < damaged.number && of.state() != Integrity::Damaged)
        .take(MAX_CANDIDATES)
    {
        if let Some(version) = web.datasets.versions.get(&of.version).await?
            // Files that were not read recently may be damaged, too.
            && web.datasets.segments.check(&version.segments).await.is_ok()
        {
            intact = Some((of, humanize::short(version.created_at, now, zone)));
            break;
        }
    }
    Ok(Some(band(dataset, damaged, intact, mine, can_run)))
}

fn band(
    dataset: &Dataset,
    damaged: &VersionIntegrity,
    intact: Option<(&VersionIntegrity, String)>,
    mine: bool,
    can_run: bool,
) -> Band {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let replaces = dataset.update_mode == UpdateMode::Replace;
    let why = if damaged.damaged == 1 {
        "a stored file is damaged or missing"
    } else {
        "stored files are damaged or missing"
    };
    let mut text = format!(
        "At least {} of version {} cannot be read, because {why}. \
         Pages and downloads that need these rows fail{}.",
        humanize::counted(number(damaged.damaged_rows), "row", "rows"),
        damaged.number,
        if replaces {
            ""
        } else {
            ", and so do runs that add to them"
        }
    );
    let mut actions = Vec::new();
    if let Some((version, made)) = intact {
        text.push_str(&format!(" Version {} of {made} is intact.", version.number));
        if mine {
            let href = format!(
                "/datasets/{}/versions/{}/revert",
                dataset.id, version.version
            );
            actions.push(Action {
                label: format!("Revert to version {}", version.number),
                href,
                primary: true,
                post: false,
            });
        } else {
            let href = format!("/datasets/{}/data?version={}", dataset.id, version.version);
            actions.push(Action {
                label: format!("View version {}", version.number),
                href,
                primary: true,
                post: false,
            });
        }
    }
    if replaces {
        text.push_str(" A new run pulls all rows again.");
        if can_run {
            let primary = actions.is_empty();
            actions.push(Action {
                label: "Run now".to_owned(),
                href: format!("/datasets/{}/run", dataset.id),
                primary,
                post: true,
            });
        }
    } else {
        if mine {
            text.push_str(
                " To pull the rows again, choose Replace in Settings and run the DataSet.",
            );
            actions.push(Action {
                label: "Settings".to_owned(),
                href: format!("/datasets/{}/settings", dataset.id),
                primary: false,
                post: false,
            });
        }
    }
    if !mine {
        text.push_str(&format!(
            " {}, who owns this DataSet, can repair it.",
            dataset.owner_name
        ));
    }
    Band {
        tone: "bad".to_owned(),
        title: "Some rows cannot be read.".to_owned(),
        text,
        actions,
    }
}
