//! Mail: the server that takes it, set by an admin, and how one message is handed to it. Mail is encrypted on the way unless an admin
//! has said otherwise; the password is sealed and goes only to the host it was entered for, encrypted as it was entered for. Nothing is
//! told of what answers at an address before it has shown that it is a mail server.

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
use super::{Channel, Notices};
use crate::clock::Millis;
use crate::connectors::upstream::hosts::NoAddress;
use crate::connectors::upstream::mask;
use crate::datasets::upkeep::email;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::vault::Place;

/// Each step of talking to the mail server, and all of it.
const STEP: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(30);

const PLACE: Place<'static> = Place { table: "mail_server", column: "sealed", row: "mail" };

/// How mail travels to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// From the first byte; port 465 usually.
    Tls,
    /// Begun in the clear and refused if the server does not go over to TLS; port 587 usually.
    StartTls,
    /// Readable on the way.
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
        Self::ALL.into_iter().find(|encryption| encryption.word() == word)
    }
}

/// The mail server as it may be shown.
#[derive(Clone, Debug)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    /// Empty: nobody signs in.
    pub username: String,
    pub has_password: bool,
    pub sender: String,
    pub updated_at: Millis,
}

/// The form that sets it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub host: String,
    pub port: String,
    pub encryption: String,
    pub username: String,
    /// Empty: the stored one stays.
    pub password: Secret,
    pub sender: String,
}

#[derive(FromRow)]
struct Row {
    host: String,
    port: i64,
    encryption: String,
    username: String,
    sealed: Option<Vec<u8>>,
    sender: String,
    updated_at: i64,
}

/// What is sealed names the host and the encryption, so that a changed row cannot send the password elsewhere or in the clear.
#[derive(Deserialize)]
struct Sealed {
    host: String,
    port: u16,
    /// None in what was sealed before this was kept.
    #[serde(default)]
    encryption: Option<String>,
    password: Secret,
}

#[derive(Serialize)]
struct ToSeal<'a> {
    host: &'a str,
    port: u16,
    encryption: &'a str,
    password: &'a str,
}

