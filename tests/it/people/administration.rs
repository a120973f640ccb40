//! Admins invite, deactivate and reactivate people and change their roles.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::auth::audit;

use super::ANOTHER;
use super::accept;
use super::link_path;
use super::person_path;
use crate::support::context::TestContext;
use crate::support::{MINUTE, PASSWORD};

#[tokio::test]
async fn an_admin_adds_a_person_by_a_link_that_works_once() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let refused = olga
        .post(
            "/settings/people/new",
            &[
                ("name", "Carl"),
                ("email", "olga@house.test"),
                ("role", "editor"),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("email").contains("already exists")
            && refused.has("input[name=role][value=editor][checked]")
    );
    assert!(
        !olga
            .post(
                "/settings/people/new",
                &[
                    ("name", "Carl"),
                    ("email", "c@house.test"),
                    ("role", "root")
                ]
            )
            .await
            .wrong("role")
            .is_empty()
    );

    let made = olga
        .post(
            "/settings/people/new",
            &[
                ("name", "Carl"),
                ("email", "carl@house.test"),
                ("role", "editor"),
            ],
        )
        .await;
    assert_eq!(
        (made.status, made.headers["cache-control"].as_bytes()),
        (StatusCode::OK, b"no-store".as_slice())
    );
    let path = link_path(&made);
    let code = path.rsplit('/').next().unwrap();
    let later = olga.get("/settings").await;
    assert!(!later.text.contains(code), "the link is shown once");
    assert!(
        later
            .words("table.people")
            .contains("Invited invitation link created, expires in 7 days"),
        "{}",
        later.words("table.people")
    );
    assert!(
        !ctx.on_disk()
            .windows(code.len())
            .any(|bytes| bytes == code.as_bytes())
    );

    let mut carl = ctx.browser();
    let form = carl.get(&path).await;
    assert_eq!(form.title(), "Welcome, Carl");
    assert!(form.text.contains("olga added you as editor"));
    let refused = accept(&mut carl, &path, "carl").await;
    assert!(
        refused.status == StatusCode::UNPROCESSABLE_ENTITY && !refused.wrong("password").is_empty()
    );
    assert_eq!(
        accept(&mut carl, &path, PASSWORD).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(carl.get("/me").await.words(".facts").contains("editor"));
    assert_eq!(ctx.browser().get(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        ctx.browser()
            .post("/invite", &[("code", code), ("password", ANOTHER)])
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ctx.browser().get(&format!("/set-up/{code}")).await.status,
        StatusCode::NOT_FOUND
    );

    let withdrawn = olga
        .post(
            "/settings/people/new",
            &[
                ("name", "Stan"),
                ("email", "stan@house.test"),
                ("role", "viewer"),
            ],
        )
        .await;
    let page = olga.get("/settings").await;
    let action = page
        .attribute("a[href*='/settings/invites/']", "href")
        .unwrap();
    assert!(
        olga.submit(&action, &[])
            .await
            .toast()
            .contains("Link revoked.")
    );
    assert_eq!(
        ctx.browser().get(&link_path(&withdrawn)).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_admin_deactivates_reactivates_and_changes_roles() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let (carl, mut his) = ctx.signed_in_person("carl", Role::Viewer).await;
    assert_eq!(his.get("/accounts").await.status, StatusCode::FORBIDDEN);
    let people = olga.get("/settings").await;
    let role = person_path(&people, "carl", "/role");
    assert!(
        olga.submit(&role, &[("role", "editor")])
            .await
            .toast()
            .contains("carl is now an editor")
    );
    assert!(!his.is_signed_in().await, "a new role needs a new session");
    let mut his = ctx.signed_in(&carl).await;
    assert_eq!(his.get("/accounts").await.status, StatusCode::OK);

    olga.submit(&person_path(&people, "carl", "/disable"), &[])
        .await;
    assert!(!his.is_signed_in().await);
    assert_eq!(
        his.post(
            "/sign-in",
            &[("email", &carl.email), ("password", PASSWORD)]
        )
        .await
        .status,
        StatusCode::UNAUTHORIZED
    );
    let people = olga.get("/settings").await;
    assert!(people.words("table.people").contains("Deactivated"));
    assert!(
        olga.submit(&person_path(&people, "carl", "/enable"), &[])
            .await
            .toast()
            .contains("can sign in again")
    );

    let people = olga.get("/settings").await;
    let made = olga.post(&person_path(&people, "carl", "/link"), &[]).await;
    ctx.clock.advance(MINUTE);
    let mut other = ctx.signed_in(&carl).await;
    let path = link_path(&made);
    assert_eq!(his.get(&path).await.title(), "Welcome back, carl");
    assert_eq!(
        accept(&mut his, &path, ANOTHER).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(his.is_signed_in().await && !other.is_signed_in().await);

    let own = olga.get("/settings").await;
    assert!(
        !own.text.contains("Options of olga"),
        "nobody shuts themselves out by accident"
    );
    let trail: Vec<String> = audit::list(&ctx.app.db, None, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.action)
        .collect();
    for expected in [
        "user.set_role",
        "user.disable",
        "user.enable",
        "user.readmit",
        "user.accept_invite",
        "user.sign_in",
    ] {
        assert!(
            trail.iter().any(|action| action == expected),
            "{expected} in {trail:?}"
        );
    }
}

#[tokio::test]
async fn the_last_admin_cannot_be_removed() {
    let ctx = TestContext::new().await;
    let (olga, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    for (verb, fields) in [("disable", &[][..]), ("role", &[("role", "viewer")])] {
        let refused = browser
            .post(&format!("/settings/people/{}/{verb}", olga.user), fields)
            .await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(refused.text.contains("last admin"));
    }
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn only_admins_manage_people() {
    let ctx = TestContext::new().await;
    let (olga, _) = ctx.signed_in_person("olga", Role::Admin).await;
    for (name, role) in [("carl", Role::Editor), ("vera", Role::Viewer)] {
        let (actor, mut browser) = ctx.signed_in_person(name, role).await;
        let settings = browser.get("/settings").await;
        assert!(
            settings.status == StatusCode::OK
                && !settings.text.contains(&olga.email)
                && !settings.has("table")
        );
        for path in ["/settings/people/new", "/help/components"] {
            assert_eq!(
                browser.get(path).await.status,
                StatusCode::FORBIDDEN,
                "{path}"
            );
        }
        let missing = "usr_00000000000000000000000000000000";
        for id in [olga.user.as_str(), actor.user.as_str(), missing, ":id"] {
            for verb in ["disable", "enable", "role", "link"] {
                let answer = browser
                    .post(
                        &format!("/settings/people/{id}/{verb}"),
                        &[("role", "admin")],
                    )
                    .await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name} {verb} {id}");
            }
        }
        assert_eq!(
            browser
                .post(
                    "/settings/people/new",
                    &[("name", "x"), ("email", "x@house.test"), ("role", "admin")]
                )
                .await
                .status,
            StatusCode::FORBIDDEN
        );
        assert!(
            browser
                .get("/me")
                .await
                .words(".facts")
                .contains(role.word())
        );
    }
}
