//! What is kept from whom beside the tables of addresses: the counters, private accounts,
//! look-alikes, the mail server's password and the network behind this server, core dumps, and how
//! many connections an address may have.

use std::io::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Role, Scope};
use chatlake::auth::users;
use chatlake::clock::Clock;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::notifications::mail;
use chatlake::puller::run::Trigger;
use chatlake::secret::Secret;
use sqlx::Connection as _;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::exports::{ExportFixture, chat};
use crate::support::http::Browser;
use crate::support::{NOON, PASSWORD, TIMEOUT, until};

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: it hangs"))
}

fn at(ctx: &TestContext, address: &str) -> Browser {
    let mut browser = ctx.browser();
    browser.address = address.parse().unwrap();
    browser
}

// ---- the counters ----

#[tokio::test]
async fn the_counters_are_for_a_token_that_may_read_them_or_for_this_machine_alone() {
    let local = TestContext::new().await;
    let named = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.has_explicit_public_url = true
    })
    .await;
    let proxied = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.trusted_proxy = vec!["127.0.0.0/8".parse().unwrap()]
    })
    .await;
    for (ctx, is_open) in [(&local, true), (&named, false), (&proxied, false)] {
        let ada = ctx.person("ada", Role::Admin).await;
        for (address, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("198.18.0.1", false),
            ("10.0.0.1", false),
        ] {
            let mut browser = at(ctx, address);
            let wanted = if is_open && here {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            let page = browser.get("/metrics").await;
            assert_eq!(
                (page.status, page.text.contains("chatlake_")),
                (wanted, wanted == StatusCode::OK),
                "{address}"
            );
            assert_eq!(
                page.headers.contains_key("www-authenticate"),
                wanted == StatusCode::UNAUTHORIZED
            );
            // What a proxy passes on comes from elsewhere, whatever the address it comes by.
            for passed_on in [
                "forwarded",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-real-ip",
            ] {
                let page = browser
                    .send(Method::GET, "/metrics", None, &[(passed_on, "203.0.113.9")])
                    .await;
                assert_eq!(
                    page.status,
                    StatusCode::UNAUTHORIZED,
                    "{address} {passed_on}"
                );
            }
        }
        let mut far = at(ctx, "198.18.0.2");
        for (scope, wanted) in [
            (Scope::Metrics, 200),
            (Scope::Manage, 200),
            (Scope::Read, 403),
            (Scope::Run, 403),
        ] {
            let bearer = format!("Bearer {}", ctx.token(&ada, scope).await);
            let page = far
                .send(Method::GET, "/metrics", None, &[("authorization", &bearer)])
                .await;
            assert_eq!(page.status.as_u16(), wanted, "{scope:?}: {}", page.text);
        }
        // A session is no token, and a bad token is one even from here.
        assert_eq!(
            ctx.signed_in(&ada).await.get("/metrics").await.status,
            StatusCode::UNAUTHORIZED
        );
        for shown in ["Bearer clk_nothing", "Basic YTpi", "Bearer"] {
            let page = at(ctx, "127.0.0.1")
                .send(Method::GET, "/metrics", None, &[("authorization", shown)])
                .await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{shown}");
        }
    }
}

