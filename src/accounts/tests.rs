//! Tests of accounts with an owner, a colleague and a stranger, and a local vendor that counts
//! requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::auth::Scope;
use crate::auth::test_support::AuthFixture;
use crate::connectors::PullError;
use crate::error::ErrorKind;

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
            Ok(Json(
                serde_json::json!([{ "id": 1, "name": "Sales", "login": LOGIN, "permission": "owner", "language": "en", "status": "accepting chats" }]),
            ))
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
            "INSERT INTO datasets (id, owner_id, account_id, connector, report, name, description, menus, update_mode, time_zone, schedule, next_run_at, \
             created_at, updated_at) VALUES ($1, $2, $3, 'livechat', 'chat', $4, '', '{}', 'replace', 'UTC', '0 9 * * *', 5, 0, 0)",
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

#[tokio::test]
async fn an_account_is_created_and_its_secret_is_never_shown() {
    let fixture = AccountsFixture::new().await;
    let account = fixture.create_account(&fixture.owner, None).await;
    assert_eq!(
        (
            account.name.as_str(),
            account.time_zone.as_str(),
            account.requests_per_minute
        ),
        ("Sandbox", "Europe/Oslo", 180)
    );
    assert_eq!(
        account.fields,
        [("username".to_owned(), LOGIN.to_owned())].into()
    );
    assert_eq!(
        (account.health, account.sealed_at),
        (Health::Unknown, fixture.fixture.clock.now())
    );
    assert!(!format!("{account:?} {:?}", new(None)).contains(KEY));
    let source = fixture.accounts.source(&account.id).await.unwrap();
    assert_eq!(source.secrets["api_key"].reveal(), KEY);
    assert!(!format!("{source:?}").contains(KEY));
    fixture.fixture.db.close().await;
    for file in std::fs::read_dir(fixture.fixture.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(
            !bytes
                .windows(KEY.len())
                .any(|window| window == KEY.as_bytes())
        );
    }
}

#[tokio::test]
async fn all_field_errors_are_reported_together() {
    let fixture = AccountsFixture::new().await;
    let mut wrong = NewAccount {
        name: "\u{7}".to_owned(),
        time_zone: Some("Mars/Base".to_owned()),
        requests_per_minute: Some(0),
        ..new(None)
    };
    wrong.credentials = [
        ("username".to_owned(), Secret::new("x\ny")),
        ("colour".to_owned(), Secret::new("red")),
    ]
    .into();
    let error = fixture
        .accounts
        .create(&fixture.owner, &wrong)
        .await
        .unwrap_err();
    assert_eq!(
        fields(&error),
        [
            "name",
            "credentials",
            "username",
            "api_key",
            "requests_per_minute",
            "time_zone"
        ]
    );
    for number in [-1, 60_001, i64::MAX] {
        let error = fixture
            .accounts
            .create(
                &fixture.owner,
                &NewAccount {
                    requests_per_minute: Some(number),
                    ..new(None)
                },
            )
            .await
            .unwrap_err();
        assert_eq!(fields(&error), ["requests_per_minute"]);
    }
    for url in [
        "http://10.0.0.1",
        "http://vendor.test",
        "ftp://vendor.test",
        "https://u:p@vendor.test",
    ] {
        assert_eq!(
            fields(
                &fixture
                    .accounts
                    .create(&fixture.admin, &new(Some(url)))
                    .await
                    .unwrap_err()
            ),
            ["api_url"],
            "{url}"
        );
    }
}

