//! Tests of the set-up link, of invitations and of links for a new password.

use super::*;
use crate::auth::test_support::{AuthFixture, PASSWORD};
use crate::error::ErrorKind;

fn accept_as(email: &str) -> AcceptInvite {
    AcceptInvite {
        email: email.to_owned(),
        name: "Olga Owner".to_owned(),
        password: Secret::new(PASSWORD),
        address: None,
    }
}

#[tokio::test]
async fn fifty_race_for_the_set_up_link_and_one_becomes_the_admin() {
    let fixture = AuthFixture::new().await;
    let stale = setup_link(&fixture.db, &fixture.clock)
        .await
        .unwrap()
        .unwrap();
    let code = setup_link(&fixture.db, &fixture.clock)
        .await
        .unwrap()
        .unwrap();
    assert!(
        find(&fixture.db, &fixture.clock, stale.reveal())
            .await
            .unwrap()
            .is_none(),
        "the link of an earlier start is dead"
    );
    assert!(
        find(&fixture.db, &fixture.clock, code.reveal())
            .await
            .unwrap()
            .unwrap()
            .is_set_up()
    );
    let mut race = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (db, clock, hasher, code) = (
            fixture.db.clone(),
            fixture.clock.clone(),
            fixture.hasher.clone(),
            code.clone(),
        );
        race.spawn(async move {
            accept(
                &db,
                &clock,
                &hasher,
                code.reveal(),
                &accept_as(&format!("person{n}@house.test")),
            )
            .await
        });
    }
    let mut made = 0;
    while let Some(done) = race.join_next().await {
        match done.unwrap() {
            Ok(done) => made += usize::from(done.user.role == Role::Admin),
            Err(why) => assert_eq!(why.kind(), ErrorKind::NotFound, "{why}"),
        }
    }
    assert_eq!((made, users::count(&fixture.db).await.unwrap()), (1, 1));
    assert!(
        find(&fixture.db, &fixture.clock, code.reveal())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        setup_link(&fixture.db, &fixture.clock)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn the_set_up_link_is_dead_once_the_command_line_made_somebody() {
    let fixture = AuthFixture::new().await;
    let code = setup_link(&fixture.db, &fixture.clock)
        .await
        .unwrap()
        .unwrap();
    fixture.person("olga", Role::Admin).await;
    assert!(
        find(&fixture.db, &fixture.clock, code.reveal())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        accept(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            code.reveal(),
            &accept_as("x@house.test")
        )
        .await
        .unwrap_err()
        .kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn an_admin_adds_a_person_whose_link_works_once_and_for_a_week() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let (_, first) = create(
        &fixture.db,
        &fixture.clock,
        (&owner).into(),
        "Carl@House.test",
        "Carl",
        Role::Editor,
    )
    .await
    .unwrap();
    let (_, code) = create(
        &fixture.db,
        &fixture.clock,
        (&owner).into(),
        "carl@house.test",
        "Carl",
        Role::Editor,
    )
    .await
    .unwrap();
    assert!(
        find(&fixture.db, &fixture.clock, first.reveal())
            .await
            .unwrap()
            .is_none(),
        "a new link replaces the old one"
    );
    assert_eq!(list(&fixture.db, &fixture.clock).await.unwrap().len(), 1);
    let weak = AcceptInvite {
        password: Secret::new("password1"),
        ..accept_as("ignored@house.test")
    };
    assert_eq!(
        accept(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            code.reveal(),
            &weak
        )
        .await
        .unwrap_err()
        .field_errors()[0]
            .0,
        "password"
    );
    let carl = accept(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        code.reveal(),
        &accept_as("ignored@house.test"),
    )
    .await
    .unwrap()
    .user;
    assert_eq!(
        (carl.email.as_str(), carl.role),
        ("carl@house.test", Role::Editor)
    );
    assert!(
        accept(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            code.reveal(),
            &accept_as("")
        )
        .await
        .is_err()
    );
    assert_eq!(
        create(
            &fixture.db,
            &fixture.clock,
            (&carl.actor()).into(),
            "s@house.test",
            "S",
            Role::Admin
        )
        .await
        .unwrap_err()
        .kind(),
        ErrorKind::Forbidden
    );
    let (_, late) = create(
        &fixture.db,
        &fixture.clock,
        (&owner).into(),
        "late@house.test",
        "Late",
        Role::Viewer,
    )
    .await
    .unwrap();
    fixture.clock.advance(VALIDITY);
    assert!(
        find(&fixture.db, &fixture.clock, late.reveal())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_person_who_forgot_the_password_is_readmitted_by_link() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let carl = users::get(
        &fixture.db,
        &fixture.person("carl", Role::Editor).await.user,
    )
    .await
    .unwrap();
    let (_, code) = create_password_reset(&fixture.db, &fixture.clock, (&owner).into(), &carl)
        .await
        .unwrap();
    let input = AcceptInvite {
        email: "other@house.test".to_owned(),
        name: "Other".to_owned(),
        password: Secret::new("staple battery horse"),
        address: None,
    };
    let back = accept(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        code.reveal(),
        &input,
    )
    .await
    .unwrap()
    .user;
    assert_eq!(
        (back.id.clone(), back.name.as_str(), back.role),
        (carl.id.clone(), "carl", Role::Editor)
    );
    let (_, code) = create_password_reset(&fixture.db, &fixture.clock, (&owner).into(), &back)
        .await
        .unwrap();
    users::disable(&fixture.db, &fixture.clock, &carl.id, Some((&owner).into()))
        .await
        .unwrap();
    assert!(
        accept(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            code.reveal(),
            &input
        )
        .await
        .is_err(),
        "disabling ends the link"
    );
    let carl = users::get(&fixture.db, &carl.id).await.unwrap();
    assert_eq!(
        create_password_reset(&fixture.db, &fixture.clock, (&owner).into(), &carl)
            .await
            .unwrap_err()
            .code(),
        "disabled"
    );
}
