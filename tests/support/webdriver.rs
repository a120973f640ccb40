//! Headless Chromium, driven by chromedriver. Only `tests/browser` uses it.

use std::process::Command;
use std::time::{Duration, Instant};

use thirtyfour::prelude::*;

use crate::support::process::ChildProcess;
use crate::support::server::client;

/// Nothing on a page may take longer than this to appear.
pub const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two looks at a page. Looking all the time would take the processor from the page.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A browser with an empty profile.
pub struct Chromium {
    pub driver: WebDriver,
    /// The address of chromedriver.
    address: String,
    downloads: tempfile::TempDir,
    _chromedriver: ChildProcess,
    _profile: tempfile::TempDir,
}

impl Chromium {
    pub async fn start(width: u32, height: u32) -> Self {
        // A port that chromedriver chooses itself is free in one address family and may be in use
        // in the other.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let chromedriver =
            ChildProcess::spawn(Command::new("chromedriver").arg(format!("--port={free}")));
        let port = chromedriver
            .line("the port of chromedriver", |line| {
                line.split("successfully on port ")
                    .nth(1)
                    .map(|rest| rest.trim_end_matches('.').to_owned())
                    .filter(|port| port.parse::<u16>().is_ok())
            })
            .await;
        let (profile, downloads) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--no-first-run".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
            format!("--window-size={width},{height}"),
        ] {
            capabilities.add_arg(&argument).unwrap();
        }
        capabilities
            .set_browser_option("binary", "/usr/bin/chromium")
            .unwrap();
        let preferences = serde_json::json!({
            "download.default_directory": downloads.path(),
            "download.prompt_for_download": false,
        });
        capabilities
            .set_browser_option("prefs", preferences)
            .unwrap();
        capabilities
            .set("goog:loggingPrefs", serde_json::json!({"browser": "ALL"}))
            .unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities)
            .await
            .unwrap();
        Self {
            driver,
            address: format!("http://127.0.0.1:{port}"),
            downloads,
            _chromedriver: chromedriver,
            _profile: profile,
        }
    }

    /// Waits until the element exists and is visible. If the page changes during a query, the query
    /// is repeated.
    pub async fn see(&self, css: &str) -> WebElement {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            // WebDriver would ask about every element that matches, which can be thousands of cells.
            const FIRST_VISIBLE: &str = "return [...document.querySelectorAll(arguments[0])]
                .find((e) => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length) ?? null;";
            let found = self
                .driver
                .execute(FIRST_VISIBLE, vec![css.into()])
                .await
                .and_then(|found| found.element());
            match found {
                Ok(element) => return element,
                Err(why) if Instant::now() > deadline => {
                    panic!(
                        "{css} does not appear on {}: {why}\n{}",
                        self.driver.current_url().await.unwrap(),
                        self.text("body").await
                    )
                }
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    pub async fn click(&self, css: &str) {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            let element = self.see(css).await;
            let clicked = match element.scroll_into_view().await {
                Ok(()) => element.click().await,
                Err(why) => Err(why),
            };
            match clicked {
                Ok(()) => return,
                Err(why) => assert!(Instant::now() < deadline, "{css} cannot be clicked: {why}"),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Types a text into a field, instead of its old text.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.see(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub async fn text(&self, css: &str) -> String {
        self.driver
            .find(By::Css(css))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// Waits until the only download is complete. Returns the name and text of the file.
    pub async fn downloaded(&self) -> (String, String) {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            let there: Vec<_> = std::fs::read_dir(self.downloads.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            if let [file] = &there[..]
                && file.extension().is_some_and(|end| end == "csv")
                && let Ok(text) = std::fs::read_to_string(file)
                && !text.is_empty()
            {
                return (
                    file.file_name().unwrap().to_string_lossy().into_owned(),
                    text,
                );
            }
            assert!(Instant::now() < deadline, "no file came: {there:?}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a script returns true.
    pub async fn until(&self, script: &str) {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            let result = self
                .driver
                .execute(format!("return Boolean({script})"), vec![])
                .await;
            if result.is_ok_and(|value| value.json().as_bool() == Some(true)) {
                return;
            }
            assert!(Instant::now() < deadline, "never true: {script}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sets the size of the screen, as a phone, a tablet or a zoomed page has it. The window itself
    /// cannot be so narrow.
    pub async fn screen(&self, width: u32, height: u32) {
        let address = format!(
            "{}/session/{}/goog/cdp/execute",
            self.address,
            self.driver.session_id()
        );
        let size = serde_json::json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": false,
        });
        let body = serde_json::json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
            .to_string();
        assert!(
            client()
                .post(address)
                .body(body)
                .send()
                .await
                .unwrap()
                .status()
                .is_success(),
            "the screen has not become {width} wide"
        );
    }

    /// Signs in through the form.
    pub async fn sign_in(&self, url: &str, email: &str, password: &str) {
        self.driver.goto(format!("{url}/sign-in")).await.unwrap();
        self.fill("#email", email).await;
        self.fill("#password", password).await;
        self.click("form button.is-primary").await;
        self.see("nav.rail").await;
    }

    /// The errors in the console: violations of the content policy, errors of scripts, missing
    /// files.
    pub async fn console_errors(&self) -> Vec<String> {
        let address = format!(
            "{}/session/{}/se/log",
            self.address,
            self.driver.session_id()
        );
        let answer = client()
            .post(address)
            .body(r#"{"type":"browser"}"#)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let lines = answer["value"].as_array().expect("a log");
        lines
            .iter()
            .filter(|line| line["level"] == "SEVERE")
            .map(|line| line["message"].to_string())
            .collect()
    }

    /// Waits until the text of the page holds `words`.
    pub async fn read(&self, words: &str) {
        let found = self
            .driver
            .query(By::XPath(format!(
                "//body[contains(normalize-space(.), \"{words}\")]"
            )))
            .wait(PAGE_TIMEOUT, POLL_INTERVAL)
            .exists()
            .await
            .unwrap();
        assert!(
            found,
            "“{words}” is not on {}:\n{}",
            self.driver.current_url().await.unwrap(),
            self.text("body").await
        );
    }
}