#[tokio::test]
async fn accounts_are_seen_by_their_owner_and_admins_until_shared() {
    let fixture = AccountsFixture::new().await;
    let account = fixture.create_account(&fixture.owner, None).await;
    let viewer = fixture.fixture.person("vera", Role::Viewer).await;
    let (owner, stranger) = (&fixture.owner, &fixture.stranger);
    for actor in [owner, &fixture.admin] {
        assert_eq!(fixture.accounts.list(actor).await.unwrap().len(), 1);
    }
    assert!(fixture.accounts.list(stranger).await.unwrap().is_empty());
    for error in [
        fixture.accounts.get(stranger, &account.id).await.map(drop),
        fixture
            .accounts
            .get(stranger, &AccountId::new())
            .await
            .map(drop),
        fixture
            .accounts
            .update(stranger, &account.id, &ChangeAccount::default())
            .await
            .map(drop),
        fixture
            .accounts
            .delete(stranger, &account.id)
            .await
            .map(drop),
        fixture
            .accounts
            .check(stranger, &account.id)
            .await
            .map(drop),
        fixture
            .accounts
            .choices(stranger, &account.id, Menu::Group)
            .await
            .map(drop),
        fixture
            .accounts
            .usable(stranger, &account.id)
            .await
            .map(drop),
        fixture
            .accounts
            .usable(&viewer, &account.id)
            .await
            .map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::NotFound, Error::not_found("account").message())
        );
    }
    for scope in [Scope::Read, Scope::Run] {
        let script = Actor {
            scope: Some(scope),
            ..owner.clone()
        };
        assert_eq!(
            fixture.accounts.list(&script).await.unwrap_err().kind(),
            ErrorKind::Forbidden
        );
        assert_eq!(
            fixture
                .accounts
                .get(&script, &account.id)
                .await
                .unwrap_err()
                .kind(),
            ErrorKind::NotFound
        );
    }
    let share = ChangeAccount {
        shared: Some(true),
        ..ChangeAccount::default()
    };
    fixture
        .accounts
        .update(owner, &account.id, &share)
        .await
        .unwrap();
    fixture
        .accounts
        .usable(stranger, &account.id)
        .await
        .unwrap();
    assert_eq!(
        fixture
            .accounts
            .update(stranger, &account.id, &share)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Forbidden
    );
    assert_eq!(
        fixture
            .accounts
            .delete(stranger, &account.id)
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Forbidden
    );
    assert_eq!(
        fixture
            .accounts
            .create(&viewer, &new(None))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn another_address_needs_an_admin_and_every_secret_again() {
    let fixture = AccountsFixture::new().await;
    let (vendor, listener) = (Vendor::open().await, Vendor::open().await);
    assert_eq!(
        fixture
            .accounts
            .create(&fixture.owner, &new(Some(&vendor.url)))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Forbidden
    );
    assert_eq!(
        fixture
            .accounts
            .try_credentials(&fixture.owner, &new(Some(&vendor.url)))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Forbidden
    );
    let account = fixture
        .create_account(&fixture.admin, Some(&vendor.url))
        .await;
    let to = |url: &str, credentials| ChangeAccount {
        api_url: Some(Some(url.to_owned())),
        credentials,
        ..ChangeAccount::default()
    };
    for secrets in [BTreeMap::new(), credentials("")] {
        let error = fixture
            .accounts
            .update(&fixture.admin, &account.id, &to(&listener.url, secrets))
            .await
            .unwrap_err();
        assert_eq!(fields(&error), ["api_key"]);
    }
    let same = to(&format!("{}/", vendor.url), BTreeMap::new());
    fixture
        .accounts
        .update(&fixture.admin, &account.id, &same)
        .await
        .unwrap();
    assert!(
        fixture
            .accounts
            .check(&fixture.admin, &account.id)
            .await
            .unwrap()
            .ok
    );
    assert_eq!(listener.visits(), 0);
    let moved = fixture
        .accounts
        .update(
            &fixture.admin,
            &account.id,
            &to(&listener.url, credentials(KEY)),
        )
        .await
        .unwrap();
    assert_eq!(
        (moved.api_url.as_deref(), moved.health),
        (Some(listener.url.as_str()), Health::Unknown)
    );
    // The owner of an account with its own API URL may change everything except the URL.
    let own = fixture.create_account(&fixture.owner, None).await;
    assert_eq!(
        fixture
            .accounts
            .update(
                &fixture.owner,
                &own.id,
                &to(&listener.url, credentials(KEY))
            )
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::Forbidden
    );
}

#[tokio::test]
async fn vendor_hints_are_dropped_when_the_address_changes() {
    let fixture = AccountsFixture::new().await;
    let (vendor, other) = (Vendor::open().await, Vendor::open().await);
    let account = fixture
        .create_account(&fixture.admin, Some(&vendor.url))
        .await;
    let now = fixture.fixture.clock.now();
    let mut tx = fixture.fixture.db.write().await.unwrap();
    sqlx::query(
        "UPDATE accounts
         SET paused_until = $1, region = 'fra', api_ends_on = '2027-06-30', recent_requests = $2",
    )
    .bind(now + 3_600_000)
    .bind(format!("[[{now},7]]"))
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let hints = VendorHints {
        paused_until: Some(now + 3_600_000),
        region: Some("fra".to_owned()),
        api_ends_on: Some("2027-06-30".parse().unwrap()),
        recent_requests: vec![(now, 7)],
    };
    let upstream = fixture.accounts.source(&account.id).await.unwrap().upstream;
    // A pause is computed from the current time in milliseconds.
    let is_paused = |hints: &VendorHints| {
        hints
            .paused_until
            .is_some_and(|until| (now + 3_500_000..=now + 3_600_000).contains(&until))
    };
    assert!(is_paused(&upstream.vendor_hints()) && upstream.vendor_hints().region == hints.region);
    // Another name, rate limit or credentials do not change the host.
    let rest = ChangeAccount {
        name: Some("Renamed".to_owned()),
        requests_per_minute: Some(60),
        credentials: credentials("another"),
        ..ChangeAccount::default()
    };
    let updated = fixture
        .accounts
        .update(&fixture.admin, &account.id, &rest)
        .await
        .unwrap();
    assert_eq!(
        (
            &updated.vendor_hints,
            fixture.accounts.calls_last_minute(&updated)
        ),
        (&hints, 7)
    );
    assert!(is_paused(
        &fixture
            .accounts
            .source(&account.id)
            .await
            .unwrap()
            .upstream
            .vendor_hints()
    ));
    let moved = ChangeAccount {
        api_url: Some(Some(other.url.clone())),
        credentials: credentials(KEY),
        ..ChangeAccount::default()
    };
    let moved = fixture
        .accounts
        .update(&fixture.admin, &account.id, &moved)
        .await
        .unwrap();
    assert_eq!(
        (
            &moved.vendor_hints,
            fixture.accounts.calls_last_minute(&moved)
        ),
        (&VendorHints::default(), 0)
    );
    assert_eq!(
        fixture
            .accounts
            .source(&account.id)
            .await
            .unwrap()
            .upstream
            .vendor_hints(),
        VendorHints::default()
    );
    assert!(
        fixture
            .accounts
            .check(&fixture.admin, &account.id)
            .await
            .unwrap()
            .ok,
        "the other host is called at once"
    );
}

#[tokio::test]
async fn an_empty_secret_leaves_the_stored_one() {
    let fixture = AccountsFixture::new().await;
    let account = fixture.create_account(&fixture.owner, None).await;
    fixture.fixture.clock.advance(1_000);
    let change = ChangeAccount {
        name: Some("Renamed".to_owned()),
        credentials: credentials(""),
        ..ChangeAccount::default()
    };
    let updated = fixture
        .accounts
        .update(&fixture.owner, &account.id, &change)
        .await
        .unwrap();
    assert_eq!(
        (updated.name.as_str(), updated.sealed_at),
        ("Renamed", account.sealed_at)
    );
    assert_eq!(
        fixture.accounts.source(&account.id).await.unwrap().secrets["api_key"].reveal(),
        KEY
    );
    let change = ChangeAccount {
        credentials: credentials("another"),
        ..ChangeAccount::default()
    };
    let set = fixture
        .accounts
        .update(&fixture.owner, &account.id, &change)
        .await
        .unwrap();
    assert_eq!(set.sealed_at, fixture.fixture.clock.now());
    assert_eq!(
        fixture.accounts.source(&account.id).await.unwrap().secrets["api_key"].reveal(),
        "another"
    );
}

#[tokio::test]
async fn swapped_or_moved_credentials_fail_loudly_and_nothing_is_sent() {
    let fixture = AccountsFixture::new().await;
    let (vendor, listener) = (Vendor::open().await, Vendor::open().await);
    let (one, two) = (
        fixture
            .create_account(&fixture.admin, Some(&vendor.url))
            .await,
        fixture
            .create_account(&fixture.admin, Some(&vendor.url))
            .await,
    );
    fixture.swap_sealed(&one.id, &two.id).await;
    for account in [&one, &two] {
        assert_eq!(
            fixture
                .accounts
                .source(&account.id)
                .await
                .unwrap_err()
                .code(),
            "credential_damaged"
        );
        let checked = fixture
            .accounts
            .check(&fixture.admin, &account.id)
            .await
            .unwrap();
        assert!(
            !checked.ok && checked.message.contains("stored credentials"),
            "{}",
            checked.message
        );
        assert_eq!(
            fixture
                .accounts
                .get(&fixture.admin, &account.id)
                .await
                .unwrap()
                .health,
            Health::Failing
        );
    }
    assert_eq!(vendor.visits(), 0);
    let again = ChangeAccount {
        credentials: credentials(KEY),
        ..ChangeAccount::default()
    };
    fixture
        .accounts
        .update(&fixture.admin, &one.id, &again)
        .await
        .unwrap();
    assert!(
        fixture
            .accounts
            .check(&fixture.admin, &one.id)
            .await
            .unwrap()
            .ok
    );
    let mut tx = fixture.fixture.db.write().await.unwrap();
    sqlx::query("UPDATE accounts SET api_url = $1")
        .bind(&listener.url)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        fixture.accounts.source(&one.id).await.unwrap_err().code(),
        "credential_damaged"
    );
    assert_eq!(listener.visits(), 0);
}

