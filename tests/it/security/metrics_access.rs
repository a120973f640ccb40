//! Who may read the metrics.

use axum::http::{Method, StatusCode};
use chatlake::actor::{Role, Scope};
use chatlake::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::at;
use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::{NOON, until, within};

#[tokio::test]
async fn metrics_need_a_token_with_their_scope_or_a_local_client() {
    let local = TestContext::new().await;
    let named = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.has_explicit_public_url = true
    })
    .await;
    let proxied = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.trusted_proxy = vec!["127.0.0.0/8".parse().unwrap()]
    })
    .await;
    for (ctx, is_open) in [(&local, true), (&named, false), (&proxied, false)] {
        let ada = ctx.person("ada", Role::Admin).await;
        for (address, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("198.18.0.1", false),
            ("10.0.0.1", false),
        ] {
            let mut browser = at(ctx, address);
            let wanted = if is_open && here {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            let page = browser.get("/metrics").await;
            assert_eq!(
                (page.status, page.text.contains("chatlake_")),
                (wanted, wanted == StatusCode::OK),
                "{address}"
            );
            assert_eq!(
                page.headers.contains_key("www-authenticate"),
                wanted == StatusCode::UNAUTHORIZED
            );
            // A request through a proxy is never local, whatever its address.
            for passed_on in [
                "forwarded",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-real-ip",
            ] {
                let page = browser
                    .send(Method::GET, "/metrics", None, &[(passed_on, "203.0.113.9")])
                    .await;
                assert_eq!(
                    page.status,
                    StatusCode::UNAUTHORIZED,
                    "{address} {passed_on}"
                );
            }
        }
        let mut far = at(ctx, "198.18.0.2");
        for (scope, wanted) in [
            (Scope::Metrics, 200),
            (Scope::Manage, 200),
            (Scope::Read, 403),
            (Scope::Run, 403),
        ] {
            let bearer = format!("Bearer {}", ctx.token(&ada, scope).await);
            let page = far
                .send(Method::GET, "/metrics", None, &[("authorization", &bearer)])
                .await;
            assert_eq!(page.status.as_u16(), wanted, "{scope:?}: {}", page.text);
        }
        // A session does not replace a token, and a wrong token is refused even from a local client.
        assert_eq!(
            ctx.signed_in(&ada).await.get("/metrics").await.status,
            StatusCode::UNAUTHORIZED
        );
        for shown in ["Bearer clk_nothing", "Basic YTpi", "Bearer"] {
            let page = at(ctx, "127.0.0.1")
                .send(Method::GET, "/metrics", None, &[("authorization", shown)])
                .await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{shown}");
        }
    }
}

#[tokio::test]
async fn a_metrics_token_does_nothing_else() {
    let ctx = TestContext::new().await;
    let ada = ctx.person("ada", Role::Admin).await;
    let bearer = format!("Bearer {}", ctx.token(&ada, Scope::Metrics).await);
    // The API document is public.
    for (method, path) in chatlake::api::addresses()
        .into_iter()
        .filter(|(_, path)| !path.ends_with("openapi.json"))
    {
        let path = format!("/api/v1{}", path.trim_start_matches("/api/v1"))
            .replace("{id}", "ds_x")
            .replace("{version}", "ver_x");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let page = ctx
            .browser()
            .send(method.clone(), &path, None, &[("authorization", &bearer)])
            .await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_separate_address_serves_the_metrics_and_nothing_else() {
    let data_dir = DataDir::new();
    let server = data_dir
        .serve_with(&["--metrics-listen", "127.0.0.1:0"])
        .await;
    let address = until("the log contains the address", async || {
        let log = server.err();
        let line = log
            .lines()
            .find(|line| line.contains("metrics are served"))?;
        Some(
            line.split("127.0.0.1:")
                .nth(1)?
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>(),
        )
    })
    .await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{address}"))
            .await
            .unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: chatlake-metrics:9090\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        within(path, stream.read_to_string(&mut text))
            .await
            .unwrap();
        text
    };
    let metrics = get("/metrics").await;
    assert!(
        metrics.starts_with("HTTP/1.1 200")
            && metrics.contains("chatlake_runs_alive")
            && metrics.contains("nosniff"),
        "{metrics}"
    );
    for path in ["/", "/sign-in", "/api/v1/datasets", "/healthz", "/a/Srv"] {
        assert!(get(path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    server.stop().await;
}
