//! Tests of an API URL that changes.

use super::*;
use crate::error::ErrorKind;

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
