//! `chatlake user`: works beside a running server and without one.

use std::path::PathBuf;

use super::{Done, Failed, print_list, secret_input};
use crate::actor::Role;
use crate::app::App;
use crate::auth::passwords::Hasher;
use crate::auth::users::{self, NewUser, User};
use crate::clock::Clock;
use crate::config::{Config, Given};
use crate::error::Error;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Add a person. The password is read from standard input or a file. Creates the data directory if it does not exist
    Add {
        #[arg(long)]
        email: String,
        #[arg(long)]
        name: String,
        /// admin, editor or viewer
        #[arg(long)]
        role: Role,
        /// Read the password from this file instead of standard input
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List people
    List {
        #[arg(long)]
        json: bool,
    },
    /// Set the password of a person, read from standard input or a file. Ends all their sessions
    Password {
        #[arg(long)]
        email: String,
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Deactivate a person at once, and end all their sessions and tokens
    Disable {
        #[arg(long)]
        email: String,
    },
}

pub async fn run(given: &Given, command: Command) -> Done {
    match command {
        Command::Add { email, name, role, password_file } => {
            let password = secret_input::read_new(password_file.as_deref(), "Password")?;
            let new = NewUser { email, name, role, password: Some(password) };
            // The data directory is made only for a person who can be added.
            users::validate(&new)?;
            let app = App::open_beside(settings(given)?, Clock::system()).await?;
            let user = users::create(&app.db, &app.clock, &Hasher::new(1), &new, None).await?;
            tell!("{} was added as {}.", user.email, role.word())?;
            app.stop().await;
        }
        Command::List { json } => {
            let app = open(given).await?;
            let people = users::list(&app.db).await?;
            print_list(json, &["email", "name", "role", "state"], &people, |p: &User| {
                vec![p.email.clone(), p.name.clone(), p.role.word().to_owned(), if p.disabled_at.is_some() { "deactivated" } else { "" }.to_owned()]
            })?;
            app.stop().await;
        }
        Command::Password { email, password_file } => {
            let app = open(given).await?;
            let user = find(&app, &email).await?;
            let password = secret_input::read_new(password_file.as_deref(), "New password")?;
            users::set_password(&app.db, &app.clock, &Hasher::new(1), &user.id, &password).await?;
            tell!("The password of {} was changed. All their sessions have ended.", user.email)?;
            app.stop().await;
        }
        Command::Disable { email } => {
            let app = open(given).await?;
            let user = find(&app, &email).await?;
            users::disable(&app.db, &app.clock, &user.id, None).await?;
            tell!("{} is deactivated.", user.email)?;
            app.stop().await;
        }
    }
    Ok(())
}

/// The data directory that the settings name, beside a server or without one. One that is not there is refused.
pub(super) async fn open(given: &Given) -> Result<App, Failed> {
    Ok(App::open_existing(settings(given)?, Clock::system()).await?)
}

/// The settings of a command, and its log.
fn settings(given: &Given) -> Result<Config, Failed> {
    let config = Config::of_command(given)?;
    super::log::start(given.log.as_deref().unwrap_or("warn"), config.log_format)?;
    Ok(config)
}

pub(super) async fn find(app: &App, email: &str) -> Result<User, Failed> {
    let found = users::by_email(&app.db, email).await?;
    found.ok_or_else(|| Error::field("user", format!("No person has the email {email}. chatlake user list shows all people.")).into())
}
