//! Sign-in and its redirects, cookies and origin checks.

use axum::http::{Method, StatusCode};
use chatlake::actor::Role;
use chatlake::clock::Clock;

use crate::support::PASSWORD;
use crate::support::context::TestContext;

#[tokio::test]
async fn a_person_signs_in_with_a_new_session_and_goes_where_they_were_going() {
    let ctx = TestContext::new().await;
    let olga = ctx.person("olga", Role::Admin).await;
    let mut browser = ctx.browser();
    let sent = browser.get("/accounts?x=1").await;
    assert_eq!(
        (sent.status, sent.location().as_str()),
        (StatusCode::SEE_OTHER, "/sign-in?next=%2Faccounts%3Fx%3D1")
    );
    let form = browser.get(&sent.location()).await;
    assert_eq!(
        form.attribute("input[name=next]", "value").as_deref(),
        Some("/accounts?x=1")
    );
    assert_eq!(
        form.attribute("#password", "autocomplete").as_deref(),
        Some("current-password")
    );

    let planted = "A".repeat(43);
    browser
        .cookies
        .insert("chatlake_session".to_owned(), planted.clone());
    let done = browser
        .post(
            "/sign-in",
            &[
                ("email", "OLGA@house.test "),
                ("password", PASSWORD),
                ("next", "/accounts?x=1"),
            ],
        )
        .await;
    assert_eq!(
        (done.status, done.location().as_str()),
        (StatusCode::SEE_OTHER, "/accounts?x=1")
    );
    let cookies: Vec<&str> = done
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    assert!(
        cookies
            .iter()
            .any(|line| line.starts_with("chatlake_device=")),
        "{cookies:?}"
    );
    assert!(
        cookies.iter().all(|line| line.contains("HttpOnly")
            && line.contains("SameSite=Lax")
            && line.contains("Path=/")),
        "{cookies:?}"
    );
    let id = browser.session_cookie().unwrap().to_owned();
    assert!(id != planted && id.len() == 43, "256 new bits: {id}");
    assert!(
        !ctx.on_disk()
            .windows(id.len())
            .any(|bytes| bytes == id.as_bytes()),
        "the cookie's value is not stored"
    );
    assert_eq!(browser.get("/").await.location(), "/datasets");
    assert_eq!(
        browser.get("/sign-in?next=//evil.test").await.location(),
        "/"
    );
    let me = browser.get("/me").await;
    assert!(me.words(".facts").contains(&olga.email) && me.headers["cache-control"] == "no-store");
}

#[tokio::test]
async fn sign_in_redirects_to_no_other_site() {
    let ctx = TestContext::new().await;
    ctx.person("olga", Role::Admin).await;
    for away in [
        "//evil.test",
        "/\\evil.test",
        "/\t/evil.test",
        "https:evil.test",
        "https://evil.test/",
        "\\evil.test",
        "/%2f/evil.test/../..//evil.test",
    ] {
        let done = ctx
            .browser()
            .post(
                "/sign-in",
                &[
                    ("email", "olga@house.test"),
                    ("password", PASSWORD),
                    ("next", away),
                ],
            )
            .await;
        let to = done.location();
        assert!(
            to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'),
            "{away} leads to {to}"
        );
    }
}

#[tokio::test]
async fn over_https_the_cookies_are_bound_to_the_host() {
    let ctx = TestContext::with(Clock::system(), |config| {
        config.public_url = "https://chat.test".parse().unwrap()
    })
    .await;
    ctx.person("olga", Role::Admin).await;
    let body = format!(
        "email=olga%40house.test&password={}",
        PASSWORD.replace(' ', "+")
    );
    let answer = ctx
        .browser()
        .send(
            Method::POST,
            "https://chat.test/sign-in",
            Some(body),
            &[("sec-fetch-site", "same-origin")],
        )
        .await;
    let cookies: Vec<&str> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    for name in ["__Host-chatlake_session=", "__Host-chatlake_device="] {
        let line = cookies
            .iter()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {cookies:?} {answer:?}"));
        assert!(
            line.contains("Secure")
                && line.contains("HttpOnly")
                && line.contains("SameSite=Lax")
                && !line.contains("Domain"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_cross_site_form_signs_nobody_in_or_out() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let body = format!(
        "email=olga%40house.test&password={}",
        PASSWORD.replace(' ', "+")
    );
    for headers in [
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1:8080"),
        ][..],
        &[("origin", "https://evil.test")],
        &[("origin", "null")],
        &[],
    ] {
        let mut stan = ctx.browser();
        let answer = stan
            .send(Method::POST, "/sign-in", Some(body.clone()), headers)
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert!(stan.cookies.is_empty());
        assert_eq!(
            olga.send(Method::POST, "/sign-out", Some(String::new()), headers)
                .await
                .status,
            StatusCode::FORBIDDEN
        );
    }
    assert!(olga.is_signed_in().await);
    assert_eq!(
        olga.get("/sign-out").await.status,
        StatusCode::METHOD_NOT_ALLOWED,
        "a link never signs out"
    );
}
