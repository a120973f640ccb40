//! Every failpoint in the code is used by a test of this folder.

use std::collections::BTreeSet;

use chatlake::db::failpoints::KILL_POINTS;

use super::BACKFILL;
use super::BACKFILL_STATES;
use super::COMBINE;
use super::COMMIT;
use super::NOTIFY;
use super::PENDING;
use super::PUBLISH;
use super::REVERT;
use super::SWEEP;
use super::UNCHANGED;

fn source_files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (dirs, files): (Vec<_>, Vec<_>) = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .partition(|path| path.is_dir());
    let mut all: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect();
    all.extend(dirs.iter().flat_map(|dir| source_files(dir)));
    all
}

#[test]
fn every_failpoint_is_tested() {
    let covered: BTreeSet<&str> = [
        &COMMIT[..],
        &SWEEP,
        &REVERT,
        &BACKFILL,
        &BACKFILL_STATES,
        &COMBINE,
        &PENDING,
        &UNCHANGED,
        &PUBLISH,
        &NOTIFY,
    ]
    .concat()
    .into_iter()
    .collect();
    assert_eq!(covered, KILL_POINTS.into_iter().collect());
    // The code uses each name of the list, and no other name.
    let mut marked = BTreeSet::new();
    for source in source_files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(source).unwrap();
        marked.extend(
            text.split("kill_point(\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().to_owned()),
        );
    }
    assert_eq!(
        marked.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        covered
    );
}
