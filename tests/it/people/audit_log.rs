//! The audit log records sign-ins and sign-outs.

use std::collections::BTreeSet;

use chatlake::auth::audit;

use super::ANOTHER;
use super::accept;
use super::link_path;
use super::person_path;
use crate::support::context::TestContext;
use crate::support::{MINUTE, PASSWORD};

#[tokio::test]
async fn the_audit_trail_records_sign_ins_and_sign_outs_with_their_address() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    let (mut olga, mut carl) = (ctx.browser(), ctx.browser());
    olga.post(
        "/set-up",
        &[
            ("code", &code),
            ("name", "Olga"),
            ("email", "olga@house.test"),
            ("password", PASSWORD),
        ],
    )
    .await;
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
    accept(&mut carl, &link_path(&made), PASSWORD).await;
    carl.submit("/me/name", &[("name", "Carl Colleague")]).await;
    carl.post(
        "/me/password",
        &[
            ("current_password", "not my password"),
            ("password", ANOTHER),
        ],
    )
    .await;
    ctx.clock.advance(MINUTE);
    carl.submit(
        "/me/password",
        &[("current_password", PASSWORD), ("password", ANOTHER)],
    )
    .await;
    carl.post("/sign-out", &[]).await;
    carl.submit(
        "/sign-in",
        &[("email", "carl@house.test"), ("password", ANOTHER)],
    )
    .await;
    carl.post("/me/sign-out-everywhere", &[]).await;
    carl.post("/sign-out", &[]).await;
    let people = olga.get("/settings").await;
    for (verb, fields) in [
        ("/role", &[("role", "viewer")][..]),
        ("/link", &[]),
        ("/disable", &[]),
    ] {
        olga.post(&person_path(&people, "Carl Colleague", verb), fields)
            .await;
    }
    let people = olga.get("/settings").await;
    olga.post(&person_path(&people, "Carl Colleague", "/enable"), &[])
        .await;
    olga.post(
        "/settings/people/new",
        &[
            ("name", "Stan"),
            ("email", "stan@house.test"),
            ("role", "viewer"),
        ],
    )
    .await;
    let invited = olga
        .get("/settings")
        .await
        .attribute("a[href*='/settings/invites/']", "href")
        .unwrap();
    olga.submit(&invited, &[]).await;

    let trail = audit::list(&ctx.app.db, None, 100).await.unwrap();
    let of_carl = [
        "accept_invite",
        "rename",
        "change_password",
        "sign_out",
        "sign_in",
        "sign_out_everywhere",
    ]
    .map(|name| format!("user.{name}"));
    let of_olga = [
        "set_up",
        "invite",
        "set_role",
        "readmit",
        "disable",
        "enable",
        "withdraw_invite",
    ]
    .map(|name| format!("user.{name}"));
    let audit_actions: BTreeSet<&String> = trail.iter().map(|entry| &entry.action).collect();
    assert_eq!(audit_actions, of_carl.iter().chain(&of_olga).collect());
    for entry in &trail {
        let whose = if of_carl.contains(&entry.action) {
            &carl
        } else {
            &olga
        };
        assert_eq!(entry.address, Some(whose.address.to_string()), "{entry:?}");
        assert!(entry.actor.is_some(), "{entry:?}");
    }
    let of = |action: &str| {
        trail
            .iter()
            .rev()
            .filter(|entry| entry.action == action)
            .map(|entry| entry.result.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("user.change_password"), ["refused", "done"]);
    assert_eq!(
        of("user.sign_out"),
        ["done"],
        "nobody signs out of what has ended"
    );
}
