//! Pages that stay open: they follow a run without losing what somebody is doing on them, and the
//! columns of a table take the widths that somebody gives them.

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::Chromium;

const EMAIL: &str = "maren@example.com";

/// Somebody who is signed in, and the id of a DataSet of theirs that asks for 30 days, one call or
/// more a day.
async fn signed_in_with_dataset(server: &TestServer) -> (Chromium, String) {
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
            &[&dataset[..], &["--start-days", "30", "--end-days", "1"]].concat(),
            "",
        )
        .await;
    let browser = Chromium::start(1280, 1000).await;
    browser.sign_in(&server.url, EMAIL, PASSWORD).await;
    (browser, dataset)
}

async fn run(browser: &Chromium, script: &str) {
    browser.driver.execute(script, vec![]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_open_follows_a_run_and_keeps_what_somebody_is_doing() {
    let server = TestServer::start_with_delay(600, 700).await;
    let (browser, dataset) = signed_in_with_dataset(&server).await;

    // The list: begun from a row's menu, followed without loading the page again.
    browser
        .driver
        .goto(format!("{}/datasets", server.url))
        .await
        .unwrap();
    browser.click("tr[data-row] details.menu summary").await;
    browser.click("tr[data-row] form[data-run] button").await;
    browser.see("run-progress").await;
    browser
        .driver
        .goto(format!("{}/datasets", server.url))
        .await
        .unwrap();
    browser
        .see("tr[data-row] .status-cell .status.is-info")
        .await;
    run(
        &browser,
        "window.mark = 'here'; document.querySelector('tr[data-row] a.name').focus()",
    )
    .await;
    browser
        .see("tr[data-row] .status-cell .status.is-good")
        .await;
    browser
        .until("window.mark === 'here' && document.activeElement.matches('tr[data-row] a.name')")
        .await;
    browser
        .until("document.querySelector('tr[data-row] .rows-cell').textContent !== '–'")
        .await;
    browser
        .until("!document.querySelector('tr[data-row] form[data-run] button').disabled")
        .await;

    // The DataSet's page: it waits for whoever types into it, and no longer.
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}", server.url))
        .await
        .unwrap();
    browser.click("[data-run-now]").await;
    browser.see("run-progress").await;
    run(
        &browser,
        "window.mark = 'here'; document.querySelector('[data-search]').focus()",
    )
    .await;
    browser.see("run-progress [data-part=status].is-good").await;
    browser
        .until("document.querySelector('run-progress').waiting")
        .await;
    // It is one state everywhere: what stands above the tabs is as new as the strip, and nothing
    // was loaded anew.
    browser
        .until(
            "document.querySelector('.head .facts .status.is-good')?.textContent === 'Up to date'",
        )
        .await;
    browser
        .until("window.mark === 'here' && !document.querySelector('[data-run-now]').disabled")
        .await;
    // A press beside the field, as people leave one.
    browser.click("h1").await;
    browser.until("window.mark === undefined").await;

    // Stop is asked; while the run goes to its end, strip and head say the same.
    browser.click("[data-run-now]").await;
    browser.click("run-progress [data-part=stop]").await;
    browser.see("dialog[open]").await;
    browser.read("Cancel the run of “Chats”?").await;
    browser
        .until("document.activeElement.matches('[data-cancel]')")
        .await;
    browser.click("dialog [data-cancel]").await;
    browser
        .until(
            "document.querySelector('.head [data-run-status] .status').textContent === \
        document.querySelector('[data-part=status]').textContent",
        )
        .await;
    browser.click("run-progress [data-part=stop]").await;
    browser.click("dialog form button.is-danger").await;
    browser.until("!document.querySelector('run-progress') && document.querySelector('.head .status').textContent === 'Up to date'").await;
    browser.see("[data-run-now]:not([disabled])").await;

    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}

async fn width(browser: &Chromium, column: usize) -> f64 {
    let script = format!(
        "return document.querySelectorAll('table.data thead th')[{column}].getBoundingClientRect().width"
    );
    browser
        .driver
        .execute(script, vec![])
        .await
        .unwrap()
        .convert()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edges_of_columns_are_dragged_and_moved_with_the_arrow_keys() {
    const RIGHT: &str = "\u{e014}";
    const ENTER: &str = "\u{e007}";
    let server = TestServer::start(300).await;
    let (browser, dataset) = signed_in_with_dataset(&server).await;
    server.command(&["dataset", "run", &dataset], "").await;
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}/data", server.url))
        .await
        .unwrap();
    let edge = browser
        .see("table.data thead th:nth-child(1) [role=separator]")
        .await;
    assert_eq!(
        edge.attr("aria-label").await.unwrap().as_deref(),
        Some("Width of id")
    );
    let (first, second) = (width(&browser, 0).await, width(&browser, 1).await);
    edge.send_keys(RIGHT).await.unwrap();
    let moved = width(&browser, 0).await;
    assert!(
        (15.0..=17.0).contains(&(moved - first)),
        "{first} became {moved}"
    );
    assert!(
        (width(&browser, 1).await - second).abs() < 1.0,
        "its neighbour stays as it is"
    );
    assert_eq!(
        edge.attr("aria-valuenow").await.unwrap(),
        Some(moved.round().to_string())
    );
    browser
        .driver
        .action_chain()
        .drag_and_drop_element_by_offset(&edge, 60, 0)
        .release()
        .perform()
        .await
        .unwrap();
    let dragged = width(&browser, 0).await;
    assert!(
        (58.0..=62.0).contains(&(dragged - moved)),
        "{moved} became {dragged}"
    );
    edge.send_keys(ENTER).await.unwrap();
    assert!((width(&browser, 0).await - first).abs() < 1.0, "as it was");

    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
