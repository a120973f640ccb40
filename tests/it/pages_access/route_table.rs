//! The routes in the source and the cases name the same addresses.

use std::collections::BTreeSet;
use std::path::Path;

use super::CASES;
use super::OTHER_ADDRESSES;
use super::PageOutcome;
use super::SHARED;
use super::routes;
use super::source;

use PageOutcome::Hidden;

#[test]
fn every_address_has_its_case_and_every_case_its_address() {
    let source = source();
    let there = routes(&source);
    let covered: BTreeSet<(String, String)> = CASES
        .iter()
        .filter(|case| !OTHER_ADDRESSES.contains(&case.1))
        .map(|case| (case.0.to_owned(), case.1.to_owned()))
        .collect();
    assert_eq!(covered, there);
    let shared: BTreeSet<(&str, &str)> = SHARED.iter().map(|case| (case.0, case.1)).collect();
    let objects = CASES
        .iter()
        .filter(|case| case.2[3] == Hidden && case.2[4] != Hidden)
        .map(|case| (case.0, case.1))
        .collect();
    assert_eq!(
        shared, objects,
        "a hidden object may be shared with another editor"
    );
    // No route is declared outside the table.
    for word in [
        "route_service(",
        "nest_service(",
        "fallback_service(",
        "any(",
    ] {
        assert!(!source.contains(word), "{word}");
    }
    assert_eq!(source.matches(".nest(").count(), 1, "only /static");
    for folder in ["src/web", "src/web/pages", "src/web/panes"] {
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
            .unwrap()
            .map(|file| file.unwrap().path())
        {
            let is_table = file.ends_with("src/web/routes.rs");
            assert!(
                is_table
                    || file.is_dir()
                    || !std::fs::read_to_string(&file).unwrap().contains(".route("),
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn the_route_table_is_parsed_correctly() {
    let read = routes(
        ".route(\"/a\", get(x::get).post(x::delete))\n .route(\n  \"/b/{id}\",\n  put(y),\n)",
    );
    let read: Vec<(&str, &str)> = read
        .iter()
        .map(|(method, path)| (method.as_str(), path.as_str()))
        .collect();
    assert_eq!(read, [("GET", "/a"), ("POST", "/a"), ("PUT", "/b/{id}")]);
}
