//! Downloads share a limited number of slots, and event streams are limited per person.

use axum::body::Body;
use axum::http::StatusCode;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::auth::tokens;
use chatlake::puller::run::Trigger;
use http_body_util::BodyExt;

use super::csv;
use super::export_fixture;
use super::gauge;
use super::text;
use super::until;
use crate::support::context::TestContext;
use crate::support::exports::{CLASSIC, ExportFixture, HERE, chat, fill};
use crate::support::{NOON, within};

/// Lets a request wait for its slot, then advances the clock by a minute.
async fn after_a_minute<T>(export_fixture: &ExportFixture, action: impl Future<Output = T>) -> T {
    let (answer, ()) = tokio::join!(action, async {
        until(export_fixture, "downloads_waiting", 1).await;
        export_fixture.ctx.clock.advance(59_000);
        assert_eq!(
            gauge(export_fixture, "downloads_waiting").await,
            1,
            "it waits for a whole minute"
        );
        export_fixture.ctx.clock.advance(1_000);
    });
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn all_downloads_share_the_slots_and_waiting_ones_fail_after_a_minute() {
    let export_fixture = export_fixture(2, 3).await;
    let token = export_fixture
        .ctx
        .token(&export_fixture.owner, Scope::Read)
        .await;
    let mut browser = export_fixture.ctx.signed_in(&export_fixture.owner).await;
    let first = csv(&export_fixture, &token).await;
    let second = export_fixture
        .send(HERE, "GET", &export_fixture.classic(CLASSIC), &[], "")
        .await;
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    // The person has two.
    let refused = after_a_minute(&export_fixture, csv(&export_fixture, &token)).await;
    assert_eq!(
        (
            refused.status(),
            refused.headers()["retry-after"].as_bytes()
        ),
        (StatusCode::TOO_MANY_REQUESTS, b"30".as_slice())
    );
    let said: serde_json::Value = serde_json::from_str(&text(refused).await).unwrap();
    assert_eq!(said["error"]["code"], "too_many_downloads");
    let page = after_a_minute(
        &export_fixture,
        browser.get(&format!("/datasets/{}/download", export_fixture.dataset)),
    )
    .await;
    assert_eq!(
        (page.status, page.headers["retry-after"].as_bytes()),
        (StatusCode::TOO_MANY_REQUESTS, b"30".as_slice())
    );
    assert!(
        page.text
            .contains("you had 2 downloads in progress or the server had 3."),
        "{}",
        page.text
    );
    let exported = after_a_minute(
        &export_fixture,
        export_fixture.ask("GET", &export_fixture.classic(CLASSIC), &[], ""),
    )
    .await;
    assert_eq!(exported.status, 429);
    exported.has_security_headers("an export");
    // A file that the client already has needs no slot.
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let known = [
        ("authorization", bearer.as_str()),
        ("if-none-match", tag.as_str()),
    ];
    assert_eq!(
        export_fixture
            .ask(
                "GET",
                &format!("/api/v1/datasets/{}/data", export_fixture.dataset),
                &known,
                ""
            )
            .await
            .status,
        304
    );
    // Another person takes the last slot.
    let others = export_fixture
        .ctx
        .token(&export_fixture.admin, Scope::Read)
        .await;
    let third = csv(&export_fixture, &others).await;
    assert_eq!(third.status(), StatusCode::OK);
    assert_eq!(
        after_a_minute(&export_fixture, csv(&export_fixture, &others))
            .await
            .status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    // One that waits begins when another one ends.
    let waits = tokio::join!(csv(&export_fixture, &others), async {
        until(&export_fixture, "downloads_waiting", 1).await;
        drop(second);
    })
    .0;
    assert_eq!(waits.status(), StatusCode::OK);
    assert!(text(waits).await.lines().count() > 400);
    drop((first, third));
    until(&export_fixture, "downloads", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_waited_has_the_newest_rows_and_still_needs_its_permission() {
    let export_fixture = export_fixture(1, 1).await;
    let token = export_fixture
        .ctx
        .token(&export_fixture.owner, Scope::Read)
        .await;
    let running = csv(&export_fixture, &token).await;
    let waited = tokio::join!(csv(&export_fixture, &token), async {
        until(&export_fixture, "downloads_waiting", 1).await;
        fill(
            &export_fixture.ctx,
            &export_fixture.dataset,
            &[chat("only", NOON, "Hi")],
        )
        .await;
        drop(running);
    })
    .0;
    assert_eq!(
        (
            waited.status(),
            waited.headers()["x-chatlake-rows"].as_bytes()
        ),
        (StatusCode::OK, b"1".as_slice())
    );
    let (_, late) = tokens::create(
        &export_fixture.ctx.app.db,
        &export_fixture.ctx.clock,
        &export_fixture.owner,
        &short(),
    )
    .await
    .unwrap();
    let refused = tokio::join!(csv(&export_fixture, late.reveal()), async {
        until(&export_fixture, "downloads_waiting", 1).await;
        let all = tokens::list(&export_fixture.ctx.app.db, Some(&export_fixture.owner.user))
            .await
            .unwrap();
        let made = all.iter().find(|token| token.name == "late").unwrap();
        tokens::revoke(
            &export_fixture.ctx.app.db,
            &export_fixture.ctx.clock,
            &made.id,
            None,
        )
        .await
        .unwrap();
        drop(waited);
    })
    .0;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
}

fn short() -> tokens::NewToken {
    tokens::NewToken {
        name: "late".to_owned(),
        scope: Scope::Read,
        days: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_are_limited_per_person_and_the_page_works_without() {
    let ctx = TestContext::new().await;
    let olga: Actor = ctx.person("olga", Role::Editor).await;
    let account = ctx.account(&olga, "Support").await;
    let dataset = ctx.dataset(&olga, &account.id, "chat", "Chats").await;
    // No worker runs here, so the run stays queued.
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap();
    let mut browser = ctx.signed_in(&olga).await;
    let path = format!("/runs/{}/events", run.id);
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let open = async || {
        let request = axum::http::Request::get(&path)
            .header("host", "127.0.0.1:8080")
            .header("cookie", cookies.join("; "));
        tower::ServiceExt::oneshot(ctx.router.clone(), request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = open().await;
        assert_eq!(stream.status(), StatusCode::OK);
        let first = within("the first event", stream.body_mut().frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        assert!(first.starts_with(b"event: progress\n"), "{first:?}");
        streams.push(stream);
    }
    let refused = open().await;
    assert_eq!(
        (
            refused.status(),
            refused.headers().contains_key("retry-after")
        ),
        (StatusCode::TOO_MANY_REQUESTS, true)
    );
    assert_eq!(
        browser
            .get(&format!("/runs/{}/progress", run.id))
            .await
            .status,
        StatusCode::OK,
        "which the page asks for instead"
    );
    assert_eq!(
        browser.get(&format!("/runs/{}", run.id)).await.status,
        StatusCode::OK
    );
    streams.pop();
    assert_eq!(open().await.status(), StatusCode::OK, "there is room again");
}
