//! Objects that are hidden, missing or named by a malformed id get the same answer.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::ids::{AccountId, DatasetId, ExportPasswordId, InviteId, RunId, UserId, WebhookId};

use super::AccessFixture;
use super::CASES;
use super::OTHER_ADDRESSES;
use super::Objects;
use super::PageOutcome;
use super::SHARED;
use super::assert_security_headers;
use super::comparable;
use super::form_fields;
use crate::support::context::TestContext;

use PageOutcome::{Forbidden, Hidden};

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_object_answers_like_a_missing_one() {
    let fixture = AccessFixture::new().await;
    let nothing = Objects {
        account: AccountId::new().to_string(),
        dataset: DatasetId::new().to_string(),
        run: RunId::new().to_string(),
        version: fixture.mine.version.clone(),
        day: fixture.mine.day.clone(),
        user: UserId::new().to_string(),
        invite: InviteId::new().to_string(),
        code: "x".repeat(43),
        export_password: ExportPasswordId::new().to_string(),
        hook: WebhookId::new().to_string(),
    };
    for (method, address, _) in SHARED {
        for (who, actor) in [
            ("viewer", &fixture.viewer),
            ("other editor", &fixture.other_editor),
        ] {
            let hidden = fixture
                .ask(Some(actor), method, address, &fixture.mine)
                .await;
            let missing = fixture.ask(Some(actor), method, address, &nothing).await;
            assert!(
                matches!(PageOutcome::of(&hidden), Hidden | Forbidden),
                "{method} {address} for {who}"
            );
            assert_eq!(
                comparable(&hidden, &fixture.mine),
                comparable(&missing, &nothing),
                "{method} {address} for {who}"
            );
        }
        let missing = fixture
            .ask(Some(&fixture.admin), method, address, &nothing)
            .await;
        assert_eq!(
            PageOutcome::of(&missing),
            Hidden,
            "{method} {address} for an admin"
        );
    }
    for (method, address, _) in CASES
        .iter()
        .filter(|case| case.1.starts_with("/settings/") && case.1.contains("{id}"))
    {
        assert_eq!(
            PageOutcome::of(
                &fixture
                    .ask(Some(&fixture.admin), method, address, &nothing)
                    .await
            ),
            Hidden,
            "{method} {address}"
        );
    }

    // A text that is no id finds nothing.
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    let odd = [
        ":id",
        "{id}",
        "0",
        "-1",
        "null",
        "1%20OR%201=1",
        "'",
        "..",
        "../",
        "%2e%2e%2f",
        "%2F",
        "%00",
        "%FF",
        "*",
        "😀",
        "ds_",
        "acc_0",
    ]
    .map(str::to_owned);
    let upper = fixture.mine.dataset.to_uppercase();
    let others = [
        fixture.mine.account.clone(),
        format!("{}%00", fixture.mine.dataset),
        format!("%20{}", fixture.mine.dataset),
        upper,
        "a".repeat(4_096),
        "a".repeat(10_240),
    ];
    for (method, address, _) in CASES
        .iter()
        .filter(|case| case.1.contains('{') && !OTHER_ADDRESSES.contains(&case.1))
    {
        let (start, end) = (address.find('{').unwrap(), address.find('}').unwrap());
        for text in odd
            .iter()
            .chain(&others)
            .filter(|text| !address.starts_with("/accounts/") || **text != fixture.mine.account)
        {
            let path = format!("{}{text}{}", &address[..start], &address[end + 1..]);
            let path = path
                .replace('😀', "%F0%9F%98%80")
                .replace('{', "%7B")
                .replace('}', "%7D");
            let page = if *method == "GET" {
                browser.get(&path).await
            } else {
                browser
                    .post(&path, &form_fields(address, &fixture.mine))
                    .await
            };
            let wanted: &[u16] = if text.len() > 8_192 {
                &[414]
            } else {
                &[400, 404]
            };
            assert!(
                wanted.contains(&page.status.as_u16()),
                "{method} {path}: {} {}",
                page.status,
                page.title()
            );
            assert!(
                page.headers["content-type"]
                    .to_str()
                    .unwrap()
                    .starts_with("text/html"),
                "{method} {path}: {}",
                page.title()
            );
            assert_security_headers(&page, &format!("{method} {path}"), false);
        }
    }
}

#[tokio::test]
async fn malformed_ids_are_not_found() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let long = "x".repeat(8_000);
    for id in [
        ":id",
        "0",
        "-1",
        "null",
        "1%20OR%201=1",
        "..%2f",
        "%00",
        "%ff",
        "usr_0",
        &long,
    ] {
        for path in [
            format!("/settings/people/{id}/disable"),
            format!("/accounts/{id}/check"),
            format!("/settings/invites/{id}/withdraw"),
        ] {
            assert_eq!(
                olga.post(&path, &[]).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        for path in [
            format!("/accounts/{id}/edit"),
            format!("/accounts/{id}/delete"),
            format!("/invite/{id}"),
            format!("/set-up/{id}"),
        ] {
            assert_eq!(
                olga.get(&path).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }
}
