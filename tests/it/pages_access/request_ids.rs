//! The request id of an answer is in the log, and a panic page shows only this id.

use std::sync::{Arc, Mutex, Once};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::get;

use super::assert_security_headers;
use crate::support::context::TestContext;

/// The log lines of the thread of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Records every line until the guard is dropped.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(NoSubscriber).unwrap());
        let log = Self::default();
        let pen = log.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || pen.clone())
            .finish();
        (log, tracing::subscriber::set_default(lines))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Records nothing, but keeps all lines enabled. Without a subscriber, tracing caches a line that
/// another thread reaches first as disabled, just when this test begins to record.
struct NoSubscriber;

impl tracing::Subscriber for NoSubscriber {
    fn register_callsite(
        &self,
        _: &'static tracing::Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::TRACE)
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

async fn breaks() -> &'static str {
    panic!("kanarie 4711")
}

#[tokio::test]
async fn a_panic_page_shows_the_request_id_and_no_details() {
    let ctx = TestContext::new().await;
    let mut browser = ctx.browser_with(
        Router::new()
            .route("/breaks", get(breaks))
            .route("/api/v1/breaks", get(breaks)),
    );
    let (log, _guard) = Log::listen();
    for path in ["/breaks", "/api/v1/breaks"] {
        let page = browser.get(path).await;
        let id = page.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_security_headers(&page, path, false);
        assert!(
            page.text.contains(&id) && !page.text.contains("kanarie"),
            "{path}: {}",
            page.text
        );
        let is_json = serde_json::from_slice::<serde_json::Value>(&page.bytes)
            .is_ok_and(|body| body["error"]["code"] == "internal");
        assert_eq!(is_json, path.starts_with("/api/"), "{path}: {}", page.text);
        assert!(
            is_json || page.title() == "Something went wrong",
            "{}",
            page.text
        );
        let log = log.text();
        assert!(
            log.lines().any(|line| line.contains("answered")
                && line.contains(&id)
                && line.contains("500")),
            "{log}"
        );
        assert!(!log.contains("kanarie"), "{log}");
    }
    assert_eq!(
        browser.get("/sign-in").await.status,
        StatusCode::OK,
        "the next request is served"
    );
}

#[tokio::test]
async fn a_request_id_sent_by_a_client_is_replaced() {
    let ctx = TestContext::new().await;
    let (log, _guard) = Log::listen();
    for path in ["/nowhere", "/api/v1/nowhere", "/sign-in"] {
        let page = ctx
            .browser()
            .send(Method::GET, path, None, &[("x-request-id", "kanarie-4711")])
            .await;
        let ids: Vec<&str> = page
            .headers
            .get_all("x-request-id")
            .iter()
            .map(|id| id.to_str().unwrap())
            .collect();
        let [id] = ids[..] else {
            panic!("{path}: {ids:?}")
        };
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{path}: {id}");
        assert!(
            page.status == StatusCode::OK || page.text.contains(id),
            "{path}: {}",
            page.text
        );
        assert!(!page.text.contains("kanarie"), "{path}: {}", page.text);
        assert!(log.text().contains(id), "{path}");
    }
    assert!(!log.text().contains("kanarie"), "{}", log.text());
}
