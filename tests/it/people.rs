//! How people come in, what they may do, and how they are put out again. Olga owns the place, Carl
//! is a colleague, Stan a stranger.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use chatlake::actor::{Role, Scope};
use chatlake::auth::audit;
use chatlake::clock::Clock;
use chatlake::secret::Secret;

use crate::support::context::TestContext;
use crate::support::http::{Browser, Page};
use crate::support::{MINUTE, PASSWORD};

const ANOTHER: &str = "staple battery horse";

fn person_path(page: &Page, name: &str, verb: &str) -> String {
    let paths = page
        .text
        .split('"')
        .filter(|text| text.starts_with("/settings/people/usr_") && text.ends_with(verb));
    let mut of_name = paths.filter(|path| {
        let row = page.text.find(path).unwrap();
        page.text[..row]
            .rfind(&format!("Options of {name}"))
            .is_some_and(|at| !page.text[at..row].contains("</tr>"))
    });
    of_name
        .next()
        .unwrap_or_else(|| panic!("no {verb} for {name}"))
        .to_owned()
}

fn link_path(page: &Page) -> String {
    let link = page.words("#invite-link");
    link.strip_prefix("http://127.0.0.1:8080")
        .unwrap_or_else(|| panic!("no link: {}", page.text))
        .to_owned()
}

async fn accept(browser: &mut Browser, path: &str, password: &str) -> Page {
    let form = browser.get(path).await;
    assert_eq!(form.status, StatusCode::OK, "{}", form.text);
    let code = form.attribute("input[name=code]", "value").unwrap();
    browser
        .post("/invite", &[("code", &code), ("password", password)])
        .await
}

#[tokio::test]
async fn the_set_up_link_creates_the_first_admin_and_expires() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    let mut olga = ctx.browser();
    assert!(
        olga.get("/sign-in")
            .await
            .text
            .contains("There are no people yet")
    );
    assert_eq!(
        olga.get("/set-up/guess").await.status,
        StatusCode::NOT_FOUND
    );
    let form = olga.get(&format!("/set-up/{code}")).await;
    assert_eq!(form.title(), "Set up Chatlake");
    assert!(form.text.contains("At least 8 characters"));

    let refused = olga
        .post(
            "/set-up",
            &[
                ("code", &code),
                ("name", "Olga"),
                ("email", "olga"),
                ("password", "password1"),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("email").contains("email address")
            && refused.wrong("password").contains("too common"),
        "{}",
        refused.text
    );
    assert_eq!(refused.attribute("#name", "value").as_deref(), Some("Olga"));
    assert!(!refused.text.contains("password1"));

    let done = olga
        .post(
            "/set-up",
            &[
                ("code", &code),
                ("name", "Olga"),
                ("email", "olga@house.test"),
                ("password", PASSWORD),
            ],
        )
        .await;
    assert_eq!(
        (done.status, done.location().as_str()),
        (StatusCode::SEE_OTHER, "/datasets")
    );
    let settings = olga.get("/settings").await;
    assert!(
        settings.has("a[href='/settings/people/new']")
            && settings.toast().contains("Welcome, Olga")
    );

    let mut stan = ctx.browser();
    assert_eq!(
        stan.get(&format!("/set-up/{code}")).await.status,
        StatusCode::NOT_FOUND
    );
    let late = stan
        .post(
            "/set-up",
            &[
                ("code", &code),
                ("name", "Stan"),
                ("email", "stan@house.test"),
                ("password", PASSWORD),
            ],
        )
        .await;
    assert_eq!(late.status, StatusCode::NOT_FOUND);
    assert!(!late.text.contains(&code) && stan.session_cookie().is_none());
    assert!(ctx.app.set_up_link().await.unwrap().is_none());
}

#[tokio::test]
async fn fifty_race_for_the_set_up_link_and_one_gets_in() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    let mut race = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (mut browser, code) = (ctx.browser(), code.clone());
        race.spawn(async move {
            let email = format!("person{n}@house.test");
            browser
                .post(
                    "/set-up",
                    &[
                        ("code", &code),
                        ("name", "Racer"),
                        ("email", &email),
                        ("password", PASSWORD),
                    ],
                )
                .await
                .status
        });
    }
    let answers = race.join_all().await;
    assert_eq!(
        answers
            .iter()
            .filter(|status| **status == StatusCode::SEE_OTHER)
            .count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|status| [StatusCode::SEE_OTHER, StatusCode::NOT_FOUND].contains(status)),
        "{answers:?}"
    );
}

