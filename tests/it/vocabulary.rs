//! The words of the code and of its texts: replaced names do not return, modules have one layout,
//! tests import nothing from each other, and texts use the terms of the glossary.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Replaced names of types, functions, fields, files and constants. The glossary of ARCHITECTURE.md
/// has today's terms.
const REPLACED: [&str; 62] = [
    "Beside",
    "Saving",
    "KEEP_EVERY",
    "Keeper",
    "kept_or_damaged",
    "upkeep",
    "Told",
    "told_of_trouble",
    "told_of_late",
    "told_of_stop",
    "Given",
    "mend",
    "adrift",
    "clock_set",
    "put_right",
    "making",
    "make_in",
    "Grip",
    "gathers",
    "siblings",
    "Spent",
    "Tally",
    "stumble",
    "Lately",
    "Glance",
    "Rank",
    "Came",
    "again_from",
    "comes_and_goes",
    "childless",
    "Standing",
    "Heard",
    "trust_again",
    "Outgoing",
    "Deed",
    "Typed",
    "Sheet",
    "when_read",
    "Trouble",
    "Refusal",
    "say_next",
    "Due",
    "own_fault",
    "look_after",
    "unlost",
    "beside_the_schedule",
    "Desk",
    "Seat",
    "held_version",
    "held_for",
    "gather_until",
    "left_account",
    "stopped_why",
    "late_key",
    "sunset_told",
    "asked_by",
    "MOST_DAYS",
    "MOST_CHUNK",
    "USUAL_CHUNK",
    "LONGEST_TEXT",
    "LEAST_FREE",
    "notices_to_gather",
];

/// Names of the API, of forms and of stored values that external programs rely on; they stay.
const STABLE: [&str; 2] = ["held_version", "held_for"];

/// Names that say nothing about what a type is for.
const GENERIC_TYPES: [&str; 10] = [
    "Given", "Asked", "Told", "Parts", "Kept", "Refusal", "Trouble", "Thing", "Stuff", "Helper",
];

/// Words that the texts of the product do not use.
const EXCLUDED: [&str; 24] = [
    "whoever",
    "whence",
    "anew",
    "e-mail",
    "oops",
    "successfully",
    "come short",
    "came short",
    "shut out",
    "bring back",
    "brings back",
    "on the clock of",
    "need a look",
    "nobody is told",
    "may stay empty",
    "take along",
    "makes up for",
    "off its schedule",
    "off schedule",
    "told apart",
    "tells rows apart",
    "rows from before",
    "our stand-in",
    "of a program of yours",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &str, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path
                .extension()
                .is_some_and(|end| ends.iter().any(|wanted| end == *wanted))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    let all = ["src", "tests", "benches", "fuzz/src"]
        .into_iter()
        .flat_map(|dir| files(dir, &["rs"]))
        .collect::<Vec<_>>();
    assert!(all.len() > 300, "the sources were not found");
    all
}

/// The identifiers of a source file. Comments and string literals have none.
fn identifiers(text: &str) -> BTreeSet<String> {
    fn collect(tokens: proc_macro2::TokenStream, found: &mut BTreeSet<String>) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(name) => {
                    found.insert(name.to_string());
                }
                proc_macro2::TokenTree::Group(group) => collect(group.stream(), found),
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(text.parse().unwrap(), &mut found);
    found
}

