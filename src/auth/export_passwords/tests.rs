//! Tests with an owner, a stranger who guesses passwords, and a stopped clock.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::auth::test_support::{AuthFixture, PASSWORD};
use crate::auth::{Actor, Scope, Transport, passwords};
use crate::error::ErrorKind;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct ExportPasswordFixture {
    auth: AuthFixture,
    export_throttle: ExportThrottle,
    owner: Actor,
    text: Secret,
    id: ExportPasswordId,
}

impl ExportPasswordFixture {
    async fn new(days: u32) -> Self {
        let auth = AuthFixture::new().await;
        let owner = auth.person("olga", Role::Viewer).await;
        let new = NewExportPassword {
            name: "billing".to_owned(),
            days,
        };
        let (made, text) = create(&auth.db, &auth.clock, (&owner).into(), &new)
            .await
            .unwrap();
        Self {
            export_throttle: ExportThrottle::new(auth.clock.clone()),
            owner,
            text,
            id: made.id,
            auth,
        }
    }

    async fn try_login(
        &self,
        email: Option<&str>,
        password: &str,
        address: IpAddr,
        transport: Transport,
    ) -> Result<AdmittedClient> {
        let password = Secret::new(password);
        admit(
            &self.auth.db,
            &self.auth.clock,
            &self.export_throttle,
            ExportLogin {
                email,
                password: &password,
                address,
                transport,
            },
        )
        .await
    }

    async fn is_accepted(&self) -> bool {
        self.try_login(
            Some("olga@house.test"),
            self.text.reveal(),
            HERE,
            Transport::Secure,
        )
        .await
        .is_ok()
    }

    async fn audit_trail(&self) -> Vec<String> {
        audit::list(&self.auth.db, None, 1_000)
            .await
            .unwrap()
            .into_iter()
            .rev()
            .map(|entry| format!("{} {}", entry.action, entry.result))
            .collect()
    }
}

#[tokio::test]
async fn an_export_password_is_shown_once_stored_as_a_hash_and_read_only() {
    let fixture = ExportPasswordFixture::new(DEFAULT_DAYS).await;
    assert!(
        fixture.text.reveal().starts_with("clx_")
            && fixture.text.reveal().len() == 53
            && well_formed(fixture.text.reveal())
    );
    let stored: String = sqlx::query_scalar("SELECT hash FROM export_passwords")
        .fetch_one(fixture.auth.db.read())
        .await
        .unwrap();
    assert!(stored != fixture.text.reveal() && stored.len() == 64);
    for email in [Some("olga@house.test"), Some(" Olga@House.Test "), None] {
        let admitted = fixture
            .try_login(email, fixture.text.reveal(), HERE, Transport::Secure)
            .await
            .unwrap();
        assert_eq!(
            (admitted.actor.user, admitted.actor.scope, admitted.password),
            (
                fixture.owner.user.clone(),
                Some(Scope::Read),
                fixture.id.clone()
            )
        );
    }
    let program = Actor {
        scope: Some(Scope::Manage),
        ..fixture.owner.clone()
    };
    let refused = create(
        &fixture.auth.db,
        &fixture.auth.clock,
        (&program).into(),
        &NewExportPassword {
            name: "x".to_owned(),
            days: 1,
        },
    )
    .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forbidden);
    for (name, days, field) in [
        ("", 1, "name"),
        ("a\nb", 1, "name"),
        ("x", 0, "days"),
        ("x", 367, "days"),
    ] {
        let new = NewExportPassword {
            name: name.to_owned(),
            days,
        };
        let wrong = create(
            &fixture.auth.db,
            &fixture.auth.clock,
            (&fixture.owner).into(),
            &new,
        )
        .await
        .unwrap_err();
        assert_eq!(wrong.field_errors()[0].0, field);
    }
    assert!(
        passwords::check(&fixture.text, "olga@house.test", "Olga").is_err(),
        "it is no password for signing in"
    );
}

#[tokio::test]
async fn every_failed_login_gets_the_same_error() {
    let fixture = ExportPasswordFixture::new(1).await;
    fixture.auth.person("stan", Role::Editor).await;
    let mut said = Vec::new();
    let mistyped = format!("{}x", &fixture.text.reveal()[..52]);
    for (at, (email, password)) in [
        ("olga@house.test", PASSWORD),
        ("stan@house.test", fixture.text.reveal()),
        ("nobody@house.test", fixture.text.reveal()),
        ("olga@house.test", &mistyped),
        ("olga@house.test", ""),
        (&"x".repeat(9_000), "y"),
    ]
    .into_iter()
    .enumerate()
    {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, at as u8));
        fixture.auth.clock.advance(60_000);
        let error = fixture
            .try_login(Some(email), password, address, Transport::Secure)
            .await
            .unwrap_err();
        said.push((error.kind(), error.code(), error.message().to_owned()));
    }
    assert!(
        said.iter().all(|words| words == &said[0]) && said[0].0 == ErrorKind::Unauthenticated,
        "{said:?}"
    );
}

