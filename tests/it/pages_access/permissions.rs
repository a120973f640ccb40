//! Every address answers each visitor as the table of cases says.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::secret::Secret;

use super::AccessFixture;
use super::CASES;
use super::PageOutcome;
use super::SHARED;
use super::assert_unchanged;
use super::objects;
use crate::support::PASSWORD;
use crate::support::context::TestContext;

#[tokio::test(flavor = "multi_thread")]
async fn every_address_answers_every_visitor_as_the_table_says() {
    let fixture = AccessFixture::new().await;
    // First all refused requests, with an unchanged digest: they change nothing.
    let before = fixture.digest().await;
    for (method, address, wanted) in CASES {
        for (who, actor, column) in fixture.visitors() {
            if wanted[column].refuses() {
                let page = fixture.ask(actor, method, address, &fixture.mine).await;
                assert!(
                    wanted[column].is(&page),
                    "{method} {address} for {who}: {:?}, {}",
                    PageOutcome::of(&page),
                    page.title()
                );
            }
        }
    }
    for (method, address, wanted) in SHARED {
        for ((who, actor), got) in [
            ("a viewer", &fixture.viewer),
            ("another editor", &fixture.other_editor),
        ]
        .into_iter()
        .zip(wanted)
        {
            if got.refuses() {
                let page = fixture
                    .ask(Some(actor), method, address, &fixture.shared)
                    .await;
                assert_eq!(
                    PageOutcome::of(&page),
                    got,
                    "shared {method} {address} for {who}: {}",
                    page.title()
                );
            }
        }
    }
    assert_unchanged(&before, &fixture.digest().await);

    for (method, address, wanted) in SHARED {
        for ((who, actor), got) in [
            ("a viewer", &fixture.viewer),
            ("another editor", &fixture.other_editor),
        ]
        .into_iter()
        .zip(wanted)
        {
            if !got.refuses() {
                let page = fixture
                    .ask(Some(actor), method, address, &fixture.shared)
                    .await;
                assert_eq!(
                    PageOutcome::of(&page),
                    got,
                    "shared {method} {address} for {who}: {}",
                    page.title()
                );
            }
        }
    }
    for (method, address, wanted) in CASES {
        // Objects that a request uses up are created again for each visitor.
        let used_up = address.ends_with("/delete")
            || address.ends_with("/withdraw")
            || address.ends_with("/link")
            || address.ends_with("/remove")
            || address == "/invite";
        for (who, actor, column) in fixture.visitors() {
            if !wanted[column].refuses() {
                let anew = method == "POST" && used_up;
                let objects = if anew {
                    objects(
                        &fixture.ctx,
                        &fixture.hasher,
                        &fixture.owner,
                        &fixture.admin,
                    )
                    .await
                } else {
                    fixture.mine.clone()
                };
                let page = fixture.ask(actor, method, address, &objects).await;
                assert!(
                    wanted[column].is(&page),
                    "{method} {address} for {who}: {:?}, {}",
                    PageOutcome::of(&page),
                    page.title()
                );
            }
        }
    }
}

#[tokio::test]
async fn anonymous_visitors_are_redirected_to_sign_in() {
    let ctx = TestContext::new().await;
    ctx.person("olga", Role::Admin).await;
    let mut stan = ctx.browser();
    for path in [
        "/me",
        "/settings",
        "/settings/people/new",
        "/accounts",
        "/accounts/new?connector=livechat",
        "/help",
        "/help/components",
    ] {
        let answer = stan.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.location().starts_with("/sign-in?next=%2F"), "{path}");
    }
    for path in [
        "/me/name",
        "/me/password",
        "/me/sign-out-everywhere",
        "/settings/people/new",
        "/settings/people/:id/disable",
        "/accounts/new",
        "/accounts/x/delete",
    ] {
        assert_eq!(
            stan.post(path, &[("name", "x")]).await.location(),
            "/sign-in",
            "{path}"
        );
    }
    let secret = Secret::new(PASSWORD);
    assert!(!format!("{secret:?}").contains(PASSWORD));
}