#[tokio::test]
async fn a_person_signs_in_with_a_new_session_and_goes_where_they_were_going() {
    let ctx = TestContext::new().await;
    let olga = ctx.person("olga", Role::Admin).await;
    let mut browser = ctx.browser();
    let sent = browser.get("/accounts?x=1").await;
    assert_eq!(
        (sent.status, sent.location().as_str()),
        (StatusCode::SEE_OTHER, "/sign-in?next=%2Faccounts%3Fx%3D1")
    );
    let form = browser.get(&sent.location()).await;
    assert_eq!(
        form.attribute("input[name=next]", "value").as_deref(),
        Some("/accounts?x=1")
    );
    assert_eq!(
        form.attribute("#password", "autocomplete").as_deref(),
        Some("current-password")
    );

    let planted = "A".repeat(43);
    browser
        .cookies
        .insert("chatlake_session".to_owned(), planted.clone());
    let done = browser
        .post(
            "/sign-in",
            &[
                ("email", "OLGA@house.test "),
                ("password", PASSWORD),
                ("next", "/accounts?x=1"),
            ],
        )
        .await;
    assert_eq!(
        (done.status, done.location().as_str()),
        (StatusCode::SEE_OTHER, "/accounts?x=1")
    );
    let cookies: Vec<&str> = done
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    assert!(
        cookies
            .iter()
            .any(|line| line.starts_with("chatlake_device=")),
        "{cookies:?}"
    );
    assert!(
        cookies.iter().all(|line| line.contains("HttpOnly")
            && line.contains("SameSite=Lax")
            && line.contains("Path=/")),
        "{cookies:?}"
    );
    let id = browser.session_cookie().unwrap().to_owned();
    assert!(id != planted && id.len() == 43, "256 new bits: {id}");
    assert!(
        !ctx.on_disk()
            .windows(id.len())
            .any(|bytes| bytes == id.as_bytes()),
        "the cookie's value is not stored"
    );
    assert_eq!(browser.get("/").await.location(), "/datasets");
    assert_eq!(
        browser.get("/sign-in?next=//evil.test").await.location(),
        "/"
    );
    let me = browser.get("/me").await;
    assert!(me.words(".facts").contains(&olga.email) && me.headers["cache-control"] == "no-store");
}

#[tokio::test]
async fn no_next_leads_away() {
    let ctx = TestContext::new().await;
    ctx.person("olga", Role::Admin).await;
    for away in [
        "//evil.test",
        "/\\evil.test",
        "/\t/evil.test",
        "https:evil.test",
        "https://evil.test/",
        "\\evil.test",
        "/%2f/evil.test/../..//evil.test",
    ] {
        let done = ctx
            .browser()
            .post(
                "/sign-in",
                &[
                    ("email", "olga@house.test"),
                    ("password", PASSWORD),
                    ("next", away),
                ],
            )
            .await;
        let to = done.location();
        assert!(
            to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'),
            "{away} leads to {to}"
        );
    }
}

