//! Pages and the API while another process locks the catalogue.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use chatlake::actor::{Role, Scope};
use sqlx::Connection as _;

use crate::support::context::TestContext;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_the_api_are_readable_while_another_process_locks_the_catalogue() {
    let ctx = TestContext::new().await;
    let mut browsers = Vec::new();
    for number in 0..20 {
        browsers.push(
            ctx.signed_in_person(&format!("p{number}"), Role::Viewer)
                .await
                .1,
        );
    }
    let ada = ctx.person("ada", Role::Admin).await;
    let bearer = format!("Bearer {}", ctx.token(&ada, Scope::Read).await);
    // The new end of each session and the use of the token are due to be written.
    ctx.clock.advance(10 * 60_000);
    let path = ctx.dir.path().join("data/chatlake.db");
    let mut other = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let pages = async {
        let requests = browsers.iter_mut().map(|browser| browser.get("/datasets"));
        for page in futures_util::future::join_all(requests).await {
            assert_eq!(page.status, StatusCode::OK);
        }
        let page = ctx
            .browser()
            .send(
                Method::GET,
                "/api/v1/datasets",
                None,
                &[("authorization", &bearer)],
            )
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    };
    // A write that waits for the lock fails after 30 seconds.
    tokio::time::timeout(Duration::from_secs(20), pages)
        .await
        .expect("pages wait for a write");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    // The end of a session is written again.
    let lives = async || {
        let page = browsers[0].clone().get("/me").await;
        let ends: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE expires_at = $1")
            .bind(ctx.clock.now() + 3_600_000)
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
        (page.status == StatusCode::OK && ends > 0).then_some(())
    };
    until("the end of the session moves", lives).await;
}
