//! Tests of the session life cycle: sign-in, inactivity and sign-out, and attackers who copy or
//! plant a cookie.

use super::*;
use crate::auth::test_support::{AuthFixture, PASSWORD};
use crate::auth::{Actor, Role, users};

const MINUTE: Millis = 60_000;

impl AuthFixture {
    fn sessions(&self) -> Sessions {
        Sessions::new(self.db.clone(), self.clock.clone())
    }

    fn session(&self, cookie: Option<&Secret>) -> Session {
        Session::new(self.sessions(), cookie.map(Secret::reveal))
    }

    async fn signed_in(&self, actor: &Actor, planted: Option<&Secret>) -> Secret {
        let session = self.session(planted);
        begin(&session, &users::get(&self.db, &actor.user).await.unwrap())
            .await
            .unwrap();
        match session.cookie_change().await {
            Some(CookieChange::Set(value)) => value,
            _ => panic!("no cookie"),
        }
    }

    async fn who(&self, cookie: &Secret) -> Option<String> {
        actor_of(&self.db, &self.session(Some(cookie)))
            .await
            .unwrap()
            .map(|actor| actor.name)
    }

    /// The values in all session rows.
    async fn stored(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT data FROM sessions")
            .fetch_all(self.db.read())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_session_gets_a_new_cookie_at_sign_in_and_the_planted_one_stays_nobodys() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let stranger = fixture.person("stan", Role::Viewer).await;
    for planted in [
        fixture.signed_in(&stranger, None).await,
        random_text(),
        Secret::new("short"),
        Secret::default(),
    ] {
        let value = fixture.signed_in(&owner, Some(&planted)).await;
        assert_ne!(value, planted);
        assert_eq!(fixture.who(&value).await.as_deref(), Some("olga"));
        assert_eq!(fixture.who(&planted).await, None);
    }
}

#[tokio::test]
async fn a_cookie_holds_256_random_bits_of_which_only_the_hash_is_stored() {
    use base64::Engine;
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let value = fixture.signed_in(&owner, None).await;
        let bits = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(value.reveal())
            .unwrap();
        assert!(bits.len() * 8 == 256 && seen.insert(bits));
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT id_hash, data FROM sessions")
            .fetch_all(fixture.db.read())
            .await
            .unwrap();
        assert!(
            rows.iter()
                .any(|(hashed, _)| *hashed == hash(value.reveal()))
        );
        assert!(rows.iter().all(
            |(hashed, data)| !hashed.contains(value.reveal()) && !data.contains(value.reveal())
        ));
    }
}

#[tokio::test]
async fn it_ends_after_an_idle_hour_and_after_twelve_hours_in_any_case() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let idle = fixture.signed_in(&owner, None).await;
    fixture.clock.advance(59 * MINUTE);
    assert!(fixture.who(&idle).await.is_some());
    fixture.clock.advance(61 * MINUTE);
    assert!(fixture.who(&idle).await.is_none());
    let mut busy = fixture.signed_in(&owner, None).await;
    for turn in 0..24 {
        fixture.clock.advance(30 * MINUTE - 1);
        assert!(fixture.who(&busy).await.is_some());
        // Now another cookie extends nothing.
        if turn == 12 {
            let session = fixture.session(Some(&busy));
            renew(&session).await.unwrap();
            let Some(CookieChange::Set(value)) = session.cookie_change().await else {
                panic!("no cookie")
            };
            assert!(fixture.who(&busy).await.is_none());
            busy = value;
        }
    }
    fixture.clock.advance(MINUTE);
    assert!(fixture.who(&busy).await.is_none());
    crate::auth::sweep(&fixture.db, &fixture.clock)
        .await
        .unwrap();
    assert!(fixture.stored().await.is_empty());
}

#[tokio::test]
async fn the_end_moves_at_most_once_a_minute() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let value = fixture.signed_in(&owner, None).await;
    let sessions = fixture.sessions();
    let end = async || sessions.list_for(&owner.user).await.unwrap()[0].expires_at;
    let first = end().await;
    fixture.clock.advance(MINUTE - 1);
    fixture.who(&value).await;
    assert_eq!(end().await, first);
    fixture.clock.advance(1);
    fixture.who(&value).await;
    assert_eq!(end().await, first + MINUTE);
}