#[tokio::test]
async fn credentials_are_checked_before_saving_and_the_result_is_stored() {
    let fixture = AccountsFixture::new().await;
    let vendor = Vendor::open().await;
    fixture
        .accounts
        .try_credentials(&fixture.admin, &new(Some(&vendor.url)))
        .await
        .unwrap();
    let wrong = NewAccount {
        credentials: credentials("wrong"),
        ..new(Some(&vendor.url))
    };
    assert_eq!(
        fields(
            &fixture
                .accounts
                .try_credentials(&fixture.admin, &wrong)
                .await
                .unwrap_err()
        ),
        ["api_key"]
    );
    let account = fixture
        .accounts
        .create(&fixture.admin, &wrong)
        .await
        .unwrap();
    let checked = fixture
        .accounts
        .check(&fixture.admin, &account.id)
        .await
        .unwrap();
    assert!(
        !checked.ok && checked.message.contains("rejected the credentials"),
        "{}",
        checked.message
    );
    let failing = fixture
        .accounts
        .get(&fixture.admin, &account.id)
        .await
        .unwrap();
    assert_eq!(
        (failing.health, failing.checked_at),
        (Health::Failing, Some(fixture.fixture.clock.now()))
    );
    let right = ChangeAccount {
        credentials: credentials(KEY),
        ..ChangeAccount::default()
    };
    let unknown = fixture
        .accounts
        .update(&fixture.admin, &account.id, &right)
        .await
        .unwrap();
    assert_eq!(
        (unknown.health, unknown.checked_at),
        (Health::Unknown, None)
    );
    assert!(
        fixture
            .accounts
            .check(&fixture.admin, &account.id)
            .await
            .unwrap()
            .ok
    );
    let trouble = PullError::RateLimited { wait: None };
    fixture
        .accounts
        .record_health(&account.id, Err(&trouble), fixture.fixture.clock.now())
        .await
        .unwrap();
    let valid = fixture
        .accounts
        .get(&fixture.admin, &account.id)
        .await
        .unwrap();
    assert_eq!(valid.health, Health::Valid);
    assert!(
        valid.health_message.contains("asked Chatlake to wait"),
        "{}",
        valid.health_message
    );
}

