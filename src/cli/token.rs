//! `chatlake token`: works beside a running server and without one.

use super::{Done, print_list};
use crate::actor::Scope;
use crate::auth::tokens::{self, NewToken, Token};
use crate::auth::users;
use crate::clock::iso;
use crate::config::Given;
use crate::error::Error;
use crate::ids::TokenId;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a token and print it, alone, for the only time
    Create {
        /// Email of the person whose token it is
        #[arg(long)]
        user: String,
        /// What it is for
        #[arg(long)]
        name: String,
        /// read: DataSets and their data; run: also start and stop runs; manage: also accounts, make and change
        #[arg(long)]
        scope: Scope,
        /// How long it is good, 1 to 365
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// List tokens, without their text
    List {
        /// Of this person only
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// End a token at once
    Revoke {
        /// Its id, as in the list
        id: String,
    },
}

pub async fn run(given: &Given, command: Command) -> Done {
    let app = super::user::open(given).await?;
    match command {
        Command::Create { user, name, scope, days } => {
            let owner = super::user::find(&app, &user).await?;
            let (_, text) = tokens::create(&app.db, &app.clock, &owner.actor(), &NewToken { name, scope, days }).await?;
            tell!("{}", text.reveal())?;
        }
        Command::List { user, json } => {
            let of = match &user {
                Some(email) => Some(super::user::find(&app, email).await?.id),
                None => None,
            };
            let people = users::list(&app.db).await?;
            let email = |token: &Token| people.iter().find(|p| p.id == token.user_id).map(|p| p.email.clone()).unwrap_or_default();
            let all = tokens::list(&app.db, of.as_ref()).await?;
            let now = app.clock.now();
            print_list(json, &["id", "user", "name", "scope", "until", "last used"], &all, |t| {
                let until = if t.revoked_at.is_some() {
                    "revoked".to_owned()
                } else if t.expires_at <= now {
                    "expired".to_owned()
                } else {
                    iso(t.expires_at)
                };
                vec![t.id.to_string(), email(t), t.name.clone(), t.scope.word().to_owned(), until, t.last_used_at.map_or_else(|| "never".to_owned(), iso)]
            })?;
        }
        Command::Revoke { id } => {
            let id = TokenId::parse(&id).ok_or_else(|| Error::not_found("token"))?;
            tokens::revoke(&app.db, &app.clock, &id, None).await?;
            tell!("{id} is revoked.")?;
        }
    }
    app.stop().await;
    Ok(())
}
