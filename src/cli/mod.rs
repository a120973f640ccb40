//! One file per command. The output of a command goes to standard output, logs and errors to
//! standard error. A closed output pipe (for example `chatlake dataset list | head`) is not an
//! error, so commands print with `print_line!`. Exit codes: 0 success, 1 failure, 2 invalid
//! arguments, 69 the server is not ready, 78 the vault key is missing or invalid.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's own output"
)]

/// Prints a line to standard output, like `println!`, for `?`. See `print_line`.
macro_rules! print_line {
    ($($text:tt)*) => {
        (crate::cli::print_line(format_args!($($text)*)))
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
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::ids::UserId;

/// Pulls chat-support data from LiveChat and LiveLeader into versioned DataSets and serves it.
#[derive(Parser)]
#[command(
    name = "chatlake",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global_args: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeCommandArgs),
    /// Run the server with sample data from a simulated LiveChat and LiveLeader
    Demo(demo::DemoArgs),
    /// Run only the simulated LiveChat and LiveLeader
    Sandbox(sandbox::SandboxArgs),
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
    Verify(verify::VerifyArgs),
    /// Check whether a running server is ready; for containers
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// The error of a command.
pub(crate) struct CommandError {
    code: u8,
    message: String,
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        let mut line = error.message().to_owned();
        if let Some(step) = error.suggested_action() {
            line = format!("{line} {step}");
        }
        if let Some(cause) = &error.log_cause().0 {
            line = format!("{line} ({cause})");
        }
        Self {
            code: 1,
            message: line,
        }
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Key(line) => Self {
                code: 78,
                message: line,
            },
            StartError::Other(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self {
            code: 1,
            message: error.to_string(),
        }
    }
}

type CommandResult = Result<(), CommandError>;

/// Runs the command of the arguments.
pub fn run() -> ExitCode {
    forbid_core_dumps();
    // One TLS provider for all libraries.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Cli {
        global_args,
        command,
    } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(why) => {
            eprintln!("chatlake: {why}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match command {
            Command::Serve(arguments) => serve::run(&global_args, &arguments).await,
            Command::Demo(arguments) => demo::run(&global_args, &arguments).await,
            Command::Sandbox(arguments) => sandbox::run(&global_args, &arguments).await,
            Command::User(command) => user::run(&global_args, command).await,
            Command::Token(command) => token::run(&global_args, command).await,
            Command::ExportPassword(command) => export_password::run(&global_args, command).await,
            Command::Account(command) => account::run(&global_args, command).await,
            Command::Dataset(command) => dataset::run(&global_args, command).await,
            Command::Verify(arguments) => verify::run(&global_args, &arguments).await,
            Command::Healthcheck(arguments) => healthcheck::run(&global_args, &arguments).await,
        }
    });
    // Blocking tasks that never end, such as a read from the terminal, must not keep the process
    // alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError { code, message }) => {
            eprintln!("chatlake: {message}");
            ExitCode::from(code)
        }
    }
}

/// Prevents core dumps, which would contain the vault key and open data. The limit keeps the kernel
/// from writing one; the flag keeps it from piping one to a program, and keeps other processes of
/// the same user from reading the memory.
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(why) = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable))
    {
        eprintln!("chatlake: core dumps could not be turned off: {why}");
    }
}

/// The parsed commands and settings, for the test that compares them with the documentation.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// The actor of the command line: anyone with access to the data directory may do everything.
fn system_actor() -> Actor {
    Actor {
        user: UserId::new(),
        name: "the command line".to_owned(),
        email: String::new(),
        role: Role::Admin,
        scope: None,
        token: None,
        session: None,
    }
}

/// Writes a line to standard output. A closed pipe is not an error; anything else, such as a full
/// disk, is.
fn print_line(line: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    ignore_broken_pipe(writeln!(std::io::stdout(), "{line}"))
}

/// The result of a write to standard output; a closed pipe counts as success.
fn ignore_broken_pipe(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a list: a table for people, or a JSON array for programs.
fn print_list<T: Serialize>(
    json: bool,
    heads: &[&str],
    items: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> CommandResult {
    if json {
        let text = serde_json::to_string_pretty(items).map_err(Error::internal)?;
        print_line!("{text}")?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(i, head)| {
            rows.iter()
                .filter_map(|row| row.get(i))
                .map(|cell| cell.chars().count())
                .chain([head.len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    for cells in std::iter::once(heads).chain(rows) {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        print_line!("{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}