#[test]
fn replaced_names_are_not_used() {
    let mut found = Vec::new();
    for path in sources()
        .iter()
        .filter(|path| !path.ends_with("vocabulary.rs"))
    {
        let names = identifiers(&std::fs::read_to_string(path).unwrap());
        let used = REPLACED
            .iter()
            .filter(|name| !STABLE.contains(name) && names.contains(**name));
        found.extend(used.map(|name| format!("{}: {name}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_type_has_a_name_that_says_nothing() {
    let mut found = Vec::new();
    for path in sources() {
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let mut words = line
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .skip_while(|word| !matches!(*word, "struct" | "enum" | "trait"));
            words.next();
            if words
                .next()
                .is_some_and(|name| GENERIC_TYPES.contains(&name))
                && !line.trim_start().starts_with("//")
            {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_module_with_a_folder_is_its_mod_rs() {
    let beside: Vec<_> = sources()
        .into_iter()
        .filter(|path| path.file_stem().unwrap() != "mod" && path.with_extension("").is_dir())
        .collect();
    assert!(
        beside.is_empty(),
        "move to mod.rs in the folder: {beside:?}"
    );
}

#[test]
fn file_names_say_what_is_in_them() {
    let vague = |stem: &str| {
        stem.ends_with(|c: char| c.is_ascii_digit())
            || ["_ext", "_more", "helpers", "util", "utils"]
                .iter()
                .any(|end| stem.ends_with(end))
    };
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|path| vague(path.file_stem().unwrap().to_str().unwrap()))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

/// The names that a line of code uses directly below `root` (`crate::` or `super::`). A group in
/// braces and a glob are an empty name.
fn names_below(line: &str, root: &str) -> Vec<String> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    let code = line.replace("\\\"", "");
    let code: Vec<&str> = code.split('"').step_by(2).collect();
    let mut names = Vec::new();
    for part in code {
        for (at, _) in part.match_indices(root) {
            let is_longer_path =
                part[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$'));
            if !is_longer_path {
                let rest = &part[at + root.len()..];
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                names.push(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    names
}

#[test]
fn a_test_file_imports_nothing_from_another_test_file() {
    let mut found = Vec::new();
    for path in ["tests/it", "tests/browser"]
        .into_iter()
        .flat_map(|dir| files(dir, &["rs"]))
    {
        // The folder of the module that `super` means. Its `mod.rs` may have items for its files.
        let mut parent = path.parent().unwrap();
        if path.ends_with("mod.rs") {
            parent = parent.parent().unwrap();
        }
        let is_allowed = |name: &str| {
            let is_module =
                parent.join(name).is_dir() || parent.join(format!("{name}.rs")).exists();
            parent.join("mod.rs").exists() && !is_module && !["", "super"].contains(&name)
        };
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let is_foreign = names_below(line, "crate::")
                .iter()
                .any(|name| !["support", "webdriver"].contains(&name.as_str()))
                || names_below(line, "super::")
                    .iter()
                    .any(|name| !is_allowed(name));
            if is_foreign {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "move what several tests use to tests/support:\n{}",
        found.join("\n")
    );
}

#[test]
fn the_names_below_a_root_are_found() {
    let line =
        "use crate::support::until; x(super::of_two(), \"crate::a \\\" crate::b\"); $crate::c";
    assert_eq!(names_below(line, "crate::"), ["support"]);
    assert_eq!(names_below(line, "super::"), ["of_two"]);
    assert_eq!(names_below("use super::super::x;", "super::"), ["super"]);
    assert_eq!(names_below("use super::*;", "super::"), [""]);
    assert!(names_below("    // crate::history", "crate::").is_empty());
}

/// The string literals of the product, without its tests.
fn literals(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    product
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn texts_use_the_words_of_the_guide() {
    // The sandbox repeats the words of LiveChat and LiveLeader and of the people who chat.
    let is_exempt = |path: &PathBuf| {
        path.to_string_lossy().contains("tests") || path.starts_with(root().join("src/sandbox"))
    };
    let mut texts: Vec<(PathBuf, String)> = files("src", &["rs"])
        .into_iter()
        .filter(|path| !is_exempt(path))
        .map(|path| (path.clone(), literals(&path)))
        .collect();
    let pages = files("templates", &["html"])
        .into_iter()
        .chain(files("docs", &["md"]))
        .chain([root().join("README.md"), root().join("CHANGELOG.md")]);
    texts.extend(pages.map(|path| (path.clone(), std::fs::read_to_string(&path).unwrap())));
    let mut found = Vec::new();
    for (path, text) in texts {
        let text = text.to_lowercase();
        found.extend(
            EXCLUDED
                .iter()
                .filter(|word| text.contains(*word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
