//! Tests of accounts with an owner, a colleague and a stranger, and a local vendor that counts
//! requests.

mod addresses;
mod credentials;
mod lifecycle;
mod permissions;
mod vault_keys;

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::auth::test_support::AuthFixture;

const LOGIN: &str = "agent@sandbox.test";
const KEY: &str = "canary-4711";

struct Vendor {
    url: String,
    visits: Arc<AtomicUsize>,
}

impl Vendor {
    /// Answers agents and groups to requests with the right key.
    async fn open() -> Self {
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = visits.clone();
        let right = format!("Basic {}", STANDARD.encode(format!("{LOGIN}:{KEY}")));
        let answer = move |headers: HeaderMap| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            if headers
                .get("authorization")
                .and_then(|value| value.to_str().ok())
                != Some(right.as_str())
            {
                return Err(StatusCode::UNAUTHORIZED);
            }
            Ok(Json(serde_json::json!([{
                "id": 1,
                "name": "Sales",
                "login": LOGIN,
                "permission": "owner",
                "language": "en",
                "status": "accepting chats"
            }])))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            axum::serve(listener, axum::Router::new().fallback(answer))
                .await
                .unwrap()
        });
        Self { url, visits }
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

struct AccountsFixture {
    fixture: AuthFixture,
    accounts: Accounts,
    admin: Actor,
    owner: Actor,
    stranger: Actor,
}

impl AccountsFixture {
    async fn new() -> Self {
        let fixture = AuthFixture::new().await;
        let vault = Vault::open(fixture.dir.path(), false).unwrap();
        let upstreams =
            Upstreams::new(vec!["127.0.0.1".parse().unwrap()], fixture.clock.clone()).unwrap();
        let accounts = Accounts::new(fixture.db.clone(), vault, fixture.clock.clone(), upstreams);
        let (admin, owner, stranger) = (
            fixture.person("ada", Role::Admin).await,
            fixture.person("olga", Role::Editor).await,
            fixture.person("stan", Role::Editor).await,
        );
        Self {
            fixture,
            accounts,
            admin,
            owner,
            stranger,
        }
    }

    async fn create_account(&self, by: &Actor, url: Option<&str>) -> Account {
        self.accounts.create(by, &new(url)).await.unwrap()
    }

    async fn dataset(&self, owner: &Actor, account: &AccountId, name: &str) -> DatasetId {
        let id = DatasetId::new();
        let mut tx = self.fixture.db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO datasets (
                 id, owner_id, account_id, connector, report, name, description, menus,
                 update_mode, time_zone, schedule, next_run_at, created_at, updated_at
             )
             VALUES (
                 $1, $2, $3, 'livechat', 'chat', $4, '', '{}', 'replace', 'UTC', '0 9 * * *', 5,
                 0, 0
             )",
        )
        .bind(&id)
        .bind(&owner.user)
        .bind(account)
        .bind(name)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn swap_sealed(&self, one: &AccountId, two: &AccountId) {
        let mut tx = self.fixture.db.write().await.unwrap();
        let mut sealed: Vec<Vec<u8>> = Vec::new();
        for id in [two, one] {
            sealed.push(
                sqlx::query_scalar("SELECT sealed FROM accounts WHERE id = $1")
                    .bind(id)
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap(),
            );
        }
        for (id, sealed) in [one, two].into_iter().zip(sealed) {
            sqlx::query("UPDATE accounts SET sealed = $2 WHERE id = $1")
                .bind(id)
                .bind(sealed)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
    }
}

fn credentials(key: &str) -> BTreeMap<String, Secret> {
    [("username", LOGIN), ("api_key", key)]
        .into_iter()
        .map(|(id, text)| (id.to_owned(), Secret::new(text)))
        .collect()
}

fn new(url: Option<&str>) -> NewAccount {
    NewAccount {
        connector: Connector::LiveChat,
        name: " Sandbox ".to_owned(),
        credentials: credentials(KEY),
        api_url: url.map(str::to_owned),
        requests_per_minute: None,
        time_zone: Some("europe/oslo".to_owned()),
    }
}

fn fields(error: &Error) -> Vec<&str> {
    error
        .field_errors()
        .iter()
        .map(|(field, _)| field.as_str())
        .collect()
}
