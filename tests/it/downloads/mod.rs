//! Downloads: slow clients, slots and event streams.

mod slots;
mod slow_clients;

use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use chatlake::clock::Clock;

use crate::support::context::TestContext;
use crate::support::exports::{ExportFixture, HERE, many};
use crate::support::http::read_body;
use crate::support::{NOON, within};

/// The value of this metric.
async fn gauge(export_fixture: &ExportFixture, name: &str) -> u64 {
    let text = export_fixture.ask("GET", "/metrics", &[], "").await.text;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("chatlake_{name} ")))
        .unwrap_or_else(|| panic!("{name} is not in {text}"));
    line.parse().unwrap()
}

async fn until(export_fixture: &ExportFixture, name: &str, wanted: u64) {
    within(name, async {
        while gauge(export_fixture, name).await != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn export_fixture(per_person: usize, total: usize) -> ExportFixture {
    let change = |config: &mut chatlake::config::Config| {
        (config.downloads_per_person, config.downloads) = (per_person, total)
    };
    ExportFixture::of(
        TestContext::with(Clock::stopped_at(NOON), change).await,
        &many(400),
    )
    .await
}

async fn csv(export_fixture: &ExportFixture, token: &str) -> Response<Body> {
    let bearer = format!("Bearer {token}");
    export_fixture
        .send(
            HERE,
            "GET",
            &format!("/api/v1/datasets/{}/data", export_fixture.dataset),
            &[("authorization", &bearer)],
            "",
        )
        .await
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(read_body(answer.into_body()).await).unwrap()
}
