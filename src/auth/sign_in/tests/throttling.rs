//! Tests of the limits on failed sign-ins: per account, per address and per remembered browser.

use super::super::*;
use super::SignInFixture;
use crate::auth::test_support::PASSWORD;
use crate::auth::{DAY, Role, users};

#[tokio::test]
async fn whoever_is_given_a_new_password_is_not_slowed_by_guesses_at_the_old_one() {
    let sign_in_fixture = SignInFixture::new().await;
    for address in 100..104 {
        let _ = sign_in_fixture
            .sign_in_from("olga@house.test", "wrong horse battery", address, None)
            .await;
    }
    assert_eq!(
        sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, None)
            .await
            .unwrap_err()
            .code(),
        "too_many_attempts"
    );
    let user = users::by_email(&sign_in_fixture.auth.db, "olga@house.test")
        .await
        .unwrap()
        .unwrap();
    users::set_password(
        &sign_in_fixture.auth.db,
        &sign_in_fixture.auth.clock,
        &sign_in_fixture.auth.hasher,
        &user.id,
        &Secret::new("staple battery horse"),
    )
    .await
    .unwrap();
    assert!(
        sign_in_fixture
            .sign_in_from("olga@house.test", "staple battery horse", 1, None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_flood_from_one_address_leaves_an_entry_a_second() {
    let sign_in_fixture = SignInFixture::new().await;
    for _ in 0..500 {
        let _ = sign_in_fixture
            .sign_in_from("olga@house.test", "wrong horse battery", 1, None)
            .await;
    }
    let trail = audit::list(&sign_in_fixture.auth.db, None, 1_000)
        .await
        .unwrap();
    let of = |result| {
        trail
            .iter()
            .filter(|entry| entry.action == "user.sign_in" && entry.result == result)
            .count()
    };
    assert_eq!((of("refused"), of("slowed")), (1, 1), "{trail:?}");
}

#[tokio::test]
async fn a_stranger_who_guesses_does_not_keep_the_owners_browser_out() {
    let sign_in_fixture = SignInFixture::new().await;
    let device = sign_in_fixture
        .sign_in_from("olga@house.test", PASSWORD, 1, None)
        .await
        .unwrap()
        .device;
    for address in 100..120 {
        let _ = sign_in_fixture
            .sign_in_from("olga@house.test", "wrong horse battery", address, None)
            .await;
    }
    assert_eq!(
        sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, None)
            .await
            .unwrap_err()
            .code(),
        "too_many_attempts"
    );
    assert_eq!(
        sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, Some("stolen"))
            .await
            .unwrap_err()
            .code(),
        "too_many_attempts"
    );
    let again = sign_in_fixture
        .sign_in_from("olga@house.test", PASSWORD, 1, Some(device.reveal()))
        .await
        .unwrap();
    assert_eq!(again.device, device);
    assert_eq!(
        sign_in_fixture
            .sign_in_from("nobody@house.test", PASSWORD, 7, Some(device.reveal()))
            .await
            .unwrap_err()
            .code(),
        "wrong_credentials"
    );
    let stored: String = sqlx::query_scalar("SELECT hash FROM devices")
        .fetch_one(sign_in_fixture.auth.db.read())
        .await
        .unwrap();
    assert_ne!(stored, device.reveal());
}

#[tokio::test]
async fn the_browser_of_one_person_has_no_budget_for_the_account_of_another() {
    let sign_in_fixture = SignInFixture::new().await;
    sign_in_fixture.auth.person("ann", Role::Viewer).await;
    let of_ann = sign_in_fixture
        .sign_in_from("ann@house.test", PASSWORD, 1, None)
        .await
        .unwrap()
        .device;
    let of_olga = sign_in_fixture
        .sign_in_from("olga@house.test", PASSWORD, 2, None)
        .await
        .unwrap()
        .device;
    // Ann guesses Olga's password in her own browser: this throttles Olga's account and Ann's
    // address.
    assert_eq!(
        sign_in_fixture
            .sign_in_from(
                "olga@house.test",
                "wrong horse battery",
                1,
                Some(of_ann.reveal())
            )
            .await
            .unwrap_err()
            .code(),
        "wrong_credentials"
    );
    for address in [1, 3] {
        let device = (address == 1).then_some(of_ann.reveal());
        assert_eq!(
            sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, address, device)
                .await
                .unwrap_err()
                .code(),
            "too_many_attempts",
            "{address}"
        );
    }
    // Neither Olga's own browser nor Ann's account is throttled.
    assert!(
        sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 2, Some(of_olga.reveal()))
            .await
            .is_ok()
    );
    assert!(
        sign_in_fixture
            .sign_in_from("ann@house.test", PASSWORD, 1, Some(of_ann.reveal()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_browser_that_stayed_away_for_half_a_year_is_known_no_more() {
    for (days, is_known) in [(DEVICE_DAYS - 1, true), (DEVICE_DAYS, false)] {
        let sign_in_fixture = SignInFixture::new().await;
        let device = sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, None)
            .await
            .unwrap()
            .device;
        sign_in_fixture.auth.clock.advance(days * DAY);
        let _ = sign_in_fixture
            .sign_in_from("olga@house.test", "wrong horse battery", 50, None)
            .await;
        let again = sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, Some(device.reveal()))
            .await;
        assert_eq!(again.is_ok(), is_known, "after {days} days");
    }
}

#[tokio::test]
async fn whoever_is_turned_away_because_the_server_is_busy_is_charged_nothing() {
    let sign_in_fixture = SignInFixture::new().await;
    let device = sign_in_fixture
        .sign_in_from("olga@house.test", PASSWORD, 1, None)
        .await
        .unwrap()
        .device;
    let busy = sign_in_fixture.auth.hasher.occupy().await;
    for _ in 0..20 {
        for device in [None, Some(device.reveal())] {
            assert_eq!(
                sign_in_fixture
                    .sign_in_from("olga@house.test", "wrong horse battery", 1, device)
                    .await
                    .unwrap_err()
                    .code(),
                "busy"
            );
        }
    }
    for waits in busy {
        waits.abort();
        drop(waits.await);
    }
    // The counters are as without a failure: one attempt is free before the first wait.
    for device in [None, Some(device.reveal())] {
        assert_eq!(
            sign_in_fixture
                .sign_in_from("olga@house.test", "wrong horse battery", 1, device)
                .await
                .unwrap_err()
                .code(),
            "wrong_credentials"
        );
        assert_eq!(
            sign_in_fixture
                .sign_in_from("olga@house.test", "wrong horse battery", 1, device)
                .await
                .unwrap_err()
                .code(),
            "too_many_attempts"
        );
    }
}
