//! `chatlake verify`: checks that the stored data is complete and undamaged. Changes nothing. Works
//! with and without a running server.
#![allow(clippy::print_stdout, reason = "a command's own output")]

use super::{CommandError, CommandResult};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, GlobalArgs};
use crate::datasets::segments::Segments;
use crate::datasets::verify_versions as rows;
use crate::db::Db;
use crate::db::commits::{self, CommitMark};
use crate::error::Error;
use crate::puller::verify_runs as runs;

#[derive(clap::Args)]
pub struct VerifyArgs {
    /// Also compare every file with its checksums and read every value, not only the footers
    #[arg(long)]
    deep: bool,
    #[arg(long)]
    json: bool,
}

pub async fn run(global_args: &GlobalArgs, arguments: &VerifyArgs) -> CommandResult {
    let data = Config::data_dir(global_args);
    let (catalogue, dir) = (data.join("chatlake.db"), data.join("segments"));
    app::check_catalogue_not_lost(&data)?;
    let is_empty = std::fs::metadata(&catalogue).is_ok_and(|about| about.len() == 0);
    if !catalogue.is_file() || is_empty || !dir.is_dir() {
        return Err(CommandError {
            code: 1,
            message: format!(
                "{} is not a Chatlake data directory: it has no chatlake.db or no segments.",
                data.display()
            ),
        });
    }
    // Read before the catalogue: a running server writes both, the catalogue first.
    let commit_mark = CommitMark::read(&data);
    let db = Db::open_read_only(&catalogue).await?;
    let segments = Segments::new(dir, db.clone(), Clock::system())?;
    let mut found = rows::verify(&db, &segments, arguments.deep).await?;
    if let Some(commit_mark) = commit_mark {
        found.extend(
            commit_mark
                .mismatch(db.commit_mark().await?.as_ref())
                .map(|mismatch| rows::Finding::new("commit_file", commits::FILE, mismatch)),
        );
    }
    found.extend(runs::verify(&db).await?);
    let unchecked = rows::without_checksums(&db).await?;
    db.close().await;
    if arguments.json {
        print_line!(
            "{}",
            serde_json::to_string_pretty(&found).map_err(Error::internal)?
        )?;
    } else {
        for finding in &found {
            print_line!("{}: {} {}", finding.check, finding.object, finding.message)?;
        }
        if found.is_empty() {
            print_line!("No problems found.")?;
        }
        if unchecked > 0 {
            print_line!(
                "{unchecked} files have no checksums yet. The server's integrity check adds them."
            )?;
        }
    }
    match found.len() {
        0 => Ok(()),
        1 => Err(CommandError {
            code: 1,
            message: "1 problem found.".to_owned(),
        }),
        many => Err(CommandError {
            code: 1,
            message: format!("{many} problems found."),
        }),
    }
}
