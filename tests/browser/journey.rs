//! The main job as a newcomer does it: from the set-up link to a downloaded file that holds what
//! the vendor holds.

use serde_json::Value;

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::{Chromium, PAGE_TIMEOUT};

#[tokio::test(flavor = "multi_thread")]
async fn from_the_set_up_link_to_a_downloaded_csv() {
    let server = TestServer::start(2_000).await;
    let browser = Chromium::start(1280, 1000).await;

    // The first admin.
    browser.driver.goto(&server.set_up).await.unwrap();
    browser.fill("#name", "Maren Aasen").await;
    browser.fill("#email", "maren@example.com").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("form button.is-primary").await;
    // Whoever has been made may have to sign in with what was chosen.
    if browser
        .driver
        .current_url()
        .await
        .unwrap()
        .path()
        .contains("sign-in")
    {
        browser.fill("#email", "maren@example.com").await;
        browser.fill("#password", PASSWORD).await;
        browser.click("form button.is-primary").await;
    }
    browser.read("No DataSets yet").await;

    // Credentials.
    browser
        .driver
        .goto(format!("{}/connect/livechat", server.url))
        .await
        .unwrap();
    browser.fill("[name=account_name]", "Support Oslo").await;
    browser
        .fill("[name='credentials.username']", "agent@sandbox.test")
        .await;
    browser
        .fill("[name='credentials.api_key']", "a wrong key")
        .await;
    browser
        .click("[data-pane=credentials] details summary")
        .await;
    browser.fill("[name=api_url]", &server.vendor).await;
    browser.fill("[name=requests_per_minute]", "60000").await;
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;
    browser.see("[data-pane=credentials] .wrong").await;
    browser
        .fill("[name='credentials.api_key']", "sandbox-key")
        .await;
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;

    // Details.
    let report = browser.see("[data-pane=details] [name=start_days]").await;
    assert!(report.is_displayed().await.unwrap());
    browser
        .driver
        .execute(
            "document.getElementById('report').value = 'chat'; \
            document.getElementById('report').dispatchEvent(new Event('change', {bubbles: true}));",
            vec![],
        )
        .await
        .unwrap();
    browser.fill("[name=start_days]", "1").await;
    browser.fill("[name=end_days]", "14").await;
    browser.click("[data-pane=details] .pane-foot button").await;
    browser
        .read("End Days must be 1 or less (Start Days is 1).")
        .await;
    browser.fill("[name=start_days]", "14").await;
    browser.fill("[name=end_days]", "1").await;
    browser.click("#preview button[value=preview]").await;
    browser.see("#preview table.data td[data-value]").await;
    // A preview belongs to what was asked for it.
    browser.fill("[name=start_days]", "13").await;
    browser.see("#preview .preview.is-stale").await;
    browser
        .read("The settings changed. Reload the preview.")
        .await;
    browser.fill("[name=start_days]", "14").await;
    browser
        .see("#preview .preview:not(.is-stale) table.data")
        .await;
    browser.click("[data-pane=details] .pane-foot button").await;

    // Scheduling.
    browser
        .see("[data-pane=scheduling] .pane-foot button")
        .await;
    browser
        .driver
        .execute(
            "const zone = document.querySelector('select[name=time_zone]'); zone.value = \
        'Europe/Oslo'; zone.dispatchEvent(new Event('change', {bubbles: true}));",
            vec![],
        )
        .await
        .unwrap();
    browser
        .click("[data-pane=scheduling] .pane-foot button")
        .await;

    // Name & Describe Your DataSet.
    browser.fill("[name=name]", "Chats, last 14 days").await;
    browser
        .click("[data-pane=name] .pane-foot button.is-primary")
        .await;

    // The first run, watched to its end.
    browser.read("Chats, last 14 days").await;
    browser.read("Up to date").await;
    let dataset = browser.driver.current_url().await.unwrap();
    let dataset = format!("{}{}", server.url, dataset.path());

    // Out, and in again with what was chosen.
    browser.click(".topbar details.menu summary").await;
    browser.click("form[action='/sign-out'] button").await;
    browser.see("form[action='/sign-in']").await;
    browser.driver.goto(&dataset).await.unwrap();
    browser.see("form[action='/sign-in']").await;
    browser
        .sign_in(&server.url, "maren@example.com", PASSWORD)
        .await;
    browser.read("Chats, last 14 days").await;

    // The rows on the page are those of the file, and the file holds what the vendor says it holds.
    browser
        .driver
        .goto(format!("{dataset}/data"))
        .await
        .unwrap();
    browser.see("table.data td[data-value]").await;
    let cells = "return [...document.querySelectorAll('table.data tbody td[data-value]')].map((cell) => cell.dataset.value)";
    let cells: Vec<String> = browser
        .driver
        .execute(cells, vec![])
        .await
        .unwrap()
        .convert()
        .unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PAGE_TIMEOUT)
        .build()
        .unwrap();
    browser
        .click(".head-actions details.menu:not(.is-dots) summary")
        .await;
    browser
        .click(".head-actions .menu-list a[href*='/download']:not([href*='bom'])")
        .await;
    let (name, body) = browser.downloaded().await;
    assert_eq!(name, "Chats, last 14 days.csv");
    let mut reader = csv::Reader::from_reader(body.as_bytes());
    let columns = reader.headers().unwrap().len();
    let started = reader
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "started_timestamp")
        .unwrap();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let mut newest: Vec<&csv::StringRecord> = records.iter().collect();
    newest.sort_by_key(|record| std::cmp::Reverse(record[started].to_owned()));
    let first: Vec<&str> = newest.into_iter().take(100).flatten().collect();
    assert_eq!(
        cells.len(),
        first.len(),
        "the page shows the newest hundred rows with all {columns} columns"
    );
    assert_eq!(cells, first);

    let today: jiff::Zoned = chatlake::clock::Clock::system()
        .timestamp()
        .in_tz("Europe/Oslo")
        .unwrap();
    let day = |back: i64| today.date().saturating_sub(jiff::Span::new().days(back));
    let truth = format!(
        "{}/__truth?report=chat&date_from={}&date_to={}&timezone=Europe/Oslo&ids=1",
        server.vendor,
        day(14),
        day(1)
    );
    let truth: Value = serde_json::from_str(
        &client
            .get(truth)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    let mut held: Vec<String> = truth["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    let mut pulled: Vec<String> = records.iter().map(|record| record[0].to_owned()).collect();
    held.sort();
    pulled.sort();
    assert_eq!(pulled, held);

    // Nothing on the way was refused by the content policy or broke a script.
    let complaints = browser.console_errors().await;
    // The one form that was answered 422 on purpose shows up as a failed load.
    let complaints: Vec<&String> = complaints
        .iter()
        .filter(|line| !line.contains("422"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
