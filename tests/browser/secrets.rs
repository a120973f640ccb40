//! A secret that was typed stays in the open form while it is not saved, and in no page that the
//! server makes.

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::Chromium;

const EMAIL: &str = "maren@example.com";
const KEY: &str = "[name='credentials.api_key']";

async fn value(browser: &Chromium, css: &str) -> String {
    browser
        .see(css)
        .await
        .prop("value")
        .await
        .unwrap()
        .unwrap_or_default()
}

/// An address of this machine at which nobody listens.
fn closed_address() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    format!("http://{free}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_typed_once_whatever_goes_wrong_on_the_way() {
    let server = TestServer::start(50).await;
    server
        .command(
            &[
                "user",
                "add",
                "--email",
                EMAIL,
                "--name",
                "Maren Aasen",
                "--role",
                "admin",
            ],
            PASSWORD,
        )
        .await;
    let browser = Chromium::start(1280, 1000).await;
    browser.sign_in(&server.url, EMAIL, PASSWORD).await;

    // The wizard: nobody listens at the address, which is said beside it. All that was typed is
    // still there.
    browser
        .driver
        .goto(format!("{}/connect/livechat", server.url))
        .await
        .unwrap();
    browser.fill("[name=account_name]", "Support Oslo").await;
    browser
        .fill("[name='credentials.username']", "agent@sandbox.test")
        .await;
    browser.fill(KEY, "sandbox-key").await;
    browser
        .click("[data-pane=credentials] details summary")
        .await;
    browser.fill("[name=api_url]", &closed_address()).await;
    browser
        .driver
        .execute("window.mark = 'here'", vec![])
        .await
        .unwrap();
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;
    browser.read("Check the API URL.").await;
    browser.until("window.mark === 'here'").await;
    assert_eq!(value(&browser, KEY).await, "sandbox-key");
    assert_eq!(value(&browser, "[name=account_name]").await, "Support Oslo");
    assert_eq!(
        browser.text("#api_url-wrong").await,
        "Could not reach LiveChat: the connection was refused. Check the API URL."
    );

    // A key that the vendor rejects stays in the field, selected; a space at its end is shown while
    // it is typed.
    browser.fill("[name=api_url]", &server.vendor).await;
    browser.fill(KEY, "sandbox-key ").await;
    browser.see("[data-spaces]").await;
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;
    browser.read("LiveChat rejected these credentials. API Key ends with a space. Check whether this is correct.").await;
    assert_eq!(value(&browser, KEY).await, "sandbox-key ");
    browser
        .until(&format!("document.activeElement.matches(\"{KEY}\")"))
        .await;
    browser.fill(KEY, "sandbox-key").await;
    browser
        .until("document.querySelector('[data-spaces]').hidden")
        .await;
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;
    browser.see("[data-pane=details] .pane-foot button").await;

    // The form of an account does the same, also when it is Chatlake that does not answer.
    browser
        .driver
        .goto(format!("{}/accounts", server.url))
        .await
        .unwrap();
    browser.click("table.accounts a.name").await;
    browser.fill(KEY, "dal:sandbox-token").await;
    browser
        .driver
        .execute("window.mark = 'here'; window.real = window.fetch; window.fetch = () => Promise.reject(new TypeError('offline'))", vec![])
        .await
        .unwrap();
    browser.click("main form button.is-primary").await;
    browser.read("Chatlake did not answer.").await;
    assert_eq!(value(&browser, KEY).await, "dal:sandbox-token");
    browser
        .driver
        .execute("window.fetch = window.real", vec![])
        .await
        .unwrap();
    browser.fill("#requests_per_minute", "many").await;
    browser.click("main form button.is-primary").await;
    browser.see("#requests_per_minute-wrong").await;
    browser.until("window.mark === 'here'").await;
    assert_eq!(value(&browser, KEY).await, "dal:sandbox-token");
    browser.fill("#requests_per_minute", "60000").await;
    browser.click("main form button.is-primary").await;
    browser.see("table.accounts").await;
    browser.read("is saved and connected: ").await;

    // So does the form of the mail server, for a mistake in another field.
    browser
        .driver
        .goto(format!("{}/settings/notifications", server.url))
        .await
        .unwrap();
    browser.fill("[name=host]", "mail.example.com").await;
    browser.fill("[name=username]", "chatlake").await;
    browser.fill("[name=password]", "correct horse ").await;
    browser.see("[data-spaces]").await;
    browser.fill("[name=sender]", "nobody").await;
    browser
        .click("form[data-keeps-secret] button.is-primary")
        .await;
    browser.see("#sender-wrong").await;
    assert_eq!(value(&browser, "[name=password]").await, "correct horse ");
    browser.see("[data-spaces]").await;
    browser
        .until("document.activeElement.name === 'sender'")
        .await;

    // The vendor's 422 is in the browser's log, and nothing else.
    let complaints: Vec<String> = browser
        .console_errors()
        .await
        .into_iter()
        .filter(|line| !line.contains("status of 422"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
