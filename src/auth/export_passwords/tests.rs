//! An owner, a stranger who guesses, and a clock that stands still.

use std::net::Ipv4Addr;

use super::*;
use crate::auth::passwords;
use crate::auth::test_house::{House, PASSWORD};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Story {
    house: House,
    gate: Gate,
    owner: Actor,
    text: Secret,
    id: ExportPasswordId,
}

impl Story {
    async fn new(days: u32) -> Self {
        let house = House::new().await;
        let owner = house.person("olga", Role::Viewer).await;
        let new = NewExportPassword { name: "billing".to_owned(), days };
        let (made, text) = create(&house.db, &house.clock, (&owner).into(), &new).await.unwrap();
        Self { gate: Gate::new(house.clock.clone()), owner, text, id: made.id, house }
    }

    async fn tries(&self, email: Option<&str>, password: &str, address: IpAddr, way: Way) -> Result<Admitted> {
        let password = Secret::new(password);
        admit(&self.house.db, &self.house.clock, &self.gate, Given { email, password: &password, address, way }).await
    }

    async fn works(&self) -> bool {
        self.tries(Some("olga@house.test"), self.text.reveal(), HERE, Way::Closed).await.is_ok()
    }

    async fn deeds(&self) -> Vec<String> {
        audit::list(&self.house.db, None, 1_000).await.unwrap().into_iter().rev().map(|entry| format!("{} {}", entry.action, entry.result)).collect()
    }
}

#[tokio::test]
async fn it_is_shown_once_kept_as_its_hash_and_only_reads() {
    let story = Story::new(DEFAULT_DAYS).await;
    assert!(story.text.reveal().starts_with("clx_") && story.text.reveal().len() == 53 && well_formed(story.text.reveal()));
    let stored: String = sqlx::query_scalar("SELECT hash FROM export_passwords").fetch_one(story.house.db.read()).await.unwrap();
    assert!(stored != story.text.reveal() && stored.len() == 64);
    for email in [Some("olga@house.test"), Some(" Olga@House.Test "), None] {
        let admitted = story.tries(email, story.text.reveal(), HERE, Way::Closed).await.unwrap();
        assert_eq!((admitted.actor.user, admitted.actor.scope, admitted.password), (story.owner.user.clone(), Some(Scope::Read), story.id.clone()));
    }
    let program = Actor { scope: Some(Scope::Manage), ..story.owner.clone() };
    let refused = create(&story.house.db, &story.house.clock, (&program).into(), &NewExportPassword { name: "x".to_owned(), days: 1 }).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Forbidden);
    for (name, days, field) in [("", 1, "name"), ("a\nb", 1, "name"), ("x", 0, "days"), ("x", 367, "days")] {
        let new = NewExportPassword { name: name.to_owned(), days };
        let wrong = create(&story.house.db, &story.house.clock, (&story.owner).into(), &new).await.unwrap_err();
        assert_eq!(wrong.field_errors()[0].0, field);
    }
    assert!(passwords::check(&story.text, "olga@house.test", "Olga").is_err(), "it is no password for signing in");
}

#[tokio::test]
async fn whatever_is_wrong_is_told_the_same_way() {
    let story = Story::new(1).await;
    story.house.person("stan", Role::Editor).await;
    let mut said = Vec::new();
    let mistyped = format!("{}x", &story.text.reveal()[..52]);
    for (at, (email, password)) in [
        ("olga@house.test", PASSWORD),
        ("stan@house.test", story.text.reveal()),
        ("nobody@house.test", story.text.reveal()),
        ("olga@house.test", &mistyped),
        ("olga@house.test", ""),
        (&"x".repeat(9_000), "y"),
    ]
    .into_iter()
    .enumerate()
    {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, at as u8));
        story.house.clock.advance(60_000);
        let error = story.tries(Some(email), password, address, Way::Closed).await.unwrap_err();
        said.push((error.kind(), error.code(), error.message().to_owned()));
    }
    assert!(said.iter().all(|words| words == &said[0]) && said[0].0 == Kind::Unauthenticated, "{said:?}");
}

