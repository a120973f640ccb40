//! `chatlake account`. Works with and without a running server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{CommandError, CommandResult, print_list, secret_input, system_actor};
use crate::accounts::{Account, ChangeAccount, NewAccount, outer_spaces};
use crate::app::App;
use crate::clock::iso;
use crate::config::GlobalArgs;
use crate::connectors::Connector;
use crate::error::Error;
use crate::ids::AccountId;
use crate::secret::Secret;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Add an account. The API key, personal access token or password is read from standard input
    /// or a file
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
        /// Read the API key, personal access token or password from this file instead of standard
        /// input
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
    /// Replace the API key, personal access token or password of an account. The new one is read
    /// from standard input or a file, and saved only if LiveChat or LiveLeader accepts it
    RotateSecret {
        /// Account id, as in the list
        id: String,
        /// Read the API key, personal access token or password from this file instead of standard
        /// input
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
}

/// An account in the output of the list.
#[derive(Serialize)]
struct AccountLine {
    id: AccountId,
    connector: &'static str,
    name: String,
    owner: String,
    datasets: i64,
    health: &'static str,
    checked_at: Option<String>,
}

impl From<Account> for AccountLine {
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

pub async fn run(global_args: &GlobalArgs, command: Command) -> CommandResult {
    let app = super::user::open(global_args).await?;
    match command {
        Command::Add {
            user,
            connector,
            name,
            fields,
            secret_file,
            api_url,
            requests_per_minute,
            time_zone,
        } => {
            let owner = super::user::find(&app, &user).await?.actor();
            let connector = Connector::parse(&connector).ok_or_else(|| {
                Error::field("connector", "--connector must be livechat or liveleader.")
            })?;
            let mut credentials = BTreeMap::new();
            for field in fields {
                let (id, value) = field.split_once('=').ok_or_else(|| {
                    Error::field("field", format!("--field must be ID=VALUE, not {field}."))
                })?;
                if connector.fields().iter().any(|f| f.id == id && f.secret) {
                    return Err(Error::field(
                        "field",
                        format!("{id} is secret. Pass it on standard input or with --secret-file."),
                    )
                    .into());
                }
                credentials.insert(id.to_owned(), Secret::new(value));
            }
            credentials.extend(secrets(connector, secret_file.as_deref())?);
            let account = app
                .accounts
                .create(
                    &owner,
                    &NewAccount {
                        connector,
                        name,
                        credentials,
                        api_url,
                        requests_per_minute,
                        time_zone,
                    },
                )
                .await?;
            print_line!("{}", account.id)?;
        }
        Command::List { json } => {
            let lines: Vec<AccountLine> = app
                .accounts
                .list(&system_actor())
                .await?
                .into_iter()
                .map(AccountLine::from)
                .collect();
            print_list(
                json,
                &["id", "connector", "name", "owner", "datasets", "health"],
                &lines,
                |l| {
                    vec![
                        l.id.to_string(),
                        l.connector.to_owned(),
                        l.name.clone(),
                        l.owner.clone(),
                        l.datasets.to_string(),
                        l.health.to_owned(),
                    ]
                },
            )?;
        }
        Command::Check { id } => {
            let checked = app.accounts.check(&system_actor(), &parse(&id)?).await?;
            if !checked.ok {
                return Err(CommandError {
                    code: 1,
                    message: checked.message,
                });
            }
            print_line!("{}", checked.message)?;
        }
        Command::RotateSecret { id, secret_file } => print_line!(
            "{}",
            rotate(&app, &parse(&id)?, secret_file.as_deref()).await?
        )?,
    }
    app.stop().await;
    Ok(())
}

fn parse(id: &str) -> Result<AccountId, CommandError> {
    AccountId::parse(id).ok_or_else(|| Error::not_found("account").into())
}

/// Reads one line and uses it for every secret field of the connector.
fn secrets(
    connector: Connector,
    file: Option<&Path>,
) -> Result<BTreeMap<String, Secret>, CommandError> {
    let fields = || connector.fields().iter().filter(|field| field.secret);
    let secret = secret_input::read(file, fields().next().map_or("Secret", |field| field.label))?;
    let secrets = fields()
        .map(|field| (field.id.to_owned(), secret.clone()))
        .collect();
    for (_, sentence) in outer_spaces(connector, &secrets) {
        eprintln!("Note: {sentence}");
    }
    Ok(secrets)
}

/// Tests the new secret with the vendor, saves it if it is accepted, and returns the result.
async fn rotate(app: &App, id: &AccountId, file: Option<&Path>) -> Result<String, CommandError> {
    let account = app.accounts.get(&system_actor(), id).await?;
    let change = ChangeAccount {
        credentials: secrets(account.connector, file)?,
        ..ChangeAccount::default()
    };
    let Some(seen) = app
        .accounts
        .try_change(&system_actor(), id, &change)
        .await?
    else {
        return Err(Error::field(
            "secret",
            "The input is empty. Pass the new credential on standard input or with --secret-file. \
             Nothing was changed.",
        )
        .into());
    };
    app.accounts.update(&system_actor(), id, &change).await?;
    app.accounts
        .record_health(id, Ok(&seen), app.clock.now())
        .await?;
    Ok(seen)
}
