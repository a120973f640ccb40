//! Pages on screens of all widths: nothing reaches beyond the side of the screen.

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::Chromium;

const EMAIL: &str = "maren@example.com";
/// A small phone, phones, tablets, small laptops, and 1280 at a zoom of 200 and 400 percent.
const WIDTHS: [u32; 13] = [
    320, 360, 390, 480, 639, 640, 700, 800, 900, 1024, 1100, 1180, 1280,
];

/// The elements that reach beyond the right side without a frame that scrolls or cuts them.
const BEYOND: &str = "const wide = document.documentElement.clientWidth;
    const cut = (e) => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) if \
        (getComputedStyle(p).overflowX !== 'visible') return true; return false; };
    const out = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > wide + 1 && !cut(e)
        && getComputedStyle(e).position !== 'fixed' && e.checkVisibility());
    return [String(document.documentElement.scrollWidth - wide), out.slice(0, 5).map((e) => `${e.tagName}.${e.className}`).join(' ')];";

#[tokio::test(flavor = "multi_thread")]
async fn no_page_reaches_beyond_the_side_of_a_screen() {
    let server = TestServer::start(300).await;
    server
        .command(
            &[
                "user",
                "add",
                "--email",
                EMAIL,
                "--name",
                "Maren Aasen-Bjørnstad",
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
        "Support Oslo and Bergen",
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
    let refused = [
        "account",
        "add",
        "--user",
        EMAIL,
        "--connector",
        "livechat",
        "--name",
        "Webshop",
        "--field",
        "username=agent@sandbox.test",
    ];
    let refused = server
        .command(&[&refused[..], &at].concat(), "a key that was withdrawn")
        .await;
    let dataset = async |name: &str, account: &str| {
        let make = [
            "dataset",
            "create",
            "--user",
            EMAIL,
            "--name",
            name,
            "--account",
            account,
            "--report",
            "chat",
            "--start-days",
            "13",
            "--end-days",
            "1",
        ];
        server.command(&make, "").await
    };
    let (chats, failing) = (
        dataset("Chats of the last two weeks", &account).await,
        dataset("Webshop chats", &refused).await,
    );
    server.command(&["dataset", "run", &chats], "").await;
    // Another version, so that there is one to go back to.
    server.set_start_days(EMAIL, &chats, 14).await;
    server.command(&["dataset", "run", &chats], "").await;
    let browser = Chromium::start(1280, 1000).await;
    browser.sign_in(&server.url, EMAIL, PASSWORD).await;
    browser
        .driver
        .goto(format!("{}/datasets/{failing}", server.url))
        .await
        .unwrap();
    browser.click("[data-run-now]").await;
    browser.read("LiveChat rejected the credentials").await;
    let run = last_run(&browser, &server, &chats).await;

    let pages = [
        "/datasets".to_owned(),
        format!("/datasets/{chats}"),
        format!("/datasets/{chats}/data"),
        format!("/datasets/{chats}/data/schema"),
        format!("/datasets/{chats}/history"),
        format!("/datasets/{chats}/coverage"),
        format!("/datasets/{chats}/settings"),
        format!("/datasets/{failing}"),
        format!("/datasets/{failing}/history"),
        format!("/runs/{run}"),
        "/accounts".to_owned(),
        "/accounts/new?connector=livechat".to_owned(),
        "/connect".to_owned(),
        "/connect/livechat".to_owned(),
        "/activity".to_owned(),
        "/settings".to_owned(),
        "/settings/notifications".to_owned(),
        "/me".to_owned(),
        "/help".to_owned(),
    ];
    let mut wrong = Vec::new();
    for page in pages {
        browser
            .driver
            .goto(format!("{}{page}", server.url))
            .await
            .unwrap();
        browser.see("main").await;
        for width in WIDTHS {
            browser.screen(width, 900).await;
            let (more, which): (String, String) = browser
                .driver
                .execute(BEYOND, vec![])
                .await
                .unwrap()
                .convert()
                .unwrap();
            if more != "0" || !which.is_empty() {
                wrong.push(format!("{page} at {width}: {more} px, {which}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Menus open within the screen.
    const MENUS: &str = "const wide = document.documentElement.clientWidth, out = [];
        for (const menu of document.querySelectorAll('details[data-menu]')) {
            if (!menu.checkVisibility()) continue;
            menu.open = true;
            const box = menu.querySelector('.menu-list').getBoundingClientRect();
            if (box.left < 0 || box.right > wide) out.push(`${menu.textContent.trim().slice(0, 30)}: ` +
                `${Math.round(box.left)} to ${Math.round(box.right)}`);
            menu.open = false;
        }
        return out.join(', ');";
    for page in [
        format!("/datasets/{chats}"),
        "/datasets".to_owned(),
        "/accounts".to_owned(),
    ] {
        browser
            .driver
            .goto(format!("{}{page}", server.url))
            .await
            .unwrap();
        browser.see("main").await;
        for width in [320, 390, 640, 1024] {
            browser.screen(width, 844).await;
            let beyond: String = browser
                .driver
                .execute(MENUS, vec![])
                .await
                .unwrap()
                .convert()
                .unwrap();
            assert_eq!(beyond, "", "{page} at {width}");
        }
    }

    // A phone reads names whole: of a report in the gallery, of what can be done with a version, of
    // what a phase of a run took.
    browser.screen(390, 844).await;
    browser
        .driver
        .goto(format!("{}/connect", server.url))
        .await
        .unwrap();
    browser.see("#reports .name").await;
    let lines = "return Math.max(...[...document.querySelectorAll('#reports .name')].map((e) => \
        e.offsetHeight / parseFloat(getComputedStyle(e).lineHeight)))";
    let lines: f64 = browser
        .driver
        .execute(lines, vec![])
        .await
        .unwrap()
        .convert()
        .unwrap();
    assert!(lines < 1.5, "a name takes {lines} lines");
    // A search that finds nothing says so, in place of cards and table, and is cleared with one
    // press.
    browser.fill("[data-filter=reports]", "nosuch report").await;
    browser.see("[data-no-match=reports]").await;
    browser.read("No report matches “nosuch report”").await;
    browser
        .until(
            "[...document.querySelectorAll('.cards, #reports')].every((e) => !e.checkVisibility())",
        )
        .await;
    browser.click("[data-clear]").await;
    browser.until("[...document.querySelectorAll('.cards, #reports tbody tr')].every((e) => e.checkVisibility())").await;
    browser.until("document.querySelector('[data-no-match]').hidden && document.activeElement.matches('[data-filter]')").await;
    // What is found goes by the title.
    browser.fill("[data-filter=reports]", "chat").await;
    browser
        .until("document.querySelector('#reports tbody tr .name').textContent === 'Chat'")
        .await;
    browser
        .driver
        .goto(format!("{}/runs/{run}", server.url))
        .await
        .unwrap();
    browser.see(".phases").await;
    let room = "return [...document.querySelectorAll('.phases tbody td:last-child')].filter((e) => \
        e.textContent).map((e) => e.offsetWidth)";
    let room: Vec<f64> = browser
        .driver
        .execute(room, vec![])
        .await
        .unwrap()
        .convert()
        .unwrap();
    assert!(
        !room.is_empty() && room.iter().all(|width| *width > 240.0),
        "what a phase took has {room:?} px"
    );

    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}

/// The id of the newest run, from the history.
async fn last_run(browser: &Chromium, server: &TestServer, dataset: &str) -> String {
    browser
        .driver
        .goto(format!("{}/datasets/{dataset}/history", server.url))
        .await
        .unwrap();
    browser.see("main").await;
    let href: String = browser
        .driver
        .execute(
            "return document.querySelector(\"a[href^='/runs/']\").getAttribute('href')",
            vec![],
        )
        .await
        .unwrap()
        .convert()
        .unwrap();
    href.trim_start_matches("/runs/").to_owned()
}
