//! The documents are complete: every setting, command and address is described, and links
//! lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Heading and what follows it up to the next one, in order. Lines in fences are no headings.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        match line.strip_prefix('#').filter(|_| !fenced) {
            Some(rest) => sections.push((
                rest.trim_start_matches('#').trim().to_owned(),
                String::new(),
            )),
            None => {
                if let Some((_, body)) = sections.last_mut() {
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
    }
    sections
}

/// Every command with its path, such as `token create`.
fn commands(command: &clap::Command, before: &str, all: &mut Vec<(String, clap::Command)>) {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let path = format!("{before} {}", sub.get_name()).trim().to_owned();
        all.push((path.clone(), sub.clone()));
        commands(sub, &path, all);
    }
}

fn all_commands() -> Vec<(String, clap::Command)> {
    let mut all = Vec::new();
    commands(&chatlake::cli::command_line(), "", &mut all);
    all
}

/// The settings: what the environment gives as well.
fn settings() -> Vec<clap::Arg> {
    let top = chatlake::cli::command_line();
    let mut all: Vec<clap::Arg> = top
        .get_arguments()
        .chain(top.find_subcommand("serve").unwrap().get_arguments())
        .cloned()
        .collect();
    all.retain(|arg| arg.get_env().is_some());
    all
}

#[test]
fn every_setting_has_its_heading_flag_environment_and_default() {
    let text = read("docs/run/settings.md");
    let sections = sections(&text);
    let mut known = vec!["Settings".to_owned()];
    for arg in settings() {
        let flag = format!("--{}", arg.get_long().unwrap());
        let (_, body) = sections
            .iter()
            .find(|(heading, _)| *heading == flag)
            .unwrap_or_else(|| panic!("docs/run/settings.md has no heading {flag}"));
        let environment = arg.get_env().unwrap().to_str().unwrap();
        assert!(
            body.contains(&format!("`{environment}`")),
            "{flag}: {environment} is not described"
        );
        let help = arg.get_help().unwrap().to_string();
        if let Some((_, default)) = help.rsplit_once("Default: ") {
            let default_line = body
                .lines()
                .find(|line| line.starts_with("- Default: "))
                .unwrap_or_else(|| panic!("{flag}: no default"));
            assert!(
                default_line.contains(default),
                "{flag}: the default is {default}, not {default_line}"
            );
        }
        known.push(flag);
    }
    for (heading, _) in &sections {
        assert!(
            known.contains(heading),
            "docs/run/settings.md describes {heading}, which is no setting"
        );
    }
}

#[test]
fn every_name_in_the_settings_file_is_one_that_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    for (flag, body) in sections(&read("docs/run/settings.md")) {
        let Some(line) = body
            .lines()
            .find(|line| line.starts_with("- In chatlake.toml: `"))
        else {
            continue;
        };
        let name = line.split('`').nth(1).unwrap();
        assert_eq!(format!("--{}", name.replace('_', "-")), flag);
        // A value of no kind it could be: what is wrong with it must not be its name.
        fs::write(dir.path().join("chatlake.toml"), format!("{name} = {{}}\n")).unwrap();
        let global_args = chatlake::config::GlobalArgs {
            data: Some(dir.path().to_owned()),
            ..Default::default()
        };
        let error =
            chatlake::config::Config::resolve(&global_args, &Default::default()).unwrap_err();
        assert!(
            !error.message().contains("unknown field"),
            "{name}: {error}"
        );
    }
}

#[test]
fn every_command_has_its_heading_and_its_arguments_below() {
    let sections = sections(&read("docs/run/commands.md"));
    let settings: Vec<String> = settings()
        .iter()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let all = all_commands();
    for (path, command) in &all {
        let (_, body) = sections
            .iter()
            .find(|(heading, _)| heading == path)
            .unwrap_or_else(|| panic!("docs/run/commands.md has no heading {path}"));
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_env().is_none())
        {
            let shared =
                settings.contains(&arg.get_id().to_string()) && arg.get_long() != Some("listen");
            if let Some(long) = arg
                .get_long()
                .filter(|long| !shared && !matches!(*long, "help" | "version"))
            {
                assert!(
                    body.contains(&format!("`--{long}")),
                    "{path}: --{long} is not described"
                );
            }
        }
    }
    for (heading, _) in &sections {
        assert!(
            heading == "Commands" || all.iter().any(|(path, _)| path == heading),
            "docs/run/commands.md describes {heading}, which is no command"
        );
    }
}

