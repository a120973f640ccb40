//! `chatlake export-password`. Works with and without a running server.

use super::{CommandResult, print_list};
use crate::auth::export_passwords::{self, ExportPassword, NewExportPassword};
use crate::auth::users;
use crate::clock::iso;
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::ids::ExportPasswordId;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Create an export password and print only the password. It is shown only once
    Create {
        /// Email of the owner
        #[arg(long)]
        user: String,
        /// Name of the export password: what it is for
        #[arg(long)]
        name: String,
        /// Days until it expires, 1 to 366
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// List export passwords. The passwords themselves are not shown
    List {
        /// Only those of this person (email)
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Revoke an export password at once
    Revoke {
        /// Export password id, as in the list
        id: String,
    },
}

pub async fn run(global_args: &GlobalArgs, command: Command) -> CommandResult {
    let app = super::user::open(global_args).await?;
    match command {
        Command::Create { user, name, days } => {
            let owner = super::user::find(&app, &user).await?.actor();
            let (_, text) = export_passwords::create(
                &app.db,
                &app.clock,
                (&owner).into(),
                &NewExportPassword { name, days },
            )
            .await?;
            print_line!("{}", text.reveal())?;
        }
        Command::List { user, json } => {
            let of = match &user {
                Some(email) => Some(super::user::find(&app, email).await?.id),
                None => None,
            };
            let people = users::list(&app.db).await?;
            let email = |one: &ExportPassword| {
                people
                    .iter()
                    .find(|p| p.id == one.user_id)
                    .map(|p| p.email.clone())
                    .unwrap_or_default()
            };
            let all = export_passwords::list(&app.db, of.as_ref()).await?;
            let now = app.clock.now();
            print_list(
                json,
                &[
                    "id",
                    "user",
                    "name",
                    "expires",
                    "last used",
                    "sent over http",
                ],
                &all,
                |one| {
                    let until = if one.revoked_at.is_some() {
                        "revoked".to_owned()
                    } else if one.expires_at <= now {
                        "expired".to_owned()
                    } else {
                        iso(one.expires_at)
                    };
                    let last_used = one.last_used_at.map_or_else(|| "never".to_owned(), iso);
                    vec![
                        one.id.to_string(),
                        email(one),
                        one.name.clone(),
                        until,
                        last_used,
                        one.exposed_at.map_or_else(|| "no".to_owned(), iso),
                    ]
                },
            )?;
        }
        Command::Revoke { id } => {
            let id =
                ExportPasswordId::parse(&id).ok_or_else(|| Error::not_found("export password"))?;
            export_passwords::revoke(&app.db, &app.clock, &id, None).await?;
            print_line!("{id} is revoked.")?;
        }
    }
    app.stop().await;
    Ok(())
}
