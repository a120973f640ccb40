//! `chatlake sandbox`: runs only the simulated vendors.

use std::net::SocketAddr;
use std::time::Duration;

use super::CommandResult;
use crate::app::{Hangup, shutdown_signal};
use crate::clock::Clock;
use crate::config::GlobalArgs;
use crate::sandbox::{Sandbox, SandboxOptions};

#[derive(clap::Args)]
pub struct SandboxArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8089", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Number of chats. They are generated on request, so a large number needs no memory
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    chats: u64,
    /// Number of days, until today, over which the chats are spread
    #[arg(long, default_value_t = 60, value_name = "DAYS")]
    days: u32,
    /// Duration of each call, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
    /// Maximum number of calls in any 60 seconds; further calls get 429; no limit when left out
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Seed of the random data. Another number generates other data
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

pub async fn run(global_args: &GlobalArgs, arguments: &SandboxArgs) -> CommandResult {
    super::log::start(
        global_args.log.as_deref().unwrap_or("warn"),
        global_args.log_format.unwrap_or_default(),
    )?;
    let options = SandboxOptions {
        chats: arguments.chats,
        days: arguments.days,
        seed: arguments.seed,
        delay: Duration::from_millis(arguments.delay),
        requests_per_minute: arguments.requests_per_minute,
    };
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    print_line!("Simulated LiveChat at http://{address}  (agent@sandbox.test / sandbox-key)")?;
    print_line!(
        "Simulated LiveLeader at http://{address}/a/Srv  (operator@sandbox.test / sandbox-password)"
    )?;
    let stop = shutdown_signal(Hangup::Ends);
    Sandbox::new(options, Clock::system())
        .serve(listener, stop)
        .await?;
    Ok(())
}
