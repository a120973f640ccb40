//! Extractors for the signed-in person.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::client_address::ClientAddress;
use super::error_page::PageError;
use crate::actor::Actor;
use crate::auth::audit::AuditActor;
use crate::auth::sessions::{self, Session};
use crate::error::Error;

/// The signed-in person, with the session. Everyone else is redirected to the sign-in page, and
/// returns after signing in.
pub struct Person {
    pub actor: Actor,
    pub session: Session,
}

impl Person {
    /// The person and the address, for the audit log.
    pub fn audit_actor(&self, ClientAddress(address): ClientAddress) -> AuditActor<'_> {
        AuditActor {
            actor: &self.actor,
            address: Some(address),
        }
    }
}

impl FromRequestParts<Web> for Person {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        match find(parts, web).await {
            Ok(Some(person)) => Ok(person),
            Ok(None) => Err(redirect_to_sign_in(parts)),
            Err(error) => Err(PageError(error).into_response()),
        }
    }
}

/// An admin. Other signed-in people get 403, even if the request has other errors.
pub struct Admin(pub Person);

impl FromRequestParts<Web> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let person = <Person as FromRequestParts<Web>>::from_request_parts(parts, web).await?;
        if person.actor.manages_people() {
            return Ok(Self(person));
        }
        Err(PageError(
            Error::forbidden("Only admins can do this.")
                .action("Ask an admin to do it, or to change your role."),
        )
        .into_response())
    }
}

/// A person who may see accounts.
pub struct AccountsViewer(pub Person);

impl FromRequestParts<Web> for AccountsViewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let person = <Person as FromRequestParts<Web>>::from_request_parts(parts, web).await?;
        if person.actor.sees_accounts() {
            return Ok(Self(person));
        }
        let refused =
            Error::forbidden("Only editors and admins can see accounts. You are a viewer.")
                .action("An admin can change your role.");
        Err(PageError(refused).into_response())
    }
}

impl OptionalFromRequestParts<Web> for Person {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Option<Self>, Response> {
        find(parts, web)
            .await
            .map_err(|error| PageError(error).into_response())
    }
}

async fn find(parts: &Parts, web: &Web) -> Result<Option<Person>, Error> {
    let Some(session) = parts.extensions.get::<Session>().cloned() else {
        return Err(Error::internal("a page without the session layer"));
    };
    let actor = sessions::actor_of(&web.db, &session).await?;
    Ok(actor.map(|actor| Person { actor, session }))
}

fn redirect_to_sign_in(parts: &Parts) -> Response {
    let requested_path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    if !matches!(parts.method, Method::GET | Method::HEAD) || requested_path == "/" {
        return Redirect::to("/sign-in").into_response();
    }
    let next: String = url::form_urlencoded::byte_serialize(requested_path.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?next={next}")).into_response()
}
