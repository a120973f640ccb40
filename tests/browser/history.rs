//! Going back: somebody narrows what a DataSet asks for, does not like what came, and reverts; then looks which days are held.

use crate::machine::{Browser, House};

const EMAIL: &str = "maren@example.com";
const PASSWORD: &str = "seven wet umbrellas in Oslo";

#[tokio::test(flavor = "multi_thread")]
async fn somebody_goes_back_to_what_was_there_before() {
    let house = House::start(300);
    house.command(&["user", "add", "--email", EMAIL, "--name", "Maren Aasen", "--role", "admin"], PASSWORD);
    let account = ["account", "add", "--user", EMAIL, "--connector", "livechat", "--name", "Support Oslo", "--field", "username=agent@sandbox.test"];
    let at = ["--api-url", house.vendor.as_str(), "--requests-per-minute", "60000"];
    let account = house.command(&[&account[..], &at].concat(), "sandbox-key");
    let dataset = ["dataset", "create", "--user", EMAIL, "--name", "Chats", "--account", account.as_str(), "--report", "chat"];
    let dataset = house.command(&[&dataset[..], &["--start-days", "14", "--end-days", "1"]].concat(), "");
    house.command(&["dataset", "run", &dataset], "");
    house.command(&["dataset", "run", &dataset], "");
    let browser = Browser::start(1280, 1000).await;
    browser.sign_in(&house.url, EMAIL, PASSWORD).await;

    // The days, with the keyboard: a day is a link.
    browser.driver.goto(format!("{}/datasets/{dataset}/history", house.url)).await.unwrap();
    browser.until("document.querySelectorAll('a.cal-day.is-verified').length === 14").await;
    browser.until("document.querySelectorAll('.charts svg').length === 2").await;
    browser.see("a.cal-day").await.send_keys("\u{e007}").await.unwrap();
    browser.see(".facts .status.is-good").await;
    browser.read("Pull this day again").await;

    // Back to the first version: the question stands in a dialog, and Cancel leaves all as it is.
    browser.driver.goto(format!("{}/datasets/{dataset}/history", house.url)).await.unwrap();
    browser.click(".version-acts a[href$='/revert']").await;
    browser.see("dialog[open]").await;
    browser.until("document.activeElement.matches('[data-cancel]')").await;
    browser.click("dialog [data-cancel]").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.click(".version-acts a[href$='/revert']").await;
    browser.click("dialog form button").await;
    browser.see("[data-toast]").await;
    browser.read("back to version 1").await;
    browser.until("document.querySelector('.version-acts').closest('tr').textContent.includes('Maren Aasen, back to version 1')").await;

    // And a version that nobody wants goes.
    browser.click(".version-acts a[href$='/delete']").await;
    browser.click("dialog form button.is-danger").await;
    browser.read("Version 2 is deleted.").await;

    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
