//! The shape of the source: who may use whom, where SQL and the clock are, how long a file may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every room may use these.
const BASE: [&str; 10] = [
    "actor",
    "ids",
    "clock",
    "error",
    "config",
    "secret",
    "metrics",
    "quota",
    "connection",
    "text",
];

/// What each room may use besides.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("vault", &[]),
    ("db", &[]),
    ("connectors", &[]),
    // Never the connectors, or parser and emulator would share their mistakes.
    ("sandbox", &[]),
    ("auth", &["db"]),
    // `auth`, here and for accounts, for the record of who did what.
    ("datasets", &["db", "connectors", "auth"]),
    ("accounts", &["db", "vault", "connectors", "auth"]),
    // `vault` for the password of the mail server and for what signs.
    ("notifications", &["db", "vault", "connectors", "datasets"]),
    // `auth` for the record of who did what.
    (
        "puller",
        &[
            "db",
            "auth",
            "accounts",
            "connectors",
            "datasets",
            "notifications",
        ],
    ),
    // `db` to hand the catalogue on to the noun that keeps things; never for a statement, see
    // below.
    (
        "web",
        &[
            "db",
            "auth",
            "accounts",
            "connectors",
            "datasets",
            "notifications",
            "puller",
        ],
    ),
    (
        "api",
        &[
            "db",
            "auth",
            "accounts",
            "connectors",
            "datasets",
            "notifications",
            "puller",
        ],
    ),
    // One of the base may use the others of the base.
    ("base", &[]),
];

/// Everything may be used here, and nothing uses these.
const TOP: [&str; 4] = ["app", "cli", "main", "lib"];

const MAY_HOLD_SQL: [&str; 6] = [
    "db",
    "auth",
    "accounts",
    "datasets",
    "notifications",
    "puller",
];

/// Split a longer file by responsibility.
const MAX_FILE_LINES: usize = 450;
/// rustfmt leaves literals and comments as they are.
const MAX_LINE_COLUMNS: usize = 140;