#[tokio::test]
async fn a_token_for_the_counters_does_nothing_else() {
    let ctx = TestContext::new().await;
    let ada = ctx.person("ada", Role::Admin).await;
    let bearer = format!("Bearer {}", ctx.token(&ada, Scope::Metrics).await);
    // The document of the API is for everybody.
    for (method, path) in chatlake::api::addresses()
        .into_iter()
        .filter(|(_, path)| !path.ends_with("openapi.json"))
    {
        let path = format!("/api/v1{}", path.trim_start_matches("/api/v1"))
            .replace("{id}", "ds_x")
            .replace("{version}", "ver_x");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let page = ctx
            .browser()
            .send(method.clone(), &path, None, &[("authorization", &bearer)])
            .await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_its_own_serves_the_counters_and_nothing_else() {
    let data_dir = DataDir::new();
    let server = data_dir
        .serve_with(&["--metrics-listen", "127.0.0.1:0"])
        .await;
    let address = until("the log tells the address", async || {
        let log = server.err();
        let line = log
            .lines()
            .find(|line| line.contains("metrics are served"))?;
        Some(
            line.split("127.0.0.1:")
                .nth(1)?
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>(),
        )
    })
    .await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{address}"))
            .await
            .unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: chatlake-metrics:9090\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        within(path, stream.read_to_string(&mut text))
            .await
            .unwrap();
        text
    };
    let metrics = get("/metrics").await;
    assert!(
        metrics.starts_with("HTTP/1.1 200")
            && metrics.contains("chatlake_runs_alive")
            && metrics.contains("nosniff"),
        "{metrics}"
    );
    for path in ["/", "/sign-in", "/api/v1/datasets", "/healthz", "/a/Srv"] {
        assert!(get(path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    server.stop().await;
}

// ---- the process and its connections ----

#[tokio::test(flavor = "multi_thread")]
async fn no_command_leaves_a_core_dump() {
    let data_dir = DataDir::new();
    // As a shell with "ulimit -c unlimited" would start it.
    let server = data_dir.spawn_under(
        "ulimit -c unlimited 2>/dev/null || ulimit -c $(ulimit -Hc)",
        &[],
    );
    server.ready().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "{line}"
    );
    // What belongs to root cannot be read by the user that runs it: memory, environment, open
    // files.
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("/proc/{}/mem", server.id())).unwrap(),
    );
    assert_eq!(owner, 0, "it is dumpable");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_all_connections() {
    let data_dir = DataDir::new();
    let server = data_dir
        .serve_with(&["--connections-per-address", "8"])
        .await;
    let address = server.address();
    let is_served = async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    };
    // Those that the test's own client keeps open end first.
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let from = |last: u8| async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        // One that is refused may be closed as early as here.
        socket.connect(([127, 0, 0, 1], port).into()).await.ok()
    };
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.extend(from(2).await);
    }
    // Whoever comes from elsewhere is served beside them.
    within(
        "another address",
        until("another address is served", is_served),
    )
    .await;
    until("72 were refused", async || {
        let metrics = server
            .send("GET", "/metrics", "", None)
            .await
            .text()
            .await
            .unwrap();
        metrics
            .contains("chatlake_refused_connections_total 72\n")
            .then_some(())
    })
    .await;
    // Those that are served wait for a request.
    let mut served = 0;
    for stream in &mut idle {
        let written = stream
            .write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
            .await;
        served += usize::from(
            written.is_ok()
                && within("an answer", stream.read_exact(&mut [0]))
                    .await
                    .is_ok(),
        );
    }
    assert_eq!(served, 8);
    // When they go, the address has its connections again.
    drop(idle);
    until("the address is served again", async || {
        let mut stream = from(2).await?;
        stream
            .write_all(
                format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_with_a_bare_line_feed_is_refused_and_its_connection_closed() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    let good = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for bad in [
        format!("GET /healthz HTTP/1.1\nHost: {address}\n\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nX-A: b\n\r\n"),
    ] {
        // Alone, and behind a good one on the same connection.
        for first in ["", &good] {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            if !first.is_empty() {
                stream.write_all(first.as_bytes()).await.unwrap();
                let mut answer = [0; 15];
                within("the first answer", stream.read_exact(&mut answer))
                    .await
                    .unwrap();
                assert_eq!(&answer, b"HTTP/1.1 200 OK");
                until("all of it is read", async || {
                    let mut some = [0; 1_024];
                    stream.try_read(&mut some).is_err().then_some(())
                })
                .await;
            }
            stream.write_all(bad.as_bytes()).await.unwrap();
            let mut text = String::new();
            within("the end", stream.read_to_string(&mut text))
                .await
                .unwrap();
            assert!(text.contains("HTTP/1.1 400 Bad Request"), "{bad:?}: {text}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_something_else_locks_the_catalogue_pages_and_programs_read_on() {
    let ctx = TestContext::new().await;
    let mut browsers = Vec::new();
    for number in 0..20 {
        browsers.push(
            ctx.signed_in_person(&format!("p{number}"), Role::Viewer)
                .await
                .1,
        );
    }
    let ada = ctx.person("ada", Role::Admin).await;
    let bearer = format!("Bearer {}", ctx.token(&ada, Scope::Read).await);
    // The end of each session, and the use of the token, are due to be written.
    ctx.clock.advance(10 * 60_000);
    let path = ctx.dir.path().join("data/chatlake.db");
    let mut other = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let pages = async {
        let requests = browsers.iter_mut().map(|browser| browser.get("/datasets"));
        for page in futures_util::future::join_all(requests).await {
            assert_eq!(page.status, StatusCode::OK);
        }
        let page = ctx
            .browser()
            .send(
                Method::GET,
                "/api/v1/datasets",
                None,
                &[("authorization", &bearer)],
            )
            .await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    };
    // A write that is waited for gives up after 30 seconds.
    tokio::time::timeout(Duration::from_secs(20), pages)
        .await
        .expect("pages wait for a write");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    // Now the end of a session moves again.
    let lives = async || {
        let page = browsers[0].clone().get("/me").await;
        let ends: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sessions WHERE expires_at = $1")
            .bind(ctx.clock.now() + 3_600_000)
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
        (page.status == StatusCode::OK && ends > 0).then_some(())
    };
    until("the end of the session moves", lives).await;
}

// ---- names and records ----

#[tokio::test]
async fn nobody_can_be_taken_for_somebody_else_by_name_or_email() {
    let ctx = TestContext::new().await;
    let (_, mut ada) = ctx.signed_in_person("ada", Role::Admin).await;
    for email in [
        "ad\u{200b}a@house.test",
        "ada@house.test.",
        "\u{430}da@house.test",
        "ａda@house.test",
        "ada@hоuse.test",
        "ada@[127.0.0.1]",
        "\"a\"@house.test",
        "a..b@c.test",
    ] {
        let page = ada
            .post(
                "/settings/people/new",
                &[("name", "Ada"), ("email", email), ("role", "viewer")],
            )
            .await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY && !page.wrong("email").is_empty(),
            "{email:?}: {}",
            page.status
        );
    }
    for name in [
        "Ada\u{202e}nimdA",
        "A\u{200b}da",
        "Ada\u{200d}",
        "\u{2066}Ada",
        "A\u{ad}da",
    ] {
        let page = ada
            .post(
                "/settings/people/new",
                &[
                    ("name", name),
                    ("email", "x@house.test"),
                    ("role", "viewer"),
                ],
            )
            .await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY
                && page.wrong("name").contains("invisible"),
            "{name:?}: {}",
            page.status
        );
        let page = ada.post("/me/name", &[("name", name)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}");
    }
    let page = ada
        .post(
            "/settings/people/new",
            &[
                ("name", "Åse Ødegård"),
                ("email", "ase.o+x@house.test"),
                ("role", "viewer"),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
}

#[tokio::test]
async fn the_account_of_a_shared_dataset_is_named_only_to_people_who_may_see_it() {
    let ctx = TestContext::new().await;
    let (olga, mut owner) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&olga, "Kanarie account").await.id;
    let dataset = ctx.dataset(&olga, &account, "agents", "Agents").await;
    ctx.app.datasets.share(&olga, &dataset, true).await.unwrap();
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query(
        "UPDATE runs
         SET
             state = 'failed', finished_at = queued_at, error_code = 'unauthorized',
             error_who = 'The owner of the account “Kanarie account”.',
             error_message = 'LiveChat did not accept the credentials of “Kanarie account”.',
             error_action = 'Enter new ones.'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let (vera, mut viewer) = ctx.signed_in_person("vera", Role::Viewer).await;
    let (carl, mut colleague) = ctx.signed_in_person("carl", Role::Editor).await;
    let paths = [
        "/datasets".to_owned(),
        format!("/datasets/{dataset}"),
        format!("/datasets/{dataset}/history"),
        "/activity".to_owned(),
        format!("/runs/{run}"),
    ];
    let api = format!("/api/v1/datasets/{dataset}");
    let of_runs = [
        format!("/api/v1/runs/{run}"),
        format!("/api/v1/datasets/{dataset}/runs"),
    ];
    let tokens = [
        ctx.token(&vera, Scope::Read).await,
        ctx.token(&carl, Scope::Manage).await,
    ];
    for is_shared in [false, true] {
        ctx.app
            .accounts
            .update(
                &olga,
                &account,
                &ChangeAccount {
                    shared: Some(is_shared),
                    ..ChangeAccount::default()
                },
            )
            .await
            .unwrap();
        for path in &paths {
            for browser in [&mut viewer, &mut colleague] {
                let page = browser.get(path).await;
                assert_eq!(page.status, StatusCode::OK);
                let is_named =
                    page.text.contains("Kanarie account") || page.text.contains(account.as_str());
                assert!(is_shared || !is_named, "{path} names a private account");
            }
        }
        assert!(owner.get(&paths[0]).await.text.contains("Kanarie account"));
        assert_eq!(
            viewer
                .get("/datasets?q=kanarie")
                .await
                .text
                .contains(&format!("/datasets/{dataset}")),
            is_shared,
            "it cannot be guessed by searching"
        );
        for token in &tokens {
            for path in [&api, "/api/v1/datasets"] {
                let page = ctx
                    .browser()
                    .send(
                        Method::GET,
                        path,
                        None,
                        &[("authorization", &format!("Bearer {token}"))],
                    )
                    .await;
                assert_eq!(
                    (page.status, page.text.contains(account.as_str())),
                    (StatusCode::OK, is_shared),
                    "{path}: {}",
                    page.text
                );
            }
            for path in &of_runs {
                let page = ctx
                    .browser()
                    .send(
                        Method::GET,
                        path,
                        None,
                        &[("authorization", &format!("Bearer {token}"))],
                    )
                    .await;
                assert_eq!(
                    (page.status, page.text.contains("Kanarie account")),
                    (StatusCode::OK, is_shared),
                    "{path}: {}",
                    page.text
                );
            }
        }
    }
}

#[tokio::test]
async fn a_record_that_is_damaged_costs_a_row_and_not_the_page() {
    let ctx = TestContext::new().await;
    let (ada, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
    ctx.person("bert", Role::Viewer).await;
    for name in ["Good one", "Spoilt one"] {
        ctx.account(&ada, name).await;
    }
    ctx.token(&ada, Scope::Read).await;
    let page = browser.get("/accounts").await;
    assert!(
        page.text.contains("Good one") && page.text.contains("Spoilt one"),
        "{}",
        page.text
    );
    for spoilt in [
        "fields = '{'",
        "fields = '{}', connector = 'nonsense'",
        "connector = 'livechat', requests_per_minute = 'many'",
        "requests_per_minute = 60, created_at = 'soon'",
    ] {
        let mut tx = ctx.app.db.write().await.unwrap();
        sqlx::query("PRAGMA ignore_check_constraints = ON")
            .execute(&mut *tx)
            .await
            .unwrap();
        let statement = format!("UPDATE accounts SET {spoilt} WHERE name = 'Spoilt one'");
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for path in ["/accounts", "/datasets", "/connect"] {
            let page = browser.get(path).await;
            assert_eq!(page.status, StatusCode::OK, "{spoilt} {path}");
        }
        let page = browser.get("/accounts").await;
        assert!(
            page.text.contains("Good one")
                && page.words(".band").contains("1 account cannot be listed"),
            "{spoilt}: {}",
            page.text
        );
    }
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("PRAGMA ignore_check_constraints = ON")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE users SET role = 'king' WHERE name = 'bert'")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE tokens SET scope = 'all'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for path in ["/settings", "/me", "/settings/notifications"] {
        assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert!(
        browser
            .get("/settings")
            .await
            .text
            .contains("ada@house.test")
    );
}

#[tokio::test]
async fn one_person_cannot_have_the_server_write_to_addresses_without_limit() {
    let ctx = TestContext::new().await;
    let olga = ctx.person("olga", Role::Editor).await;
    let ada = ctx.person("ada", Role::Admin).await;
    let account = ctx.account(&olga, "Support").await.id;
    let mut datasets = Vec::new();
    for number in 0..3 {
        datasets.push(
            ctx.dataset(&olga, &account, "agents", &format!("D{number}"))
                .await,
        );
    }
    let notify = |from: usize, to: usize| {
        let outside = (from..to).map(|number| format!("a{number}@elsewhere.test"));
        NotificationSettings::new(
            Some(outside.chain(["ADA@house.test".to_owned()]).collect()),
            Vec::new(),
            vec![NotificationKind::Failure],
            1,
        )
        .unwrap()
    };
    let set = async |by, dataset: usize, notify: NotificationSettings| {
        ctx.app
            .datasets
            .set_notifications(by, &datasets[dataset], &notify)
            .await
    };
    set(&olga, 0, notify(0, 15)).await.unwrap();
    set(&olga, 1, notify(5, 20)).await.unwrap();
    set(&olga, 2, notify(20, 30)).await.unwrap();
    let refused = set(&olga, 2, notify(20, 31)).await.unwrap_err();
    assert!(
        refused.field_errors()[0].0 == "emails" && refused.message().contains("at most 30"),
        "{refused}"
    );
    // Those that are chosen somewhere can be chosen elsewhere; an admin answers for more.
    set(&olga, 2, notify(0, 19)).await.unwrap();
    set(&ada, 2, notify(30, 49)).await.unwrap();
    set(&olga, 2, notify(30, 49)).await.unwrap();
    set(&olga, 2, notify(30, 48)).await.unwrap();
    assert!(set(&olga, 0, notify(50, 51)).await.is_err());
}

// ---- requests ----

#[tokio::test]
async fn a_wrong_content_type_and_a_too_large_body_are_distinguished() {
    let ctx = TestContext::new().await;
    let (ada, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
    let bearer = format!("Bearer {}", ctx.token(&ada, Scope::Manage).await);
    let origin = ("origin", "http://127.0.0.1:8080");
    let long = "x".repeat(70_000);
    for (kind, body, wanted) in [
        ("text/plain", "name=Ada", 415),
        ("application/json", "{}", 415),
        ("multipart/form-data; boundary=x", "--x--", 415),
        // Without a length: as a chunked body comes.
        ("application/x-www-form-urlencoded", long.as_str(), 413),
    ] {
        let page = browser
            .send(
                Method::POST,
                "/me/name",
                Some(body.to_owned()),
                &[("content-type", kind), origin],
            )
            .await;
        assert_eq!(page.status.as_u16(), wanted, "form {kind}: {}", page.text);
    }
    for (kind, body, wanted) in [
        ("text/plain", "{}", 415),
        ("application/x-www-form-urlencoded", "name=x", 415),
        ("application/json", "{", 400),
        ("application/json", "{\"nonsense\":1}", 422),
        ("application/json", long.as_str(), 413),
    ] {
        let page = ctx
            .browser()
            .send(
                Method::POST,
                "/api/v1/accounts",
                Some(body.to_owned()),
                &[("content-type", kind), ("authorization", &bearer)],
            )
            .await;
        assert_eq!(page.status.as_u16(), wanted, "api {kind}: {}", page.text);
    }
}

#[tokio::test]
async fn a_host_is_served_by_its_whole_name_and_every_answer_forbids_frames() {
    let ctx = TestContext::new().await;
    for (host, wanted) in [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("127.0.0.1:8080.evil.test", 421),
        ("127.0.0.1:evil.test", 421),
        ("127.0.0.1:", 421),
        ("127.0.0.1:80:80", 421),
        ("127.0.0.1.evil.test", 421),
        ("localhost.evil.test", 421),
        ("ann@127.0.0.1", 421),
        ("[::1].evil.test", 421),
        ("[::1]evil.test:80", 421),
        ("127.0.0.1:99999", 421),
    ] {
        let request = axum::http::Request::get("/sign-in")
            .header("host", host)
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = tower::ServiceExt::oneshot(ctx.router.clone(), request)
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), wanted, "{host}");
        assert_eq!(answer.headers()["x-frame-options"], "DENY", "{host}");
    }
}

// ---- the mail server ----

/// A mail server that takes an AUTH line and says `answer` of it, in which `{line}` is that line's
/// argument.
async fn serve_lines(
    greeting: &'static str,
    answer: &'static str,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, received) = (
        listener.local_addr().unwrap().port(),
        Arc::new(Mutex::new(Vec::new())),
    );
    let thread_lines = received.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let thread_lines = thread_lines.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream
                    .write_all(format!("{greeting}\r\n").as_bytes())
                    .await
                    .ok()?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.ok()? == 0 {
                        return Some(());
                    }
                    thread_lines.lock().unwrap().push(line.trim().to_owned());
                    let said = match line.split_whitespace().next() {
                        Some("EHLO") if answer == "white" => {
                            "250-mail.test\r\n250-   \r\n250 HELP".to_owned()
                        }
                        Some("EHLO") => "250-mail.test\r\n250 AUTH PLAIN".to_owned(),
                        Some("AUTH") => answer.replace("{line}", line.trim()),
                        _ => "250 ok".to_owned(),
                    };
                    stream
                        .write_all(format!("{said}\r\n").as_bytes())
                        .await
                        .ok()?;
                }
            });
        }
    });
    (port, received)
}