#[test]
fn every_address_of_the_api_has_its_heading_and_an_example() {
    let sections = sections(&read("docs/reference/api.md"));
    let addresses: Vec<String> = chatlake::api::addresses()
        .into_iter()
        .map(|(method, path)| format!("{method} {path}"))
        .collect();
    for address in &addresses {
        let (_, body) = sections
            .iter()
            .find(|(heading, _)| heading == address)
            .unwrap_or_else(|| panic!("docs/reference/api.md has no heading {address}"));
        assert!(body.contains("curl "), "{address} has no example");
    }
    for (heading, _) in &sections {
        let is_call = heading.split_once(" /").is_some();
        assert!(
            !is_call || addresses.contains(heading),
            "docs/reference/api.md describes {heading}, which is not there"
        );
    }
}

#[test]
fn the_reference_lists_every_metric_and_no_other() {
    let text = read("docs/run/monitoring.md");
    let table: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| ticked(line.split(" | ").next().unwrap()))
        .collect();
    let metrics = chatlake::metrics::Metrics::new();
    // Those with labels appear once they count something.
    metrics.record_response("/datasets", 200, 0.1);
    metrics.set_account_calls("acc_x", 1, 180, 0);
    metrics.set_dataset_ages([("ds_x".to_owned(), 1)].into_iter(), 0);
    let answer = metrics.text();
    let there: BTreeSet<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(there.len() > 20, "{answer}");
    assert_eq!(table, there);
}

fn documents(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            documents(&path, all);
        } else if path.extension().is_some_and(|end| end == "md") {
            all.push(path);
        }
    }
}

/// How a heading is named in an address: lower case, spaces as hyphens, other signs gone.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut all: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    documents(&root().join("docs"), &mut all);
    for document in &all {
        let text = fs::read_to_string(document).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            assert!(
                target.is_file(),
                "{}: {link} leads nowhere",
                document.display()
            );
            let there = heading.is_empty()
                || sections(&fs::read_to_string(&target).unwrap())
                    .iter()
                    .any(|(known, _)| anchor(known) == heading);
            assert!(there, "{}: {link} names no heading", document.display());
        }
    }
}

#[test]
fn every_document_is_reached_from_the_index() {
    let index = read("docs/README.md");
    let mut all = Vec::new();
    documents(&root().join("docs"), &mut all);
    for document in all.iter().filter(|path| !path.ends_with("docs/README.md")) {
        let path = document
            .strip_prefix(root().join("docs"))
            .unwrap()
            .to_str()
            .unwrap();
        assert!(
            index.contains(&format!("({path})")),
            "docs/README.md does not lead to {path}"
        );
    }
}

/// Every file and folder below `dir`, as its path from the root; folders end with a slash.
fn everything(dir: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut name = path
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if path.is_dir() {
            everything(&path, all);
            name.push('/');
        }
        all.push(name);
    }
}

/// What stands in backticks.
fn ticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Whether a text in backticks names a file of the source or a folder. `NAME` stands for a name
/// that is still to be given.
fn is_path(text: &str) -> bool {
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
        && !text.contains("NAME");
    let ends = ["/", ".rs", ".md", ".toml", ".css", ".js", ".html", ".sql"];
    is_plain && ends.iter().any(|end| text.ends_with(end))
}

#[test]
fn every_path_in_the_guides_is_there() {
    let mut there = Vec::new();
    for dir in [
        "benches",
        "bin",
        "docs",
        "migrations",
        "src",
        "static",
        "templates",
        "tests",
    ] {
        everything(&root().join(dir), &mut there);
    }
    let at = |base: &str, path: &str| root().join(base).join(path).exists();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let (text, mut fenced) = (read(document), false);
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            // In a table, a file is in one of the folders that its row is about; in a sentence,
            // somewhere.
            let about = line
                .strip_prefix("| ")
                .and_then(|row| row.split(" | ").next())
                .unwrap_or_default();
            let folders: Vec<&str> = ticked(about)
                .into_iter()
                .filter(|name| name.ends_with('/'))
                .collect();
            for path in ticked(line)
                .into_iter()
                .filter(|text| !fenced && is_path(text))
            {
                let found = if folders.is_empty() {
                    there
                        .iter()
                        .any(|known| known.ends_with(&format!("/{path}")))
                } else {
                    folders
                        .iter()
                        .any(|folder| at(folder, path) || at(&format!("src/{folder}"), path))
                };
                assert!(
                    at("", path) || at("src", path) || found,
                    "{document}: there is no {path}"
                );
            }
        }
    }
}
