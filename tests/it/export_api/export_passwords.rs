//! Export passwords are shown once, and never logged.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatlake::actor::Role;
use chatlake::auth::users;
use chatlake::db::Db;
use chatlake::ids::{DatasetId, UserId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::data_dir::DataDir;
use crate::support::exports::{CLASSIC, ExportFixture, basic, chat};
use crate::support::server::Server;
use crate::support::{DAY, NOON};

#[tokio::test]
async fn an_export_password_is_created_shown_once_and_revoked_on_the_own_page() {
    let export_fixture = ExportFixture::new(&[chat("1", NOON - DAY, "Hi")]).await;
    let viewer = export_fixture.ctx.person("vic", Role::Viewer).await;
    export_fixture
        .ctx
        .app
        .datasets
        .share(&export_fixture.admin, &export_fixture.dataset, true)
        .await
        .unwrap();
    let mut browser = export_fixture.ctx.signed_in(&viewer).await;
    let page = browser.get("/me").await;
    assert!(
        page.words("#export-passwords")
            .contains("http://127.0.0.1:8080/a/Srv"),
        "{}",
        page.words("#export-passwords")
    );
    for (name, days, field) in [
        ("", "90", "export_name"),
        ("x", "0", "days"),
        ("x", "367", "days"),
        ("x", "many", "days"),
    ] {
        let page = browser
            .post(
                "/me/export-passwords",
                &[("export_name", name), ("days", days)],
            )
            .await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            !page.wrong(field).is_empty()
                && page.attribute("#days", "value").as_deref() == Some(days),
            "{field}: {}",
            page.text
        );
    }
    let made = browser
        .post(
            "/me/export-passwords",
            &[("export_name", "billing <script>"), ("days", "7")],
        )
        .await;
    let text = made.words("#export-password");
    assert!(
        made.status == StatusCode::OK && text.starts_with("clx_"),
        "{}",
        made.text
    );
    let page = browser.get("/me").await;
    assert!(
        !page.text.contains(&text) && page.words("#export-passwords td b") == "billing <script>",
        "{}",
        page.text
    );
    let header = basic("vic@house.test", &text);
    let ask = async || {
        export_fixture
            .ask(
                "GET",
                &format!("/a/Srv?{CLASSIC}"),
                &[("authorization", &header)],
                "",
            )
            .await
            .status
    };
    assert_eq!(ask().await, 200);
    assert!(
        browser
            .get("/me")
            .await
            .words("#export-passwords tbody")
            .contains("just now")
    );
    let open = export_fixture
        .ask_from(
            "203.0.113.7",
            "GET",
            &format!("/a/Srv?{CLASSIC}"),
            &[("authorization", &header)],
            "",
        )
        .await;
    assert_eq!(open.status, 403);
    assert!(
        browser
            .get("/me")
            .await
            .words("#export-passwords tbody")
            .contains("Exposed")
    );
    let revoke = page.attribute("#export-passwords tbody a", "href").unwrap();
    assert!(
        browser
            .submit(&revoke, &[])
            .await
            .words("#export-passwords tbody")
            .contains("Revoked")
    );
    assert_eq!(ask().await, 401);
    let trail = export_fixture.audit_trail().await;
    for expected in [
        "export_password.create done",
        "export_password.revoke done",
        "export.read done",
        "export.read refused",
    ] {
        assert!(
            trail.iter().any(|line| line == expected),
            "{expected}: {trail:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_logged_at_trace_however_it_is_sent() {
    const CANARY: &str = "kanarie-geheim-4711";
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let server = data_dir
        .serve_with(&[
            "--log",
            "trace",
            "--log-format",
            "json",
            "--trusted-proxy",
            "127.0.0.1/32",
        ])
        .await;
    let db = Db::open(&data_dir.catalogue()).await.unwrap();
    publish_an_empty_one(
        &db,
        &users::by_email(&db, &email).await.unwrap().unwrap().id,
    )
    .await;
    let good = data_dir
        .run(&[
            "export-password",
            "create",
            "--user",
            &email,
            "--name",
            "script",
        ])
        .await
        .good();
    let good = good.as_str();
    let (long, form) = (
        format!("{CANARY}{}", "x".repeat(8_192)),
        "Content-Type: application/x-www-form-urlencoded",
    );
    let queries = [
        format!("a=export&email={email}&password={CANARY}&start=x&stop=y"),
        format!("a=export&email={email}password={CANARY}&start=x&stop=y"),
        format!("a=export;email={email};password={CANARY};start=x;stop=y"),
        format!("a=export&email={email}&password={CANARY}&password={CANARY}"),
        format!("a=export&email={email}&PASSWORD={CANARY}"),
        format!("a=export&email={email}&Password={CANARY}&start={CANARY}"),
        format!("a=export&email={email}&password={CANARY}#fragment-{CANARY}"),
        format!("a=export&email={email}&password={CANARY}%"),
        format!("a=export&email={email}&password={CANARY}%zz"),
        format!("a=export&email={email}&password={CANARY}%00"),
        format!("a=export&email={email}&password={CANARY}%FF"),
        format!("a=export&email={email}&password={long}"),
        format!("a={CANARY}"),
        CANARY.to_owned(),
        format!("?password={CANARY}"),
        format!("a=export&email={CANARY}&password={CANARY}"),
        format!("a=export&email={CANARY}"),
        format!("a=export&{CANARY}=x&password[]={CANARY}"),
        format!("a=export&email={email}&password={CANARY}&start={CANARY}&stop={CANARY}"),
        format!("{CLASSIC}&email={email}&password={CANARY}"),
        format!("{CLASSIC}&email={email}&password={good}"),
        format!("{CLASSIC}&email={email}&password={good}&password={good}"),
        format!("a=export&password={CANARY} with a space"),
    ];
    let mut requests: Vec<String> = Vec::new();
    for query in &queries {
        requests.push(format!("GET /a/Srv?{query} HTTP/1.1\r\n"));
        requests.push(format!("GET /a/Srv?{query} HTTP/1.1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\n"));
        requests.push(format!(
            "POST /a/srv HTTP/1.1\r\n{form}\r\nContent-Length: {}\r\n\r\n{query}",
            query.len()
        ));
    }
    let body = format!("{{\"password\": \"{CANARY}\"}}");
    requests.push(format!("POST /a/Srv HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    requests.push(format!(
        "POST /a/Srv HTTP/1.1\r\n{form}\r\nContent-Length: 200\r\n\r\npassword={CANARY}"
    ));
    requests.push(format!("DELETE /a/Srv?password={CANARY} HTTP/1.1\r\n"));
    requests.push(format!(
        "GET /a/Srv?password={CANARY} HTTP/1.1\r\nHost: elsewhere.test\r\n"
    ));
    requests.push(format!(
        "GET /a/Srv/{CANARY}?password={CANARY} HTTP/1.1\r\n"
    ));
    for header in [
        basic(&email, CANARY),
        format!("Basic {CANARY}"),
        format!("Bearer {CANARY}"),
        format!("Digest {CANARY}"),
        format!("Bearer {good}"),
    ] {
        requests.push(format!(
            "GET /a/Srv?{CLASSIC} HTTP/1.1\r\nAuthorization: {header}\r\n"
        ));
    }
    assert!(requests.len() >= 60);
    let mut statuses = std::collections::BTreeMap::new();
    for request in requests {
        let said = raw(&server, &request).await;
        assert!(
            !said.contains(CANARY) && !said.contains(good),
            "an answer repeats it: {said}"
        );
        *statuses
            .entry(said.get(9..12).unwrap_or("none").to_owned())
            .or_insert(0) += 1;
    }
    for status in [
        "200", "400", "401", "403", "405", "413", "414", "415", "421", "429",
    ] {
        // 413 needs a longer body than any of these.
        assert!(
            status == "413" || statuses.contains_key(status),
            "{status}: {statuses:?}"
        );
    }
    let listed = data_dir
        .run(&["export-password", "list", "--json"])
        .await
        .json();
    assert!(
        listed[0]["exposed_at"].is_i64()
            && listed[0]["last_used_at"].is_i64()
            && !listed.to_string().contains(good),
        "{listed}"
    );
    let classic = format!("GET /a/Srv?{CLASSIC}&email={email}&password={good} HTTP/1.1\r\n");
    assert!(raw(&server, &classic).await.starts_with("HTTP/1.1 200"));
    data_dir
        .run(&[
            "export-password",
            "revoke",
            listed[0]["id"].as_str().unwrap(),
        ])
        .await
        .good();
    assert!(!raw(&server, &classic).await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        data_dir
            .run(&["export-password", "revoke", "xpw_1"])
            .await
            .code,
        1
    );
    let metrics = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    let log = server.err();
    server.stop().await;
    assert!(
        log.lines().count() > 60 && log.contains("/a/Srv"),
        "the log is not at trace:\n{log}"
    );
    let encoded = [
        STANDARD.encode(format!("{email}:{CANARY}")),
        STANDARD.encode(format!("{email}:{good}")),
    ];
    for text in [
        CANARY,
        good,
        "password=",
        "email=",
        &encoded[0],
        &encoded[1],
    ] {
        assert!(
            !log.contains(text),
            "the log holds {text}: {}",
            log.lines().find(|line| line.contains(text)).unwrap()
        );
        assert!(!metrics.contains(text), "the metrics hold {text}");
    }
    for path in data_dir.listing().into_keys().filter(|path| path.is_file()) {
        let bytes = std::fs::read(&path).unwrap();
        for secret in [CANARY, good] {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|some| some == secret.as_bytes()),
                "{} holds {secret}",
                path.display()
            );
        }
    }
}

async fn publish_an_empty_one(db: &Db, owner: &UserId) {
    let mut tx = db.write().await.unwrap();
    sqlx::query(
        "INSERT INTO datasets (id, owner_id, connector, report, name, description, menus, update_mode, time_zone, published, \
         created_at, updated_at)
         VALUES ($1, $2, 'liveleader', 'chats', 'Chats', '', '{}', 'replace', 'UTC', 1, 0, 0)",
    )
    .bind(DatasetId::new())
    .bind(owner)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// Sends the bytes of a request, and reads until the server closes the connection.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let (head, body) = request
        .split_once("\r\n\r\n")
        .unwrap_or((request.trim_end_matches("\r\n"), ""));
    let host = if head.contains("\r\nHost:") {
        String::new()
    } else {
        format!("Host: {}\r\n", server.address())
    };
    stream
        .write_all(format!("{head}\r\n{host}Connection: close\r\n\r\n{body}").as_bytes())
        .await
        .unwrap();
    if head.contains("Content-Length: 200") {
        // There is no more.
        let _ = stream.shutdown().await;
    }
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut bytes))
        .await
        .expect("it answers");
    String::from_utf8_lossy(&bytes).into_owned()
}
