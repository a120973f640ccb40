//! Every address answers each role and scope as the table of cases says.

use std::collections::BTreeSet;

use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Role, Scope};
use chatlake::auth::tokens;
use chatlake::auth::users;
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;

use super::ApiFixture;
use super::CASES;
use super::SCOPES;
use super::filled;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn every_address_answers_every_caller_as_the_table_says() {
    let there = chatlake::api::addresses();
    let covered: BTreeSet<(String, String)> = CASES
        .iter()
        .map(|case| (case.method.to_owned(), case.address.to_owned()))
        .collect();
    assert_eq!(
        covered,
        there.into_iter().collect(),
        "every address has its case, and every case its address"
    );

    let fixture = ApiFixture::new(20).await;
    let (viewer, other_editor) = (
        fixture.person("vic", Role::Viewer).await,
        fixture.person("stan", Role::Editor).await,
    );
    let (boss, gone) = (
        fixture.person("berta", Role::Admin).await,
        fixture.person("dee", Role::Admin).await,
    );
    let mut refused = vec![
        ("nobody", String::new()),
        ("a wrong token", format!("clk_{}", "x".repeat(49))),
    ];
    let (expired, revoked, disabled) = (
        fixture.token(&boss, Scope::Manage).await,
        fixture.token(&boss, Scope::Manage).await,
        fixture.token(&gone, Scope::Manage).await,
    );
    let ids = tokens::list(&fixture.app.db, Some(&boss.user))
        .await
        .unwrap();
    tokens::revoke(&fixture.app.db, &fixture.app.clock, &ids[0].id, None)
        .await
        .unwrap();
    let mut tx = fixture.app.db.write().await.unwrap();
    sqlx::query("UPDATE tokens SET expires_at = $1 WHERE id = $2")
        .bind(fixture.app.clock.now())
        .bind(&ids[1].id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    users::disable(&fixture.app.db, &fixture.app.clock, &gone.user, None)
        .await
        .unwrap();
    refused.extend([
        ("expired", expired),
        ("revoked", revoked),
        ("disabled", disabled),
    ]);

    let mut callers = Vec::new();
    for (name, actor) in [
        ("viewer", &viewer),
        ("owner", &fixture.owner),
        ("other editor", &other_editor),
        ("admin", &boss),
    ] {
        for scope in SCOPES {
            callers.push((name, scope, fixture.token(actor, scope).await));
        }
    }
    let dataset = fixture.dataset("agents").await;
    let pulled = fixture.pulled(&dataset).await;
    fixture.name_parts(&dataset, &pulled).await;
    for case in &CASES {
        let name = format!("{} {}", case.method, case.address);
        let (path, body) = filled(
            case,
            fixture.account.as_str(),
            dataset.as_str(),
            pulled.as_str(),
        );
        for (who, token) in &refused {
            let answer = fixture.send(case.method, &path, token, &body).await;
            let wanted = if case.address == "/openapi.json" {
                200
            } else {
                401
            };
            assert_eq!(answer.status, wanted, "{name} for {who}: {}", answer.text);
            if wanted == 401 {
                assert_eq!(
                    (
                        answer.error()["code"].as_str(),
                        answer.header("www-authenticate")
                    ),
                    (Some("unauthenticated"), "Bearer"),
                    "{name} for {who}"
                );
            }
        }
        if case.address.ends_with("/revert") {
            // A revert is refused while an earlier run is active.
            until("nothing runs", async || {
                (queue::count_active(&fixture.app.db).await.unwrap() == 0).then_some(())
            })
            .await;
            // A revert needs an older version.
            fixture.vendor.sandbox.faults().set(vec![
                Fault::new(FaultKind::Shape {
                    body: "[{\"login\": \"new@house.test\"}]".to_owned(),
                })
                .on("/agents"),
            ]);
            fixture.pulled(&dataset).await;
            fixture.vendor.sandbox.faults().clear();
        }
        let current = fixture
            .app
            .datasets
            .versions
            .current(&dataset)
            .await
            .unwrap()
            .unwrap();
        for (who, scope, token) in &callers {
            let by_scope = match *who {
                "viewer" => case.viewer,
                "owner" => case.owner,
                "other editor" => case.other_editor,
                _ => case.admin,
            };
            let wanted = by_scope[SCOPES.iter().position(|s| s == scope).unwrap()];
            // A deleted object is created again for each caller.
            let path = match (case.method, case.address) {
                ("DELETE", "/accounts/{id}") => {
                    let account = fixture.account_of(&fixture.owner).await;
                    format!("/accounts/{account}")
                }
                ("DELETE", "/datasets/{id}/versions/{version}") => {
                    format!("/datasets/{dataset}/versions/{}", current.id)
                }
                ("DELETE", "/datasets/{id}") => {
                    format!("/datasets/{}", fixture.dataset("agents").await)
                }
                _ => path.clone(),
            };
            let answer = fixture.send(case.method, &path, token, &body).await;
            assert_eq!(
                answer.status,
                wanted,
                "{name} for {who} with {}: {}",
                scope.word(),
                answer.text
            );
            if wanted >= 400 {
                let error = answer.error();
                if wanted == 404 {
                    let (nowhere, body) = filled(
                        case,
                        AccountId::new().as_str(),
                        DatasetId::new().as_str(),
                        RunId::new().as_str(),
                    );
                    let random = fixture.send(case.method, &nowhere, token, &body).await;
                    assert_eq!(
                        (random.status, random.error()),
                        (404, error),
                        "{name}: what is hidden looks like what is not there"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_objects_are_read_by_all_and_changed_by_their_owner() {
    let fixture = ApiFixture::new(20).await;
    let dataset = fixture.dataset("agents").await;
    let pulled = fixture.pulled(&dataset).await;
    let own = fixture.token(&fixture.owner, Scope::Manage).await;
    assert_eq!(
        fixture
            .send(
                "PATCH",
                &format!("/datasets/{dataset}"),
                &own,
                &json!({"shared": true})
            )
            .await
            .status,
        200
    );
    for role in [Role::Viewer, Role::Editor] {
        let actor = fixture.person(role.word(), role).await;
        let token = fixture.token(&actor, Scope::Manage).await;
        for case in CASES.iter().filter(|case| {
            case.address.starts_with("/datasets/{id}") || case.address.starts_with("/runs/")
        }) {
            let (path, body) = filled(
                case,
                fixture.account.as_str(),
                dataset.as_str(),
                pulled.as_str(),
            );
            // Email addresses are shown only to people who may change the DataSet.
            let wanted = if case.method == "GET" && !case.address.ends_with("/notifications") {
                200
            } else {
                403
            };
            let answer = fixture.send(case.method, &path, &token, &body).await;
            assert_eq!(
                answer.status, wanted,
                "{} {} for {role:?}: {}",
                case.method, case.address, answer.text
            );
        }
        let listed = fixture.get("/datasets", &token).await.json();
        assert_eq!(listed["items"][0]["id"], dataset.as_str(), "{listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_account_was_deleted_still_renames_unshares_and_unschedules() {
    let fixture = ApiFixture::new(20).await;
    let boss = fixture.person("berta", Role::Admin).await;
    let token = fixture.token(&fixture.owner, Scope::Manage).await;
    let lent = fixture.account_of(&boss).await;
    let share = |shared| ChangeAccount {
        shared: Some(shared),
        ..ChangeAccount::default()
    };
    fixture
        .app
        .accounts
        .update(&boss, &lent, &share(true))
        .await
        .unwrap();
    let new = json!({"name": "Agents", "account_id": lent, "report": "agents", "schedule": {"cron": "0 9 * * *"}});
    let made = fixture.send("POST", "/datasets", &token, &new).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let own = format!("/datasets/{}", made.json()["id"].as_str().unwrap());
    let free = [
        json!({"name": "People", "description": "Who answers"}),
        json!({"shared": true}),
        json!({"shared": false, "key": ["login"]}),
        json!({"schedule": null, "name": "By hand"}),
    ];
    let bound = [
        json!({"report": "groups"}),
        json!({"menus": {}}),
        json!({"schedule": {"cron": "0 8 * * *"}}),
        json!({"time_zone": "Europe/Oslo"}),
    ];
    for (gone, status) in [("no longer shared", 404), ("deleted", 422)] {
        match gone {
            "deleted" => drop(fixture.app.accounts.delete(&boss, &lent).await.unwrap()),
            _ => drop(
                fixture
                    .app
                    .accounts
                    .update(&boss, &lent, &share(false))
                    .await
                    .unwrap(),
            ),
        }
        for change in &free {
            let answer = fixture.send("PATCH", &own, &token, change).await;
            assert_eq!(answer.status, 200, "{gone}, {change}: {}", answer.text);
        }
        let now = fixture.get(&own, &token).await.json();
        assert_eq!(
            (
                now["name"].as_str(),
                now["description"].as_str(),
                now["shared"].as_bool()
            ),
            (Some("By hand"), Some("Who answers"), Some(false)),
            "{now}"
        );
        assert!(
            now["schedule"].is_null() && now["next_run_at"].is_null(),
            "{gone}: {now}"
        );
        for change in &bound {
            let answer = fixture.send("PATCH", &own, &token, change).await;
            assert_eq!(answer.status, status, "{gone}, {change}: {}", answer.text);
        }
        for wrong in [
            json!({"name": " "}),
            json!({"key": ["shoe_size"]}),
            json!({"options": {"look_back": 2}}),
            json!({"description": "a\u{0}b"}),
        ] {
            assert_eq!(
                fixture.send("PATCH", &own, &token, &wrong).await.status,
                422,
                "{gone}, {wrong}"
            );
        }
        // The next iteration needs the old state.
        let mut tx = fixture.app.db.write().await.unwrap();
        sqlx::query("UPDATE datasets SET schedule = '0 9 * * *'")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let healed = fixture
        .send(
            "PATCH",
            &own,
            &token,
            &json!({"account_id": fixture.account}),
        )
        .await;
    assert_eq!(healed.status, 200, "{}", healed.text);
    assert!(
        healed.json()["next_run_at"].is_string(),
        "it runs again, as it was scheduled: {}",
        healed.text
    );
}
