//! How the session comes with a request and goes with its answer: one cookie, which a browser keeps until it is closed. It is set
//! when its value is new, taken back at sign-out, and otherwise left alone.

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::http::{StatusCode, request::Parts};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};

use super::sessions::{News, Session, Sessions};

/// The name of the session cookie.
pub fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-chatlake_session" } else { "chatlake_session" }
}

#[derive(Clone)]
struct Carrier {
    sessions: Sessions,
    https: bool,
}

/// Gives the handlers of `router` their `Session`.
pub fn around<S: Clone + Send + Sync + 'static>(router: Router<S>, sessions: &Sessions, https: bool) -> Router<S> {
    router.layer(from_fn_with_state(Carrier { sessions: sessions.clone(), https }, carry))
}

async fn carry(State(Carrier { sessions, https }): State<Carrier>, mut request: Request, next: Next) -> Response {
    let came = CookieJar::from_headers(request.headers()).get(cookie_name(https)).map(|cookie| cookie.value().to_owned());
    let session = Session::new(sessions, came.as_deref());
    request.extensions_mut().insert(session.clone());
    let mut answer = next.run(request).await;
    // What the handler did is done, and its answer is true: it goes out, whatever becomes of a message for the next page.
    if let Err(error) = session.save().await {
        tracing::error!(cause = ?error.inside(), "a session could not be saved: {error}");
    }
    if let Some(news) = session.news().await
        && let Ok(line) = HeaderValue::try_from(cookie(&news, https).to_string())
    {
        answer.headers_mut().append(SET_COOKIE, line);
    }
    answer
}

fn cookie(news: &News, https: bool) -> Cookie<'static> {
    let value = match news {
        News::Keep(value) => value.reveal().to_owned(),
        News::Forget => String::new(),
    };
    let cookie = Cookie::build((cookie_name(https), value)).path("/").http_only(true).secure(https).same_site(SameSite::Lax);
    match news {
        News::Keep(_) => cookie.build(),
        News::Forget => cookie.removal().build(),
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Session>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::test_house::House;
    use crate::auth::{Role, sessions, users};

    async fn ask(app: &Router, path: &str, cookies: &str) -> (StatusCode, Vec<String>) {
        let request = Request::builder().uri(path).header("cookie", cookies).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        (answer.status(), answer.headers().get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect())
    }

    /// Addresses that do what handlers do with a session.
    async fn app(house: &House, https: bool) -> Router {
        let owner = house.person(&format!("olga-{https}"), Role::Admin).await;
        let user = users::get(&house.db, &owner.user).await.unwrap();
        let done = |done: crate::error::Result<()>| if done.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let router = Router::new()
            .route("/begin", get(move |session: Session| async move { done(sessions::begin(&session, &user).await) }))
            .route("/read", get(move |session: Session| async move { done(session.user().await.map(|_| ())) }))
            .route("/say", get(move |session: Session| async move { done(session.insert("toast", "Saved.").await) }))
            .route("/renew", get(move |session: Session| async move { done(sessions::renew(&session).await) }))
            .route("/finish", get(move |session: Session| async move { done(sessions::finish(&session, None).await) }));
        around(router, &Sessions::new(house.db.clone(), house.clock.clone()), https)
    }

    #[tokio::test]
    async fn the_cookie_is_closed_to_scripts_and_other_sites_and_told_only_when_it_changes() {
        let house = House::new().await;
        for (https, name) in [(true, "__Host-chatlake_session="), (false, "chatlake_session=")] {
            let app = app(&house, https).await;
            let (_, begun) = ask(&app, "/begin", "").await;
            let [line] = &begun[..] else { panic!("{begun:?}") };
            assert!(line.starts_with(name) && !line.contains("Domain") && !line.contains("Max-Age") && !line.contains("Expires"), "{line}");
            let cookie = line.split(';').next().unwrap();
            assert_eq!(cookie.len(), name.len() + 43);
            for path in ["/read", "/say", "/read"] {
                assert_eq!(ask(&app, path, cookie).await, (StatusCode::OK, Vec::new()), "{path}");
            }
            let (_, renewed) = ask(&app, "/renew", cookie).await;
            let [line_now] = &renewed[..] else { panic!("{renewed:?}") };
            let cookie_now = line_now.split(';').next().unwrap();
            assert_ne!(cookie_now, cookie);
            let (_, gone) = ask(&app, "/finish", &format!("other=1; {cookie_now}")).await;
            let [line_gone] = &gone[..] else { panic!("{gone:?}") };
            assert!(line_gone.starts_with(&format!("{name};")) && line_gone.contains("Max-Age=0"), "{line_gone}");
            for line in [line, line_now, line_gone] {
                for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
                    assert!(line.contains(part), "{line}");
                }
                assert_eq!(line.contains("Secure"), https, "{line}");
            }
            for stale in ["", cookie, cookie_now, &format!("{name}short"), &format!("{name}%00")] {
                assert_eq!(ask(&app, "/say", stale).await, (StatusCode::OK, Vec::new()), "{stale}");
            }
        }
    }

    #[tokio::test]
    async fn an_answer_goes_out_though_the_message_for_the_next_page_cannot_be_kept() {
        let house = House::new().await;
        let app = app(&house, false).await;
        let (_, begun) = ask(&app, "/begin", "").await;
        let cookie = begun[0].split(';').next().unwrap().to_owned();
        let mut tx = house.db.write().await.unwrap();
        sqlx::query("CREATE TRIGGER no_update BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END").execute(&mut *tx).await.unwrap();
        sqlx::query("CREATE TRIGGER no_delete BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        // Late enough that its end would move, too.
        house.clock.advance(30 * 60 * 1_000);
        assert_eq!(ask(&app, "/say", &cookie).await, (StatusCode::OK, Vec::new()));
        // But whoever begins, renews or ends a session is told at once.
        for path in ["/begin", "/renew", "/finish"] {
            assert_eq!(ask(&app, path, &cookie).await, (StatusCode::SERVICE_UNAVAILABLE, Vec::new()), "{path}");
        }
    }
}