impl From<&Row> for Server {
    fn from(row: &Row) -> Self {
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

impl Notices {
    async fn mail_row(&self) -> Result<Option<Row>> {
        Ok(sqlx::query_as("SELECT host, port, encryption, username, sealed, sender, updated_at FROM mail_server WHERE id = 'mail'")
            .fetch_optional(self.db.read())
            .await?)
    }

    /// The mail server, once an admin has set one.
    pub async fn mail_server(&self) -> Result<Option<Server>> {
        Ok(self.mail_row().await?.as_ref().map(Server::from))
    }

    /// Sets the mail server. The caller is an admin. Another host, port or encryption needs the password again: a stored one never goes to a
    /// host, or by a way, that it was not entered for. A host that is not public must be named by a setting.
    pub async fn set_mail_server(&self, given: &Given) -> Result<()> {
        let before = self.mail_row().await?;
        let mut wrong: Vec<(String, String)> = Vec::new();
        let host = self.mail_hosts.check(&given.host).unwrap_or_else(|why| {
            wrong.push(("host".to_owned(), why));
            String::new()
        });
        let port = given.port.trim().parse::<u16>().ok().filter(|port| *port > 0);
        if port.is_none() {
            wrong.push(("port".to_owned(), "Port must be from 1 to 65535: usually 465 with TLS, 587 with STARTTLS.".to_owned()));
        }
        let encryption = Encryption::parse(&given.encryption);
        if encryption.is_none() {
            wrong.push(("encryption".to_owned(), "Choose an encryption.".to_owned()));
        }
        let sender = email(given.sender.trim());
        if sender.is_none() {
            wrong.push(("sender".to_owned(), "Enter an email address such as chatlake@example.com.".to_owned()));
        }
        let username = given.username.trim();
        if username.len() > 254 || username.chars().any(char::is_control) || given.password.reveal().len() > 1_000 {
            wrong.push(("username".to_owned(), "Username and password must each be one line.".to_owned()));
        }
        let stored = before.as_ref().filter(|row| row.sealed.is_some());
        let kept = stored.filter(|row| row.host == host && Some(row.port) == port.map(i64::from) && row.encryption == given.encryption);
        if !username.is_empty() && given.password.is_empty() && kept.is_none() {
            let why = match stored {
                Some(_) => "Enter the password again: server, port or encryption has changed.",
                None => "Enter the password: none is stored for this server.",
            };
            wrong.push(("password".to_owned(), why.to_owned()));
        }
        if username.is_empty() && !given.password.is_empty() {
            wrong.push(("username".to_owned(), "Enter the username for this password.".to_owned()));
        }
        let (Some(port), Some(encryption), Some(sender), true) = (port, encryption, sender, wrong.is_empty()) else { return Err(Error::fields(wrong)) };
        let sealed = match (username.is_empty(), given.password.is_empty()) {
            (true, _) => None,
            (false, true) => kept.and_then(|row| row.sealed.clone()),
            (false, false) => {
                let plain = ToSeal { host: &host, port, encryption: encryption.word(), password: given.password.reveal() };
                let text = Zeroizing::new(serde_json::to_vec(&plain).map_err(Error::internal)?);
                Some(self.vault.seal(&text, &PLACE)?)
            }
        };
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO mail_server (id, host, port, encryption, username, sealed, sender, updated_at) VALUES ('mail', $1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET host = $1, port = $2, encryption = $3, username = $4, sealed = $5, sender = $6, updated_at = $7",
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

    /// Forgets the mail server with its password. What waits for it is given up when it is next due.
    pub async fn remove_mail_server(&self) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM mail_server").execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Sends a test to this address, once, and says what became of it.
    pub async fn test_mail(&self, to: &str) -> Result<()> {
        let to = email(to.trim()).ok_or_else(|| Error::field("to", "Enter the email address for the test."))?;
        let message = self.test_message(Channel::Mail, &to).await?;
        self.try_once(&message).await
    }

    pub(super) async fn try_once(&self, message: &Message) -> Result<()> {
        let sent = self.deliver(message).await;
        self.settle(message, &sent).await?;
        sent.map_err(|why| Error::new(Kind::Unavailable, "not_delivered", why).action("Nothing else was sent."))
    }

    pub(super) async fn send_mail(&self, message: &Message) -> std::result::Result<(), String> {
        let row = self.mail_row().await.map_err(|why| why.message().to_owned())?.ok_or("No mail server is set up.")?;
        let server = Server::from(&row);
        let password = match &row.sealed {
            Some(sealed) => Some(self.mail_password(sealed, &server).map_err(|why| why.message().to_owned())?),
            None => None,
        };
        let mail = written(message, &server)?;
        // The library panics at some answers; what a panic says may hold anything, so it is not told.
        let handed_over = AssertUnwindSafe(self.hand_over(&server, password.as_ref(), &mail)).catch_unwind();
        let failed = match tokio::time::timeout(WHOLE, handed_over).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(failed))) => failed,
            Ok(Err(_)) => Failed::Unreached("its answer was unreadable".to_owned()),
            Err(_) => Failed::Unreached("it did not answer in time".to_owned()),
        };
        Err(failed.told(password.as_ref()))
    }

    async fn hand_over(&self, server: &Server, password: Option<&Secret>, mail: &Mail) -> std::result::Result<(), Failed> {
        let addresses = self.mail_hosts.addresses(&server.host, server.port).await?;
        let hello = self.hello();
        let tls = TlsParameters::new(server.host.clone())?;
        let from_the_start = (server.encryption == Encryption::Tls).then(|| tls.clone());
        let mut connection = AsyncSmtpConnection::connect_tokio1(addresses.as_slice(), Some(STEP), &hello, from_the_start, None).await?;
        if server.encryption == Encryption::StartTls {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(Failed::NoStartTls);
            }
            connection.starttls(tls, &hello).await?;
        }
        // From here on it has shown that it is a mail server.
        let handed_over = async {
            if let Some(password) = password {
                let credentials = Credentials::new(server.username.clone(), password.reveal().to_owned());
                connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
            }
            connection.send(mail.envelope(), &mail.formatted()).await
        };
        let handed_over = handed_over.await;
        connection.abort().await;
        handed_over.map(drop).map_err(|why| Failed::Refused(said(&why)))
    }

