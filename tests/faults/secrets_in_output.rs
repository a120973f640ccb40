//! No output of the built binary contains a secret, however a vendor fails, and no metric names a
//! person.

use std::time::Duration;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::until_within;

/// A connector, for the search for secrets.
struct SecretSweep {
    connector: &'static str,
    login: &'static str,
    secret: &'static str,
    good: &'static str,
    report: &'static str,
}

const LIVECHAT: SecretSweep = SecretSweep {
    connector: "livechat",
    login: "username=agent@sandbox.test",
    secret: "api_key",
    good: "sandbox-key",
    report: "agents",
};

const LIVELEADER: SecretSweep = SecretSweep {
    connector: "liveleader",
    login: "email=operator@sandbox.test",
    secret: "password",
    good: "sandbox-password",
    report: "chats",
};

const CANARY: &str = "kanarie+geheim/4711=&%<é>~";

async fn check_that_no_output_has_secrets(of: &SecretSweep) {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(40).await);
    let server = data_dir
        .serve_with(&["--log", "trace", "--log-format", "json"])
        .await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let echo = echo_server().await;
    let (closed, account) = (
        closed_port().await,
        data_dir
            .run_with(&account_at(of, &email, &vendor.address), CANARY)
            .await
            .good(),
    );
    // The sandbox does not know the canary: 401. The others fail differently, or repeat the
    // request.
    let mut pulled = vec![("unauthorized", account)];
    for (name, address) in [
        ("echo", echo.as_str()),
        ("closed", closed.as_str()),
        ("no such host", "http://no-such-host.invalid"),
    ] {
        let id = data_dir
            .run_with(&account_at(of, &email, address), CANARY)
            .await;
        // A host that no setting allows cannot be saved.
        if id.code == 0 {
            pulled.push((name, id.good()));
        }
    }
    let good = data_dir
        .run_with(&account_at(of, &email, &vendor.address), of.good)
        .await
        .good();
    let redirect = FaultKind::Redirect {
        status: 302,
        to: format!("{echo}/?next={CANARY}"),
    };
    let faults = [
        FaultKind::Html,
        redirect,
        FaultKind::Status { status: 400 },
        FaultKind::HangUp,
        FaultKind::Shape {
            body: format!("[\"{CANARY}\""),
        },
    ];
    let mut failed = 0;
    for (name, account) in &pulled {
        let dataset = data_dir.dataset(&email, account, of.report).await;
        let run = server.run(&dataset, &token).await;
        let record = until_within(Duration::from_secs(150), name, async || {
            let run = server.get(&format!("/runs/{run}"), &token).await.1;
            (run["state"] == "failed").then_some(run)
        });
        assert_no_secret(CANARY, &record.await.to_string(), name);
        failed += 1;
        assert_no_secret(
            CANARY,
            &server
                .post(&format!("/accounts/{account}/check"), &token)
                .await
                .1
                .to_string(),
            name,
        );
        assert_no_secret(
            CANARY,
            &server
                .get(&format!("/accounts/{account}"), &token)
                .await
                .1
                .to_string(),
            name,
        );
    }
    assert!(failed >= 3, "{pulled:?}");
    for fault in faults {
        vendor.sandbox.faults().set(vec![Fault::new(fault.clone())]);
        let checked = server
            .post(&format!("/accounts/{good}/check"), &token)
            .await
            .1;
        assert_eq!(checked["ok"], false, "{fault:?}: {checked}");
        assert_no_secret(CANARY, &checked.to_string(), "a check");
    }
    // Canaries also in everything that a caller can send.
    for path in [
        format!("/api/v1/accounts?{}", "password=kanarie%2Bgeheim%2F4711"),
        "/set-up/kanarie-geheim-4711".to_owned(),
    ] {
        server
            .send("GET", &path, CANARY.trim_end_matches("é~"), None)
            .await;
    }
    let body = json!({"connector": of.connector, "name": "x", "credentials": {of.secret: CANARY, "more": CANARY},
        "api_url": format!("http://{CANARY}")});
    let refused = server
        .send("POST", "/api/v1/accounts", &token, Some(body))
        .await;
    assert_eq!(refused.status(), 422);
    assert_no_secret(
        CANARY,
        &refused.text().await.unwrap(),
        "an answer to a form",
    );
    let log = server.err();
    assert_no_secret(CANARY, &log, "the log");
    for plain in ["kanarie%2Bgeheim", "kanarie-geheim", &token, of.good] {
        assert!(!log.contains(plain), "the log holds {plain}");
    }
    assert!(log.lines().count() > 20, "the log is not at trace:\n{log}");
    for line in log.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok(),
            "no JSON line: {line}"
        );
    }
    let metrics = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    assert_no_secret(CANARY, &metrics, "the metrics");
    server.stop().await;
    for path in data_dir
        .listing()
        .into_keys()
        .filter(|path| path.is_file() && !path.ends_with("vault.key"))
    {
        assert_no_secret(
            CANARY,
            &String::from_utf8_lossy(&std::fs::read(&path).unwrap()),
            &path.display().to_string(),
        );
    }
}

