//! Mail: the settings of the mail server, and the delivery of one message. The connection is
//! encrypted unless an admin decided otherwise. The stored password is encrypted and is only sent
//! to the host, and with the connection encryption, that it was entered for. Errors say nothing
//! about a host that has not answered as a mail server.

use std::panic::AssertUnwindSafe;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::FutureExt;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message as Mail};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use url::Host;
use zeroize::Zeroizing;

use super::outbox::Message;
use super::{Channel, Notifications};
use crate::clock::Millis;
use crate::connectors::upstream::allowed_hosts::NoAddress;
use crate::connectors::upstream::mask;
use crate::datasets::policies::parse_email;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::vault::SealContext;

/// The timeout of each step of an SMTP session, and of the whole session.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

const CONTEXT: SealContext<'static> = SealContext {
    table: "mail_server",
    column: "sealed",
    row: "mail",
};

/// The encryption of the connection to the mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    encryption: String,
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
            encryption: Encryption::parse(&row.encryption).unwrap_or(Encryption::Tls),
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
                && row.encryption == input.encryption
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
        .bind(encryption.word())
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

    pub(super) async fn send_mail(&self, message: &Message) -> std::result::Result<(), String> {
        let row = self
            .mail_row()
            .await
            .map_err(|why| why.message().to_owned())?
            .ok_or("No mail server is set up.")?;
        let server = MailServer::from(&row);
        let password = match &row.sealed {
            Some(sealed) => Some(
                self.mail_password(sealed, &server)
                    .map_err(|why| why.message().to_owned())?,
            ),
            None => None,
        };
        let mail = build_mail(message, &server)?;
        // The library panics on some answers. A panic message may contain anything, so it is not
        // shown.
        let handed_over =
            AssertUnwindSafe(self.hand_over(&server, password.as_ref(), &mail)).catch_unwind();
        let error = match tokio::time::timeout(TOTAL_TIMEOUT, handed_over).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => MailError::Unreached("its answer was unreadable".to_owned()),
            Err(_) => MailError::Unreached("it did not answer in time".to_owned()),
        };
        Err(error.into_message(password.as_ref()))
    }

    async fn hand_over(
        &self,
        server: &MailServer,
        password: Option<&Secret>,
        mail: &Mail,
    ) -> std::result::Result<(), MailError> {
        let addresses = self.mail_hosts.addresses(&server.host, server.port).await?;
        let client_id = self.client_id();
        let tls = TlsParameters::new(server.host.clone())?;
        let from_the_start = (server.encryption == Encryption::Tls).then(|| tls.clone());
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            addresses.as_slice(),
            Some(STEP_TIMEOUT),
            &client_id,
            from_the_start,
            None,
        )
        .await?;
        if server.encryption == Encryption::StartTls {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(MailError::NoStartTls);
            }
            connection.starttls(tls, &client_id).await?;
        }
        // The other side has answered as a mail server, so its messages may be shown.
        let handed_over = async {
            if let Some(password) = password {
                let credentials =
                    Credentials::new(server.username.clone(), password.reveal().to_owned());
                connection
                    .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                    .await?;
            }
            connection.send(mail.envelope(), &mail.formatted()).await
        };
        let handed_over = handed_over.await;
        connection.abort().await;
        handed_over
            .map(drop)
            .map_err(|why| MailError::Refused(smtp_message(&why)))
    }

    /// The name in EHLO. Many mail servers refuse a name that is not fully qualified, such as a
    /// container's id.
    fn client_id(&self) -> ClientId {
        let public_host = || {
            self.public_url
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .host()
                .map(|host| host.to_owned())
        };
        match self.mail_hello.clone().or_else(public_host) {
            Some(Host::Domain(name)) => ClientId::Domain(name),
            Some(Host::Ipv4(address)) => ClientId::Ipv4(address),
            Some(Host::Ipv6(address)) => ClientId::Ipv6(address),
            None => ClientId::default(),
        }
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
}

/// Why a message was not delivered.
enum MailError {
    /// The other side did not answer as a mail server. The details are only logged, so that error
    /// messages cannot be used to scan the network.
    Unreached(String),
    /// All addresses of the host are blocked.
    Blocked,
    NoStartTls,
    /// The message of the mail server.
    Refused(String),
}

impl From<SmtpError> for MailError {
    fn from(why: SmtpError) -> Self {
        Self::Unreached(smtp_message(&why))
    }
}

impl From<NoAddress> for MailError {
    fn from(why: NoAddress) -> Self {
        match why {
            NoAddress::Unknown => Self::Unreached("host not found".to_owned()),
            NoAddress::Blocked => Self::Blocked,
        }
    }
}

impl MailError {
    fn into_message(self, password: Option<&Secret>) -> String {
        let sanitize =
            |text: &str| mask::sanitize(text, &[password.map(Secret::reveal).unwrap_or_default()]);
        match self {
            Self::Unreached(cause) => {
                tracing::info!(cause = sanitize(&cause).unwrap_or_default(), "the mail server could not be reached");
                "Could not connect to the mail server. Check server, port and encryption. The server's log has the cause.".to_owned()
            }
            Self::Blocked => "The mail server does not have a public address. To allow it, start Chatlake with --allow-mail-server.".to_owned(),
            Self::NoStartTls => "The mail server does not offer STARTTLS on this port. Nothing was sent.".to_owned(),
            Self::Refused(said) => {
                sanitize(&format!("The mail server refused the email: {said}")).unwrap_or_else(|| "The mail server refused the email.".to_owned())
            }
        }
    }
}

/// The message of lettre, with the wrapped cause.
fn smtp_message(why: &SmtpError) -> String {
    match std::error::Error::source(why) {
        Some(source) if !why.to_string().contains(&source.to_string()) => {
            format!("{why}: {source}")
        }
        _ => why.to_string(),
    }
}

fn build_mail(message: &Message, server: &MailServer) -> std::result::Result<Mail, String> {
    let address = |text: &str| {
        text.parse::<Address>()
            .map_err(|_| "This is not an email address.".to_owned())
    };
    let sender = address(&server.sender)?;
    let id = format!("<{}@{}>", message.id, sender.domain());
    Mail::builder()
        .from(Mailbox::new(Some("Chatlake".to_owned()), sender))
        .to(Mailbox::new(None, address(&message.recipient)?))
        .subject(message.subject.as_str())
        .message_id(Some(id))
        .header(ContentType::TEXT_PLAIN)
        .raw_header(raw("Auto-Submitted", "auto-generated"))
        .body(message.body.clone())
        .map_err(|_| "The email could not be created.".to_owned())
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}
