//! Delivers one message by SMTP. Errors say nothing about a host that has not answered as a mail
//! server.

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
use url::Host;

use super::{Encryption, MailServer};
use crate::connectors::upstream::allowed_hosts::NoAddress;
use crate::connectors::upstream::mask;
use crate::notifications::Notifications;
use crate::notifications::outbox::Message;
use crate::secret::Secret;

/// The timeout of each step of an SMTP session, and of the whole session.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

impl Notifications {
    pub(in crate::notifications) async fn send_mail(
        &self,
        message: &Message,
    ) -> std::result::Result<(), String> {
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
                tracing::info!(
                    cause = sanitize(&cause).unwrap_or_default(),
                    "the mail server could not be reached"
                );
                "Could not connect to the mail server. Check server, port and encryption. \
                 The Chatlake log shows the cause."
                    .to_owned()
            }
            Self::Blocked => "The mail server does not have a public address. To allow it, start \
                              Chatlake with --allow-mail-server."
                .to_owned(),
            Self::NoStartTls => {
                "The mail server does not offer STARTTLS on this port. Nothing was sent.".to_owned()
            }
            Self::Refused(said) => sanitize(&format!("The mail server refused the email: {said}"))
                .unwrap_or_else(|| "The mail server refused the email.".to_owned()),
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
