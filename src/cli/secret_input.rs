//! Secrets that a command reads: from a file, from a pipe, or from a terminal, which then does not show what is typed. Never from an
//! argument, which every process on the machine can read.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Failed;
use crate::secret::Secret;

/// No secret is longer, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// The first line of a file, or of standard input. On a terminal it asks for `what`, such as "Password", on standard error.
pub(super) fn read(file: Option<&Path>, what: &str) -> Result<Secret, Failed> {
    read_lines(file, &[&format!("{what}: ")])
}

/// As `read`, for a secret that is new: on a terminal it must be typed twice.
pub(super) fn read_new(file: Option<&Path>, what: &str) -> Result<Secret, Failed> {
    read_lines(file, &[&format!("{what}: "), &format!("{what} again: ")])
}

fn read_lines(file: Option<&Path>, prompts: &[&str]) -> Result<Secret, Failed> {
    let mut text = String::new();
    match file {
        Some(path) => {
            text = std::fs::read_to_string(path).map_err(|why| Failed { code: 1, line: format!("{} cannot be read: {why}.", path.display()) })?;
        }
        None if std::io::stdin().is_terminal() => return ask(prompts),
        None => {
            std::io::stdin().take(MAX_LENGTH).read_to_string(&mut text)?;
        }
    }
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

/// Asks on the terminal, once for each prompt. All answers must be the same.
fn ask(prompts: &[&str]) -> Result<Secret, Failed> {
    // Before the prompt, so that what is typed as soon as it is seen is not shown either.
    let _silent = Silent::new()?;
    let mut answers: Vec<Secret> = Vec::new();
    for prompt in prompts {
        let mut errors = std::io::stderr();
        write!(errors, "{prompt}")?;
        errors.flush()?;
        let mut line = String::new();
        std::io::stdin().lock().take(MAX_LENGTH).read_line(&mut line)?;
        writeln!(errors)?;
        answers.push(Secret::new(line.trim_end_matches(['\n', '\r'])));
    }
    match answers.split_first() {
        Some((first, others)) if others.iter().all(|other| other.reveal() == first.reveal()) => Ok(first.clone()),
        _ => Err(Failed { code: 1, line: "The two entries are not the same. Nothing was changed.".to_owned() }),
    }
}

/// The terminal of standard input, which shows nothing of what is typed until this value is dropped.
struct Silent(Termios);

impl Silent {
    fn new() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
