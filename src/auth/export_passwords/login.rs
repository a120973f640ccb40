//! Authenticates requests with an export password, throttles guesses, and records the use.

use std::net::IpAddr;

use super::{ExportPassword, well_formed};
use crate::auth::audit::{self, AuditEvent, AuditResult};
use crate::auth::program_secrets::LAST_USED_EVERY;
use crate::auth::throttle::Throttle;
use crate::auth::{Actor, Scope, Transport, hash, users};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ExportPasswordId;
use crate::secret::Secret;

const MAX_EMAIL_BYTES: usize = 254;

/// The credentials of a request.
#[derive(Clone, Copy, Debug)]
pub struct ExportLogin<'a> {
    /// `None` with a bearer token: the password alone identifies its owner.
    pub email: Option<&'a str>,
    pub password: &'a Secret,
    /// See `web::client_address`.
    pub address: IpAddr,
    pub transport: Transport,
}

/// An authenticated request, allowed to read published DataSets.
#[derive(Clone, Debug)]
pub struct AdmittedClient {
    pub actor: Actor,
    pub password: ExportPasswordId,
}

/// Throttles password guessing with the limits of the sign-in page but separate counters, so that
/// neither blocks the other. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ExportThrottle {
    throttle: Throttle,
}

impl ExportThrottle {
    pub fn new(clock: Clock) -> Self {
        Self {
            throttle: Throttle::new(clock),
        }
    }
}

/// Authenticates a request. Errors: `wrong_credentials` (Unauthenticated) for a wrong email or
/// password, `too_many_attempts` (TooMany), and for an insecure transport always `plain_http`
/// (Forbidden). A valid password is never throttled because of other people's failures: it cannot
/// be guessed, and looking it up costs one hash.
pub async fn admit(
    db: &Db,
    clock: &Clock,
    export_throttle: &ExportThrottle,
    login: ExportLogin<'_>,
) -> Result<AdmittedClient> {
    let email = login.email.map(normalize_email);
    let Some(admitted) = find(db, clock, email.as_deref(), login.password).await? else {
        let account = match &email {
            Some(email) if email.len() <= MAX_EMAIL_BYTES => email.clone(),
            Some(_) => "-".to_owned(),
            None => format!("bearer {}", login.address),
        };
        let user = users::by_email(db, &account).await?;
        let event = |result| AuditEvent {
            actor: None,
            address: Some(login.address),
            action: "export.read",
            object: user.as_ref().map(|u| u.id.as_str()),
            result,
        };
        match export_throttle
            .throttle
            .admit(&account, None, login.address)
        {
            // The failed attempt stays counted.
            Ok(attempt) => drop(attempt),
            Err(slowed) => {
                export_throttle
                    .throttle
                    .attempt_log
                    .record(db, clock, event(AuditResult::Slowed))
                    .await?;
                return Err(slowed);
            }
        }
        export_throttle
            .throttle
            .attempt_log
            .record(db, clock, event(AuditResult::Refused))
            .await?;
        return Err(if login.transport == Transport::Insecure {
            plain_http_error()
        } else {
            wrong_credentials()
        });
    };
    if login.transport == Transport::Insecure {
        mark_exposed(db, clock, &admitted, login.address).await?;
        return Err(plain_http_error());
    }
    record_use(db, clock, &admitted, login.address).await?;
    Ok(admitted)
}

/// The error for plain http from another machine, for valid and invalid credentials alike.
pub fn plain_http_error() -> Error {
    Error::new(
        ErrorKind::Forbidden,
        "plain_http",
        "The request was sent over plain http, so others could read the password. Use https. \
         If you sent an export password, revoke it and create a new one.",
    )
}

fn wrong_credentials() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "wrong_credentials",
        "Wrong email or export password, or the export password is expired or revoked.",
    )
}

/// Normalizes an email. An unencoded `+` in a query string arrives as a space, and no email address
/// contains one.
fn normalize_email(email: &str) -> String {
    email.trim().to_lowercase().replace(' ', "+")
}

async fn find(
    db: &Db,
    clock: &Clock,
    email: Option<&str>,
    password: &Secret,
) -> Result<Option<AdmittedClient>> {
    if !well_formed(password.reveal()) {
        return Ok(None);
    }
    let found: Option<ExportPassword> = sqlx::query_as(
        "SELECT * FROM export_passwords WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2",
    )
    .bind(hash(password.reveal()))
    .bind(clock.now())
    .fetch_optional(db.read())
    .await?;
    let Some(found) = found else { return Ok(None) };
    let owner = users::actor(db, &found.user_id)
        .await?
        .filter(|owner| email.is_none_or(|email| email == owner.email));
    // The scope is read, whatever the role of the owner.
    Ok(owner.map(|owner| AdmittedClient {
        actor: Actor {
            scope: Some(Scope::Read),
            ..owner
        },
        password: found.id,
    }))
}

/// Records the use, at most once a minute. Errors are ignored, so that the request is served even
/// if the catalogue is locked.
async fn record_use(
    db: &Db,
    clock: &Clock,
    admitted: &AdmittedClient,
    address: IpAddr,
) -> Result<()> {
    let now = clock.now();
    let is_due: Option<i64> = sqlx::query_scalar(
        "SELECT 1
         FROM export_passwords
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2)",
    )
    .bind(&admitted.password)
    .bind(now - LAST_USED_EVERY)
    .fetch_optional(db.read())
    .await?;
    if is_due.is_none() {
        return Ok(());
    }
    let (db_clone, clock, user, password) = (
        db.clone(),
        clock.clone(),
        admitted.actor.user.clone(),
        admitted.password.clone(),
    );
    let record = async move {
        let mut tx = db_clone.write().await?;
        sqlx::query("UPDATE export_passwords SET last_used_at = $2 WHERE id = $1")
            .bind(&password)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        let event = AuditEvent {
            actor: Some(&user),
            address: Some(address),
            action: "export.read",
            object: Some(password.as_str()),
            result: AuditResult::Done,
        };
        audit::record(&mut tx, &clock, event).await?;
        Ok(tx.commit().await?)
    };
    db.write_in_background(
        "the last use of an export password could not be saved",
        record,
    )
    .await;
    Ok(())
}

/// Marks a valid password as exposed when it is first received over an insecure transport.
async fn mark_exposed(
    db: &Db,
    clock: &Clock,
    admitted: &AdmittedClient,
    address: IpAddr,
) -> Result<()> {
    let mut tx = db.write().await?;
    let marked = sqlx::query(
        "UPDATE export_passwords SET exposed_at = $2 WHERE id = $1 AND exposed_at IS NULL",
    )
    .bind(&admitted.password)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    if marked.rows_affected() > 0 {
        let (actor, object) = (Some(&admitted.actor.user), Some(admitted.password.as_str()));
        audit::record(
            &mut tx,
            clock,
            AuditEvent {
                actor,
                address: Some(address),
                action: "export_password.expose",
                object,
                result: AuditResult::Refused,
            },
        )
        .await?;
    }
    Ok(tx.commit().await?)
}
