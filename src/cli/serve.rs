//! `chatlake serve`

use super::Done;
use crate::app::App;
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
    let mut app = App::open(config, Clock::system()).await?;
    let listener = app.listen().await?;
    if let Some(link) = app.set_up_link().await? {
        println!(
            "No one can sign in yet. Open this link once to make the first admin:\n\n    {link}\n\nIt works once, for seven days or until the server stops."
        );
    }
    println!("Chatlake is ready at {}", app.config.public_url);
    app.serve_until_signalled(listener).await?;
    Ok(())
}
