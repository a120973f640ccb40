//! `chatlake user`. Works with and without a running server.

use std::path::PathBuf;

use super::{CommandError, CommandResult, print_list, secret_input};
use crate::actor::Role;
use crate::app::App;
use crate::auth::passwords::Hasher;
use crate::auth::users::{self, NewUser, User};
use crate::clock::Clock;
use crate::config::{Config, GlobalArgs};
use crate::error::Error;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Add a person. The password is read from standard input or a file. Creates the data directory
    /// if it does not exist
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

pub async fn run(global_args: &GlobalArgs, command: Command) -> CommandResult {
    match command {
        Command::Add {
            email,
            name,
            role,
            password_file,
        } => {
            let password = secret_input::read_new(password_file.as_deref(), "Password")?;
            let new = NewUser {
                email,
                name,
                role,
                password: Some(password),
            };
            // Validated first, so that the data directory is only created for a valid person.
            users::validate(&new)?;
            let app = App::open_for_command(load_config(global_args)?, Clock::system()).await?;
            let user = users::create(&app.db, &app.clock, &Hasher::new(1), &new, None).await?;
            print_line!("{} was added as {}.", user.email, role.word())?;
            app.stop().await;
        }
        Command::List { json } => {
            let app = open(global_args).await?;
            let people = users::list(&app.db).await?;
            print_list(
                json,
                &["email", "name", "role", "state"],
                &people,
                |p: &User| {
                    vec![
                        p.email.clone(),
                        p.name.clone(),
                        p.role.word().to_owned(),
                        if p.disabled_at.is_some() {
                            "deactivated"
                        } else {
                            ""
                        }
                        .to_owned(),
                    ]
                },
            )?;
            app.stop().await;
        }
        Command::Password {
            email,
            password_file,
        } => {
            let app = open(global_args).await?;
            let user = find(&app, &email).await?;
            let password = secret_input::read_new(password_file.as_deref(), "New password")?;
            users::set_password(&app.db, &app.clock, &Hasher::new(1), &user.id, &password).await?;
            print_line!(
                "The password of {} was changed. All their sessions have ended.",
                user.email
            )?;
            app.stop().await;
        }
        Command::Disable { email } => {
            let app = open(global_args).await?;
            let user = find(&app, &email).await?;
            users::disable(&app.db, &app.clock, &user.id, None).await?;
            print_line!("{} is deactivated.", user.email)?;
            app.stop().await;
        }
    }
    Ok(())
}

/// Opens the configured data directory, with or without a running server. Refuses a directory that
/// does not exist.
pub(super) async fn open(global_args: &GlobalArgs) -> Result<App, CommandError> {
    Ok(App::open_existing(load_config(global_args)?, Clock::system()).await?)
}

/// Resolves the settings of a command and starts its log.
fn load_config(global_args: &GlobalArgs) -> Result<Config, CommandError> {
    let config = Config::for_command(global_args)?;
    super::log::start(
        global_args.log.as_deref().unwrap_or("warn"),
        config.log_format,
    )?;
    Ok(config)
}

pub(super) async fn find(app: &App, email: &str) -> Result<User, CommandError> {
    let found = users::by_email(&app.db, email).await?;
    found.ok_or_else(|| {
        Error::field(
            "user",
            format!("No person has the email {email}. chatlake user list shows all people."),
        )
        .into()
    })
}
