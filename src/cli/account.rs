//! `chatlake account`: works beside a running server and without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Done, Failed, keeper, print_list, secret_input};
use crate::accounts::{Account, ChangeAccount, NewAccount, outer_spaces};
use crate::app::App;
use crate::clock::iso;
use crate::config::Given;
use crate::connectors::Connector;
use crate::error::Error;
use crate::ids::AccountId;
use crate::secret::Secret;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Add an account. The API key, personal access token or password is read from standard input or a file
    Add {
        /// Email of the owner
        #[arg(long)]
        user: String,
        /// Connector: livechat or liveleader
        #[arg(long)]
        connector: String,
        #[arg(long)]
        name: String,
        /// A field that is not secret, for example username=agent@example.com; repeatable
        #[arg(long = "field", value_name = "ID=VALUE")]
        fields: Vec<String>,
        /// Read the API key, personal access token or password from this file instead of standard input
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// API URL, if it is not the default one; only for an owner who is an admin
        #[arg(long, value_name = "URL")]
        api_url: Option<String>,
        /// Maximum number of API calls per minute, 1 to 60000; 180 when left out
        #[arg(long, value_name = "N")]
        requests_per_minute: Option<i64>,
        /// IANA name of the time zone; UTC when left out
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
    },
    /// List accounts without their credentials
    List {
        #[arg(long)]
        json: bool,
    },
    /// Test the credentials of an account
    Check {
        /// Account id, as in the list
        id: String,
    },
    /// Replace the API key, personal access token or password of an account. The new one is read from standard input or a file, and saved
    /// only if LiveChat or LiveLeader accepts it
    RotateSecret {
        /// Account id, as in the list
        id: String,
        /// Read the API key, personal access token or password from this file instead of standard input
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
}

/// An account as the listing tells it.
#[derive(Serialize)]
struct Line {
    id: AccountId,
    connector: &'static str,
    name: String,
    owner: String,
    datasets: i64,
    health: &'static str,
    checked_at: Option<String>,
}

impl From<Account> for Line {
    fn from(a: Account) -> Self {
        Self {
            connector: a.connector.id(),
            owner: a.owner_name,
            datasets: a.dataset_count,
            health: a.health.word(),
            checked_at: a.checked_at.map(iso),
            id: a.id,
            name: a.name,
        }
    }
}

pub async fn run(given: &Given, command: Command) -> Done {
    let app = super::user::open(given).await?;
    match command {
        Command::Add { user, connector, name, fields, secret_file, api_url, requests_per_minute, time_zone } => {
            let owner = super::user::find(&app, &user).await?.actor();
            let connector = Connector::parse(&connector).ok_or_else(|| Error::field("connector", "--connector must be livechat or liveleader."))?;
            let mut credentials = BTreeMap::new();
            for field in fields {
                let (id, value) = field.split_once('=').ok_or_else(|| Error::field("field", format!("--field must be ID=VALUE, not {field}.")))?;
                if connector.fields().iter().any(|f| f.id == id && f.secret) {
                    return Err(Error::field("field", format!("{id} is secret. Pass it on standard input or with --secret-file.")).into());
                }
                credentials.insert(id.to_owned(), Secret::new(value));
            }
            credentials.extend(secrets(connector, secret_file.as_deref())?);
            let account = app.accounts.create(&owner, &NewAccount { connector, name, credentials, api_url, requests_per_minute, time_zone }).await?;
            tell!("{}", account.id)?;
        }
        Command::List { json } => {
            let lines: Vec<Line> = app.accounts.list(&keeper()).await?.into_iter().map(Line::from).collect();
            print_list(json, &["id", "connector", "name", "owner", "datasets", "health"], &lines, |l| {
                vec![l.id.to_string(), l.connector.to_owned(), l.name.clone(), l.owner.clone(), l.datasets.to_string(), l.health.to_owned()]
            })?;
        }
        Command::Check { id } => {
            let checked = app.accounts.check(&keeper(), &parse(&id)?).await?;
            if !checked.ok {
                return Err(Failed { code: 1, line: checked.message });
            }
            tell!("{}", checked.message)?;
        }
        Command::RotateSecret { id, secret_file } => tell!("{}", rotate(&app, &parse(&id)?, secret_file.as_deref()).await?)?,
    }
    app.stop().await;
    Ok(())
}

fn parse(id: &str) -> Result<AccountId, Failed> {
    AccountId::parse(id).ok_or_else(|| Error::not_found("account").into())
}

/// What every secret field of the connector gets: the one line that is read.
fn secrets(connector: Connector, file: Option<&Path>) -> Result<BTreeMap<String, Secret>, Failed> {
    let fields = || connector.fields().iter().filter(|field| field.secret);
    let secret = secret_input::read(file, fields().next().map_or("Secret", |field| field.label))?;
    let secrets = fields().map(|field| (field.id.to_owned(), secret.clone())).collect();
    for (_, sentence) in outer_spaces(connector, &secrets) {
        eprintln!("Note: {sentence}");
    }
    Ok(secrets)
}

/// Asks the vendor with the new secret, keeps it, and tells what the vendor said.
async fn rotate(app: &App, id: &AccountId, file: Option<&Path>) -> Result<String, Failed> {
    let account = app.accounts.get(&keeper(), id).await?;
    let change = ChangeAccount { credentials: secrets(account.connector, file)?, ..ChangeAccount::default() };
    let Some(seen) = app.accounts.try_change(&keeper(), id, &change).await? else {
        return Err(Error::field("secret", "The input is empty. Pass the new credential on standard input or with --secret-file. Nothing was changed.").into());
    };
    app.accounts.update(&keeper(), id, &change).await?;
    app.accounts.record_health(id, Ok(&seen), app.clock.now()).await?;
    Ok(seen)
}
