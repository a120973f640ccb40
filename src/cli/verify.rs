//! `chatlake verify`: whether what is kept is whole. It changes nothing, and works beside a running server and without one.
#![allow(clippy::print_stdout, reason = "a command's own output")]

use super::{Done, Failed};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, Given};
use crate::datasets::segments::Segments;
use crate::datasets::verify as rows;
use crate::db::Db;
use crate::db::commits::{self, Mark};
use crate::error::Error;
use crate::puller::verify as runs;

#[derive(clap::Args)]
pub struct Arguments {
    /// Also compare every file with its checksums and read every value, not only the footers
    #[arg(long)]
    deep: bool,
    #[arg(long)]
    json: bool,
}

pub async fn run(given: &Given, arguments: &Arguments) -> Done {
    let data = Config::data_dir(given);
    let (catalogue, dir) = (data.join("chatlake.db"), data.join("segments"));
    app::refuse_lost_catalogue(&data)?;
    let is_empty = std::fs::metadata(&catalogue).is_ok_and(|about| about.len() == 0);
    if !catalogue.is_file() || is_empty || !dir.is_dir() {
        return Err(Failed { code: 1, line: format!("{} is not a Chatlake data directory: it has no chatlake.db or no segments.", data.display()) });
    }
    // Before the catalogue: a server may be writing both, and the catalogue first.
    let noted = Mark::read(&data);
    let db = Db::open_to_look(&catalogue).await?;
    let segments = Segments::new(dir, db.clone(), Clock::system())?;
    let mut found = rows::look(&db, &segments, arguments.deep).await?;
    if let Some(noted) = noted {
        found.extend(noted.objection(db.mark().await?.as_ref()).map(|objection| rows::Finding::new("commit_file", commits::FILE, objection)));
    }
    found.extend(runs::look(&db).await?);
    let unchecked = rows::without_checksums(&db).await?;
    db.close().await;
    if arguments.json {
        tell!("{}", serde_json::to_string_pretty(&found).map_err(Error::internal)?)?;
    } else {
        for finding in &found {
            tell!("{}: {} {}", finding.check, finding.object, finding.message)?;
        }
        if found.is_empty() {
            tell!("No problems found.")?;
        }
        if unchecked > 0 {
            tell!("{unchecked} files have no checksums yet. The server's integrity check adds them.")?;
        }
    }
    match found.len() {
        0 => Ok(()),
        1 => Err(Failed { code: 1, line: "1 problem found.".to_owned() }),
        many => Err(Failed { code: 1, line: format!("{many} problems found.") }),
    }
}