fn account_at<'a>(of: &SecretSweep, email: &'a str, address: &'a str) -> Vec<&'a str> {
    let fixed = [
        "account",
        "add",
        "--connector",
        of.connector,
        "--name",
        "Other",
        "--field",
        of.login,
        "--requests-per-minute",
        "60000",
    ];
    [&fixed[..], &["--user", email, "--api-url", address]].concat()
}

/// Searches for the secret in plain and in encoded forms.
fn assert_no_secret(secret: &str, text: &str, place: &str) {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = url::Url::parse("http://x.test").map(|mut url| {
        url.set_path(secret);
        url.path()[1..].to_owned()
    });
    let basic = format!("agent@sandbox.test:{secret}");
    let json = serde_json::to_string(secret)
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let html = secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let debug = format!("{secret:?}").trim_matches('"').to_owned();
    let shapes = [
        secret.to_owned(),
        form,
        percent.clone(),
        percent.to_lowercase(),
        path.unwrap(),
        html,
        json,
        debug,
        STANDARD.encode(&basic),
        STANDARD_NO_PAD.encode(secret),
    ];
    for shape in shapes.into_iter().chain([
        URL_SAFE_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(&basic),
        secret[..16].to_owned(),
    ]) {
        assert!(
            !text.contains(&shape),
            "{place} holds the secret as {shape}"
        );
    }
}

/// A vendor that answers 400 with the request and its own address in the body.
async fn echo_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 * 1024];
                let length = stream.read(&mut buffer).await.unwrap_or(0);
                let (_, secret) = basic_credentials(&buffer[..length]);
                let body = format!("{}\n{secret}\n", String::from_utf8_lossy(&buffer[..length]));
                let answer = format!(
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

/// User and secret of the Basic credentials of a request.
fn basic_credentials(request: &[u8]) -> (String, String) {
    use base64::Engine;
    let text = String::from_utf8_lossy(request).into_owned();
    let basic = text.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .starts_with("authorization: basic ")
            .then(|| line[21..].trim().to_owned())
    });
    let query = text
        .split_whitespace()
        .nth(1)
        .and_then(|address| address.split_once('?'))
        .map(|(_, query)| query.to_owned())
        .unwrap_or_default();
    if let Some((_, password)) =
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "password")
    {
        return (String::new(), password.into_owned());
    }
    let plain = basic
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    plain
        .and_then(|text| {
            text.split_once(':')
                .map(|(user, secret)| (user.to_owned(), secret.to_owned()))
        })
        .unwrap_or_default()
}

async fn closed_port() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_gets_into_the_log_at_trace_however_a_vendor_fails() {
    check_that_no_output_has_secrets(&LIVECHAT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_in_an_address_gets_into_the_log_at_trace_however_a_vendor_fails() {
    check_that_no_output_has_secrets(&LIVELEADER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_machine_readable_and_name_no_person() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "read").await;
    server.get("/datasets", &token).await;
    server
        .send("GET", "/nobody@house.test?token=x", "", None)
        .await;
    let text = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut samples = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line
            .rsplit_once(' ')
            .unwrap_or_else(|| panic!("no sample: {line}"));
        assert!(
            name.starts_with("chatlake_") || name.starts_with("process_"),
            "{line}"
        );
        assert!(value.parse::<f64>().is_ok(), "{line}");
        samples += 1;
    }
    assert!(
        samples > 5 && text.contains("chatlake_answers_total"),
        "{text}"
    );
    assert!(
        !text.contains('@') && !text.contains("token=") && !text.contains(&email),
        "{text}"
    );
}
