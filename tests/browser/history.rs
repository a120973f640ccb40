//! Going back: somebody does not like what came, and reverts; then looks which days are held, and
//! fills a month that is not.

use std::time::Instant;

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::{Chromium, PAGE_TIMEOUT};

const EMAIL: &str = "maren@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn somebody_goes_back_to_what_was_there_before() {
    let server = TestServer::start(300).await;
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
    let account = [
        "account",
        "add",
        "--user",
        EMAIL,
        "--connector",
        "livechat",
        "--name",
        "Support Oslo",
        "--field",
        "username=agent@sandbox.test",
    ];
    let at = [
        "--api-url",
        server.vendor.as_str(),
        "--requests-per-minute",
        "60000",
    ];
    let account = server
        .command(&[&account[..], &at].concat(), "sandbox-key")
        .await;
    let dataset = [
        "dataset",
        "create",
        "--user",
        EMAIL,
        "--name",
        "Chats",
        "--account",
        account.as_str(),
        "--report",
        "chat",
    ];
    let dataset = server
        .command(
            &[&dataset[..], &["--start-days", "13", "--end-days", "1"]].concat(),
            "",
        )
        .await;
    server.command(&["dataset", "run", &dataset], "").await;
    // A day more is another version.
    server.set_start_days(EMAIL, &dataset, 14).await;
    server.command(&["dataset", "run", &dataset], "").await;
    let browser = Chromium::start(1280, 1000).await;
    browser.sign_in(&server.url, EMAIL, PASSWORD).await;

    // The days, with the keyboard: a day is a link.
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}/history", server.url))
        .await
        .unwrap();
    browser
        .until("document.querySelectorAll('a.cal-day.is-verified').length === 14")
        .await;
    browser
        .until("document.querySelectorAll('.charts svg[role=img]').length === 2")
        .await;
    browser
        .see("a.cal-day")
        .await
        .send_keys("\u{e007}")
        .await
        .unwrap();
    browser.see(".facts .status.is-good").await;
    browser.read("Backfill this day").await;

    // Back to the first version: the question stands in a dialog, and Cancel leaves all as it is.
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}/history", server.url))
        .await
        .unwrap();
    browser.click(".version-acts a[href$='/revert']").await;
    browser.see("dialog[open]").await;
    browser
        .until("document.activeElement.matches('[data-cancel]')")
        .await;
    browser.click("dialog [data-cancel]").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.click(".version-acts a[href$='/revert']").await;
    browser.click("dialog form button").await;
    browser.see("[data-toast]").await;
    browser.read("reverted to version 1").await;
    browser.until("document.querySelector('.version-acts').closest('tr').textContent.includes('Maren Aasen, reverted to version 1')").await;

    // And a version that nobody wants goes.
    browser.click(".version-acts a[href$='/delete']").await;
    browser.click("dialog form button.is-danger").await;
    browser.read("Version 2 deleted.").await;

    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_fills_a_month_and_goes_back() {
    let server = TestServer::start_with_delay(600, 40).await;
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
    let account = [
        "account",
        "add",
        "--user",
        EMAIL,
        "--connector",
        "livechat",
        "--name",
        "Support Oslo",
        "--field",
        "username=agent@sandbox.test",
    ];
    let at = [
        "--api-url",
        server.vendor.as_str(),
        "--requests-per-minute",
        "60000",
    ];
    let account = server
        .command(&[&account[..], &at].concat(), "sandbox-key")
        .await;
    let dataset = [
        "dataset",
        "create",
        "--user",
        EMAIL,
        "--name",
        "Chats",
        "--account",
        account.as_str(),
        "--report",
        "chat",
        "--update-mode",
        "merge",
    ];
    let dataset = server
        .command(
            &[&dataset[..], &["--start-days", "7", "--end-days", "1"]].concat(),
            "",
        )
        .await;
    server.command(&["dataset", "run", &dataset], "").await;
    let browser = Chromium::start(1280, 1000).await;
    browser.sign_in(&server.url, EMAIL, PASSWORD).await;
    let open = async |tab: &str| {
        browser
            .driver
            .goto(format!("{}/datasets/{dataset}/{tab}", server.url))
            .await
            .unwrap()
    };
    let held = |days: usize| {
        format!("document.querySelectorAll('a.cal-day.is-verified').length === {days}")
    };

    open("history").await;
    browser.until(&held(7)).await;
    browser.click("a.button[href$='/backfill']").await;
    // The month before, as the browser's own date fields take it.
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    for (field, back) in [("from", 37), ("to", 8)] {
        let day = today.saturating_sub(jiff::Span::new().days(back));
        browser.see(&format!("#{field}")).await;
        browser
            .driver
            .execute(
                format!("document.querySelector('#{field}').value = '{day}'"),
                vec![],
            )
            .await
            .unwrap();
    }
    browser.fill("#chunk_days", "10").await;
    browser.click("form[action$='/backfill'] button").await;
    browser.read("Backfill started").await;
    // How far it is, from chunk to chunk.
    let deadline = Instant::now() + PAGE_TIMEOUT;
    let mut seen = Vec::new();
    while seen.last() != Some(&100) {
        open("backfill").await;
        browser
            .see("section[aria-label='Latest backfill'] progress")
            .await;
        let value = browser
            .driver
            .execute(
                "return document.querySelector('main progress[aria-label$=\"date ranges\"]').value",
                vec![],
            )
            .await
            .unwrap();
        seen.push(value.convert::<u64>().unwrap());
        assert!(
            Instant::now() < deadline,
            "it does not come to its end: {seen:?}"
        );
    }
    assert!(seen.is_sorted() && seen[0] < 100, "{seen:?}");
    browser.read("3 of 3 date ranges").await;
    browser
        .see("section[aria-label='Latest backfill'] .is-good")
        .await;

    open("coverage").await;
    browser.until(&held(37)).await;
    browser.read("Every day was pulled.").await;

    // Back to what was there before.
    open("history").await;
    browser.click(".version-acts a[href$='/revert']").await;
    browser.click("dialog form button").await;
    browser.read("reverted to version 1").await;
    open("coverage").await;
    browser.until(&held(7)).await;

    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
