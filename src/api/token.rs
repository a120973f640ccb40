//! Authenticates API requests by the token in `Authorization: Bearer`, the only place where a token
//! is accepted.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Api;
use super::error::ApiError;
use crate::actor::{Actor, Scope};
use crate::auth::tokens;
use crate::error::{Error, ErrorKind};

/// The person to whom the token belongs.
pub struct Bearer(pub Actor);

impl Bearer {
    /// The person, if the token has at least this scope.
    pub fn require(self, scope: Scope) -> Result<Actor, ApiError> {
        if self.0.scope.is_some_and(|own| own >= scope) {
            return Ok(self.0);
        }
        let message = format!(
            "This token does not allow this. It needs the scope “{}”.",
            scope.word()
        );
        Err(ApiError(
            Error::forbidden(message).action("Create a token with chatlake token create."),
        ))
    }
}

impl FromRequestParts<Api> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let refused = |message: &str| {
            ApiError(
                Error::new(ErrorKind::Unauthenticated, "unauthenticated", message).action(
                    "Send the header Authorization: Bearer TOKEN. \
                     chatlake token create creates a token. A token in the address is ignored.",
                ),
            )
        };
        let Some(header) = parts.headers.get(AUTHORIZATION) else {
            return Err(refused("This address needs a token."));
        };
        let Some(text) = tokens::from_authorization(header) else {
            return Err(refused(
                "The Authorization header is not of the form Bearer TOKEN.",
            ));
        };
        let address = parts
            .extensions
            .get::<IpAddr>()
            .copied()
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        // Only failed lookups are throttled, so that a valid token is never blocked by the failures
        // of another client behind the same address.
        match tokens::authenticate(&api.db, &api.clock, text).await? {
            Some(actor) if actor.scope == Some(Scope::Metrics) => Err(ApiError(
                Error::forbidden("This token can only read /metrics.")
                    .action("Create another token with chatlake token create."),
            )),
            Some(actor) => Ok(Self(actor)),
            None => {
                api.throttle.check_token_attempts(address)?;
                api.throttle.record_bad_token(address);
                Err(refused("This token is unknown, expired or revoked."))
            }
        }
    }
}
