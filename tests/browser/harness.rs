//! What a journey needs: the product and the sandbox as processes of their own, and a browser. All
//! of it ends with the journey.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use thirtyfour::prelude::*;

/// Nothing on a page may take longer than this to appear.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A process that ends with this value.
pub struct ChildProcess {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ChildProcess {
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|why| panic!("{program}: {why}"));
        let (to, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| to.send(line))
        });
        Self { child, lines }
    }

    /// What `find` makes of the first line of output that it knows.
    pub fn first_match<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let line = self
                .lines
                .recv_timeout(TIMEOUT)
                .expect("the process told nothing of the kind");
            if let Some(found) = find(&line) {
                return found;
            }
        }
    }
}

/// The word of `line` that begins with `start`.
pub fn word(line: &str, start: &str) -> Option<String> {
    line.split_whitespace()
        .find(|word| word.starts_with(start))
        .map(|word| word.trim_end_matches('/').to_owned())
}

/// The product, fresh, with the sandbox as vendor.
pub struct TestServer {
    pub vendor: String,
    pub url: String,
    /// The link that makes the first admin.
    pub set_up: String,
    _server: ChildProcess,
    _sandbox: ChildProcess,
    data: tempfile::TempDir,
}

const BINARY: &str = env!("CARGO_BIN_EXE_chatlake");

impl TestServer {
    /// Asks for more or fewer days from the next run on.
    pub async fn set_start_days(&self, dataset: &str, days: u32) {
        let token = self.command(
            &[
                "token",
                "create",
                "--user",
                "maren@example.com",
                "--name",
                "days",
                "--scope",
                "manage",
            ],
            "",
        );
        let body = format!("{{\"menus\": {{\"start_days\": {days}, \"end_days\": 1}}}}");
        let done = std::process::Command::new("/usr/bin/env")
            .args([
                "curl",
                "-fsS",
                "-X",
                "PATCH",
                "-H",
                &format!("Authorization: Bearer {}", token.trim()),
                "-H",
                "Content-Type: application/json",
            ])
            .args([
                "-d",
                &body,
                "-o",
                "/dev/null",
                &format!(
                    "{}/api/v1/datasets/{dataset}",
                    self.url.trim_end_matches('/')
                ),
            ])
            .status()
            .unwrap();
        assert!(done.success());
    }

    pub fn start(chats: u64) -> Self {
        Self::start_with_delay(chats, 0)
    }

    /// With a vendor that takes so many milliseconds for every answer.
    pub fn start_with_delay(chats: u64, delay: u64) -> Self {
        let sandbox = ChildProcess::start(
            BINARY,
            &[
                "sandbox",
                "--listen",
                "127.0.0.1:0",
                "--chats",
                &chats.to_string(),
                "--delay",
                &delay.to_string(),
            ],
        );
        let vendor = sandbox.first_match(|line| word(line, "http://127.0.0.1:"));
        let data = tempfile::tempdir().unwrap();
        let path = data.path().display().to_string();
        let server = ChildProcess::start(
            BINARY,
            &[
                "serve",
                "--data",
                &path,
                "--listen",
                "127.0.0.1:0",
                "--allow-upstream",
                "127.0.0.1",
                "--log",
                "error",
            ],
        );
        let set_up = server.first_match(|line| {
            word(line, "http://127.0.0.1:").filter(|link| link.contains("/set-up/"))
        });
        let url = set_up.split("/set-up/").next().unwrap().to_owned();
        Self {
            vendor,
            url,
            set_up,
            _server: server,
            _sandbox: sandbox,
            data,
        }
    }

    /// Runs a command beside the server and gives what it printed.
    pub fn command(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .args([
                "--data",
                self.data.path().to_str().unwrap(),
                "--allow-upstream",
                "127.0.0.1",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{arguments:?}");
        String::from_utf8(ended.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

/// A browser with an empty profile.
pub struct Browser {
    pub driver: WebDriver,
    /// Where chromedriver listens.
    log: String,
    downloads: tempfile::TempDir,
    _chromedriver: ChildProcess,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn start(width: u32, height: u32) -> Self {
        // Left to choose, chromedriver takes a port of one address family that may be taken in the
        // other.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let chromedriver = ChildProcess::start("chromedriver", &[&format!("--port={free}")]);
        let port = chromedriver.first_match(|line| {
            line.split("successfully on port ")
                .nth(1)
                .map(|rest| rest.trim_end_matches('.').to_owned())
                .filter(|port| port.parse::<u16>().is_ok())
        });
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
        let preferences = serde_json::json!({"download.default_directory": downloads.path(), "download.prompt_for_download": false});
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
            log: format!("http://127.0.0.1:{port}"),
            downloads,
            _chromedriver: chromedriver,
            _profile: profile,
        }
    }

    /// The element, as soon as it is there and can be seen. A page that goes away while it is
    /// looked at is looked at again.
    pub async fn see(&self, css: &str) -> WebElement {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self
                .driver
                .query(By::Css(css))
                .nowait()
                .and_displayed()
                .first()
                .await;
            match found {
                Ok(element) => return element,
                Err(why) if Instant::now() > deadline => {
                    panic!(
                        "{css} does not appear on {}: {why}\n{}",
                        self.driver.current_url().await.unwrap(),
                        self.text("body").await
                    )
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    pub async fn click(&self, css: &str) {
        let deadline = Instant::now() + TIMEOUT;
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
        }
    }

    /// Types into a field, in place of what is there.
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

    /// Name and text of the one file that was downloaded, once it is whole.
    pub async fn downloaded(&self) -> (String, String) {
        let deadline = Instant::now() + TIMEOUT;
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
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a script answers true.
    pub async fn until(&self, script: &str) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let result = self
                .driver
                .execute(format!("return Boolean({script})"), vec![])
                .await;
            if result.is_ok_and(|value| value.json().as_bool() == Some(true)) {
                return;
            }
            assert!(Instant::now() < deadline, "never true: {script}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A screen of this width, as a phone, a tablet or a zoomed page has; the window itself cannot
    /// be that narrow.
    pub async fn screen(&self, width: u32, height: u32) {
        let address = format!(
            "{}/session/{}/goog/cdp/execute",
            self.log,
            self.driver.session_id()
        );
        let size = serde_json::json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let body = serde_json::json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
            .to_string();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        assert!(
            client
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

    /// What the browser complained of: refused by the content policy, broken scripts, missing
    /// files.
    pub async fn console_errors(&self) -> Vec<String> {
        let address = format!("{}/session/{}/se/log", self.log, self.driver.session_id());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
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
            .wait(TIMEOUT, Duration::from_millis(100))
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