#[tokio::test]
async fn guessing_is_slowed_and_never_keeps_the_owner_out() {
    let story = Story::new(1).await;
    let (mut wrong, mut slowed) = (0, 0);
    for n in 0..200_u32 {
        let address = IpAddr::V4((0x0a00_0000 + n).into());
        match story.tries(Some("olga@house.test"), "guess", address, Way::Closed).await.unwrap_err().kind() {
            Kind::Unauthenticated => wrong += 1,
            Kind::TooMany { .. } => slowed += 1,
            other => panic!("{other:?}"),
        }
        story.house.clock.advance(100);
    }
    assert!(wrong <= 6 && slowed >= 194, "{wrong} {slowed}");
    assert!(story.works().await);
    let notes = story.deeds().await;
    assert_eq!(notes.iter().filter(|deed| *deed == "export.read refused").count(), wrong);
    // Many accounts from one address.
    let mut slowed = 0;
    for n in 0..40 {
        slowed +=
            usize::from(matches!(story.tries(Some(&format!("{n}@house.test")), "guess", HERE, Way::Closed).await.unwrap_err().kind(), Kind::TooMany { .. }));
    }
    assert_eq!(slowed, 30);
    assert!(story.works().await);
    let here = audit::list(&story.house.db, None, 1_000).await.unwrap();
    let here = here.iter().filter(|entry| entry.actor.is_none() && entry.address.as_deref() == Some("127.0.0.1"));
    assert_eq!(here.count(), 2, "one of those that were refused, one of those that were slowed");
}

#[tokio::test]
async fn it_ends_by_time_by_revocation_and_with_its_owner() {
    let story = Story::new(2).await;
    let (db, clock) = (&story.house.db, &story.house.clock);
    let stranger = story.house.person("stan", Role::Editor).await;
    story.house.person("ada", Role::Admin).await;
    let good = || still_good(db, clock, &story.id, Role::Viewer);
    assert!(story.works().await && good().await);
    assert_eq!(revoke(db, clock, &story.id, Some((&stranger).into())).await.unwrap_err().kind(), Kind::NotFound);
    assert!(!still_good(db, clock, &story.id, Role::Editor).await);
    clock.advance(2 * DAY - 1);
    assert!(story.works().await);
    clock.advance(1);
    assert!(!story.works().await && !good().await);
    clock.advance(-DAY);
    assert!(story.works().await);
    revoke(db, clock, &story.id, Some((&story.owner).into())).await.unwrap();
    assert!(!story.works().await && !good().await);

    let story = Story::new(2).await;
    let (db, clock) = (&story.house.db, &story.house.clock);
    story.house.person("ada", Role::Admin).await;
    users::disable(db, clock, &story.owner.user, None).await.unwrap();
    assert!(!story.works().await && !still_good(db, clock, &story.id, Role::Viewer).await);
    // Let in again, the person needs another one.
    users::enable(db, clock, &story.owner.user, None).await.unwrap();
    assert!(!story.works().await && !still_good(db, clock, &story.id, Role::Viewer).await);
}

#[tokio::test]
async fn one_that_came_over_an_open_way_is_marked_once_and_never_let_in() {
    let story = Story::new(1).await;
    let address = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    let mut said = Vec::new();
    for password in [story.text.reveal(), "wrong", story.text.reveal()] {
        said.push(story.tries(Some("olga@house.test"), password, address, Way::Open).await.unwrap_err().to_string());
    }
    assert!(said.iter().all(|words| words == &said[0]), "{said:?}");
    let now = &list(&story.house.db, Some(&story.owner.user)).await.unwrap()[0];
    assert!(now.exposed_at.is_some() && now.last_used_at.is_none(), "{now:?}");
    assert_eq!(story.deeds().await.iter().filter(|deed| *deed == "export_password.expose refused").count(), 1);
    assert!(story.works().await, "it is to be replaced, but until then it works");
}

#[tokio::test]
async fn its_use_is_written_down_at_most_once_a_minute() {
    let story = Story::new(1).await;
    for _ in 0..4 {
        assert!(story.works().await);
        story.house.clock.advance(30_000);
    }
    assert_eq!(story.deeds().await.iter().filter(|deed| *deed == "export.read done").count(), 2);
}
