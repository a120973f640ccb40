//! Tests of creating and deleting accounts, and of their cached menus.

use super::*;
use crate::connectors::report::Menu;

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
