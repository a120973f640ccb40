//! Damaged records of the catalogue.

use axum::http::StatusCode;
use chatlake::actor::{Role, Scope};

use crate::support::context::TestContext;

#[tokio::test]
async fn a_damaged_record_affects_one_row_and_not_the_page() {
    let ctx = TestContext::new().await;
    let (ada, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
    ctx.person("bert", Role::Viewer).await;
    for name in ["Good one", "Spoilt one"] {
        ctx.account(&ada, name).await;
    }
    ctx.token(&ada, Scope::Read).await;
    let page = browser.get("/accounts").await;
    assert!(
        page.text.contains("Good one") && page.text.contains("Spoilt one"),
        "{}",
        page.text
    );
    for spoilt in [
        "fields = '{'",
        "fields = '{}', connector = 'nonsense'",
        "connector = 'livechat', requests_per_minute = 'many'",
        "requests_per_minute = 60, created_at = 'soon'",
    ] {
        let mut tx = ctx.app.db.write().await.unwrap();
        sqlx::query("PRAGMA ignore_check_constraints = ON")
            .execute(&mut *tx)
            .await
            .unwrap();
        let statement = format!("UPDATE accounts SET {spoilt} WHERE name = 'Spoilt one'");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for path in ["/accounts", "/datasets", "/connect"] {
            let page = browser.get(path).await;
            assert_eq!(page.status, StatusCode::OK, "{spoilt} {path}");
        }
        let page = browser.get("/accounts").await;
        assert!(
            page.text.contains("Good one")
                && page.words(".band").contains("1 account cannot be listed"),
            "{spoilt}: {}",
            page.text
        );
    }
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("PRAGMA ignore_check_constraints = ON")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE users SET role = 'king' WHERE name = 'bert'")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE tokens SET scope = 'all'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for path in ["/settings", "/me", "/settings/notifications"] {
        assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert!(
        browser
            .get("/settings")
            .await
            .text
            .contains("ada@house.test")
    );
}
