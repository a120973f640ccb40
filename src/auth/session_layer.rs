//! Middleware for the session cookie, which a browser keeps until it is closed. The cookie is set
//! when its value is new, removed at sign-out, and otherwise not sent.

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::http::{StatusCode, request::Parts};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};

use super::sessions::{CookieChange, Session, Sessions};

/// The name of the session cookie.
pub fn session_cookie_name(https: bool) -> &'static str {
    if https {
        "__Host-chatlake_session"
    } else {
        "chatlake_session"
    }
}

#[derive(Clone)]
struct SessionLayer {
    sessions: Sessions,
    https: bool,
}

/// Adds the `Session` extension to the requests of `router`.
pub fn with_session<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    sessions: &Sessions,
    https: bool,
) -> Router<S> {
    router.layer(from_fn_with_state(
        SessionLayer {
            sessions: sessions.clone(),
            https,
        },
        load_session,
    ))
}

async fn load_session(
    State(SessionLayer { sessions, https }): State<SessionLayer>,
    mut request: Request,
    next: Next,
) -> Response {
    let cookie_value = CookieJar::from_headers(request.headers())
        .get(session_cookie_name(https))
        .map(|cookie| cookie.value().to_owned());
    let session = Session::new(sessions, cookie_value.as_deref());
    request.extensions_mut().insert(session.clone());
    let mut answer = next.run(request).await;
    // The handler has succeeded, so its response is sent even if a flash message cannot be saved.
    if let Err(error) = session.save().await {
        tracing::error!(cause = ?error.log_cause(), "a session could not be saved: {error}");
    }
    if let Some(change) = session.cookie_change().await
        && let Ok(line) = HeaderValue::try_from(cookie(&change, https).to_string())
    {
        answer.headers_mut().append(SET_COOKIE, line);
    }
    answer
}

fn cookie(change: &CookieChange, https: bool) -> Cookie<'static> {
    let value = match change {
        CookieChange::Set(value) => value.reveal().to_owned(),
        CookieChange::Remove => String::new(),
    };
    let cookie = Cookie::build((session_cookie_name(https), value))
        .path("/")
        .http_only(true)
        .secure(https)
        .same_site(SameSite::Lax);
    match change {
        CookieChange::Set(_) => cookie.build(),
        CookieChange::Remove => cookie.removal().build(),
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts
            .extensions
            .get::<Session>()
            .cloned()
            .ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::test_support::AuthFixture;
    use crate::auth::{Role, sessions, users};

    async fn ask(app: &Router, path: &str, cookies: &str) -> (StatusCode, Vec<String>) {
        let request = Request::builder()
            .uri(path)
            .header("cookie", cookies)
            .body(Body::empty())
            .unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        (
            answer.status(),
            answer
                .headers()
                .get_all(SET_COOKIE)
                .iter()
                .map(|line| line.to_str().unwrap().to_owned())
                .collect(),
        )
    }

    /// Routes that do with a session what handlers do.
    async fn app(fixture: &AuthFixture, https: bool) -> Router {
        let owner = fixture.person(&format!("olga-{https}"), Role::Admin).await;
        let user = users::get(&fixture.db, &owner.user).await.unwrap();
        let done = |done: crate::error::Result<()>| {
            if done.is_ok() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let router = Router::new()
            .route(
                "/begin",
                get(move |session: Session| async move {
                    done(sessions::begin(&session, &user).await)
                }),
            )
            .route(
                "/read",
                get(move |session: Session| async move { done(session.user().await.map(drop)) }),
            )
            .route(
                "/say",
                get(move |session: Session| async move {
                    done(session.insert("toast", "Saved.").await)
                }),
            )
            .route(
                "/renew",
                get(move |session: Session| async move { done(sessions::renew(&session).await) }),
            )
            .route(
                "/finish",
                get(move |session: Session| async move {
                    done(sessions::finish(&session, None).await)
                }),
            );
        with_session(
            router,
            &Sessions::new(fixture.db.clone(), fixture.clock.clone()),
            https,
        )
    }

    #[tokio::test]
    async fn the_cookie_is_http_only_and_same_site_and_sent_only_when_it_changes() {
        let fixture = AuthFixture::new().await;
        for (https, name) in [
            (true, "__Host-chatlake_session="),
            (false, "chatlake_session="),
        ] {
            let app = app(&fixture, https).await;
            let (_, begun) = ask(&app, "/begin", "").await;
            let [line] = &begun[..] else {
                panic!("{begun:?}")
            };
            assert!(
                line.starts_with(name)
                    && !line.contains("Domain")
                    && !line.contains("Max-Age")
                    && !line.contains("Expires"),
                "{line}"
            );
            let cookie = line.split(';').next().unwrap();
            assert_eq!(cookie.len(), name.len() + 43);
            for path in ["/read", "/say", "/read"] {
                assert_eq!(
                    ask(&app, path, cookie).await,
                    (StatusCode::OK, Vec::new()),
                    "{path}"
                );
            }
            let (_, renewed) = ask(&app, "/renew", cookie).await;
            let [line_now] = &renewed[..] else {
                panic!("{renewed:?}")
            };
            let cookie_now = line_now.split(';').next().unwrap();
            assert_ne!(cookie_now, cookie);
            let (_, gone) = ask(&app, "/finish", &format!("other=1; {cookie_now}")).await;
            let [line_gone] = &gone[..] else {
                panic!("{gone:?}")
            };
            assert!(
                line_gone.starts_with(&format!("{name};")) && line_gone.contains("Max-Age=0"),
                "{line_gone}"
            );
            for line in [line, line_now, line_gone] {
                for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
                    assert!(line.contains(part), "{line}");
                }
                assert_eq!(line.contains("Secure"), https, "{line}");
            }
            for stale in [
                "",
                cookie,
                cookie_now,
                &format!("{name}short"),
                &format!("{name}%00"),
            ] {
                assert_eq!(
                    ask(&app, "/say", stale).await,
                    (StatusCode::OK, Vec::new()),
                    "{stale}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_response_is_sent_even_if_its_flash_message_cannot_be_stored() {
        let fixture = AuthFixture::new().await;
        let app = app(&fixture, false).await;
        let (_, begun) = ask(&app, "/begin", "").await;
        let cookie = begun[0].split(';').next().unwrap().to_owned();
        let mut tx = fixture.db.write().await.unwrap();
        for trigger in [
            "CREATE TRIGGER no_update BEFORE UPDATE ON sessions
             BEGIN
                 SELECT RAISE(ABORT, 'no');
             END",
            "CREATE TRIGGER no_delete BEFORE DELETE ON sessions
             BEGIN
                 SELECT RAISE(ABORT, 'no');
             END",
        ] {
            sqlx::query(trigger).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
        // Late enough that the expiry would be extended.
        fixture.clock.advance(30 * 60 * 1_000);
        assert_eq!(
            ask(&app, "/say", &cookie).await,
            (StatusCode::OK, Vec::new())
        );
        // A request that starts, renews or ends a session gets the error at once.
        for path in ["/begin", "/renew", "/finish"] {
            assert_eq!(
                ask(&app, path, &cookie).await,
                (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
                "{path}"
            );
        }
    }
}