#[tokio::test]
async fn a_secret_is_stored_unchanged_with_a_warning_about_outer_spaces() {
    let fixture = AccountsFixture::new().await;
    for (key, warning) in [
        (
            " pass word ",
            "API Key begins and ends with a space. Check whether this is correct.",
        ),
        (
            "pass word\u{a0}",
            "API Key ends with a space. Check whether this is correct.",
        ),
        (
            " password",
            "API Key begins with a space. Check whether this is correct.",
        ),
        ("pass word", ""),
    ] {
        let mut typed = credentials(key);
        typed.insert("username".to_owned(), Secret::new(format!(" {LOGIN} ")));
        assert_eq!(
            outer_spaces(Connector::LiveChat, &typed)
                .first()
                .map_or("", |(_, words)| words.as_str()),
            warning,
            "{key:?}"
        );
        let account = fixture
            .accounts
            .create(
                &fixture.owner,
                &NewAccount {
                    credentials: typed,
                    ..new(None)
                },
            )
            .await
            .unwrap();
        assert_eq!(
            account.fields["username"], LOGIN,
            "fields that are not secret are trimmed"
        );
        assert_eq!(
            fixture.accounts.source(&account.id).await.unwrap().secrets["api_key"].reveal(),
            key
        );
        // Only spaces are an empty field, which leaves the stored secret unchanged.
        let change = ChangeAccount {
            credentials: credentials("  "),
            ..ChangeAccount::default()
        };
        fixture
            .accounts
            .update(&fixture.owner, &account.id, &change)
            .await
            .unwrap();
        assert_eq!(
            fixture.accounts.source(&account.id).await.unwrap().secrets["api_key"].reveal(),
            key
        );
    }
    let empty = NewAccount {
        credentials: credentials("  "),
        ..new(None)
    };
    assert_eq!(
        fields(
            &fixture
                .accounts
                .create(&fixture.owner, &empty)
                .await
                .unwrap_err()
        ),
        ["api_key"]
    );
    // The vendor receives it unchanged, and the person gets a warning.
    let vendor = Vendor::open().await;
    let spaced = NewAccount {
        credentials: credentials(&format!("{KEY} ")),
        ..new(Some(&vendor.url))
    };
    let refused = fixture
        .accounts
        .try_credentials(&fixture.admin, &spaced)
        .await
        .unwrap_err();
    assert_eq!(
        refused.field_errors()[0].1,
        "LiveChat rejected these credentials. API Key ends with a space. Check whether this is correct."
    );
}

