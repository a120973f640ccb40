//! Tests of people with an owner and a colleague.

use super::*;
use crate::auth::test_support::{AuthFixture, PASSWORD};
use crate::error::ErrorKind;

fn change<'a>(current: &'a Secret, new: &'a Secret) -> ChangePassword<'a> {
    ChangePassword {
        current,
        new,
        keep_session: None,
        revoke_tokens: false,
    }
}

#[tokio::test]
async fn a_person_is_made_once_and_every_field_is_checked() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let new = |email: &str, name: &str, password: &str| NewUser {
        email: email.to_owned(),
        name: name.to_owned(),
        role: Role::Viewer,
        password: Some(Secret::new(password)),
    };
    let odd = create(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        &new("no-at", "\n", "password1"),
        Some((&owner).into()),
    )
    .await
    .unwrap_err();
    assert_eq!(
        odd.field_errors()
            .iter()
            .map(|(field, _)| field.as_str())
            .collect::<Vec<_>>(),
        ["email", "name", "password"]
    );
    let twice = create(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        &new(" OLGA@House.Test ", "Other", PASSWORD),
        Some((&owner).into()),
    )
    .await
    .unwrap_err();
    assert_eq!(twice.field_errors()[0].0, "email");
    let stored: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(fixture.db.read())
        .await
        .unwrap();
    assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_eq!(count(&fixture.db).await.unwrap(), 1);
}

#[tokio::test]
async fn only_signed_in_admins_manage_people() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let colleague = fixture.person("carl", Role::Editor).await;
    let script = Actor {
        scope: Some(crate::auth::Scope::Manage),
        ..owner.clone()
    };
    for by in [AuditActor::from(&colleague), AuditActor::from(&script)] {
        assert_eq!(
            disable(&fixture.db, &fixture.clock, &owner.user, Some(by))
                .await
                .unwrap_err()
                .kind(),
            ErrorKind::Forbidden
        );
        assert_eq!(
            set_role(
                &fixture.db,
                &fixture.clock,
                &colleague.user,
                Role::Admin,
                Some(by)
            )
            .await
            .unwrap_err()
            .kind(),
            ErrorKind::Forbidden
        );
    }
    set_role(
        &fixture.db,
        &fixture.clock,
        &colleague.user,
        Role::Viewer,
        Some((&owner).into()),
    )
    .await
    .unwrap();
    assert_eq!(
        actor(&fixture.db, &colleague.user)
            .await
            .unwrap()
            .unwrap()
            .role,
        Role::Viewer
    );
}

#[tokio::test]
async fn a_disabled_person_is_nobody_until_enabled_and_the_last_admin_stays() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let colleague = fixture.person("carl", Role::Editor).await;
    disable(
        &fixture.db,
        &fixture.clock,
        &colleague.user,
        Some((&owner).into()),
    )
    .await
    .unwrap();
    assert!(actor(&fixture.db, &colleague.user).await.unwrap().is_none());
    enable(
        &fixture.db,
        &fixture.clock,
        &colleague.user,
        Some((&owner).into()),
    )
    .await
    .unwrap();
    assert!(actor(&fixture.db, &colleague.user).await.unwrap().is_some());
    assert_eq!(
        disable(
            &fixture.db,
            &fixture.clock,
            &owner.user,
            Some((&owner).into())
        )
        .await
        .unwrap_err()
        .code(),
        "last_admin"
    );
    assert_eq!(
        set_role(
            &fixture.db,
            &fixture.clock,
            &owner.user,
            Role::Viewer,
            Some((&owner).into())
        )
        .await
        .unwrap_err()
        .code(),
        "last_admin"
    );
    assert!(actor(&fixture.db, &owner.user).await.unwrap().is_some());
}

#[tokio::test]
async fn the_own_password_is_changed_with_the_current_one_only() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let (good, wrong, common) = (
        Secret::new(PASSWORD),
        Secret::new("not my password"),
        Secret::new("password1"),
    );
    let next = Secret::new("staple battery horse");
    let refused = change_password(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        (&owner).into(),
        &change(&wrong, &next),
    )
    .await
    .unwrap_err();
    assert_eq!(refused.field_errors()[0].0, "current_password");
    let refused = change_password(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        (&owner).into(),
        &change(&good, &common),
    )
    .await
    .unwrap_err();
    assert_eq!(refused.field_errors()[0].0, "password");
    change_password(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        (&owner).into(),
        &change(&good, &next),
    )
    .await
    .unwrap();
    change_password(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        (&owner).into(),
        &change(&next, &good),
    )
    .await
    .unwrap();
    set_password(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        &owner.user,
        &next,
    )
    .await
    .unwrap();
    let trail = audit::list(&fixture.db, None, 10).await.unwrap();
    let trail: Vec<_> = trail
        .iter()
        .rev()
        .map(|entry| (entry.action.as_str(), entry.result.as_str()))
        .collect();
    let change = "user.change_password";
    assert_eq!(
        trail,
        [
            ("user.create", "done"),
            (change, "refused"),
            (change, "done"),
            (change, "done"),
            ("user.set_password", "done")
        ]
    );
}
