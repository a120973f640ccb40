//! `chatlake demo`: the application with generated data. It runs the sandbox in the same process
//! and executes a week of scheduled runs on a simulated clock (`week.rs`), so that the history
//! consists of real runs. Then the server starts on the system clock.

mod content;
mod week;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult};
use crate::app::{App, Hangup, shutdown_signal};
use crate::clock::Clock;
use crate::config::{AllowUpstream, Config, GlobalArgs, ServeArgs};
use crate::error::{Error, Result};
use crate::sandbox::livechat::{API_KEY, LOGIN};
use crate::sandbox::liveleader;
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::secret::Secret;
use week::simulate_week;

/// The host of all email addresses in the demo.
const HOST: &str = "demo.test";

#[derive(clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Number of chats in the simulated LiveChat and LiveLeader
    #[arg(long, default_value_t = 6_000, value_name = "N")]
    chats: u64,
}

pub async fn run(global_args: &GlobalArgs, arguments: &DemoArgs) -> CommandResult {
    crate::cli::log::start(
        global_args.log.as_deref().unwrap_or("error"),
        global_args.log_format.unwrap_or_default(),
    )?;
    let (dir, temporary) = match &global_args.data {
        Some(dir) => (dir.clone(), false),
        None => (temporary_directory()?, true),
    };
    let result = run_in(global_args, arguments, dir.clone()).await;
    if temporary {
        let _ = std::fs::remove_dir_all(&dir);
    }
    result
}

async fn run_in(global_args: &GlobalArgs, arguments: &DemoArgs, dir: PathBuf) -> CommandResult {
    let mut global_args = GlobalArgs {
        data: Some(dir),
        ..global_args.clone()
    };
    global_args
        .allow_upstream
        .push(AllowUpstream::Host("localhost".to_owned()));
    global_args.allow_upstream.push(AllowUpstream::Net(
        std::net::IpAddr::from([127, 0, 0, 1]).into(),
    ));
    let config = Config::resolve(&global_args, &arguments.serve)?;
    let stop = shutdown_signal(Hangup::Ends);
    // Bound before the week is simulated, so that a port in use is reported at once.
    let listener = bind(&config).await?;
    let config = config.listening_on(listener.local_addr()?)?;

    let vendor = start_sandbox(arguments.chats, stop.clone()).await?;
    print_line!(
        "Creating a week of sample data. The simulated LiveChat and LiveLeader listen at {vendor} \
         ..."
    )?;
    let passphrase = simulate_week(config.clone(), &vendor).await?;

    let app = App::open(config, Clock::system()).await?;
    print_line!("")?;
    print_line!("Chatlake is ready at {}", app.config.public_url)?;
    match passphrase {
        Some(passphrase) => print_line!(
            "Sign in as maren@{HOST} with the password {}",
            passphrase.reveal()
        )?,
        None => print_line!(
            "This directory contains an earlier demo. Sign in with the password that it printed."
        )?,
    }
    print_line!(
        "To add accounts for the simulated LiveChat and LiveLeader, use the API URL {vendor} and \
         these credentials:"
    )?;
    print_line!("  LiveChat: Username {LOGIN}, API Key {API_KEY}")?;
    print_line!(
        "  LiveLeader: Email {}, Password {}",
        liveleader::EMAIL,
        liveleader::PASSWORD
    )?;
    print_line!("Press Ctrl+C to stop.")?;
    app.serve(listener.into_std()?, stop).await?;
    Ok(())
}

async fn bind(config: &Config) -> Result<TcpListener> {
    TcpListener::bind(config.listen).await.map_err(|why| {
        Error::conflict(
            "listen",
            format!("Cannot listen on {}: {why}.", config.listen),
        )
        .action(
            "Another program may use this address. Choose another address with --listen, for \
             example 127.0.0.1:0 for any free port.",
        )
    })
}

async fn start_sandbox(chats: u64, stop: CancellationToken) -> Result<String, CommandError> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let vendor = format!("http://{}", listener.local_addr()?);
    let options = SandboxOptions {
        chats,
        days: 60,
        seed: 7,
        delay: Duration::from_millis(2),
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::new(options, Clock::system());
    tokio::spawn(async move { sandbox.serve(listener, stop).await });
    Ok(vendor)
}

/// Four words and a number: about 26 bits, for a server on this machine with generated data.
fn passphrase() -> Secret {
    const WORDS: [&str; 32] = [
        "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island",
        "juniper", "kettle", "lantern", "meadow", "north", "orchid", "pebble", "quartz", "river",
        "summit", "timber", "umber", "valley", "willow", "yonder", "zephyr", "anchor", "beacon",
        "copper", "drift", "echo", "feather", "glacier",
    ];
    let mut rng = rand::rng();
    let words: Vec<&str> = (0..4)
        .map(|_| WORDS[rng.random_range(0..WORDS.len())])
        .collect();
    Secret::new(format!("{}-{}", words.join("-"), rng.random_range(10..100)))
}

fn temporary_directory() -> Result<PathBuf, CommandError> {
    let dir = std::env::temp_dir().join(format!("chatlake-demo-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&dir)?;
    Ok(dir)
}
