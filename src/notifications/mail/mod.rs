//! Mail: the settings of the mail server. The connection is encrypted unless an admin decided
//! otherwise. The stored password is encrypted and is only sent to the host, and with the
//! connection encryption, that it was entered for. `smtp.rs` delivers a message.

mod smtp;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use zeroize::Zeroizing;

use super::outbox::Message;
use super::{Channel, Notifications};
use crate::clock::Millis;
use crate::datasets::policies::parse_email;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::vault::SealContext;

const CONTEXT: SealContext<'static> = SealContext {
    table: "mail_server",
    column: "sealed",
    row: "mail",
};

/// The encryption of the connection to the mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "lowercase", type_name = "TEXT")]
pub enum Encryption {
    /// TLS from the first byte; usually port 465.
    Tls,
    /// Starts without encryption and fails if the server does not switch to TLS; usually port 587.
    StartTls,
    /// Not encrypted.
    None,
}

impl Encryption {
    pub const ALL: [Encryption; 3] = [Encryption::Tls, Encryption::StartTls, Encryption::None];

    pub fn word(self) -> &'static str {
        match self {
            Encryption::Tls => "tls",
            Encryption::StartTls => "starttls",
            Encryption::None => "none",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|encryption| encryption.word() == word)
    }
}

/// The settings of the mail server without the password.
#[derive(Clone, Debug)]
pub struct MailServer {
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    /// Empty: no authentication.
    pub username: String,
    pub has_password: bool,
    pub sender: String,
    pub updated_at: Millis,
}

/// The input of the settings form.
#[derive(Clone, Debug, Default)]
pub struct MailServerInput {
    pub host: String,
    pub port: String,
    pub encryption: String,
    pub username: String,
    /// Empty: the stored password stays.
    pub password: Secret,
    pub sender: String,
}

#[derive(FromRow)]
struct MailServerRow {
    host: String,
    port: i64,
    encryption: Encryption,
    username: String,
    sealed: Option<Vec<u8>>,
    sender: String,
    updated_at: i64,
}

/// The encrypted password contains the host and the encryption, so that a manipulated row cannot
/// send it to another host or without encryption.
#[derive(Deserialize)]
struct SealedMailPassword {
    host: String,
    port: u16,
    /// `None` in passwords that were sealed before this field existed.
    #[serde(default)]
    encryption: Option<String>,
    password: Secret,
}

#[derive(Serialize)]
struct MailPasswordToSeal<'a> {
    host: &'a str,
    port: u16,
    encryption: &'a str,
    password: &'a str,
}

impl From<&MailServerRow> for MailServer {
    fn from(row: &MailServerRow) -> Self {
        Self {
            host: row.host.clone(),
            port: u16::try_from(row.port).unwrap_or_default(),
            encryption: row.encryption,
            username: row.username.clone(),
            has_password: row.sealed.is_some(),
            sender: row.sender.clone(),
            updated_at: row.updated_at,
        }
    }
}

impl Notifications {
    async fn mail_row(&self) -> Result<Option<MailServerRow>> {
        Ok(sqlx::query_as(
            "SELECT host, port, encryption, username, sealed, sender, updated_at
             FROM mail_server
             WHERE id = 'mail'",
        )
        .fetch_optional(self.db.read())
        .await?)
    }

    /// The settings of the mail server, if there are any.
    pub async fn mail_server(&self) -> Result<Option<MailServer>> {
        Ok(self.mail_row().await?.as_ref().map(MailServer::from))
    }

