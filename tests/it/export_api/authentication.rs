//! Rejected logins, throttled guesses, and plain HTTP from another machine.

use std::net::IpAddr;

use axum::http::StatusCode;
use chatlake::actor::{Role, Scope};
use chatlake::auth::{export_passwords, users};
use chatlake::clock::Clock;

use crate::support::context::TestContext;
use crate::support::exports::{CLASSIC, ExportFixture, HERE, chat, export_password};
use crate::support::{DAY, NOON, PASSWORD};

#[tokio::test]
async fn every_rejected_login_gets_the_same_response() {
    let export_fixture = ExportFixture::new(&[]).await;
    let (db, clock) = (&export_fixture.ctx.app.db, &export_fixture.ctx.clock);
    let stan = export_fixture.ctx.person("stan", Role::Editor).await;
    let gone = export_fixture.ctx.person("dee", Role::Admin).await;
    let (revoked, expired, disabled) = (
        export_password(&export_fixture.ctx, &export_fixture.owner).await,
        export_password(&export_fixture.ctx, &export_fixture.owner).await,
        export_password(&export_fixture.ctx, &gone).await,
    );
    export_passwords::revoke(
        db,
        clock,
        &revoked.0.id,
        Some((&export_fixture.owner).into()),
    )
    .await
    .unwrap();
    let mut tx = db.write().await.unwrap();
    sqlx::query("UPDATE export_passwords SET expires_at = $1 WHERE id = $2")
        .bind(clock.now())
        .bind(&expired.0.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    users::disable(db, clock, &gone.user, Some((&export_fixture.admin).into()))
        .await
        .unwrap();
    let stans = export_password(&export_fixture.ctx, &stan).await.1;
    let token = export_fixture
        .ctx
        .token(&export_fixture.owner, Scope::Manage)
        .await;
    let mistyped = format!("{}x", &export_fixture.password[..52]);
    let long = "p".repeat(5_000);
    let tries: Vec<(&str, &str)> = vec![
        ("olga@house.test", "wrong"),
        ("nobody@house.test", "wrong"),
        ("nobody@house.test", &export_fixture.password),
        ("stan@house.test", &export_fixture.password),
        ("olga@house.test", &stans),
        // The password for signing in.
        ("olga@house.test", PASSWORD),
        ("olga@house.test", &token),
        ("olga@house.test", &mistyped),
        ("olga@house.test", &long),
        ("olga@house.test", &revoked.1),
        ("olga@house.test", &expired.1),
        ("dee@house.test", &disabled.1),
        ("olga", "wrong"),
    ];
    let mut said = Vec::new();
    for (email, password) in tries {
        clock.advance(60_000);
        let query: String = url::form_urlencoded::Serializer::new(CLASSIC.to_owned())
            .append_pair("email", email)
            .append_pair("password", password)
            .finish();
        let answer = export_fixture
            .ask("GET", &format!("/a/Srv?{query}"), &[], "")
            .await;
        assert_eq!(answer.status, 401, "{email} {password}: {}", answer.text);
        answer.has_security_headers(email);
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id")
            .map(|line| format!("{line:?}"))
            .collect();
        headers.sort();
        said.push((answer.text, headers));
    }
    assert!(said.iter().all(|words| words == &said[0]), "{said:?}");
    for bearer in [&token, "x", &revoked.1] {
        clock.advance(60_000);
        let answer = export_fixture
            .ask(
                "GET",
                &format!("/a/Srv?{CLASSIC}"),
                &[("authorization", &format!("Bearer {bearer}"))],
                "",
            )
            .await;
        assert_eq!((answer.status, &answer.text), (401, &said[0].0));
    }
    // The export password is refused everywhere else.
    clock.advance(60_000);
    let mut browser = export_fixture.ctx.browser();
    let page = browser
        .post(
            "/sign-in",
            &[
                ("email", "olga@house.test"),
                ("password", &export_fixture.password),
            ],
        )
        .await;
    assert_eq!(
        (page.status, browser.is_signed_in().await),
        (StatusCode::UNAUTHORIZED, false)
    );
    let answer = export_fixture
        .ask(
            "GET",
            "/api/v1/datasets",
            &[(
                "authorization",
                &format!("Bearer {}", export_fixture.password),
            )],
            "",
        )
        .await;
    assert_eq!(answer.status, 401);
    clock.advance(60_000);
    let mut owners = export_fixture.ctx.signed_in(&export_fixture.owner).await;
    let page = owners
        .post(
            "/me/password",
            &[
                ("current_password", PASSWORD),
                ("password", &export_fixture.password),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.wrong("password").contains("export password"),
        "{}",
        page.wrong("password")
    );
    clock.advance(60_000);
    assert_eq!(export_fixture.get(CLASSIC).await.status, 200);
    // A new password for signing in revokes them on request.
    owners
        .submit(
            "/me/password",
            &[
                ("current_password", PASSWORD),
                ("password", "quite another battery"),
                ("revoke_tokens", "true"),
            ],
        )
        .await;
    assert_eq!(export_fixture.get(CLASSIC).await.status, 401);
    assert!(
        !export_fixture
            .ctx
            .on_disk()
            .windows(export_fixture.password.len())
            .any(|bytes| bytes == export_fixture.password.as_bytes()),
        "it is stored nowhere"
    );
}

#[tokio::test]
async fn password_guessing_is_throttled_without_locking_out_the_owner() {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.trusted_proxy = vec!["127.0.0.1/32".parse().unwrap()]
    })
    .await;
    let export_fixture = ExportFixture::of(ctx, &[]).await;
    let guess = format!("/a/Srv?{CLASSIC}&email=olga@house.test&password=guess");
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = export_fixture.ask("GET", &guess, &[], "").await;
        answer.has_security_headers("guess");
        statuses.push(answer.status);
        if answer.status == 429 {
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=120).contains(&wait), "{wait}");
        }
    }
    assert_eq!(
        (
            statuses[0],
            statuses.iter().filter(|status| **status == 429).count()
        ),
        (401, 39)
    );
    // Guesses come from many addresses.
    let mut evaluated = 0;
    for n in 0..200_u32 {
        let address = IpAddr::V4((0x0a00_0000 + n).into()).to_string();
        let headers = [
            ("x-forwarded-for", address.as_str()),
            ("x-forwarded-proto", "https"),
        ];
        evaluated +=
            usize::from(export_fixture.ask("GET", &guess, &headers, "").await.status == 401);
        export_fixture.ctx.clock.advance(1_000);
    }
    assert!(evaluated <= 50, "{evaluated}");
    // The script of the owner still works, and the owner signs in with a new browser.
    assert_eq!(export_fixture.get(CLASSIC).await.status, 200);
    let mut browser = export_fixture.ctx.browser();
    browser.address = HERE.parse().unwrap();
    assert_eq!(
        browser
            .post(
                "/sign-in",
                &[("email", "olga@house.test"), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    // Guesses at the sign-in page do not throttle the export API.
    let mut guesser = export_fixture.ctx.browser();
    for _ in 0..20 {
        guesser
            .post(
                "/sign-in",
                &[("email", "olga@house.test"), ("password", "guess")],
            )
            .await;
    }
    export_fixture.ctx.clock.advance(16 * 60_000);
    assert_eq!(export_fixture.ask("GET", &guess, &[], "").await.status, 401);
}

#[tokio::test]
async fn remote_plain_http_is_refused_and_the_password_marked_exposed() {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.public_url = "https://127.0.0.1:8080".parse().unwrap();
        config.trusted_proxy = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let export_fixture = ExportFixture::of(ctx, &[chat("1", NOON - DAY, "Hi")]).await;
    let marked = async || {
        let all =
            export_passwords::list(&export_fixture.ctx.app.db, Some(&export_fixture.owner.user))
                .await
                .unwrap();
        all[0].exposed_at.is_some()
    };
    let far = [("x-forwarded-for", "203.0.113.7")];
    for headers in [
        vec![],
        vec![far[0]],
        vec![far[0], ("x-forwarded-proto", "https")],
    ] {
        let answer = export_fixture
            .ask("GET", &export_fixture.classic(CLASSIC), &headers, "")
            .await;
        assert_eq!(answer.ids(), ["1"], "{headers:?}");
        answer.has_security_headers("over https");
        assert_eq!(
            answer.header("strict-transport-security"),
            "max-age=31536000"
        );
    }
    let plain = [far[0], ("x-forwarded-proto", "http")];
    // Malformed and wrong credentials get the same answer and mark nothing.
    let mut said = Vec::new();
    for query in [
        "",
        "%",
        CLASSIC,
        &format!("{CLASSIC}&email=olga@house.test&password=wrong"),
    ] {
        let answer = export_fixture
            .ask("GET", &format!("/a/Srv?{query}"), &plain, "")
            .await;
        assert_eq!(answer.status, 403, "{query}: {}", answer.text);
        answer.has_security_headers(query);
        said.push(answer.text);
    }
    assert!(!marked().await);
    for (address, headers, query) in [
        // The same with other errors in the request.
        (HERE, &plain[..], "a=nothing"),
        (HERE, &plain[..], CLASSIC),
        // The headers of a proxy that is not trusted are ignored.
        (
            "203.0.113.7",
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-for", "127.0.0.1"),
            ][..],
            CLASSIC,
        ),
    ] {
        let answer = export_fixture
            .ask_from(address, "GET", &export_fixture.classic(query), headers, "")
            .await;
        assert_eq!(answer.status, 403, "{address}: {}", answer.text);
        answer.has_security_headers(address);
        said.push(answer.text);
        assert!(marked().await);
    }
    assert!(said.iter().all(|text| text == &said[0]), "{said:?}");
    assert_eq!(
        export_fixture
            .audit_trail()
            .await
            .iter()
            .filter(|action| action.starts_with("export_password.expose"))
            .count(),
        1
    );
    let mut tx = export_fixture.ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET published = 0")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        export_fixture
            .ask("GET", &export_fixture.classic(CLASSIC), &plain, "")
            .await
            .status,
        404
    );
}