#[tokio::test]
async fn menus_are_cached_for_five_minutes_until_a_change() {
    let fixture = AccountsFixture::new().await;
    let vendor = Vendor::open().await;
    let account = fixture
        .create_account(&fixture.admin, Some(&vendor.url))
        .await;
    let read = || {
        fixture
            .accounts
            .choices(&fixture.admin, &account.id, Menu::Group)
    };
    let first = read().await.unwrap();
    assert!(!first.is_empty());
    let calls = vendor.visits();
    assert_eq!(read().await.unwrap(), first);
    assert_eq!(vendor.visits(), calls);
    fixture.fixture.clock.advance(5 * 60 * 1_000);
    read().await.unwrap();
    assert_eq!(vendor.visits(), 2 * calls);
    fixture
        .accounts
        .update(&fixture.admin, &account.id, &ChangeAccount::default())
        .await
        .unwrap();
    read().await.unwrap();
    assert_eq!(vendor.visits(), 3 * calls);
    assert_eq!(
        fields(
            &fixture
                .accounts
                .choices(&fixture.admin, &account.id, Menu::StartDays)
                .await
                .unwrap_err()
        ),
        ["menu"]
    );
}

#[tokio::test]
async fn deleting_names_what_stops_and_leaves_the_datasets() {
    let fixture = AccountsFixture::new().await;
    let account = fixture.create_account(&fixture.owner, None).await;
    let share = ChangeAccount {
        shared: Some(true),
        ..ChangeAccount::default()
    };
    fixture
        .accounts
        .update(&fixture.owner, &account.id, &share)
        .await
        .unwrap();
    let own = fixture
        .dataset(&fixture.owner, &account.id, "Chats of Oslo")
        .await;
    fixture
        .dataset(&fixture.stranger, &account.id, "Private plans")
        .await;
    let named = fixture
        .accounts
        .datasets_of(&fixture.owner, &account.id)
        .await
        .unwrap();
    assert_eq!(
        named
            .iter()
            .map(|(_, name)| name.as_str())
            .collect::<Vec<_>>(),
        ["Chats of Oslo", "a DataSet of stan"]
    );
    assert_eq!(named[0].0, own);
    assert_eq!(
        fixture
            .accounts
            .get(&fixture.owner, &account.id)
            .await
            .unwrap()
            .dataset_count,
        2
    );
    assert_eq!(
        fixture
            .accounts
            .delete(&fixture.owner, &account.id)
            .await
            .unwrap(),
        ["Chats of Oslo", "a DataSet of stan"]
    );
    let left: Vec<(Option<String>, Option<i64>)> =
        sqlx::query_as("SELECT account_id, next_run_at FROM datasets")
            .fetch_all(fixture.fixture.db.read())
            .await
            .unwrap();
    assert_eq!(left, [(None, None), (None, None)]);
    assert_eq!(
        fixture
            .accounts
            .source(&account.id)
            .await
            .unwrap_err()
            .code(),
        "account_missing"
    );
}

#[tokio::test]
async fn a_key_that_did_not_seal_what_is_stored_is_refused_and_changes_nothing() {
    let fixture = AccountsFixture::new().await;
    let (db, clock) = (&fixture.fixture.db, &fixture.fixture.clock);
    let own = Vault::open(fixture.fixture.dir.path(), true).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Vault::open(elsewhere.path(), false).unwrap();
    assert!(!vault_check::has_sealed_data(db).await.unwrap());
    vault_check::verify_vault_keys(db, clock, &other)
        .await
        .unwrap();
    vault_check::verify_vault_keys(db, clock, &own)
        .await
        .unwrap();
    fixture.create_account(&fixture.owner, None).await;
    assert!(vault_check::has_sealed_data(db).await.unwrap());
    let error = vault_check::verify_vault_keys(db, clock, &other)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "vault_key");
    assert!(error.message().contains(&own.fingerprints()[0].0) && !error.message().contains('\n'));
    // The same id with another key, as after editing the file.
    let line = std::fs::read_to_string(elsewhere.path().join("vault.key")).unwrap();
    let forged = line.replace(&other.fingerprints()[0].0, &own.fingerprints()[0].0);
    std::fs::write(elsewhere.path().join("vault.key"), forged).unwrap();
    let forged = Vault::open(elsewhere.path(), true).unwrap();
    assert_eq!(
        vault_check::verify_vault_keys(db, clock, &forged)
            .await
            .unwrap_err()
            .code(),
        "vault_key"
    );
    vault_check::verify_vault_keys(db, clock, &own)
        .await
        .unwrap();
}