    /// The name in EHLO. Many mail servers refuse one that is not fully qualified, such as a container's id.
    fn hello(&self) -> ClientId {
        let of_pages = || self.public_url.read().unwrap_or_else(PoisonError::into_inner).host().map(|host| host.to_owned());
        match self.mail_hello.clone().or_else(of_pages) {
            Some(Host::Domain(name)) => ClientId::Domain(name),
            Some(Host::Ipv4(address)) => ClientId::Ipv4(address),
            Some(Host::Ipv6(address)) => ClientId::Ipv6(address),
            None => ClientId::default(),
        }
    }

    fn mail_password(&self, sealed: &[u8], server: &Server) -> Result<Secret> {
        let plain = self.vault.open_sealed(sealed, &PLACE)?;
        let opened: Option<Sealed> = serde_json::from_slice(&plain).ok();
        let fits = opened.filter(|opened| {
            let same_way = opened.encryption.as_deref().is_none_or(|word| word == server.encryption.word());
            opened.host == server.host && opened.port == server.port && same_way
        });
        fits.map(|opened| opened.password)
            .ok_or_else(|| Error::conflict("credential_damaged", "The stored password was entered for another mail server. Enter it again."))
    }
}

/// Why a mail was not handed over.
enum Failed {
    /// Before the other side had shown that it is a mail server. What it was is for the log alone, so that nobody finds out from an error
    /// what listens where.
    Unreached(String),
    /// Its name leads to addresses that may not be dialled.
    Blocked,
    NoStartTls,
    /// What the mail server said.
    Refused(String),
}

impl From<SmtpError> for Failed {
    fn from(why: SmtpError) -> Self {
        Self::Unreached(said(&why))
    }
}

impl From<NoAddress> for Failed {
    fn from(why: NoAddress) -> Self {
        match why {
            NoAddress::Unknown => Self::Unreached("host not found".to_owned()),
            NoAddress::Blocked => Self::Blocked,
        }
    }
}

impl Failed {
    fn told(self, password: Option<&Secret>) -> String {
        let fit = |text: &str| mask::fit(text, &[password.map(Secret::reveal).unwrap_or_default()]);
        match self {
            Self::Unreached(cause) => {
                tracing::info!(cause = fit(&cause).unwrap_or_default(), "the mail server could not be reached");
                "Could not connect to the mail server. Check server, port and encryption. The server's log has the cause.".to_owned()
            }
            Self::Blocked => "The mail server does not have a public address. To allow it, start Chatlake with --allow-mail-server.".to_owned(),
            Self::NoStartTls => "The mail server does not offer STARTTLS on this port. Nothing was sent.".to_owned(),
            Self::Refused(said) => {
                fit(&format!("The mail server refused the email: {said}")).unwrap_or_else(|| "The mail server refused the email.".to_owned())
            }
        }
    }
}

/// What lettre says, with the reason that it wraps.
fn said(why: &SmtpError) -> String {
    match std::error::Error::source(why) {
        Some(source) if !why.to_string().contains(&source.to_string()) => format!("{why}: {source}"),
        _ => why.to_string(),
    }
}

fn written(message: &Message, server: &Server) -> std::result::Result<Mail, String> {
    let address = |text: &str| text.parse::<Address>().map_err(|_| "This is not an email address.".to_owned());
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
