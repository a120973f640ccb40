//! `chatlake serve`: runs the server.

use super::CommandResult;
use crate::app::{App, Hangup, shutdown_signal};
use crate::clock::Clock;
use crate::config::{Config, GlobalArgs, ServeArgs};

#[derive(clap::Args)]
pub struct ServeCommandArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

pub async fn run(global_args: &GlobalArgs, arguments: &ServeCommandArgs) -> CommandResult {
    let config = Config::resolve(global_args, &arguments.serve)?;
    super::log::start(&config.log, config.log_format)?;
    let stop = shutdown_signal(Hangup::Ignored);
    let mut app = App::open(config, Clock::system()).await?;
    let listener = app.listen().await?;
    if let Some(link) = app.set_up_link().await? {
        print_line!(
            "No one can sign in yet. Open this link to create the first admin:\n\n    {link}\n\n\
             The link works once. It expires after seven days or when the server stops."
        )?;
    }
    print_line!("Chatlake is ready at {}", app.config.public_url)?;
    app.serve(listener, stop).await?;
    Ok(())
}