#[tokio::test]
async fn guessing_is_slowed_and_never_keeps_the_owner_out() {
    let fixture = ExportPasswordFixture::new(1).await;
    let (mut wrong, mut slowed) = (0, 0);
    for n in 0..200_u32 {
        let address = IpAddr::V4((0x0a00_0000 + n).into());
        match fixture
            .try_login(Some("olga@house.test"), "guess", address, Transport::Secure)
            .await
            .unwrap_err()
            .kind()
        {
            ErrorKind::Unauthenticated => wrong += 1,
            ErrorKind::TooMany { .. } => slowed += 1,
            other => panic!("{other:?}"),
        }
        fixture.auth.clock.advance(100);
    }
    assert!(wrong <= 6 && slowed >= 194, "{wrong} {slowed}");
    assert!(fixture.is_accepted().await);
    let notes = fixture.audit_trail().await;
    assert_eq!(
        notes
            .iter()
            .filter(|entry| *entry == "export.read refused")
            .count(),
        wrong
    );
    // Many accounts from one address.
    let mut slowed = 0;
    for n in 0..40 {
        slowed += usize::from(matches!(
            fixture
                .try_login(
                    Some(&format!("{n}@house.test")),
                    "guess",
                    HERE,
                    Transport::Secure
                )
                .await
                .unwrap_err()
                .kind(),
            ErrorKind::TooMany { .. }
        ));
    }
    assert_eq!(slowed, 30);
    assert!(fixture.is_accepted().await);
    let here = audit::list(&fixture.auth.db, None, 1_000).await.unwrap();
    let here = here
        .iter()
        .filter(|entry| entry.actor.is_none() && entry.address.as_deref() == Some("127.0.0.1"));
    assert_eq!(
        here.count(),
        2,
        "one of those that were refused, one of those that were slowed"
    );
}

#[tokio::test]
async fn it_ends_by_time_by_revocation_and_with_its_owner() {
    let fixture = ExportPasswordFixture::new(2).await;
    let (db, clock) = (&fixture.auth.db, &fixture.auth.clock);
    let stranger = fixture.auth.person("stan", Role::Editor).await;
    fixture.auth.person("ada", Role::Admin).await;
    let good = || is_still_valid(db, clock, &fixture.id, Role::Viewer);
    assert!(fixture.is_accepted().await && good().await);
    assert_eq!(
        revoke(db, clock, &fixture.id, Some((&stranger).into()))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
    assert!(!is_still_valid(db, clock, &fixture.id, Role::Editor).await);
    clock.advance(2 * DAY - 1);
    assert!(fixture.is_accepted().await);
    clock.advance(1);
    assert!(!fixture.is_accepted().await && !good().await);
    clock.advance(-DAY);
    assert!(fixture.is_accepted().await);
    revoke(db, clock, &fixture.id, Some((&fixture.owner).into()))
        .await
        .unwrap();
    assert!(!fixture.is_accepted().await && !good().await);

    let fixture = ExportPasswordFixture::new(2).await;
    let (db, clock) = (&fixture.auth.db, &fixture.auth.clock);
    fixture.auth.person("ada", Role::Admin).await;
    users::disable(db, clock, &fixture.owner.user, None)
        .await
        .unwrap();
    assert!(
        !fixture.is_accepted().await && !is_still_valid(db, clock, &fixture.id, Role::Viewer).await
    );
    // A reactivated person needs a new export password.
    users::enable(db, clock, &fixture.owner.user, None)
        .await
        .unwrap();
    assert!(
        !fixture.is_accepted().await && !is_still_valid(db, clock, &fixture.id, Role::Viewer).await
    );
}

#[tokio::test]
async fn a_password_sent_over_plain_http_is_marked_once_and_rejected() {
    let fixture = ExportPasswordFixture::new(1).await;
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let mut said = Vec::new();
    for password in [fixture.text.reveal(), "wrong", fixture.text.reveal()] {
        said.push(
            fixture
                .try_login(
                    Some("olga@house.test"),
                    password,
                    address,
                    Transport::Insecure,
                )
                .await
                .unwrap_err()
                .to_string(),
        );
    }
    assert!(said.iter().all(|words| words == &said[0]), "{said:?}");
    let now = &list(&fixture.auth.db, Some(&fixture.owner.user))
        .await
        .unwrap()[0];
    assert!(
        now.exposed_at.is_some() && now.last_used_at.is_none(),
        "{now:?}"
    );
    assert_eq!(
        fixture
            .audit_trail()
            .await
            .iter()
            .filter(|entry| *entry == "export_password.expose refused")
            .count(),
        1
    );
    assert!(
        fixture.is_accepted().await,
        "it is to be replaced, but until then it works"
    );
}

#[tokio::test]
async fn its_use_is_written_down_at_most_once_a_minute() {
    let fixture = ExportPasswordFixture::new(1).await;
    for _ in 0..4 {
        assert!(fixture.is_accepted().await);
        fixture.auth.clock.advance(30_000);
    }
    assert_eq!(
        fixture
            .audit_trail()
            .await
            .iter()
            .filter(|entry| *entry == "export.read done")
            .count(),
        2
    );
}
