//! Each kind of schedule, built in the pane by somebody who watches the next runs change while
//! choosing.

use thirtyfour::components::SelectElement;

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::Chromium;

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_schedule_is_built_in_the_pane() {
    let server = TestServer::start(100).await;
    let user = [
        "user",
        "add",
        "--email",
        "maren@example.com",
        "--name",
        "Maren",
        "--role",
        "admin",
    ];
    server.command(&user, &format!("{PASSWORD}\n")).await;
    let account = [
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
            &[&account[..], &["--api-url", &server.vendor]].concat(),
            "sandbox-key\n",
        )
        .await;
    let dataset = [
        "dataset",
        "create",
        "--user",
        "maren@example.com",
        "--name",
        "Agents",
        "--account",
        &account,
        "--report",
        "agents",
    ];
    let made = server
        .command(
            &[
                &dataset[..],
                &[
                    "--at",
                    "09:00,17:30",
                    "--on",
                    "mon,fri",
                    "--time-zone",
                    "Europe/Oslo",
                ],
            ]
            .concat(),
            "",
        )
        .await;

    let browser = Chromium::start(1280, 1400).await;
    browser
        .sign_in(&server.url, "maren@example.com", PASSWORD)
        .await;
    browser
        .driver
        .goto(format!("{}/datasets/{made}/settings", server.url))
        .await
        .unwrap();
    browser
        .read("Every Monday and Friday at 09:00 and 17:30, Europe/Oslo, Replace")
        .await;
    browser.click("[data-open-pane=scheduling]").await;
    // The schedule is shown in words at once, and parts that do not belong to it are not seen.
    let choose = async |label: &str, words: &str| {
        browser.click(&format!("label:has({label})")).await;
        browser.read(words).await;
    };
    choose(
        "[name=every][value=minutes]",
        "Runs every 30 minutes, Europe/Oslo",
    )
    .await;
    choose(
        "[name=active]",
        "every 30 minutes from 08:00 to 18:00, both included",
    )
    .await;
    choose(
        "[name=every][value=hours]",
        "every 6 hours from 08:00 to 18:00, both included (the last at 14:00)",
    )
    .await;
    choose(
        "[name=every][value=day]",
        "Runs every day at 09:00 and 17:30",
    )
    .await;
    browser.fill("#at", "2:30").await;
    browser.read("Runs every day at 02:30").await;
    choose(
        "[name=every][value=weekday]",
        "Runs Monday to Friday at 02:30",
    )
    .await;
    choose(
        "[name=every][value=week]",
        "Runs every Monday and Friday at 02:30",
    )
    .await;
    choose(
        "[name=on_wed]",
        "Runs every Monday, Wednesday and Friday at 02:30",
    )
    .await;
    choose(
        "[name=every][value=month]",
        "Runs on the 1st of the month at 02:30",
    )
    .await;
    choose(
        "[name=month_how][value=ordinal]",
        "Runs on the second Friday of the month at 02:30",
    )
    .await;
    choose(
        "[name=every][value=manual]",
        "None. This DataSet runs manually.",
    )
    .await;
    browser
        .until(
            "getComputedStyle(document.querySelector('#at')).display !== 'none' && \
        document.querySelector('#at').offsetParent === null",
        )
        .await;
    // The other tab, by keyboard, and back: nothing is lost.
    browser
        .driver
        .execute(
            "document.querySelector('[name=tab]:checked').focus()",
            vec![],
        )
        .await
        .unwrap();
    browser
        .driver
        .action_chain()
        .send_keys(thirtyfour::Key::Right + "")
        .perform()
        .await
        .unwrap();
    browser.see("[name=a_at]").await;
    browser.fill("#a_at", "07:00, 12:00").await;
    browser
        .read("Runs every Monday and Friday at 07:00 and 12:00")
        .await;
    // All months are chosen at first, so the words stay; but only now can they be seen.
    let month_7 = "document.querySelector('[name=month_7]').closest('[data-when]').offsetParent";
    browser.until(&format!("{month_7} === null")).await;
    browser
        .click("label:has([name=a_months][value=some])")
        .await;
    browser.until(&format!("{month_7} !== null")).await;
    choose("[name=month_7]", "in every month except July").await;
    browser.read("0 7,12 * 1-6,8-12 1,5").await;
    choose(
        "[name=a_days][value=ordinal]",
        "on the second and fourth Sunday of the month at 07:00 and 12:00",
    )
    .await;
    choose(
        "[name=a_times][value=often]",
        "every 3 hours, from midnight, on the second and fourth Sunday of the month",
    )
    .await;
    choose("[name=a_how][value=cron]", "Next 10 runs").await;
    browser.fill("#cron", "0 0 31 2 *").await;
    browser
        .read("This schedule never runs: the selected day does not exist.")
        .await;
    browser.fill("#cron", "15 9 * * 5#2").await;
    browser
        .read("Runs on the second Friday of the month at 09:15")
        .await;
    // In another zone, not before a day, and without what was missed.
    let choose_of = async |menu: &str, value: &str| {
        SelectElement::new(&browser.see(menu).await)
            .await
            .unwrap()
            .select_by_value(value)
            .await
            .unwrap()
    };
    choose_of("#time_zone", "America/New_York").await;
    browser.read("at 09:15, America/New_York").await;
    browser
        .until("document.querySelector('#start_day').offsetParent === null")
        .await;
    browser.click("label:has([name=delay][value=later])").await;
    browser.fill("#start_day", "soon").await;
    browser.fill("#start_time", "12:00").await;
    browser.read("Enter the day in the form 2026-12-31.").await;
    let day = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
        .saturating_add(jiff::Span::new().days(90));
    browser.fill("#start_day", &day.to_string()).await;
    // The first run is the second Friday behind it.
    let second_friday = |month: jiff::civil::Date| {
        month
            .nth_weekday_of_month(2, jiff::civil::Weekday::Friday)
            .unwrap()
    };
    let of_month = second_friday(day);
    let first = if of_month > day {
        of_month
    } else {
        second_friday(day.last_of_month().tomorrow().unwrap())
    };
    browser
        .until(&format!(
            "document.querySelector('#next-runs li').textContent.startsWith('{}')",
            first.strftime("%a %-d %b")
        ))
        .await;
    choose_of("#catch_up", "none").await;
    browser
        .click("[data-pane=scheduling] .pane-foot button")
        .await;
    browser
        .read("Saved. The next run uses these settings.")
        .await;
    let said = format!(
        "On the second Friday of the month at 09:15, not before {} 12:00, America/New_York, Replace",
        day.strftime("%a %-d %b %Y")
    );
    browser.read(&said).await;
    let held = "document.querySelector('#catch_up').value === 'none' && document.querySelector('#time_zone').value === 'America/New_York'";
    browser
        .until(&format!(
            "{held} && document.querySelector('#start_day').value === '{day}'"
        ))
        .await;

    // Pause and resume, from the menu of the page.
    browser.click(".head-actions details.is-dots summary").await;
    browser.click("form[action$='/pause'] button").await;
    browser.read("The schedule was paused by Maren").await;
    browser.click(".band form[action$='/resume'] button").await;
    browser.read("Schedule resumed.").await;
    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
