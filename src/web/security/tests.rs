//! Tests of the request checks, the CSRF protection and the failure handling.

use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower::ServiceExt;

use super::response_headers::CONTENT_SECURITY_POLICY_VALUE;
use super::*;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;

fn guard(public_url: &str) -> RequestGuard {
    let url = Url::parse(public_url).unwrap();
    RequestGuard::new(
        &url,
        false,
        Vec::new(),
        Arc::new(|uri, _, rejection| {
            (
                rejection.status,
                format!("{}: {}", uri.path(), rejection.message),
            )
                .into_response()
        }),
    )
}

fn app(public_url: &str) -> Router {
    let guard = guard(public_url);
    let pages = Router::new()
        .route("/", get(|| async { "page" }))
        .route(
            "/form",
            post(|_: String| async { "done" }).get(|| async { "form" }),
        )
        .route(
            "/static",
            get(|| async {
                (
                    [(header::CACHE_CONTROL, "public, max-age=31536000, immutable")],
                    "style",
                )
            }),
        )
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route(
            "/address",
            get(|ClientAddress(address): ClientAddress| async move { address.to_string() }),
        );
    let api = Router::new()
        .route("/api/v1/things", post(|| async { "made" }))
        .route("/healthz", get(|| async { "ok" }));
    with_request_checks(
        with_csrf_protection(pages, &guard).unwrap().merge(api),
        &guard,
    )
}

async fn ask(app: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

const OURS: &str = "https://chat.test";
const HOST: (&str, &str) = ("host", "chat.test");

#[tokio::test]
async fn forms_are_accepted_from_pages_of_this_server_only() {
    let app = app(OURS);
    let sites = [
        None,
        Some("same-origin"),
        Some("none"),
        Some("same-site"),
        Some("cross-site"),
        Some(""),
    ];
    let origins = [
        None,
        Some(OURS),
        Some("null"),
        Some("https://evil.test"),
        Some("http://chat.test"),
        Some("https://chat.test.evil.test"),
        Some(""),
    ];
    for site in sites {
        for origin in origins {
            let mut headers = vec![HOST];
            headers.extend(site.map(|site| ("sec-fetch-site", site)));
            headers.extend(origin.map(|origin| ("origin", origin)));
            let allowed = match site {
                Some("same-origin" | "none") => true,
                None => origin == Some(OURS),
                Some(_) => false,
            };
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                let status = ask(&app, method, "/form", &headers).await.status();
                let passed = status != StatusCode::FORBIDDEN;
                assert_eq!(passed, allowed, "{method} {site:?} {origin:?}: {status}");
            }
            assert_eq!(
                ask(&app, "GET", "/form", &headers).await.status(),
                StatusCode::OK
            );
            assert_eq!(
                ask(&app, "POST", "/api/v1/things", &headers).await.status(),
                StatusCode::OK,
                "a token needs no origin"
            );
        }
    }
}

