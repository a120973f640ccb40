//! What the fuzz targets check, checked for every input that is kept in `fuzz/corpus`.

use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut inputs: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(inputs.len() > 20, "the corpus of {name} was not found");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for share in inputs.chunks(inputs.len().div_ceil(threads)) {
            scope.spawn(move || {
                for path in share {
                    let input = std::fs::read(path).unwrap();
                    assert!(
                        std::panic::catch_unwind(|| target(&input)).is_ok(),
                        "{}",
                        path.display()
                    );
                }
            });
        }
    });
}

#[test]
fn corpus_of_documents_meets_the_fuzz_invariants() {
    replay("liveleader_xml", targets::liveleader_xml);
}

#[test]
fn corpus_of_times_meets_the_fuzz_invariants() {
    replay("liveleader_times", targets::liveleader_times);
}

#[test]
fn every_target_is_replayed() {
    let manifest =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml"))
            .unwrap();
    let targets: Vec<&str> = manifest
        .lines()
        .filter_map(|line| {
            line.strip_prefix("path = \"fuzz_targets/")?
                .strip_suffix(".rs\"")
        })
        .collect();
    assert_eq!(targets, ["liveleader_xml", "liveleader_times"]);
}
