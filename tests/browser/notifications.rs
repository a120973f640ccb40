//! A DataSet fails, its owner is told and sees why, mends it, and is told that it works again.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::harness::{Browser, TIMEOUT, TestServer};

const PASSWORD: &str = "seven wet umbrellas in Oslo";

/// Takes webhooks and keeps what was posted.
fn webhook_listener() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/services/team", listener.local_addr().unwrap());
    let posts = Arc::new(Mutex::new(Vec::new()));
    let posts_of_thread = posts.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut text, mut piece) = (Vec::new(), [0; 4_096]);
            // The body is JSON and ends so.
            while !text.ends_with(b"}") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => text.extend_from_slice(&piece[..count]),
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            posts_of_thread
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&text).into_owned());
        }
    });
    (address, posts)
}

async fn wait_for_post(posts: &Mutex<Vec<String>>, words: &str) {
    let deadline = Instant::now() + TIMEOUT;
    while !posts
        .lock()
        .unwrap()
        .iter()
        .any(|post| post.contains(words))
    {
        assert!(
            Instant::now() < deadline,
            "nobody was told {words}: {:?}",
            posts.lock().unwrap()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_dataset_notifies_is_fixed_and_notifies_recovery() {
    let server = TestServer::start(50);
    let (address, posts) = webhook_listener();
    server.command(
        &[
            "user",
            "add",
            "--email",
            "maren@example.com",
            "--name",
            "Maren Aasen",
            "--role",
            "admin",
        ],
        PASSWORD,
    );
    let add = [
        "account",
        "add",
        "--user",
        "maren@example.com",
        "--connector",
        "livechat",
        "--name",
        "Support",
        "--field",
        "username=agent@sandbox.test",
    ];
    let account = server.command(
        &[&add[..], &["--api-url", &server.vendor]].concat(),
        "a key that was withdrawn",
    );
    let create = [
        "dataset",
        "create",
        "--user",
        "maren@example.com",
        "--name",
        "Agents",
        "--report",
        "agents",
        "--account",
        &account,
    ];
    let dataset = server.command(&create, "");
    let browser = Browser::start(1280, 1000).await;
    browser
        .sign_in(&server.url, "maren@example.com", PASSWORD)
        .await;

    // A webhook for the whole server, and a DataSet that chooses it.
    browser
        .driver
        .goto(format!("{}/settings/notifications", server.url))
        .await
        .unwrap();
    browser.fill("#name", "Team chat").await;
    browser.fill("#address", &address).await;
    browser
        .click("form[action='/settings/notifications/webhooks'] button:not([data-show-secret])")
        .await;
    browser.see("#webhook-secret").await;
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}/settings", server.url))
        .await
        .unwrap();
    browser.click("#notifications input[name=webhook]").await;
    browser.click("#notifications form p button").await;
    browser.read("Notifications saved.").await;

    // It fails, the page says who must act, and the team is told.
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}", server.url))
        .await
        .unwrap();
    browser.click("[data-run-now]").await;
    browser
        .read("LiveChat rejected the credentials of “Support”.")
        .await;
    wait_for_post(&posts, "“Agents” failed.").await;

    // Mended where the page leads.
    browser.click(".band a[href*='/edit']").await;
    browser
        .fill("[name='credentials.api_key']", "sandbox-key")
        .await;
    browser.click("main form button.is-primary").await;
    browser.see("table.accounts").await;
    // What failed meanwhile is run from there.
    browser.read("“Support” works again").await;
    browser
        .click(".band form[action$='/run-failed'] button")
        .await;
    browser.read("1 run started.").await;
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}", server.url))
        .await
        .unwrap();
    browser.read("Up to date").await;
    wait_for_post(&posts, "“Agents” is up to date again.").await;
    browser
        .driver
        .goto(format!("{}/settings/notifications", server.url))
        .await
        .unwrap();
    browser.read("“Agents” is up to date again").await;
    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
