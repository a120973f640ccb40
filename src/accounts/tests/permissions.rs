//! Tests of who sees, uses and changes an account.

use super::*;
use crate::auth::Scope;
use crate::connectors::report::Menu;
use crate::error::ErrorKind;

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