#[tokio::test]
async fn what_is_put_in_is_there_until_it_is_taken_and_only_changes_are_written() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let value = fixture.signed_in(&owner, None).await;
    let first = fixture.session(Some(&value));
    first.insert("toast", "Saved.").await.unwrap();
    assert_eq!(
        fixture.stored().await,
        ["{}"],
        "it is written when the answer is ready"
    );
    first.save().await.unwrap();
    assert!(
        first.cookie_change().await.is_none(),
        "the cookie is as it was"
    );
    let second = fixture.session(Some(&value));
    assert_eq!(
        second.remove("toast").await.unwrap().as_deref(),
        Some("Saved.")
    );
    assert_eq!(second.remove("toast").await.unwrap(), None);
    second.save().await.unwrap();
    assert_eq!(fixture.stored().await, ["{}"]);

    // No value was removed, so nothing is written, and a read-only catalogue does not matter.
    let third = fixture.session(Some(&value));
    assert_eq!(third.remove("toast").await.unwrap(), None);
    fixture.db.close().await;
    third.save().await.unwrap();
    third.insert("toast", "Lost.").await.unwrap();
    assert!(third.save().await.is_err());
}

#[tokio::test]
async fn nobodys_session_is_stored_nowhere() {
    let fixture = AuthFixture::new().await;
    for cookie in [None, Some(random_text())] {
        let session = fixture.session(cookie.as_ref());
        session.insert("toast", "hello").await.unwrap();
        session.save().await.unwrap();
        renew(&session).await.unwrap();
        assert!(session.cookie_change().await.is_none() && handle(&session).await.is_none());
    }
    assert!(fixture.stored().await.is_empty());
}

#[tokio::test]
async fn sign_out_is_final_even_for_a_request_that_was_under_way() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let value = fixture.signed_in(&owner, None).await;
    let (under_way, renewing) = (fixture.session(Some(&value)), fixture.session(Some(&value)));
    under_way.insert("toast", "late").await.unwrap();
    assert!(renewing.user().await.unwrap().is_some());
    let out = fixture.session(Some(&value));
    finish(&out, None).await.unwrap();
    assert!(matches!(
        out.cookie_change().await,
        Some(CookieChange::Remove)
    ));
    under_way.save().await.unwrap();
    renew(&renewing).await.unwrap();
    assert!(matches!(
        renewing.cookie_change().await,
        Some(CookieChange::Remove)
    ));
    assert!(fixture.who(&value).await.is_none() && fixture.stored().await.is_empty());
    let trail: Vec<String> = audit::list(&fixture.db, None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.action)
        .collect();
    assert_eq!(
        trail,
        ["user.sign_out", "user.create"],
        "once, though three requests ended"
    );
}

#[tokio::test]
async fn a_password_change_ends_the_others_and_disabling_ends_all() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    fixture.person("carl", Role::Admin).await;
    let (here, there) = (
        fixture.signed_in(&owner, None).await,
        fixture.signed_in(&owner, None).await,
    );
    assert_eq!(
        fixture
            .sessions()
            .list_for(&owner.user)
            .await
            .unwrap()
            .len(),
        2
    );
    let keep = handle(&fixture.session(Some(&here))).await;
    let (old, new) = (Secret::new(PASSWORD), Secret::new("staple battery horse"));
    let change = users::ChangePassword {
        current: &old,
        new: &new,
        keep_session: keep.as_deref(),
        revoke_tokens: false,
    };
    users::change_password(
        &fixture.db,
        &fixture.clock,
        &fixture.hasher,
        AuditActor::from(&owner),
        &change,
    )
    .await
    .unwrap();
    assert!(fixture.who(&here).await.is_some() && fixture.who(&there).await.is_none());
    users::disable(&fixture.db, &fixture.clock, &owner.user, None)
        .await
        .unwrap();
    assert!(fixture.who(&here).await.is_none());
}

#[tokio::test]
async fn people_end_their_own_sessions_and_no_others() {
    let fixture = AuthFixture::new().await;
    let owner = fixture.person("olga", Role::Admin).await;
    let stranger = fixture.person("stan", Role::Editor).await;
    let value = fixture.signed_in(&owner, None).await;
    let sessions = fixture.sessions();
    let entry = sessions.list_for(&owner.user).await.unwrap().remove(0);
    assert!(sessions.end(&stranger.user, &entry.handle).await.is_err());
    sessions
        .sign_out_everywhere(AuditActor::from(&stranger))
        .await
        .unwrap();
    assert!(fixture.who(&value).await.is_some());
    sessions.end(&owner.user, &entry.handle).await.unwrap();
    assert!(fixture.who(&value).await.is_none());
}