fn mail_settings(host: &str, port: u16, login: Option<(&str, &str)>) -> mail::MailServerInput {
    let (username, password) = login.unwrap_or_default();
    mail::MailServerInput {
        host: host.to_owned(),
        port: port.to_string(),
        encryption: "none".to_owned(),
        username: username.to_owned(),
        password: Secret::new(password),
        sender: "chatlake@house.test".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_repeats_the_password_in_any_spelling_does_not_get_it_shown() {
    let password = "kanarie-4711-vogel";
    let hex: &'static str = password
        .bytes()
        .map(|byte| format!("{byte:02X}"))
        .collect::<String>()
        .leak();
    let shifted: &'static str = STANDARD.encode(format!("xy{password}")).leak();
    for answer in [
        "535 wrong: {line}",
        "535 5.7.8 kanarie-4711-vogel",
        "454 KANARIE-4711-VOGEL is unknown",
        "535 kanarie%2D4711%2dvogel",
    ]
    .into_iter()
    .chain([
        format!("535 {hex} no").leak() as &'static str,
        format!("535 got {shifted}").leak(),
    ]) {
        let ctx = TestContext::new().await;
        let (ada, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
        let (port, received) = serve_lines("220 mail.test", answer).await;
        let notifications = &ctx.app.puller.notifications;
        notifications
            .set_mail_server(&mail_settings("127.0.0.1", port, Some(("ann", password))))
            .await
            .unwrap();
        let refused = within(answer, notifications.test_mail(&ada.email))
            .await
            .unwrap_err();
        let line = received
            .lock()
            .unwrap()
            .iter()
            .find_map(|line| line.strip_prefix("AUTH PLAIN ").map(str::to_owned))
            .expect("it signed in");
        let page = browser.get("/settings/notifications").await;
        let stored: String = sqlx::query_scalar("SELECT error FROM messages")
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
        for shown in [refused.message(), &page.text, &stored] {
            let lower = shown.to_lowercase();
            for secret in ["kanarie", "4711", "vogel", &hex.to_lowercase()] {
                assert!(!lower.contains(secret), "{answer}: {shown}");
            }
            // No part of the line, which is Base64, from which the password could be read.
            for part in [&line[..], shifted] {
                for at in 0..part.len() - 8 {
                    assert!(!shown.contains(&part[at..at + 8]), "{answer}: {shown}");
                }
            }
        }
        assert!(
            refused
                .message()
                .starts_with("The mail server refused the email: ")
                && refused.message().contains("***"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_is_a_public_host_or_one_that_the_setting_names() {
    let closed = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.allow_mail_server = Vec::new()
    })
    .await;
    let (ada, mut browser) = closed.signed_in_person("ada", Role::Admin).await;
    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
        "2130706433",
        "localhost",
        "mail",
        "mail.internal",
    ] {
        let fields = [
            ("host", host),
            ("port", "25"),
            ("encryption", "none"),
            ("sender", "chatlake@house.test"),
        ];
        let page = browser.post("/settings/notifications/mail", &fields).await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY
                && page.wrong("host").contains("--allow-mail-server"),
            "{host}: {}",
            page.wrong("host")
        );
    }
    closed
        .app
        .puller
        .notifications
        .set_mail_server(&mail_settings("smtp.example.com", 25, None))
        .await
        .unwrap();
    // One that was set while it was allowed is not asked any more.
    let (port, received) = serve_lines("220 mail.test", "235 ok").await;
    let mut tx = closed.app.db.write().await.unwrap();
    sqlx::query("UPDATE mail_server SET host = 'localhost', port = $1")
        .bind(i64::from(port))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = closed
        .app
        .puller
        .notifications
        .test_mail(&ada.email)
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("does not have a public address")
            && received.lock().unwrap().is_empty(),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_does_not_reveal_open_ports() {
    let ctx = TestContext::new().await;
    let notifications = &ctx.app.puller.notifications;
    let shut = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut said = Vec::new();
    for (what, port) in [
        ("nothing", shut),
        (
            "another protocol",
            serve_lines("HTTP/1.1 400 kanarie", "").await.0,
        ),
        ("a database", serve_lines("-ERR kanarie", "").await.0),
        (
            "a mail server that is not for us",
            serve_lines("554 kanarie is no mail server", "").await.0,
        ),
        ("ssh", serve_lines("SSH-2.0-kanarie", "").await.0),
        // A line of white space, at which the library for mail panics.
        (
            "a mail server that makes us panic",
            serve_lines("220 mail.test", "white").await.0,
        ),
    ] {
        for encryption in ["none", "tls"] {
            notifications
                .set_mail_server(&mail::MailServerInput {
                    encryption: encryption.to_owned(),
                    ..mail_settings("127.0.0.1", port, None)
                })
                .await
                .unwrap();
            let refused = within(what, notifications.test_mail("olga@house.test"))
                .await
                .unwrap_err();
            said.push(refused.message().to_owned());
        }
    }
    assert!(
        said.iter()
            .all(|words| *words == said[0] && !words.contains("kanarie")),
        "{said:?}"
    );
}

// ---- what people lose ----

#[tokio::test]
async fn a_reactivated_person_has_no_earlier_tokens() {
    let ctx = TestContext::new().await;
    ctx.person("ada", Role::Admin).await;
    let carl = ctx.person("carl", Role::Editor).await;
    let bearer = format!("Bearer {}", ctx.token(&carl, Scope::Manage).await);
    let get = async || {
        ctx.browser()
            .send(
                Method::GET,
                "/api/v1/datasets",
                None,
                &[("authorization", &bearer)],
            )
            .await
            .status
    };
    assert_eq!(get().await, StatusCode::OK);
    users::disable(&ctx.app.db, &ctx.clock, &carl.user, None)
        .await
        .unwrap();
    assert_eq!(get().await, StatusCode::UNAUTHORIZED);
    users::enable(&ctx.app.db, &ctx.clock, &carl.user, None)
        .await
        .unwrap();
    assert_eq!(get().await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        ctx.browser()
            .post(
                "/sign-in",
                &[("email", &carl.email), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn activity_counts_only_runs_of_what_one_may_see() {
    let ctx = TestContext::new().await;
    let olga = ctx.person("olga", Role::Editor).await;
    let account = ctx.account(&olga, "Support").await.id;
    let dataset = ctx.dataset(&olga, &account, "agents", "Private").await;
    let run = ctx
        .app
        .puller
        .run_now(&olga, &dataset, Trigger::Manual)
        .await
        .unwrap();
    let (_, mut stranger) = ctx.signed_in_person("ann", Role::Editor).await;
    let (_, mut admin) = ctx.signed_in_person("ada", Role::Admin).await;
    let figures = async |browser: &mut Browser| {
        let page = browser.get("/activity").await;
        (page.words(".facts"), page.words("main"))
    };
    let empty = figures(&mut stranger).await;
    assert_ne!(
        figures(&mut admin).await.0,
        empty.0,
        "somebody who may see it has it counted"
    );
    for (state, finished) in [("failed", true), ("succeeded", true), ("queued", false)] {
        let mut tx = ctx.app.db.write().await.unwrap();
        sqlx::query("UPDATE runs SET state = $1, finished_at = $2 WHERE id = $3")
            .bind(state)
            .bind(finished.then(|| ctx.clock.now()))
            .bind(&run.id)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(figures(&mut stranger).await, empty, "{state}");
    }
    ctx.app.datasets.share(&olga, &dataset, true).await.unwrap();
    assert_ne!(figures(&mut stranger).await.0, empty.0);
}

// ---- formulas ----

#[tokio::test]
async fn a_file_for_spreadsheets_says_how_many_cells_are_marked() {
    let words = [
        "Hi",
        "=1+1",
        "+47 22 00 00 00",
        "-5",
        "-x",
        "'quoted",
        "@ada",
        "",
        "\t",
    ];
    let chats: Vec<_> = words
        .iter()
        .enumerate()
        .map(|(number, word)| chat(&format!("{word}{number}"), NOON, word))
        .collect();
    let export_fixture = ExportFixture::of(TestContext::new().await, &chats).await;
    let mut browser = export_fixture.ctx.signed_in(&export_fixture.owner).await;
    let bearer = format!(
        "Bearer {}",
        export_fixture
            .ctx
            .token(&export_fixture.owner, Scope::Read)
            .await
    );
    let path = format!(
        "/datasets/{}/download?bom=1&formulas=guard",
        export_fixture.dataset
    );
    let page = browser.get(&path).await;
    let cells = |text: &str| {
        let mut lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        lines
            .records()
            .map(|line| {
                line.unwrap()
                    .iter()
                    .filter(|cell| cell.starts_with('\''))
                    .count()
            })
            .sum::<usize>()
            .to_string()
    };
    assert_eq!(
        (
            page.headers["x-chatlake-marked-cells"].to_str().unwrap(),
            cells(&page.text).as_str()
        ),
        ("6", "6"),
        "{}",
        page.text
    );
    for (query, wanted) in [
        ("?formulas=guard", Some("6")),
        ("?formulas=guard&columns=operators", Some("0")),
        ("", None),
    ] {
        let path = format!("/api/v1/datasets/{}/data{query}", export_fixture.dataset);
        let page = export_fixture
            .ctx
            .browser()
            .send(Method::GET, &path, None, &[("authorization", &bearer)])
            .await;
        assert_eq!(
            page.headers
                .get("x-chatlake-marked-cells")
                .map(|is_named| is_named.to_str().unwrap()),
            wanted,
            "{query}"
        );
    }
}

// ---- known holes ----

#[test]
fn the_audit_finds_a_version_with_a_known_hole_and_none_in_the_lock_file() {
    let root = env!("CARGO_MANIFEST_DIR");
    let audit = |lock: &str| {
        let ended = Command::new("python3")
            .arg(format!("{root}/bin/audit"))
            .args(["--lock", lock])
            .output()
            .unwrap();
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stdout).into_owned()
                + &*String::from_utf8_lossy(&ended.stderr),
        )
    };
    let (code, said) = audit(&format!("{root}/Cargo.lock"));
    assert_eq!(code, Some(0), "{said}");
    let of = |versions: &[(&str, &str)]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (name, version) in versions {
            writeln!(
                file,
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n"
            )
            .unwrap();
        }
        audit(file.path().to_str().unwrap())
    };
    let (code, said) = of(&[
        ("lettre", "0.11.23"),
        ("lettre", "0.10.0"),
        ("rustls-webpki", "0.103.9"),
        ("bytes", "1.2.0"),
    ]);
    assert_eq!(code, Some(1), "{said}");
    let starts = |with: &str| said.lines().any(|line| line.starts_with(with));
    for found in [
        "lettre 0.10.0: RUSTSEC-2026-0561",
        "lettre 0.10.0: RUSTSEC-2026-0562",
        "rustls-webpki 0.103.9: RUSTSEC-2026-0049",
    ] {
        assert!(starts(found), "{found}: {said}");
    }
    // What is accepted is told, and of that version alone.
    assert!(
        starts("Accepted: lettre 0.11.23: RUSTSEC-2026-0562") && !starts("lettre 0.11.23"),
        "{said}"
    );
    assert!(
        !said.contains("bytes") && !said.contains("lettre 0.10.0: RUSTSEC-2026-0141"),
        "{said}"
    );
    assert_eq!(
        of(&[
            ("lettre", "0.11.24"),
            ("lettre", "0.12.0-alpha.1"),
            ("bytes", "1.10.0-rc.1+x")
        ])
        .0,
        Some(1)
    );
    assert_eq!(
        of(&[
            ("lettre", "0.11.24"),
            ("lettre", "0.12.0-alpha.1"),
            ("parquet", "60.1.0")
        ])
        .0,
        Some(0)
    );
    assert_eq!(audit("/nowhere/Cargo.lock").0, Some(2));
}
