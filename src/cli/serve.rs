//! `chatlake serve`

use super::Done;
use crate::app::{App, Hangup, signalled};
use crate::clock::Clock;
use crate::config::{Config, Given, GivenToServe};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    serve: GivenToServe,
}

pub async fn run(given: &Given, arguments: &Arguments) -> Done {
    let config = Config::resolve(given, &arguments.serve)?;
    super::log::start(&config.log, config.log_format)?;
    let stop = signalled(Hangup::Ignored);
    let mut app = App::open(config, Clock::system()).await?;
    let listener = app.listen().await?;
    if let Some(link) = app.set_up_link().await? {
        tell!(
            "No one can sign in yet. Open this link to create the first admin:\n\n    {link}\n\n\
             The link works once. It expires after seven days or when the server stops."
        )?;
    }
    tell!("Chatlake is ready at {}", app.config.public_url)?;
    app.serve(listener, stop).await?;
    Ok(())
}
