//! Every answer has the security headers, and pages have no inline scripts or styles.

use axum::http::{Method, StatusCode};
use chatlake::actor::{Role, Scope};
use chatlake::clock::Clock;

use super::assert_security_headers;
use crate::support::PASSWORD;
use crate::support::context::TestContext;

/// The expected status; method, address, body and headers.
type RequestCase<'a> = (
    u16,
    &'a str,
    &'a str,
    Option<String>,
    Vec<(&'a str, &'a str)>,
);

#[tokio::test]
async fn every_kind_of_answer_has_the_security_headers() {
    for https in [false, true] {
        let ctx = TestContext::with(Clock::system(), |config| {
            if https {
                config.public_url = "https://127.0.0.1:8080".parse().unwrap();
            }
        })
        .await;
        let own = [("sec-fetch-site", "same-origin")];
        let admin = ctx.person("ada", Role::Admin).await;
        let bearer = format!("Bearer {}", ctx.token(&admin, Scope::Read).await);
        let mut browser = ctx.browser();
        let form = |password: &str| {
            Some(
                url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("email", "ada@house.test")
                    .append_pair("password", password)
                    .finish(),
            )
        };
        let file = browser
            .get("/sign-in")
            .await
            .attribute("link[rel=stylesheet]", "href")
            .unwrap();
        let long = format!("/{}", "a".repeat(9_000));
        let (large, wide) = ("a".repeat(70_000), "a".repeat(33_000));
        let cases: Vec<RequestCase> = vec![
            (200, "GET", "/sign-in", None, vec![]),
            (200, "GET", &file, None, vec![]),
            (200, "GET", "/api/v1/openapi.json", None, vec![]),
            (303, "GET", "/datasets", None, vec![]),
            (
                415,
                "POST",
                "/sign-in",
                Some("{}".to_owned()),
                [&own[..], &[("content-type", "application/json")]].concat(),
            ),
            (401, "POST", "/sign-in", form("wrong"), own.to_vec()),
            (401, "GET", "/api/v1/datasets", None, vec![]),
            (
                401,
                "GET",
                "/api/v1/datasets",
                None,
                vec![("authorization", "Bearer nothing")],
            ),
            (403, "POST", "/sign-in", form(PASSWORD), vec![]),
            (404, "GET", "/nowhere", None, vec![]),
            (404, "GET", "/static/nowhere", None, vec![]),
            (404, "GET", "/api/nowhere", None, vec![]),
            (404, "GET", "/api/v1/nowhere", None, vec![]),
            (405, "GET", "/sign-out", None, vec![]),
            (405, "POST", "/healthz", None, own.to_vec()),
            (405, "POST", &file, None, own.to_vec()),
            (405, "TRACE", "/", None, vec![]),
            (405, "PUT", "/api/v1/datasets", None, vec![]),
            (
                413,
                "POST",
                "/sign-in",
                Some(large),
                [&own[..], &[("content-length", "70000")]].concat(),
            ),
            (414, "GET", &long, None, vec![]),
            (431, "GET", "/sign-in", None, vec![("x-wide", &wide)]),
        ];
        let page = ctx
            .browser()
            .send(Method::POST, "/sign-in", form(PASSWORD), &own)
            .await;
        assert_eq!(
            (
                page.status,
                page.headers.get_all("set-cookie").iter().count()
            ),
            (StatusCode::SEE_OTHER, 2)
        );
        assert_security_headers(&page, "POST /sign-in", https);
        for (status, method, path, body, headers) in cases {
            let page = browser
                .send(method.parse().unwrap(), path, body, &headers)
                .await;
            assert_eq!(
                page.status.as_u16(),
                status,
                "{method} {path}: {}",
                page.title()
            );
            assert_security_headers(&page, &format!("{method} {path}"), https);
        }
        let mut anonymous = ctx.browser();
        let mut slowed = false;
        for _ in 0..30 {
            let page = anonymous
                .send(Method::POST, "/sign-in", form("wrong"), &own)
                .await;
            assert_security_headers(&page, "POST /sign-in", https);
            slowed |= page.status == StatusCode::TOO_MANY_REQUESTS;
            if slowed {
                break;
            }
        }
        assert!(slowed, "guessing is slowed");
        // The catalogue is closed, so the answer is an internal error.
        ctx.app.db.close().await;
        for (status, path) in [
            (503, "/readyz"),
            (500, "/invite/code"),
            (500, "/api/v1/datasets"),
        ] {
            let page = browser
                .send(Method::GET, path, None, &[("authorization", &bearer)])
                .await;
            assert_eq!(page.status.as_u16(), status, "{path}: {}", page.title());
            assert_security_headers(&page, &format!("GET {path}"), https);
        }
    }
}

#[tokio::test]
async fn the_version_is_hidden_from_anonymous_visitors() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    for path in [
        "/sign-in".to_owned(),
        format!("/set-up/{code}"),
        "/invite/nothing".to_owned(),
    ] {
        let page = ctx.browser().get(&path).await;
        assert!(page.has("body.bare footer"), "{path}: {}", page.text);
        assert_security_headers(&page, &path, false);
    }
}

#[tokio::test]
async fn the_help_pages_have_no_inline_scripts_or_styles() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let help = olga.get("/help").await;
    assert!(help.text.contains("http://127.0.0.1:8080/api/v1/datasets"));
    let components = olga.get("/help/components").await;
    assert_eq!(
        (components.status, components.title().as_str()),
        (StatusCode::OK, "Components")
    );
    for page in [&help, &components] {
        assert!(
            !page.text.contains(" style=")
                && !page.text.contains("<style")
                && !page.text.contains(" onclick="),
            "nothing inline"
        );
    }
}
