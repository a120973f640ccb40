//! Tests of stored and entered credentials, and of their test at the vendor.

use super::*;
use crate::connectors::PullError;

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
