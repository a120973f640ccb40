//! Who publishes a DataSet, and what is served without a published one.

use axum::http::StatusCode;
use chatlake::actor::Scope;
use chatlake::ids::DatasetId;
use serde_json::Value;

use super::Lines;
use crate::support::exports::{CLASSIC, ExportFixture, HERE, basic, chat};
use crate::support::{DAY, NOON};

#[tokio::test]
async fn without_a_published_dataset_every_request_is_not_found() {
    let export_fixture = ExportFixture::new(&[chat("1", NOON - DAY, "Hi")]).await;
    assert_eq!(export_fixture.get(CLASSIC).await.ids(), ["1"]);
    export_fixture
        .ctx
        .app
        .datasets
        .publish(
            (&export_fixture.admin).into(),
            &export_fixture.dataset,
            false,
        )
        .await
        .unwrap();
    let before = export_fixture.audit_trail().await;
    let mut said = Vec::new();
    for (address, path, header) in [
        (HERE, export_fixture.classic(CLASSIC), String::new()),
        (HERE, "/a/Srv".to_owned(), String::new()),
        (
            HERE,
            "/a/srv?a=nothing".to_owned(),
            basic("olga@house.test", "wrong"),
        ),
        // Plain HTTP from another machine gets the same answer.
        (
            "203.0.113.7",
            export_fixture.classic(CLASSIC),
            String::new(),
        ),
    ] {
        let headers: Lines = [("authorization", header.as_str())]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        for method in ["GET", "POST"] {
            let answer = export_fixture
                .ask_from(address, method, &path, &headers, "")
                .await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
            answer.has_security_headers(&path);
            said.push(answer.text);
        }
    }
    assert!(said.iter().all(|text| text == &said[0]), "{said:?}");
    assert_eq!(
        export_fixture.audit_trail().await,
        before,
        "no credentials were looked at"
    );
}

#[tokio::test]
async fn only_an_admin_publishes_and_only_liveleaders_chats() {
    let export_fixture = ExportFixture::new(&[]).await;
    let ctx = &export_fixture.ctx;
    let (dataset, other) = (
        export_fixture.dataset.clone(),
        export_fixture.another(&[]).await,
    );
    let settings_page = format!("/datasets/{dataset}/settings");
    let (mut admins, mut owners) = (
        ctx.signed_in(&export_fixture.admin).await,
        ctx.signed_in(&export_fixture.owner).await,
    );
    let press = format!("/datasets/{dataset}/publishing");

    assert_eq!(owners.post(&press, &[]).await.status, StatusCode::FORBIDDEN);
    let page = owners.get(&settings_page).await;
    assert!(
        page.words("#liveleader-api")
            .contains("On: people who can view")
            && !page.has("#liveleader-api form"),
        "{}",
        page.words("#liveleader-api")
    );
    let page = admins.get(&settings_page).await;
    assert!(
        page.has("#liveleader-api input[name=published][checked]"),
        "{}",
        page.text
    );
    assert_eq!(page.words("#export-address"), "http://127.0.0.1:8080/a/Srv");
    let page = admins.submit(&press, &[]).await;
    assert!(
        page.toast().contains("no longer") && !page.has("#liveleader-api input[checked]"),
        "{}",
        page.text
    );
    let page = owners.get(&settings_page).await;
    assert!(
        page.words("#liveleader-api").contains("Off."),
        "{}",
        page.words("#liveleader-api")
    );
    admins.submit(&press, &[("published", "true")]).await;
    let trail = export_fixture.audit_trail().await;
    let published: Vec<&String> = trail
        .iter()
        .filter(|action| action.starts_with("dataset."))
        .collect();
    assert_eq!(
        published,
        [
            "dataset.publish done",
            "dataset.publish done",
            "dataset.unpublish done",
            "dataset.publish done"
        ]
    );

    // The same over the API.
    let path = format!("/api/v1/datasets/{dataset}");
    let json = ("content-type", "application/json");
    for (who, scope, status) in [
        (&export_fixture.owner, Scope::Manage, 403),
        (&export_fixture.admin, Scope::Read, 403),
        (&export_fixture.admin, Scope::Run, 403),
        (&export_fixture.admin, Scope::Manage, 200),
    ] {
        let bearer = format!("Bearer {}", ctx.token(who, scope).await);
        let answer = export_fixture
            .ask(
                "PATCH",
                &path,
                &[json, ("authorization", &bearer)],
                r#"{"published": false, "name": "Renamed"}"#,
            )
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(
            ctx.app
                .datasets
                .get(&export_fixture.admin, &dataset)
                .await
                .unwrap()
                .published,
            status != 200,
            "{who:?} {scope:?}"
        );
        assert_eq!(
            ctx.app
                .datasets
                .get(&export_fixture.admin, &dataset)
                .await
                .unwrap()
                .name
                == "Renamed",
            status == 200,
            "nothing else is done either"
        );
        if status == 200 {
            let body: Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(body["published"], false);
        }
    }
    let bearer = format!(
        "Bearer {}",
        ctx.token(&export_fixture.admin, Scope::Manage).await
    );
    let change = async |id: &DatasetId, body: &str| {
        export_fixture
            .ask(
                "PATCH",
                &format!("/api/v1/datasets/{id}"),
                &[json, ("authorization", &bearer)],
                body,
            )
            .await
            .status
    };
    let account = ctx.account(&export_fixture.admin, "LiveChat").await;
    let livechat = ctx
        .dataset(&export_fixture.admin, &account.id, "agents", "Agents")
        .await;
    assert_eq!(change(&livechat, r#"{"published": true}"#).await, 422);
    assert_eq!(change(&livechat, r#"{"published": false}"#).await, 200);
    assert!(
        !ctx.signed_in(&export_fixture.admin)
            .await
            .get(&format!("/datasets/{livechat}/settings"))
            .await
            .has("#liveleader-api")
    );
    assert_eq!(
        change(&other, r#"{"published": true, "report": "chat_messages"}"#).await,
        422
    );
    assert!(
        ctx.app
            .datasets
            .get(&export_fixture.admin, &other)
            .await
            .unwrap()
            .published
    );
    // A DataSet whose report changes is no longer published, also after its report is changed back.
    assert_eq!(change(&other, r#"{"report": "chat_messages"}"#).await, 200);
    assert_eq!(change(&other, r#"{"report": "chats"}"#).await, 200);
    assert!(
        !ctx.app
            .datasets
            .get(&export_fixture.admin, &other)
            .await
            .unwrap()
            .published
    );
    assert_eq!(export_fixture.get(CLASSIC).await.status, 404);
}