#[tokio::test]
async fn on_this_machine_all_local_names_are_ours_and_a_page_of_another_port_is_not() {
    let app = app("http://127.0.0.1:8080");
    for host in [
        "localhost:8080",
        "127.0.0.1:8080",
        "[::1]:8080",
        "localhost",
        "LOCALHOST:9",
    ] {
        assert_eq!(
            ask(&app, "GET", "/", &[("host", host)]).await.status(),
            StatusCode::OK,
            "{host}"
        );
        let origin = format!("http://{}", host.to_lowercase());
        let same = ask(
            &app,
            "POST",
            "/form",
            &[("host", &host.to_lowercase()), ("origin", &origin)],
        )
        .await;
        assert_eq!(same.status(), StatusCode::OK, "{host}");
    }
    let other_port = ask(
        &app,
        "POST",
        "/form",
        &[
            ("host", "localhost:8080"),
            ("origin", "http://localhost:3000"),
        ],
    )
    .await;
    assert_eq!(other_port.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn only_the_configured_host_is_served_but_probes_by_any_host() {
    let app = app(OURS);
    for host in ["chat.test", "chat.test:443", "CHAT.test"] {
        assert_eq!(
            ask(&app, "GET", "/", &[("host", host)]).await.status(),
            StatusCode::OK,
            "{host}"
        );
    }
    for host in [
        "evil.test",
        "chat.test.evil.test",
        "chat.test@evil.test",
        "localhost",
        "127.0.0.1",
        "",
        "chat test",
        "evilchat.test",
    ] {
        let answer = ask(
            &app,
            "GET",
            "/",
            &[("host", host), ("x-forwarded-host", "chat.test")],
        )
        .await;
        assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert!(!format!("{answer:?}").contains("evil"));
        assert_eq!(
            ask(&app, "GET", "/healthz", &[("host", host)])
                .await
                .status(),
            StatusCode::OK,
            "{host}"
        );
    }
    assert_eq!(
        ask(&app, "GET", "/", &[]).await.status(),
        StatusCode::MISDIRECTED_REQUEST
    );
    assert_eq!(
        ask(&app, "GET", "/", &[HOST, ("host", "evil.test")])
            .await
            .status(),
        StatusCode::MISDIRECTED_REQUEST
    );
    assert_eq!(
        ask(&app, "GET", "https://evil.test/", &[HOST])
            .await
            .status(),
        StatusCode::MISDIRECTED_REQUEST
    );
}

#[tokio::test]
async fn every_answer_carries_the_headers_errors_too() {
    for (url, referrer, hsts) in [
        (OURS, "no-referrer", true),
        ("http://chat.test", "same-origin", false),
    ] {
        let app = app(url);
        for (method, path, host, status) in [
            ("GET", "/", "chat.test", 200),
            ("GET", "/nowhere", "chat.test", 404),
            ("DELETE", "/", "chat.test", 403),
            ("GET", "/api/v1/things", "chat.test", 405),
            ("GET", "/broken", "chat.test", 500),
            ("GET", "/", "evil.test", 421),
            ("TRACE", "/", "chat.test", 405),
            ("BREW", "/", "chat.test", 405),
        ] {
            let answer = ask(&app, method, path, &[("host", host), ("origin", "null")]).await;
            assert_eq!(answer.status(), status, "{method} {path}");
            let header = |name: &str| {
                answer
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            };
            assert_eq!(
                header("content-security-policy").as_deref(),
                Some(CONTENT_SECURITY_POLICY_VALUE)
            );
            assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
            assert_eq!(header("referrer-policy").as_deref(), Some(referrer));
            assert_eq!(
                header("cross-origin-opener-policy").as_deref(),
                Some("same-origin")
            );
            assert_eq!(
                header("cross-origin-resource-policy").as_deref(),
                Some("same-origin")
            );
            assert!(header("permissions-policy").is_some());
            assert_eq!(header("strict-transport-security").is_some(), hsts);
            assert_eq!(header("cache-control").as_deref(), Some("no-store"));
            assert!(
                answer
                    .headers()
                    .keys()
                    .all(|name| !name.as_str().starts_with("access-control-"))
            );
        }
        let file = ask(&app, "GET", "/static", &[HOST]).await;
        assert!(
            file.headers()["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
}

#[test]
fn the_policy_is_the_strict_one() {
    assert_eq!(
        CONTENT_SECURITY_POLICY_VALUE,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
}

#[tokio::test]
async fn large_bodies_are_refused_with_and_without_content_length() {
    let app = app(OURS);
    let send = |bytes: usize, with_length: bool| {
        let chunks = futures_util::stream::iter(
            (0..bytes / 1024).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1024])),
        );
        let mut request = Request::builder()
            .method("POST")
            .uri("/form")
            .header("host", "chat.test")
            .header("sec-fetch-site", "same-origin");
        if with_length {
            request = request.header("content-length", bytes);
        }
        app.clone()
            .oneshot(request.body(Body::from_stream(chunks)).unwrap())
    };
    assert_eq!(
        send(64 * 1024, true).await.unwrap().status(),
        StatusCode::OK
    );
    for with_length in [true, false] {
        assert_eq!(
            send(65 * 1024, with_length).await.unwrap().status(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
    }
}

#[tokio::test]
async fn a_forged_forwarded_for_changes_nothing() {
    let answer = ask(
        &app(OURS),
        "GET",
        "/address",
        &[HOST, ("x-forwarded-for", "203.0.113.9")],
    )
    .await;
    let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
    assert_eq!(body, "0.0.0.0");
}

#[test]
fn after_signing_in_nobody_leaves_this_origin() {
    for evil in [
        "",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "https:evil.test",
        "https://evil.test",
        "javascript:alert(1)",
        "evil",
        "/.//evil.test",
        "/a/..//evil.test",
        "/%2e//evil.test",
        "/sign-out",
        "/sign-in?next=/",
        &format!("/{}", "x".repeat(4_096)),
    ] {
        assert_eq!(safe_next(evil), "/", "{evil:?}");
    }
    for own in [
        "/",
        "/datasets/ds_1?page=2&sort=-started_at",
        "/%09/evil",
        "/%2f/evil",
        "/a//b",
    ] {
        assert_eq!(safe_next(own), own);
        let landed = Url::parse("https://chat.test/sign-in")
            .unwrap()
            .join(&safe_next(own))
            .unwrap();
        assert_eq!(landed.host_str(), Some("chat.test"));
    }
}

#[test]
fn cookies_of_ours_are_closed_to_scripts_and_other_sites() {
    let secure = device_cookie(true, &Secret::new("value")).to_string();
    assert!(
        secure.starts_with(
            "__Host-chatlake_device=value; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age="
        ),
        "{secure}"
    );
    let plain = device_cookie(false, &Secret::new("value")).to_string();
    assert!(
        plain.starts_with("chatlake_device=")
            && !plain.contains("Secure")
            && !plain.contains("Domain"),
        "{plain}"
    );
}

async fn breaks() -> &'static str {
    panic!("kanarie 4711")
}

#[tokio::test]
async fn a_handler_that_panics_or_hangs_is_answered_for() {
    let router = Router::new()
        .route("/breaks", get(breaks))
        .route("/hangs", get(std::future::pending::<&'static str>))
        .route("/page", get(|| async { "page" }))
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        );
    let app = with_failure_handling(router, &guard(OURS), Duration::from_millis(50));
    for (path, status, expected) in [
        (
            "/breaks",
            500,
            "/breaks: Something went wrong. The server log contains the details \
             under this request id.",
        ),
        (
            "/hangs",
            504,
            "/hangs: The request took too long and was stopped. Try again in a moment.",
        ),
        ("/page", 200, "page"),
        ("/broken", 500, ""),
    ] {
        let answer = ask(&app, "GET", path, &[]).await;
        assert_eq!(answer.status(), status, "{path}");
        let body = axum::body::to_bytes(answer.into_body(), 1_000)
            .await
            .unwrap();
        assert_eq!(body, expected, "{path}");
    }
}
