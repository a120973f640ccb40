//! A copy of a DataSet: which settings it has, and that it has no rows.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::ids::DatasetId;
use serde_json::{Value, json};

use super::dataset_with_two_versions;
use crate::support::context::TestContext;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_settings_and_no_rows() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, ..) = dataset_with_two_versions(&ctx).await;
    let account = ctx
        .app
        .datasets
        .get(&owner, &dataset)
        .await
        .unwrap()
        .account_id
        .unwrap();
    let settings = browser
        .submit(&format!("/datasets/{dataset}/duplicate"), &[])
        .await;
    assert_eq!(
        (settings.status, settings.title().as_str()),
        (StatusCode::OK, "Copy of People")
    );
    let token = ctx.token(&owner, Scope::Manage).await;
    let (status, copy) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{dataset}/duplicate"),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, &copy["name"], &copy["report"], &copy["rows"]),
        (
            StatusCode::CREATED,
            &json!("Copy of People"),
            &json!("agents"),
            &Value::Null
        ),
        "{copy}"
    );
    let chosen = json!({"update_mode": "merge", "key": ["login", "name"],
        "options": {"on_empty": "keep", "on_added": "stop", "hold_drop": 40, "second_read": false}});
    let (status, chosen) = ctx
        .api(&token, "PATCH", &format!("/datasets/{dataset}"), chosen)
        .await;
    assert_eq!(status, StatusCode::OK, "{chosen}");
    let (_, copy) = ctx
        .api(
            &token,
            "POST",
            &format!("/datasets/{dataset}/duplicate"),
            json!({}),
        )
        .await;
    for field in [
        "update_mode",
        "key",
        "options",
        "menus",
        "schedule",
        "time_zone",
        "retry",
        "expected_hours",
        "notify",
        "paused",
    ] {
        assert_eq!(copy[field], chosen[field], "{field}");
    }
    assert_eq!(copy["options"]["hold_drop"], 40, "{copy}");
    // The copy of a colleague notifies the colleague, and not the recipients of the owner.
    ctx.app
        .accounts
        .update(
            &owner,
            &account,
            &ChangeAccount {
                shared: Some(true),
                ..ChangeAccount::default()
            },
        )
        .await
        .unwrap();
    ctx.app
        .datasets
        .share(&owner, &dataset, true)
        .await
        .unwrap();
    let notify = NotificationSettings::new(
        Some(vec!["boss@elsewhere.test".to_owned()]),
        Vec::new(),
        vec![NotificationKind::Failure],
        3,
    )
    .unwrap();
    ctx.app
        .datasets
        .set_notifications(&owner, &dataset, &notify)
        .await
        .unwrap();
    let mut emails = Vec::new();
    for copier in [&owner, &ctx.person("carl", Role::Editor).await] {
        let copy = ctx.app.datasets.duplicate(copier, &dataset).await.unwrap();
        let copied = ctx
            .app
            .datasets
            .get(copier, &copy)
            .await
            .unwrap()
            .policies
            .notification_settings();
        assert_eq!(
            (copied.webhooks, copied.on, copied.after),
            (Vec::new(), vec![NotificationKind::Failure], 3)
        );
        emails.push(copied.emails);
    }
    assert_eq!(emails, [Some(vec!["boss@elsewhere.test".to_owned()]), None]);
    ctx.app
        .accounts
        .update(
            &owner,
            &account,
            &ChangeAccount {
                shared: Some(false),
                ..ChangeAccount::default()
            },
        )
        .await
        .unwrap();
    // A person who may see the DataSet, but not its account.
    ctx.app
        .datasets
        .share(&owner, &dataset, true)
        .await
        .unwrap();
    let account = ctx
        .app
        .datasets
        .for_run(&dataset)
        .await
        .unwrap()
        .account_id
        .unwrap();
    let (_, mut stranger) = ctx.signed_in_person("stan", Role::Editor).await;
    let refused = stranger
        .post(&format!("/datasets/{dataset}/duplicate"), &[])
        .await;
    assert!(
        refused.status == StatusCode::FORBIDDEN && refused.text.contains("is not shared with you"),
        "{}",
        refused.text
    );

    // With access to the account, the copy belongs to the colleague: the recipients of the owner
    // are not notified about the copy.
    let change = ChangeAccount {
        shared: Some(true),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&owner, &account, &change)
        .await
        .unwrap();
    let hook = ctx
        .app
        .puller
        .notifications
        .add_webhook("Team chat", "http://127.0.0.1:9/x")
        .await
        .unwrap()
        .0
        .id
        .to_string();
    let notify = NotificationSettings::new(
        Some(vec!["ops@house.test".to_owned()]),
        vec![hook],
        vec![NotificationKind::Failure],
        3,
    )
    .unwrap();
    ctx.app
        .datasets
        .set_notifications(&owner, &dataset, &notify)
        .await
        .unwrap();
    let (colleague, _) = ctx.signed_in_person("nora", Role::Editor).await;
    let notifications_of_copy = async |who: &Actor| {
        let token = ctx.token(who, Scope::Manage).await;
        let (status, copy) = ctx
            .api(
                &token,
                "POST",
                &format!("/datasets/{dataset}/duplicate"),
                json!({}),
            )
            .await;
        assert_eq!(status, StatusCode::CREATED, "{copy}");
        ctx.app
            .datasets
            .for_run(&DatasetId::parse(copy["id"].as_str().unwrap()).unwrap())
            .await
            .unwrap()
            .policies
            .notification_settings()
    };
    assert_eq!(notifications_of_copy(&owner).await, notify);
    assert_eq!(
        notifications_of_copy(&colleague).await,
        NotificationSettings {
            emails: None,
            webhooks: Vec::new(),
            ..notify
        }
    );
}
