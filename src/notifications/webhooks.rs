//! Webhooks: URLs that receive notifications as JSON, set by an admin. Each has a secret that signs
//! the requests: HMAC-SHA256 over timestamp, a full stop and the body. URL and secret are stored
//! encrypted; the secret is shown once, the URL never again.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sqlx::FromRow;
use zeroize::Zeroizing;

use super::outbox::Message;
use super::{Channel, Notifications};
use crate::clock::Millis;
use crate::db::decode_readable;
use crate::error::{Error, Result};
use crate::ids::WebhookId;
use crate::secret::Secret;
use crate::vault::SealContext;

/// The maximum number of webhooks.
const MAX_WEBHOOKS: i64 = 50;

/// A webhook without its secrets.
#[derive(Clone, Debug, FromRow)]
pub struct Webhook {
    pub id: WebhookId,
    pub name: String,
    /// Scheme and host; the rest of the URL is never shown.
    pub host: String,
    pub created_at: Millis,
}

#[derive(Deserialize)]
struct SealedWebhook {
    address: Secret,
    secret: Secret,
}

#[derive(Serialize)]
struct WebhookToSeal<'a> {
    address: &'a str,
    secret: &'a str,
}

fn seal_context(id: &WebhookId) -> SealContext<'_> {
    SealContext {
        table: "webhooks",
        column: "sealed",
        row: id.as_str(),
    }
}

impl Notifications {
    /// All webhooks, by name.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>> {
        Ok(decode_readable(
            sqlx::query("SELECT id, name, host, created_at FROM webhooks ORDER BY LOWER(name), id")
                .fetch_all(self.db.read())
                .await?,
        ))
    }

    /// Adds a webhook; the caller is an admin. Returns the signing secret, which is shown only this
    /// once.
    pub async fn add_webhook(&self, name: &str, address: &str) -> Result<(Webhook, Secret)> {
        let (name, address) = (name.trim(), address.trim());
        let mut wrong: Vec<(String, String)> = Vec::new();
        if name.is_empty()
            || name.chars().count() > 100
            || !name.chars().all(crate::text::is_allowed_in_name)
        {
            wrong.push((
                "name".to_owned(),
                "Enter a name (1 to 100 characters).".to_owned(),
            ));
        }
        let url = self.http.check(address);
        if let Err(why) = &url {
            wrong.push(("address".to_owned(), why.clone()));
        }
        let (Ok(url), true) = (url, wrong.is_empty()) else {
            return Err(Error::fields(wrong));
        };
        let id = WebhookId::new();
        let bytes = Zeroizing::new(rand::rng().random::<[u8; 32]>());
        let secret = Zeroizing::new(format!("whsec_{}", URL_SAFE_NO_PAD.encode(&bytes[..])));
        let plain = WebhookToSeal {
            address: url.as_str(),
            secret: &secret,
        };
        let sealed = self.vault.seal(
            &Zeroizing::new(serde_json::to_vec(&plain).map_err(Error::internal)?),
            &seal_context(&id),
        )?;
        let webhook = Webhook {
            id,
            name: name.to_owned(),
            host: url.origin().ascii_serialization(),
            created_at: self.clock.now(),
        };
        let mut tx = self.db.write().await?;
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM webhooks")
            .fetch_one(&mut *tx)
            .await?;
        if count >= MAX_WEBHOOKS {
            return Err(Error::conflict(
                "too_many_webhooks",
                format!("The limit of {MAX_WEBHOOKS} webhooks is reached. Delete one first."),
            ));
        }
        let same: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM webhooks WHERE name = $1")
            .bind(&webhook.name)
            .fetch_one(&mut *tx)
            .await?;
        if same > 0 {
            return Err(Error::field(
                "name",
                "Another webhook has this name. Choose a different name.",
            ));
        }
        sqlx::query(
            "INSERT INTO webhooks (id, name, host, sealed, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&webhook.id)
        .bind(&webhook.name)
        .bind(&webhook.host)
        .bind(sealed)
        .bind(webhook.created_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((webhook, Secret::new(secret.as_str())))
    }

    /// Deletes a webhook. Waiting messages fail at their next attempt.
    pub async fn remove_webhook(&self, id: &WebhookId) -> Result<Webhook> {
        let webhook = self.webhook(id).await?;
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM webhooks WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(webhook)
    }

    pub async fn webhook(&self, id: &WebhookId) -> Result<Webhook> {
        let found = sqlx::query_as("SELECT id, name, host, created_at FROM webhooks WHERE id = $1")
            .bind(id)
            .fetch_optional(self.db.read())
            .await?;
        found.ok_or_else(|| Error::not_found("webhook"))
    }

    /// Posts a test message, once, and returns the result.
    pub async fn test_webhook(&self, id: &WebhookId) -> Result<Webhook> {
        let webhook = self.webhook(id).await?;
        let message = self.test_message(Channel::Webhook, id.as_str()).await?;
        self.deliver_once(&message).await?;
        Ok(webhook)
    }

    pub(super) async fn post(&self, message: &Message) -> std::result::Result<(), String> {
        let missing = || "The webhook was deleted.".to_owned();
        let id = WebhookId::parse(&message.recipient).ok_or_else(missing)?;
        let sealed: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT sealed FROM webhooks WHERE id = $1")
                .bind(&id)
                .fetch_optional(self.db.read())
                .await
                .map_err(|_| "The database could not be read.".to_owned())?;
        let sealed = sealed.ok_or_else(missing)?;
        let plain = self
            .vault
            .open_sealed(&sealed, &seal_context(&id))
            .map_err(|why| why.message().to_owned())?;
        let opened: SealedWebhook = serde_json::from_slice(&plain)
            .map_err(|_| "The stored URL is unreadable. Add the webhook again.".to_owned())?;
        let timestamp = (self.clock.now() / 1_000).to_string();
        let signature = sign(opened.secret.reveal(), &timestamp, &message.body)
            .ok_or("The message could not be signed.")?;
        let headers = [
            ("x-chatlake-delivery", message.id.to_string()),
            ("x-chatlake-timestamp", timestamp),
            ("x-chatlake-signature", format!("sha256={signature}")),
        ];
        self.http
            .post(&opened.address, &headers, message.body.clone())
            .await
    }
}

/// In hexadecimal, over `timestamp.body`.
fn sign(secret: &str, timestamp: &str, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    for part in [timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    Some(
        mac.finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_matches_a_known_value() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        assert_eq!(
            sign("whsec_test", "1700000000", "{\"a\":1}").unwrap(),
            "38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789"
        );
    }
}
