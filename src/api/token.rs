//! Who asks: the person whose token the request shows in `Authorization: Bearer`, and nowhere else.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Api;
use super::error::Refusal;
use crate::actor::{Actor, Scope};
use crate::auth::tokens;
use crate::error::{Error, Kind};

/// The person behind the token.
pub struct Bearer(pub Actor);

impl Bearer {
    /// The person, if the token reaches that far.
    pub fn with(self, scope: Scope) -> Result<Actor, Refusal> {
        if self.0.scope.is_some_and(|own| own >= scope) {
            return Ok(self.0);
        }
        let message = format!("This token does not allow this. It needs the scope “{}”.", scope.word());
        Err(Refusal(Error::forbidden(message).action("Create a token with chatlake token create.")))
    }
}

impl FromRequestParts<Api> for Bearer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let refused = |message: &str| {
            Refusal(
                Error::new(Kind::Unauthenticated, "unauthenticated", message)
                    .action("Send the header Authorization: Bearer TOKEN. chatlake token create creates a token. A token in the address is ignored."),
            )
        };
        let Some(header) = parts.headers.get(AUTHORIZATION) else { return Err(refused("This address needs a token.")) };
        let text = header
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(text) = text else { return Err(refused("The Authorization header is not of the form Bearer TOKEN.")) };
        let address = parts.extensions.get::<IpAddr>().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        // A good token is never kept out by the bad ones of a neighbour behind the same address; only failures are slowed.
        match tokens::by_text(&api.db, &api.clock, text).await? {
            Some(actor) if actor.scope == Some(Scope::Metrics) => {
                Err(Refusal(Error::forbidden("This token can only read /metrics.").action("Create another token with chatlake token create.")))
            }
            Some(actor) => Ok(Self(actor)),
            None => {
                api.throttle.tokens_of(address)?;
                api.throttle.bad_token(address);
                Err(refused("This token is unknown, expired or revoked."))
            }
        }
    }
}
