//! `chatlake token`. Works with and without a running server.

use super::{CommandResult, print_list};
use crate::actor::Scope;
use crate::auth::tokens::{self, NewToken, Token};
use crate::auth::users;
use crate::clock::iso;
use crate::config::GlobalArgs;
use crate::error::Error;
use crate::ids::TokenId;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Create a token and print only the token. It is shown only once
    Create {
        /// Email of the owner
        #[arg(long)]
        user: String,
        /// Name of the token: what it is for
        #[arg(long)]
        name: String,
        /// read: read DataSets and their data; run: also start and cancel runs; manage: also create
        /// and change DataSets and accounts; metrics: only read /metrics
        #[arg(long)]
        scope: Scope,
        /// Days until it expires, 1 to 365
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// List tokens. The tokens themselves are not shown
    List {
        /// Only those of this person (email)
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token at once
    Revoke {
        /// Token id, as in the list
        id: String,
    },
}

pub async fn run(global_args: &GlobalArgs, command: Command) -> CommandResult {
    let app = super::user::open(global_args).await?;
    match command {
        Command::Create {
            user,
            name,
            scope,
            days,
        } => {
            let owner = super::user::find(&app, &user).await?;
            let (_, text) = tokens::create(
                &app.db,
                &app.clock,
                &owner.actor(),
                &NewToken { name, scope, days },
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
            let email = |token: &Token| {
                people
                    .iter()
                    .find(|p| p.id == token.user_id)
                    .map(|p| p.email.clone())
                    .unwrap_or_default()
            };
            let all = tokens::list(&app.db, of.as_ref()).await?;
            let now = app.clock.now();
            print_list(
                json,
                &["id", "user", "name", "scope", "expires", "last used"],
                &all,
                |t| {
                    let until = if t.revoked_at.is_some() {
                        "revoked".to_owned()
                    } else if t.expires_at <= now {
                        "expired".to_owned()
                    } else {
                        iso(t.expires_at)
                    };
                    vec![
                        t.id.to_string(),
                        email(t),
                        t.name.clone(),
                        t.scope.word().to_owned(),
                        until,
                        t.last_used_at.map_or_else(|| "never".to_owned(), iso),
                    ]
                },
            )?;
        }
        Command::Revoke { id } => {
            let id = TokenId::parse(&id).ok_or_else(|| Error::not_found("token"))?;
            tokens::revoke(&app.db, &app.clock, &id, None).await?;
            print_line!("{id} is revoked.")?;
        }
    }
    app.stop().await;
    Ok(())
}
