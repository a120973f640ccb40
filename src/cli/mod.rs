//! One file per command. What a command prints for people and programs goes to standard output, logs and errors to standard error.
//! Whoever reads standard output may stop reading, as `head` does: that is no error, so commands print with `tell!`.
//! Exit codes: 0 done, 1 it did not work, 2 the arguments are off, 69 the server is not ready, 78 the vault key refuses the start.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's own output")]

/// Prints a line to standard output, like `println!`, for `?`. See `tell`.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::cli::tell(format_args!($($text)*))
    };
}

mod account;
mod dataset;
mod dataset_schedule;
mod demo;
mod export_password;
mod healthcheck;
mod log;
mod sandbox;
mod secret_input;
mod serve;
mod token;
mod user;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::actor::{Actor, Role};
use crate::app::StartError;
use crate::config::Given;
use crate::error::Error;
use crate::ids::UserId;

/// Pulls chat-support data from LiveChat and LiveLeader into versioned DataSets and serves it.
#[derive(Parser)]
#[command(name = "chatlake", version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    given: Given,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Arguments),
    /// Run the server with sample data from a simulated LiveChat and LiveLeader
    Demo(demo::Arguments),
    /// Run only the simulated LiveChat and LiveLeader
    Sandbox(sandbox::Arguments),
    /// Manage people
    #[command(subcommand)]
    User(user::Command),
    /// Manage API tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Manage export passwords for scripts that were written for LiveLeader
    #[command(subcommand)]
    ExportPassword(export_password::Command),
    /// Manage LiveChat and LiveLeader accounts
    #[command(subcommand)]
    Account(account::Command),
    /// Manage DataSets
    #[command(subcommand)]
    Dataset(dataset::Command),
    /// Check that the stored data is consistent and undamaged. Changes nothing
    Verify(verify::Arguments),
    /// Check whether a running server is ready; for containers
    Healthcheck(healthcheck::Arguments),
}

/// How a command ended when it did not work.
pub(crate) struct Failed {
    code: u8,
    line: String,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let mut line = error.message().to_owned();
        if let Some(step) = error.next_step() {
            line = format!("{line} {step}");
        }
        if let Some(cause) = &error.inside().0 {
            line = format!("{line} ({cause})");
        }
        Self { code: 1, line }
    }
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Key(line) => Self { code: 78, line },
            StartError::Other(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self { code: 1, line: error.to_string() }
    }
}

type Done = Result<(), Failed>;

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    forbid_core_dumps();
    // One TLS provider for everything that is compiled in.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Arguments { given, command } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("chatlake: {why}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match command {
            Command::Serve(arguments) => serve::run(&given, &arguments).await,
            Command::Demo(arguments) => demo::run(&given, &arguments).await,
            Command::Sandbox(arguments) => sandbox::run(&given, &arguments).await,
            Command::User(command) => user::run(&given, command).await,
            Command::Token(command) => token::run(&given, command).await,
            Command::ExportPassword(command) => export_password::run(&given, command).await,
            Command::Account(command) => account::run(&given, command).await,
            Command::Dataset(command) => dataset::run(&given, command).await,
            Command::Verify(arguments) => verify::run(&given, &arguments).await,
            Command::Healthcheck(arguments) => healthcheck::run(&given, &arguments).await,
        }
    });
    // Blocking work that never ends (a terminal that is read) must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed { code, line }) => {
            eprintln!("chatlake: {line}");
            ExitCode::from(code)
        }
    }
}

/// A core dump would hold the key and whatever is open in memory. The limit keeps the kernel from writing one, the other keeps it from
/// handing one to a program, and keeps other processes of the same user from reading the memory.
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(why) = setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        eprintln!("chatlake: core dumps could not be turned off: {why}");
    }
}

/// The commands and settings as they are parsed: for the test that holds the docs to them.
pub fn command_line() -> clap::Command {
    Arguments::command()
}

/// Whoever has the data directory may do everything with it.
fn keeper() -> Actor {
    Actor { user: UserId::new(), name: "the command line".to_owned(), email: String::new(), role: Role::Admin, scope: None, token: None, session: None }
}

/// Writes a line to standard output. A reader that has stopped reading is no error; anything else, such as a full disk, is.
fn tell(line: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    unless_closed(writeln!(std::io::stdout(), "{line}"))
}

/// The result of writing to standard output, where a closed pipe is no error.
fn unless_closed(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a listing: a table for people, or a JSON array for programs.
fn print_list<T: Serialize>(json: bool, heads: &[&str], items: &[T], cells: impl Fn(&T) -> Vec<String>) -> Done {
    if json {
        let text = serde_json::to_string_pretty(items).map_err(Error::internal)?;
        tell!("{text}")?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(i, head)| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).chain([head.len()]).max().unwrap_or(0))
        .collect();
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    for cells in std::iter::once(heads).chain(rows) {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        tell!("{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}