    /// Saves the settings of the mail server; the caller is an admin. Another host, port or
    /// encryption requires the password again: a stored password is never sent to a host, or with
    /// an encryption, that it was not entered for. A private host must be allowed by a setting.
    pub async fn set_mail_server(&self, input: &MailServerInput) -> Result<()> {
        let before = self.mail_row().await?;
        let mut wrong: Vec<(String, String)> = Vec::new();
        let host = self.mail_hosts.check(&input.host).unwrap_or_else(|why| {
            wrong.push(("host".to_owned(), why));
            String::new()
        });
        let port = input
            .port
            .trim()
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0);
        if port.is_none() {
            wrong.push((
                "port".to_owned(),
                "Port must be from 1 to 65535: usually 465 with TLS, 587 with STARTTLS.".to_owned(),
            ));
        }
        let encryption = Encryption::parse(&input.encryption);
        if encryption.is_none() {
            wrong.push(("encryption".to_owned(), "Choose an encryption.".to_owned()));
        }
        let sender = parse_email(input.sender.trim());
        if sender.is_none() {
            wrong.push((
                "sender".to_owned(),
                "Enter an email address such as chatlake@example.com.".to_owned(),
            ));
        }
        let username = input.username.trim();
        if username.len() > 254
            || username.chars().any(char::is_control)
            || input.password.reveal().len() > 1_000
        {
            wrong.push((
                "username".to_owned(),
                "Username and password must each be one line.".to_owned(),
            ));
        }
        let stored = before.as_ref().filter(|row| row.sealed.is_some());
        let reusable = stored.filter(|row| {
            row.host == host
                && Some(row.port) == port.map(i64::from)
                && Some(row.encryption) == encryption
        });
        if !username.is_empty() && input.password.is_empty() && reusable.is_none() {
            let why = match stored {
                Some(_) => "Enter the password again: server, port or encryption has changed.",
                None => "Enter the password: none is stored for this server.",
            };
            wrong.push(("password".to_owned(), why.to_owned()));
        }
        if username.is_empty() && !input.password.is_empty() {
            wrong.push((
                "username".to_owned(),
                "Enter the username for this password.".to_owned(),
            ));
        }
        let (Some(port), Some(encryption), Some(sender), true) =
            (port, encryption, sender, wrong.is_empty())
        else {
            return Err(Error::fields(wrong));
        };
        let sealed = match (username.is_empty(), input.password.is_empty()) {
            (true, _) => None,
            (false, true) => reusable.and_then(|row| row.sealed.clone()),
            (false, false) => {
                let plain = MailPasswordToSeal {
                    host: &host,
                    port,
                    encryption: encryption.word(),
                    password: input.password.reveal(),
                };
                let text = Zeroizing::new(serde_json::to_vec(&plain).map_err(Error::internal)?);
                Some(self.vault.seal(&text, &CONTEXT)?)
            }
        };
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO mail_server (
                 id, host, port, encryption, username, sealed, sender, updated_at
             )
             VALUES ('mail', $1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id)
             DO UPDATE SET
                 host = $1, port = $2, encryption = $3, username = $4, sealed = $5, sender = $6,
                 updated_at = $7",
        )
        .bind(host)
        .bind(i64::from(port))
        .bind(encryption)
        .bind(username)
        .bind(sealed)
        .bind(sender)
        .bind(self.clock.now())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Deletes the settings of the mail server with its password. Waiting messages fail at their
    /// next attempt.
    pub async fn remove_mail_server(&self) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM mail_server")
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    fn mail_password(&self, sealed: &[u8], server: &MailServer) -> Result<Secret> {
        let plain = self.vault.open_sealed(sealed, &CONTEXT)?;
        let opened: Option<SealedMailPassword> = serde_json::from_slice(&plain).ok();
        let matching = opened.filter(|opened| {
            let is_same_encryption = opened
                .encryption
                .as_deref()
                .is_none_or(|word| word == server.encryption.word());
            opened.host == server.host && opened.port == server.port && is_same_encryption
        });
        matching.map(|opened| opened.password).ok_or_else(|| {
            Error::conflict(
                "credential_damaged",
                "The stored password was entered for another mail server. Enter it again.",
            )
        })
    }

    /// Sends a test message to this address, once, and returns the result.
    pub async fn test_mail(&self, to: &str) -> Result<()> {
        let to = parse_email(to.trim())
            .ok_or_else(|| Error::field("to", "Enter the email address for the test."))?;
        let message = self.test_message(Channel::Mail, &to).await?;
        self.deliver_once(&message).await
    }

    pub(super) async fn deliver_once(&self, message: &Message) -> Result<()> {
        let sent = self.deliver(message).await;
        self.record_attempt(message, &sent).await?;
        sent.map_err(|why| {
            Error::new(ErrorKind::Unavailable, "not_delivered", why)
                .action("Nothing else was sent.")
        })
    }
}
