//! A DataSet fails, its owner is notified and sees why, fixes it, and is notified that it works again.

use crate::support::mail::WebhookListener;
use crate::support::test_server::TestServer;
use crate::support::{PASSWORD, until_within};
use crate::webdriver::{Chromium, PAGE_TIMEOUT};

async fn wait_for_post(listener: &WebhookListener, words: &str) {
    until_within(PAGE_TIMEOUT, words, async || {
        let posts = listener.all();
        posts
            .iter()
            .any(|(_, body, _)| body.contains(words))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_dataset_notifies_is_fixed_and_notifies_recovery() {
    let server = TestServer::start(50).await;
    let listener = WebhookListener::new().await;
    let address = format!("{}/services/team", listener.address);
    server
        .command(
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
        )
        .await;
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
    let account = server
        .command(
            &[&add[..], &["--api-url", &server.vendor]].concat(),
            "a key that was withdrawn",
        )
        .await;
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
    let dataset = server.command(&create, "").await;
    let browser = Chromium::start(1280, 1000).await;
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

    // It fails, the page says who must act, and the team is notified.
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}", server.url))
        .await
        .unwrap();
    browser.click("[data-run-now]").await;
    browser
        .read("LiveChat rejected the credentials of “Support”.")
        .await;
    wait_for_post(&listener, "“Agents” failed.").await;

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
    wait_for_post(&listener, "“Agents” is up to date again.").await;
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
