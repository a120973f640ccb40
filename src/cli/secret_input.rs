//! Reads secrets from a file, a pipe or a terminal without echo. Never from an argument, because
//! every process on the machine can read arguments.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::CommandError;
use crate::secret::Secret;

/// The maximum length of a secret in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// Reads the first line of a file or of standard input. On a terminal it prompts for `what`, such
/// as "Password", on standard error.
pub(super) fn read(file: Option<&Path>, what: &str) -> Result<Secret, CommandError> {
    read_lines(file, &[&format!("{what}: ")])
}

/// Like `read`, for a new secret: on a terminal it must be typed twice.
pub(super) fn read_new(file: Option<&Path>, what: &str) -> Result<Secret, CommandError> {
    read_lines(file, &[&format!("{what}: "), &format!("{what} again: ")])
}

fn read_lines(file: Option<&Path>, prompts: &[&str]) -> Result<Secret, CommandError> {
    let mut text = String::new();
    match file {
        Some(path) => {
            text = std::fs::read_to_string(path).map_err(|why| CommandError {
                code: 1,
                message: format!("{} cannot be read: {why}.", path.display()),
            })?;
        }
        None if std::io::stdin().is_terminal() => return read_from_terminal(prompts),
        None => {
            std::io::stdin()
                .take(MAX_LENGTH)
                .read_to_string(&mut text)?;
        }
    }
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

/// Prompts on the terminal, once for each prompt. All answers must be equal.
fn read_from_terminal(prompts: &[&str]) -> Result<Secret, CommandError> {
    // Echo is turned off before the prompt, so that characters typed at once are not shown either.
    let _echo_off = EchoOff::new()?;
    let mut answers: Vec<Secret> = Vec::new();
    for prompt in prompts {
        let mut errors = std::io::stderr();
        write!(errors, "{prompt}")?;
        errors.flush()?;
        let mut line = String::new();
        std::io::stdin()
            .lock()
            .take(MAX_LENGTH)
            .read_line(&mut line)?;
        writeln!(errors)?;
        answers.push(Secret::new(line.trim_end_matches(['\n', '\r'])));
    }
    match answers.split_first() {
        Some((first, others)) if others.iter().all(|other| other.reveal() == first.reveal()) => {
            Ok(first.clone())
        }
        _ => Err(CommandError {
            code: 1,
            message: "The two entries are not the same. Nothing was changed.".to_owned(),
        }),
    }
}

/// Turns the echo of the terminal off until this value is dropped.
struct EchoOff(Termios);

impl EchoOff {
    fn new() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut without_echo = before.clone();
        without_echo.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &without_echo)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
