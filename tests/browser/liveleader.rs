//! LiveLeader from its password to a script: connected, previewed, pulled, published, fetched with
//! curl, and read by two XML readers that others wrote.

use std::process::{Command, Stdio};

use crate::support::PASSWORD;
use crate::support::test_server::TestServer;
use crate::webdriver::Chromium;

/// What a program prints, given this on its input.
fn run_with_input(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("{program}: {why}"));
    let (mut into, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writing = std::thread::spawn(move || into.write_all(&input));
    let out = child.wait_with_output().unwrap();
    let written = writing.join().unwrap();
    assert!(
        out.status.success(),
        "{program}: {} {} {written:?}",
        out.status,
        String::from_utf8_lossy(&out.stdout)
    );
    written.unwrap();
    out.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn liveleader_is_connected_pulled_published_and_fetched_as_a_script_does() {
    let server = TestServer::start(1_500).await;
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
            &format!("{PASSWORD}\n"),
        )
        .await;
    let browser = Chromium::start(1280, 1000).await;
    browser
        .sign_in(&server.url, "maren@example.com", PASSWORD)
        .await;

    // Credentials: what becomes of the password is said before it is typed, and that it goes in the
    // clear as soon as it would.
    browser
        .driver
        .goto(format!("{}/connect/liveleader", server.url))
        .await
        .unwrap();
    browser
        .read("LiveLeader requires the password in the URL of each request.")
        .await;
    browser.fill("[name=account_name]", "Night desk").await;
    browser
        .fill("[name='credentials.email']", "operator@sandbox.test")
        .await;
    browser
        .fill("[name='credentials.password']", "sandbox-password")
        .await;
    browser.fill("[name=account_zone]", "Europe/Oslo").await;
    browser
        .click("[data-pane=credentials] details summary")
        .await;
    browser.fill("[name=api_url]", &server.vendor).await;
    browser.fill("[name=requests_per_minute]", "60000").await;
    browser
        .click("[data-pane=credentials] .pane-foot button")
        .await;

    // Details: a login is typed, and taken out again.
    browser.see("[data-pane=details] [name=start_days]").await;
    browser
        .read("data export works, without encryption (http)")
        .await;
    browser.fill("[name=start_days]", "14").await;
    browser.fill("[name=end_days]", "1").await;
    browser
        .fill("input[name=login]", "nobody@sandbox.test")
        .await;
    browser.click("#preview button[value=preview]").await;
    browser.read("No rows in these days").await;
    browser.fill("input[name=login]", "").await;
    browser.click("#preview button[value=preview]").await;
    browser.see("#preview table.data td[data-value]").await;
    browser.click("[data-pane=details] .pane-foot button").await;
    browser
        .click("[data-pane=scheduling] .pane-foot button")
        .await;
    browser.fill("[name=name]", "Chats of the night").await;
    browser
        .click("[data-pane=name] .pane-foot button.is-primary")
        .await;
    browser.read("Up to date").await;
    let dataset = format!(
        "{}{}",
        server.url,
        browser.driver.current_url().await.unwrap().path()
    );

    // Published, with a password for a script.
    browser
        .driver
        .goto(format!("{dataset}/settings"))
        .await
        .unwrap();
    browser.click("#liveleader-api input[name=published]").await;
    browser.click("#liveleader-api p button").await;
    browser.read("The LiveLeader API serves these chats.").await;
    browser
        .driver
        .goto(format!("{}/me", server.url))
        .await
        .unwrap();
    browser.fill("[name=export_name]", "nightly script").await;
    browser.click("#export-passwords form button").await;
    browser
        .read("Export password “nightly script” created")
        .await;
    let password = browser.see("#export-password").await;
    let password = password
        .prop("value")
        .await
        .unwrap()
        .unwrap_or(password.text().await.unwrap());
    assert!(password.starts_with("clx_"), "{password}");

    // A script asks for the days that were pulled, in the form that LiveLeader's page shows.
    let now = chatlake::clock::Clock::system().timestamp();
    let moment = |days: i64| {
        now.saturating_sub(jiff::SignedDuration::from_hours(24 * days))
            .unwrap()
            .strftime("%Y-%m-%dT%H:%M:%S.%3f+00:00")
            .to_string()
    };
    let (start, stop) = (moment(10), moment(3));
    let fields = [
        "a=export",
        "email=maren@example.com",
        &format!("password={password}"),
        &format!("start={start}"),
        &format!("stop={stop}"),
    ];
    let mut arguments = vec![
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--noproxy",
        "*",
    ];
    fields
        .iter()
        .for_each(|field| arguments.extend(["--data-urlencode", field]));
    let address = format!("{}/a/Srv", server.url);
    arguments.push(&address);
    let document = run_with_input("curl", &arguments, b"");
    let classic = run_with_input("curl", &[&["--get"], &arguments[..]].concat(), b"");
    assert_eq!(document, classic);

    // Two readers take it, and count the records of the vendor for these days.
    let counted = String::from_utf8(run_with_input(
        "xmllint",
        &["--huge", "--xpath", "count(/chats/chat)", "-"],
        &document,
    ))
    .unwrap();
    let script = "import sys, xml.parsers.expat as e\np = e.ParserCreate(); n = [0]\n\
                  def start(name, attributes): n[0] += name == 'chat'\n\
                  p.StartElementHandler = start; p.Parse(sys.stdin.buffer.read(), True); print(n[0])";
    let expat = String::from_utf8(run_with_input("python3", &["-c", script], &document)).unwrap();
    assert_eq!(counted.trim(), expat.trim());
    let vendor = [
        "a=export",
        "email=operator@sandbox.test",
        "password=sandbox-password",
        fields[3],
        fields[4],
    ];
    let mut arguments = vec!["--silent", "--fail-with-body", "--noproxy", "*", "--get"];
    vendor
        .iter()
        .for_each(|field| arguments.extend(["--data-urlencode", field]));
    let address = format!("{}/a/Srv", server.vendor);
    arguments.push(&address);
    let there = String::from_utf8(run_with_input(
        "xmllint",
        &["--huge", "--xpath", "count(/chats/chat)", "-"],
        &run_with_input("curl", &arguments, b""),
    ))
    .unwrap();
    assert_eq!(counted.trim(), there.trim());
    assert!(counted.trim().parse::<u32>().unwrap() > 50, "{counted}");

    let complaints = browser.console_errors().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    browser.driver.clone().quit().await.unwrap();
}
