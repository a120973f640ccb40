//! Names, accounts and runs are shown only to people who may see them, and earlier tokens stay
//! revoked.

use axum::http::{Method, StatusCode};
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Role, Scope};
use chatlake::auth::users;
use chatlake::puller::run::Trigger;

use crate::support::PASSWORD;
use crate::support::context::TestContext;
use crate::support::http::Browser;

#[tokio::test]
async fn names_and_emails_that_imitate_another_person_are_refused() {
    let ctx = TestContext::new().await;
    let (_, mut ada) = ctx.signed_in_person("ada", Role::Admin).await;
    for email in [
        "ad\u{200b}a@house.test",
        "ada@house.test.",
        "\u{430}da@house.test",
        "ａda@house.test",
        "ada@hоuse.test",
        "ada@[127.0.0.1]",
        "\"a\"@house.test",
        "a..b@c.test",
    ] {
        let page = ada
            .post(
                "/settings/people/new",
                &[("name", "Ada"), ("email", email), ("role", "viewer")],
            )
            .await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY && !page.wrong("email").is_empty(),
            "{email:?}: {}",
            page.status
        );
    }
    for name in [
        "Ada\u{202e}nimdA",
        "A\u{200b}da",
        "Ada\u{200d}",
        "\u{2066}Ada",
        "A\u{ad}da",
    ] {
        let page = ada
            .post(
                "/settings/people/new",
                &[
                    ("name", name),
                    ("email", "x@house.test"),
                    ("role", "viewer"),
                ],
            )
            .await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY
                && page.wrong("name").contains("invisible"),
            "{name:?}: {}",
            page.status
        );
        let page = ada.post("/me/name", &[("name", name)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}");
    }
    let page = ada
        .post(
            "/settings/people/new",
            &[
                ("name", "Åse Ødegård"),
                ("email", "ase.o+x@house.test"),
                ("role", "viewer"),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
}

#[tokio::test]
async fn the_account_of_a_shared_dataset_is_named_only_to_people_who_may_see_it() {
    let ctx = TestContext::new().await;
    let (olga, mut owner) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&olga, "Kanarie account").await.id;
    let dataset = ctx.dataset(&olga, &account, "agents", "Agents").await;
    ctx.app.datasets.share(&olga, &dataset, true).await.unwrap();
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query(
        "UPDATE runs
         SET
             state = 'failed', finished_at = queued_at, error_code = 'unauthorized',
             error_who = 'The owner of the account “Kanarie account”.',
             error_message = 'LiveChat did not accept the credentials of “Kanarie account”.',
             error_action = 'Enter new ones.'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let (vera, mut viewer) = ctx.signed_in_person("vera", Role::Viewer).await;
    let (carl, mut colleague) = ctx.signed_in_person("carl", Role::Editor).await;
    let paths = [
        "/datasets".to_owned(),
        format!("/datasets/{dataset}"),
        format!("/datasets/{dataset}/history"),
        "/activity".to_owned(),
        format!("/runs/{run}"),
    ];
    let api = format!("/api/v1/datasets/{dataset}");
    let of_runs = [
        format!("/api/v1/runs/{run}"),
        format!("/api/v1/datasets/{dataset}/runs"),
    ];
    let tokens = [
        ctx.token(&vera, Scope::Read).await,
        ctx.token(&carl, Scope::Manage).await,
    ];
    for is_shared in [false, true] {
        ctx.app
            .accounts
            .update(
                &olga,
                &account,
                &ChangeAccount {
                    shared: Some(is_shared),
                    ..ChangeAccount::default()
                },
            )
            .await
            .unwrap();
        for path in &paths {
            for browser in [&mut viewer, &mut colleague] {
                let page = browser.get(path).await;
                assert_eq!(page.status, StatusCode::OK);
                let is_named =
                    page.text.contains("Kanarie account") || page.text.contains(account.as_str());
                assert!(is_shared || !is_named, "{path} names a private account");
            }
        }
        assert!(owner.get(&paths[0]).await.text.contains("Kanarie account"));
        assert_eq!(
            viewer
                .get("/datasets?q=kanarie")
                .await
                .text
                .contains(&format!("/datasets/{dataset}")),
            is_shared,
            "it cannot be guessed by searching"
        );
        for token in &tokens {
            for path in [&api, "/api/v1/datasets"] {
                let page = ctx
                    .browser()
                    .send(
                        Method::GET,
                        path,
                        None,
                        &[("authorization", &format!("Bearer {token}"))],
                    )
                    .await;
                assert_eq!(
                    (page.status, page.text.contains(account.as_str())),
                    (StatusCode::OK, is_shared),
                    "{path}: {}",
                    page.text
                );
            }
            for path in &of_runs {
                let page = ctx
                    .browser()
                    .send(
                        Method::GET,
                        path,
                        None,
                        &[("authorization", &format!("Bearer {token}"))],
                    )
                    .await;
                assert_eq!(
                    (page.status, page.text.contains("Kanarie account")),
                    (StatusCode::OK, is_shared),
                    "{path}: {}",
                    page.text
                );
            }
        }
    }
}

#[tokio::test]
async fn a_reactivated_person_has_no_earlier_tokens() {
    let ctx = TestContext::new().await;
    ctx.person("ada", Role::Admin).await;
    let carl = ctx.person("carl", Role::Editor).await;
    let bearer = format!("Bearer {}", ctx.token(&carl, Scope::Manage).await);
    let get = async || {
        ctx.browser()
            .send(
                Method::GET,
                "/api/v1/datasets",
                None,
                &[("authorization", &bearer)],
            )
            .await
            .status
    };
    assert_eq!(get().await, StatusCode::OK);
    users::disable(&ctx.app.db, &ctx.clock, &carl.user, None)
        .await
        .unwrap();
    assert_eq!(get().await, StatusCode::UNAUTHORIZED);
    users::enable(&ctx.app.db, &ctx.clock, &carl.user, None)
        .await
        .unwrap();
    assert_eq!(get().await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        ctx.browser()
            .post(
                "/sign-in",
                &[("email", &carl.email), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn activity_counts_only_runs_of_visible_datasets() {
    let ctx = TestContext::new().await;
    let olga = ctx.person("olga", Role::Editor).await;
    let account = ctx.account(&olga, "Support").await.id;
    let dataset = ctx.dataset(&olga, &account, "agents", "Private").await;
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap();
    let (_, mut other_editor) = ctx.signed_in_person("ann", Role::Editor).await;
    let (_, mut admin) = ctx.signed_in_person("ada", Role::Admin).await;
    let figures = async |browser: &mut Browser| {
        let page = browser.get("/activity").await;
        (page.words(".facts"), page.words("main"))
    };
    let empty = figures(&mut other_editor).await;
    assert_ne!(
        figures(&mut admin).await.0,
        empty.0,
        "somebody who may see it has it counted"
    );
    for (state, finished) in [("failed", true), ("succeeded", true), ("queued", false)] {
        let mut tx = ctx.app.db.write().await.unwrap();
        sqlx::query("UPDATE runs SET state = $1, finished_at = $2 WHERE id = $3")
            .bind(state)
            .bind(finished.then(|| ctx.clock.now()))
            .bind(&run.id)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(figures(&mut other_editor).await, empty, "{state}");
    }
    ctx.app.datasets.share(&olga, &dataset, true).await.unwrap();
    assert_ne!(figures(&mut other_editor).await.0, empty.0);
}