struct File {
    /// Below `src`.
    path: String,
    module: String,
    text: String,
    /// Without tests, comments and the insides of texts.
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn files() -> Vec<File> {
    let src = root().join("src");
    let mut paths = Vec::new();
    rust_files(&src, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path
            .strip_prefix(&src)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let first = path.split('/').next().unwrap().trim_end_matches(".rs");
        let module = if BASE.contains(&first) { "base" } else { first }.to_owned();
        File {
            module,
            code: without_texts(&without_tests(&text)),
            path,
            text,
        }
    };
    let files: Vec<File> = paths.into_iter().map(read).collect();
    assert!(files.len() > 50, "the source was not found");
    files
}

/// A file that is all test: its parent says so.
fn is_test(file: &File) -> bool {
    let name = file.path.rsplit('/').next().unwrap();
    file.path.split('/').any(|part| part == "tests") || matches!(name, "tests.rs" | "testing.rs")
}

/// Cuts every item that is marked `#[cfg(test)]`: up to its closing brace at the same indent, or to
/// its semicolon.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let mut item = lines.next().unwrap_or_default();
            while item.trim_start().starts_with("#[") {
                item = lines.next().unwrap_or_default();
            }
            if item.trim_end().ends_with('{') {
                for line in lines.by_ref() {
                    if line == end {
                        break;
                    }
                }
            }
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// Empties texts and drops comments, so that a word in them is no code.
fn without_texts(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else if rest.starts_with('"') {
            let hashes = kept.bytes().rev().take_while(|byte| *byte == b'#').count();
            let raw = kept[..kept.len() - hashes].ends_with('r');
            let end = if raw {
                raw_end(rest, hashes)
            } else {
                text_end(rest)
            };
            kept.push_str("\"\"");
            rest = &rest[end..];
        } else {
            kept.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    kept + rest
}

fn text_end(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_end(text: &str, hashes: usize) -> usize {
    let close = format!("\"{}", "#".repeat(hashes));
    text[1..]
        .find(&close)
        .map_or(text.len(), |at| at + 1 + close.len())
}

/// The rooms that a file names as `crate::module`, those in braces too.
fn used(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let after = &code[at + "crate::".len()..];
        let names = match after.strip_prefix('{') {
            None => vec![word(after)],
            Some(group) => heads(group),
        };
        modules.extend(names.into_iter().filter(|name| !name.is_empty()));
    }
    modules
}

fn word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// First words of a `{a::b, c::{d, e}}` group.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut names) = (0, vec![word(group)]);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

#[test]
fn modules_use_only_the_modules_below_them() {
    let mut wrong = Vec::new();
    let known: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for file in files()
        .iter()
        .filter(|file| !is_test(file) && !TOP.contains(&file.module.as_str()))
    {
        let Some(may) = known.get(file.module.as_str()) else {
            wrong.push(format!(
                "{}: the room {} is not in the table",
                file.path, file.module
            ));
            continue;
        };
        for other in used(&file.code) {
            let same = other == file.module || BASE.contains(&other.as_str());
            if !same && !may.contains(&other.as_str()) {
                wrong.push(format!("{} uses {other}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_is_used_in_the_storage_modules_only() {
    let marks = [
        "sqlx::query",
        "query_scalar",
        "query_as",
        "query!",
        "raw_sql",
        "QueryBuilder",
    ];
    let verbs = [
        "\"SELECT ",
        "\"INSERT ",
        "\"UPDATE ",
        "\"DELETE FROM",
        "\"PRAGMA ",
        "\"CREATE TABLE",
    ];
    let mut wrong = Vec::new();
    for file in files()
        .iter()
        .filter(|file| !MAY_HOLD_SQL.contains(&file.module.as_str()) && !is_test(file))
    {
        let has = marks.iter().any(|mark| file.code.contains(mark))
            || verbs
                .iter()
                .any(|verb| without_tests(&file.text).contains(verb));
        if has {
            wrong.push(file.path.clone());
        }
    }
    assert!(
        wrong.is_empty(),
        "SQL outside of {MAY_HOLD_SQL:?}: {wrong:?}"
    );
}

#[test]
fn the_system_clock_is_read_in_one_place() {
    let mut readers = Vec::new();
    for file in files() {
        if [
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
            "Utc::now",
            "now_utc",
        ]
        .iter()
        .any(|mark| file.code.contains(mark))
        {
            readers.push(file.path);
        }
    }
    assert_eq!(readers, ["clock.rs"]);
}

#[test]
fn no_test_is_skipped() {
    let mut paths = Vec::new();
    rust_files(&root().join("src"), &mut paths);
    rust_files(&root().join("tests"), &mut paths);
    let mark = ["#[ign", "ore"].concat();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&mark), "{} skips a test", path.display());
    }
}

#[test]
fn every_file_begins_with_its_purpose() {
    let silent: Vec<String> = files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    assert!(silent.is_empty(), "no //! head: {silent:?}");
}

/// Every Rust file of the repository, with its path.
fn all_rust_files() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        rust_files(&root().join(folder), &mut paths);
    }
    paths.push(root().join("build.rs"));
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn files_are_short() {
    let long: Vec<String> = all_rust_files()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MAX_FILE_LINES)
        .map(|(name, text)| format!("{name} has {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "more than {MAX_FILE_LINES}: {long:#?}");
}

#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for (name, text) in all_rust_files() {
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > MAX_LINE_COLUMNS {
                long.push(format!("{name}:{}", number + 1));
            }
        }
    }
    assert!(
        long.is_empty(),
        "more than {MAX_LINE_COLUMNS} columns: {long:#?}"
    );
}

#[test]
fn uses_of_modules_are_found() {
    let code = concat!(
        "use crate::{db::Db, web::{a, b}, ids};\n",
        "let x = crate::auth::y(); // crate::cli\n",
        "\"crate::app\"; r#\"crate::puller\"#; '\"'; $crate::vault\n",
        "#[cfg(test)]\nmod tests {\n    use crate::sandbox;\n}\nuse crate::api;\n",
    );
    assert_eq!(
        used(&without_texts(&without_tests(code))),
        ["db", "web", "ids", "auth", "api"]
    );
}