#[tokio::test]
async fn over_https_the_cookies_are_bound_to_the_host() {
    let ctx = TestContext::with(Clock::system(), |config| {
        config.public_url = "https://chat.test".parse().unwrap()
    })
    .await;
    ctx.person("olga", Role::Admin).await;
    let body = format!(
        "email=olga%40house.test&password={}",
        PASSWORD.replace(' ', "+")
    );
    let answer = ctx
        .browser()
        .send(
            Method::POST,
            "https://chat.test/sign-in",
            Some(body),
            &[("sec-fetch-site", "same-origin")],
        )
        .await;
    let cookies: Vec<&str> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|line| line.to_str().unwrap())
        .collect();
    for name in ["__Host-chatlake_session=", "__Host-chatlake_device="] {
        let line = cookies
            .iter()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {cookies:?} {answer:?}"));
        assert!(
            line.contains("Secure")
                && line.contains("HttpOnly")
                && line.contains("SameSite=Lax")
                && !line.contains("Domain"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn wrong_and_unknown_look_alike_and_guessing_is_slowed() {
    let ctx = TestContext::new().await;
    ctx.person("olga", Role::Admin).await;
    let dan = ctx.person("dan", Role::Viewer).await;
    chatlake::auth::users::disable(&ctx.app.db, &ctx.clock, &dan.user, None)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for (email, password) in [
        ("olga@house.test", "wrong horse battery"),
        ("nobody@house.test", PASSWORD),
        ("dan@house.test", PASSWORD),
    ] {
        let answer = ctx
            .browser()
            .post("/sign-in", &[("email", email), ("password", password)])
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.text.contains(password) && !answer.headers.contains_key("set-cookie"));
        answers.push(answer.text.replace(email, "EMAIL"));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );

    let mut known = ctx.signed_in_later("olga").await;
    let again = ctx
        .browser()
        .post(
            "/sign-in",
            &[
                ("email", "olga@house.test"),
                ("password", "guess guess guess"),
            ],
        )
        .await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    let slowed = ctx
        .browser()
        .post(
            "/sign-in",
            &[("email", "olga@house.test"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(
        (slowed.status, slowed.headers["retry-after"].as_bytes()),
        (StatusCode::TOO_MANY_REQUESTS, b"1".as_slice())
    );
    assert!(slowed.text.contains("Try again in 1 second"));
    let own = known
        .post(
            "/sign-in",
            &[("email", "olga@house.test"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(
        own.status,
        StatusCode::SEE_OTHER,
        "the browser that signed in before is not kept out"
    );
    ctx.clock.advance(1_100);
    assert_eq!(
        ctx.browser()
            .post(
                "/sign-in",
                &[("email", "olga@house.test"), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

impl TestContext {
    /// Signs in after the slowing has passed.
    async fn signed_in_later(&self, name: &str) -> Browser {
        self.clock.advance(15 * MINUTE);
        let mut browser = self.browser();
        let email = format!("{name}@house.test");
        assert_eq!(
            browser
                .post("/sign-in", &[("email", &email), ("password", PASSWORD)])
                .await
                .status,
            StatusCode::SEE_OTHER
        );
        browser
    }
}

#[tokio::test]
async fn a_form_from_elsewhere_signs_nobody_in_or_out() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let body = format!(
        "email=olga%40house.test&password={}",
        PASSWORD.replace(' ', "+")
    );
    for headers in [
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1:8080"),
        ][..],
        &[("origin", "https://evil.test")],
        &[("origin", "null")],
        &[],
    ] {
        let mut stan = ctx.browser();
        let answer = stan
            .send(Method::POST, "/sign-in", Some(body.clone()), headers)
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert!(stan.cookies.is_empty());
        assert_eq!(
            olga.send(Method::POST, "/sign-out", Some(String::new()), headers)
                .await
                .status,
            StatusCode::FORBIDDEN
        );
    }
    assert!(olga.is_signed_in().await);
    assert_eq!(
        olga.get("/sign-out").await.status,
        StatusCode::METHOD_NOT_ALLOWED,
        "a link never signs out"
    );
}

#[tokio::test]
async fn a_session_is_dead_after_sign_out() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let mut copy = olga.clone();
    assert!(copy.is_signed_in().await);
    let out = olga.post("/sign-out", &[]).await;
    assert_eq!(
        (out.status, out.location().as_str()),
        (StatusCode::SEE_OTHER, "/sign-in")
    );
    assert_eq!(out.headers["clear-site-data"], "\"cache\", \"storage\"");
    assert!(olga.session_cookie().is_none());
    assert!(!copy.is_signed_in().await && !olga.is_signed_in().await);
    assert_eq!(
        ctx.browser().post("/sign-out", &[]).await.location(),
        "/sign-in"
    );
}

#[tokio::test]
async fn reading_writes_nothing_and_leaves_the_cookie_alone() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.post("/me/name", &[("name", "Olga Owner")]).await;
    assert_eq!(olga.get("/me").await.toast(), "Name saved.");
    let mut eye = ctx.app.db.read().acquire().await.unwrap();
    let changes = "PRAGMA data_version";
    let before: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *eye)
        .await
        .unwrap();
    for path in [
        "/me",
        "/settings",
        "/accounts",
        "/datasets",
        "/help",
        "/nothing",
    ] {
        let page = olga.get(path).await;
        assert!(
            page.toast().is_empty() && !page.headers.contains_key("set-cookie"),
            "{path}: {:?}",
            page.headers
        );
    }
    let after: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *eye)
        .await
        .unwrap();
    assert_eq!(after, before, "somebody wrote into the catalogue");
    olga.post("/me/name", &[("name", "Olga")]).await;
    let written: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *eye)
        .await
        .unwrap();
    assert_ne!(written, before);
}

impl TestContext {
    /// Strangers guess at somebody's password until they are slowed.
    async fn guessed_at(&self, email: &str) {
        let guess = [("email", email), ("password", "guess guess guess")];
        self.browser().post("/sign-in", &guess).await;
        assert_eq!(
            self.browser().post("/sign-in", &guess).await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
    }
}

#[tokio::test]
async fn an_invited_or_changed_password_is_not_locked_out_by_strangers_guessing() {
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
    ctx.guessed_at("olga@house.test").await;
    assert_eq!(
        olga.post(
            "/sign-in",
            &[("email", "olga@house.test"), ("password", PASSWORD)]
        )
        .await
        .status,
        StatusCode::SEE_OTHER
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
    accept(&mut carl, &link_path(&made), PASSWORD).await;
    ctx.guessed_at("carl@house.test").await;
    let mut copy = carl.clone();
    assert_eq!(
        carl.post(
            "/sign-in",
            &[("email", "carl@house.test"), ("password", PASSWORD)]
        )
        .await
        .status,
        StatusCode::SEE_OTHER
    );

    let known = carl.cookies["chatlake_device"].clone();
    carl.submit(
        "/me/password",
        &[("current_password", PASSWORD), ("password", ANOTHER)],
    )
    .await;
    assert_ne!(carl.cookies["chatlake_device"], known);
    ctx.guessed_at("carl@house.test").await;
    let fields = [("email", "carl@house.test"), ("password", ANOTHER)];
    assert_eq!(
        copy.post("/sign-in", &fields).await.status,
        StatusCode::TOO_MANY_REQUESTS,
        "other browsers are forgotten"
    );
    assert_eq!(
        carl.post("/sign-in", &fields).await.status,
        StatusCode::SEE_OTHER
    );
}

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
        .attribute("form[action*='/settings/invites/']", "action")
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
    .map(|deed| format!("user.{deed}"));
    let of_olga = [
        "set_up",
        "invite",
        "set_role",
        "readmit",
        "disable",
        "enable",
        "withdraw_invite",
    ]
    .map(|deed| format!("user.{deed}"));
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

#[tokio::test]
async fn sessions_end_by_idleness() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    ctx.clock.advance(59 * MINUTE);
    assert!(olga.is_signed_in().await);
    ctx.clock.advance(61 * MINUTE);
    assert!(!olga.is_signed_in().await);
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_puts_the_other_devices_out() {
    let ctx = TestContext::new().await;
    let (actor, mut here) = ctx.signed_in_person("olga", Role::Admin).await;
    let mut there = ctx.signed_in(&actor).await;
    let token = ctx.token(&actor, Scope::Read).await;
    assert!(
        here.get("/me")
            .await
            .text
            .contains("signed in on 2 devices")
    );

    let refused = here
        .post(
            "/me/password",
            &[
                ("current_password", "not my password"),
                ("password", ANOTHER),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused
            .wrong("current_password")
            .contains("not your current password"),
        "{}",
        refused.text
    );
    let slowed = here
        .post(
            "/me/password",
            &[("current_password", PASSWORD), ("password", ANOTHER)],
        )
        .await;
    assert_eq!(
        slowed.status,
        StatusCode::TOO_MANY_REQUESTS,
        "whoever has a stolen session cannot guess on"
    );
    ctx.clock.advance(MINUTE);
    let refused = here
        .post(
            "/me/password",
            &[("current_password", PASSWORD), ("password", "olga")],
        )
        .await;
    assert!(
        refused.wrong("password").contains("at least 8"),
        "{}",
        refused.text
    );
    assert!(!refused.text.contains(PASSWORD));

    let before = here.session_cookie().unwrap().to_owned();
    let done = here
        .submit(
            "/me/password",
            &[
                ("current_password", PASSWORD),
                ("password", ANOTHER),
                ("revoke_tokens", "true"),
            ],
        )
        .await;
    assert!(done.toast().contains("Password changed"));
    assert_ne!(
        here.session_cookie().unwrap(),
        before,
        "the session has a new id"
    );
    assert!(!there.is_signed_in().await);
    let api = ctx
        .browser()
        .send(
            Method::GET,
            "/api/v1/datasets",
            None,
            &[("authorization", &format!("Bearer {token}"))],
        )
        .await;
    assert_eq!(api.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        there
            .post(
                "/sign-in",
                &[("email", &actor.email), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    ctx.clock.advance(MINUTE);
    assert_eq!(
        there
            .post(
                "/sign-in",
                &[("email", &actor.email), ("password", ANOTHER)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    let out = here.post("/me/sign-out-everywhere", &[]).await;
    assert_eq!(out.location(), "/sign-in");
    assert!(!here.is_signed_in().await && !there.is_signed_in().await);
}

#[tokio::test]
async fn everybody_changes_the_own_name_and_nothing_else_with_it() {
    let ctx = TestContext::new().await;
    let (_, mut carl) = ctx.signed_in_person("carl", Role::Viewer).await;
    let done = carl
        .submit(
            "/me/name",
            &[
                ("name", "Carl <b>Colleague</b>"),
                ("role", "admin"),
                ("email", "root@house.test"),
                ("id", "usr_1"),
            ],
        )
        .await;
    assert_eq!(done.toast(), "Name saved.");
    assert!(
        done.text.contains("Carl &#60;b&#62;Colleague") && !done.text.contains("<b>Colleague"),
        "names are text"
    );
    assert!(
        done.words(".facts").contains("carl@house.test viewer"),
        "{}",
        done.words(".facts")
    );
    let refused = carl.post("/me/name", &[("name", " \u{7} ")]).await;
    assert!(
        refused.status == StatusCode::UNPROCESSABLE_ENTITY && !refused.wrong("name").is_empty()
    );
}

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
            .contains("Invited link not used, expires in 7 days"),
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
        .attribute("form[action*='/settings/invites/']", "action")
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
    for deed in [
        "user.set_role",
        "user.disable",
        "user.enable",
        "user.readmit",
        "user.accept_invite",
        "user.sign_in",
    ] {
        assert!(
            trail.iter().any(|action| action == deed),
            "{deed} in {trail:?}"
        );
    }
}

#[tokio::test]
async fn the_last_admin_stays() {
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

#[tokio::test]
async fn strangers_see_nothing_but_the_way_in() {
    let ctx = TestContext::new().await;
    ctx.person("olga", Role::Admin).await;
    let mut stan = ctx.browser();
    for path in [
        "/me",
        "/settings",
        "/settings/people/new",
        "/accounts",
        "/accounts/new?connector=livechat",
        "/help",
        "/help/components",
    ] {
        let answer = stan.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.location().starts_with("/sign-in?next=%2F"), "{path}");
    }
    for path in [
        "/me/name",
        "/me/password",
        "/me/sign-out-everywhere",
        "/settings/people/new",
        "/settings/people/:id/disable",
        "/accounts/new",
        "/accounts/x/delete",
    ] {
        assert_eq!(
            stan.post(path, &[("name", "x")]).await.location(),
            "/sign-in",
            "{path}"
        );
    }
    let secret = Secret::new(PASSWORD);
    assert!(!format!("{secret:?}").contains(PASSWORD));
}

#[tokio::test]
async fn odd_ids_are_pages_that_are_not_there() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let long = "x".repeat(8_000);
    for id in [
        ":id",
        "0",
        "-1",
        "null",
        "1%20OR%201=1",
        "..%2f",
        "%00",
        "%ff",
        "usr_0",
        &long,
    ] {
        for path in [
            format!("/settings/people/{id}/disable"),
            format!("/accounts/{id}/check"),
            format!("/settings/invites/{id}/withdraw"),
        ] {
            assert_eq!(
                olga.post(&path, &[]).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        for path in [
            format!("/accounts/{id}/edit"),
            format!("/accounts/{id}/delete"),
            format!("/invite/{id}"),
            format!("/set-up/{id}"),
        ] {
            assert_eq!(
                olga.get(&path).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_head_is_a_page_without_its_body() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    for path in ["/accounts", "/settings", "/me", "/help", "/nothing"] {
        let (page, head) = (
            olga.get(path).await,
            olga.send(Method::HEAD, path, None, &[]).await,
        );
        assert_eq!(
            (page.status, page.headers.get("content-type")),
            (head.status, head.headers.get("content-type")),
            "{path}"
        );
        assert!(head.bytes.is_empty() && !page.bytes.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn the_help_pages_are_there() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let help = olga.get("/help").await;
    assert!(help.text.contains("http://127.0.0.1:8080/api/v1/datasets"));
    let components = olga.get("/help/components").await;
    assert_eq!(
        (components.status, components.title().as_str()),
        (StatusCode::OK, "Components")
    );
    for page in [&help, &components] {
        assert!(
            !page.text.contains(" style=")
                && !page.text.contains("<style")
                && !page.text.contains(" onclick="),
            "nothing inline"
        );
    }
}
