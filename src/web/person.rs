//! Who is at the browser.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::client_address::ClientAddress;
use super::error_page::Trouble;
use crate::actor::Actor;
use crate::auth::audit::By;
use crate::auth::sessions::{self, Session};
use crate::error::Error;

/// The person who is signed in, with the session. Whoever is not is sent to sign in and comes back afterwards.
pub struct Person {
    pub actor: Actor,
    pub session: Session,
}

impl Person {
    /// Who does it, for the trail.
    pub fn by(&self, ClientAddress(address): ClientAddress) -> By<'_> {
        By { actor: &self.actor, address: Some(address) }
    }
}

impl FromRequestParts<Web> for Person {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        match find(parts, web).await {
            Ok(Some(person)) => Ok(person),
            Ok(None) => Err(sign_in_first(parts)),
            Err(error) => Err(Trouble(error).into_response()),
        }
    }
}

/// Somebody who looks after people. Everybody else gets the page that says so, whatever else is wrong with the request.
pub struct Admin(pub Person);

impl FromRequestParts<Web> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let person = <Person as FromRequestParts<Web>>::from_request_parts(parts, web).await?;
        if person.actor.manages_people() {
            return Ok(Self(person));
        }
        Err(Trouble(Error::forbidden("Only admins can do this.").action("Ask an admin to do it, or to change your role.")).into_response())
    }
}

/// Somebody who may see accounts.
pub struct Keeper(pub Person);

impl FromRequestParts<Web> for Keeper {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        let person = <Person as FromRequestParts<Web>>::from_request_parts(parts, web).await?;
        if person.actor.sees_accounts() {
            return Ok(Self(person));
        }
        let refused = Error::forbidden("Only editors and admins can see accounts. You are a viewer.").action("An admin can change your role.");
        Err(Trouble(refused).into_response())
    }
}

impl OptionalFromRequestParts<Web> for Person {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Option<Self>, Response> {
        find(parts, web).await.map_err(|error| Trouble(error).into_response())
    }
}

async fn find(parts: &Parts, web: &Web) -> Result<Option<Person>, Error> {
    let Some(session) = parts.extensions.get::<Session>().cloned() else {
        return Err(Error::internal("a page without the session layer"));
    };
    let actor = sessions::actor_of(&web.db, &session).await?;
    Ok(actor.map(|actor| Person { actor, session }))
}

fn sign_in_first(parts: &Parts) -> Response {
    let came_for = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    if !matches!(parts.method, Method::GET | Method::HEAD) || came_for == "/" {
        return Redirect::to("/sign-in").into_response();
    }
    let next: String = url::form_urlencoded::byte_serialize(came_for.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?next={next}")).into_response()
}
