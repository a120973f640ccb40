//! The Report menu as people use it: every report of the original can be chosen and shows what it
//! takes, and one of each shape is saved.

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::Chromium;

/// The reports of the original, by the titles that people know, each with the menus that it takes.
const ORIGINAL: [(&str, &str); 38] = [
    ("Agents", ""),
    ("Agent Dashboard Report", "login"),
    ("Availability Report", "days group login"),
    ("Canned Responses", "group"),
    ("Chat", "days group login"),
    ("Chat Agents", "days group login"),
    ("Chat Custom Variables", "days group login"),
    ("Chat Events", "days group login"),
    ("Chat Goals", "days group login"),
    ("Chat Messages", "days group login"),
    ("Chat Postchat Survey", "days group login"),
    ("Chat Report", "days group login"),
    ("Chat Supervisors", "days group login"),
    ("Chat Tags", "days group login"),
    ("Chat Tickets", "days group login"),
    ("Chatting Time Report", "days group login"),
    ("Dashboard Report", ""),
    ("Goals", ""),
    ("Goals Report", "days group login"),
    ("Greetings", "group"),
    ("Greetings Report", "days group"),
    ("Groups", ""),
    ("Group Dashboard Report", "group"),
    ("New Tickets Report", "days group"),
    ("Queue Waiting Times Report", "days group"),
    ("Queued Visitor Report", "days group"),
    ("Ranking Report", "days group"),
    ("Ratings Report", "days group login"),
    ("Solved Ticket Report", "days group login"),
    ("Status Report", "group"),
    ("Tickets First Response Report", "days group login"),
    ("Ticket Resolution Time Report", "days group login"),
    ("Tickets", "days group login"),
    ("Ticket Sources Report", "days group"),
    ("Visitors", "group"),
    ("Visitors Operators", "group"),
    ("Visitors Prechat Survey", "group"),
    ("Visitors Visit Path", "group"),
];

/// One of each shape: an archive's records and what is in them, lists, periods of three kinds,
/// single objects, one call a choice.
const OF_EACH_SHAPE: [&str; 9] = [
    "Chat",
    "Chat Messages",
    "Agents",
    "Ranking Report",
    "Visitors Visit Path",
    "Greetings Report",
    "Availability Report",
    "Goals Report",
    "Group Dashboard Report",
];

const CHOOSE: &str = "const select = document.getElementById('report');
    const option = [...select.options].find((o) => o.textContent === arguments[0]);
    if (!option) return null;
    select.value = option.value;
    select.dispatchEvent(new Event('change', {bubbles: true}));
    const names = [...document.querySelectorAll('[data-menu-field]')].filter((f) => !f.hidden).map((f) => f.dataset.menuField);
    const plain = names.filter((n) => ['days', 'group', 'login', 'weekday'].includes(n));
    return [document.getElementById('report-help').textContent, plain.join(' ')];";

/// Chooses a report and answers its sentence and the plain menus that are shown.
async fn choose(browser: &Chromium, title: &str) -> (String, String) {
    let value = browser
        .driver
        .execute(CHOOSE, vec![title.into()])
        .await
        .unwrap();
    value
        .convert()
        .unwrap_or_else(|_| panic!("the Report menu has no {title}"))
}

/// Types into the search of the Report menu and presses Enter.
async fn search(browser: &Chromium, words: &str) {
    const ENTER: &str = "\u{e007}";
    // A press marks what is there, and what is typed takes its place.
    browser.click("#report-search").await;
    browser
        .see("#report-search")
        .await
        .send_keys(format!("{words}{ENTER}"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_38_reports_of_the_original_are_chosen_and_one_of_each_shape_is_saved() {
    let server = TestServer::start(300).await;
    let browser = Chromium::start(1280, 1000).await;
    browser.driver.goto(&server.set_up).await.unwrap();
    browser.fill("#name", "Maren Aasen").await;
    browser.fill("#email", "maren@example.com").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("form button.is-primary").await;
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
        .fill("[name='credentials.api_key']", "sandbox-key")
        .await;
    browser
        .click("[data-pane=credentials] details summary")
        .await;
    browser.fill("[name=api_url]", &server.vendor).await;
    browser.fill("[name=requests_per_minute]", "60000").await;
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;

    browser.see("[data-pane=details] .pane-foot button").await;
    let mut sentences = std::collections::BTreeSet::new();
    for (title, menus) in ORIGINAL {
        let (about, shown) = choose(&browser, title).await;
        assert_eq!(shown, menus, "{title}");
        assert!(
            about.ends_with('.') && sentences.insert(about.clone()),
            "{title}: {about}"
        );
    }
    // The search goes by the title first: who types one whole and presses Enter gets that report.
    for (title, _) in ORIGINAL {
        search(&browser, title).await;
        let chosen = browser
            .driver
            .execute(
                "return document.getElementById('report').selectedOptions[0].textContent",
                vec![],
            )
            .await
            .unwrap();
        assert_eq!(chosen.convert::<String>().unwrap(), title);
    }
    search(&browser, "messages").await;
    browser
        .until(
            "document.getElementById('report').selectedOptions[0].textContent === 'Chat Messages'",
        )
        .await;
    choose(&browser, "Simultaneous Chats Report").await;
    assert!(
        browser
            .see("#report_weekday")
            .await
            .is_displayed()
            .await
            .unwrap()
    );

    for title in OF_EACH_SHAPE {
        let (_, shown) = choose(&browser, title).await;
        if shown.starts_with("days") {
            browser.fill("[name=start_days]", "3").await;
            browser.fill("[name=end_days]", "1").await;
        }
        if title == "Chat" {
            browser
                .click("[data-pane=details] details.more summary")
                .await;
            browser
                .click("[data-pane=details] [name=include_pending]")
                .await;
        }
        browser.click("[data-pane=details] .pane-foot button").await;
        browser
            .click("[data-pane=scheduling] .pane-foot button")
            .await;
        browser.see("[data-pane=name] [name=name]").await;
        browser
            .click("[data-pane=name] .pane-foot button[value=save_new]")
            .await;
        browser
            .read(&format!("{title}, Support Oslo” is saved."))
            .await;
        // The account is remembered as good, so Credentials is done with one press.
        browser
            .click("[data-pane=credentials] .pane-foot button")
            .await;
        browser.see("[data-pane=details] .pane-foot button").await;
    }
    browser
        .driver
        .goto(format!("{}/datasets", server.url))
        .await
        .unwrap();
    for title in OF_EACH_SHAPE {
        browser.read(&format!("{title}, Support Oslo")).await;
    }
    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
