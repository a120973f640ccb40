//! The built binary as a server process, and requests to it.

use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::data_dir::digest;
use super::process::ChildProcess;
use super::{PASSWORD, TIMEOUT, until};

/// A server process. It is killed when this value is dropped.
pub struct Server {
    process: ChildProcess,
    client: reqwest::Client,
}

impl Deref for Server {
    type Target = ChildProcess;

    fn deref(&self) -> &ChildProcess {
        &self.process
    }
}

/// The HTTP client of the tests. It follows no redirect.
#[expect(
    clippy::disallowed_methods,
    reason = "the HTTP client of the product is for vendors; this one is for our own server"
)]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .unwrap()
}

impl Server {
    pub fn spawn(command: &mut Command) -> Self {
        Self {
            process: ChildProcess::spawn(command),
            client: client(),
        }
    }

    /// Waits until it says that it is ready and answers so.
    pub async fn ready(&self) {
        until("the server says that it is ready", async || {
            assert!(
                self.ended().is_none(),
                "the server ended: {}{}",
                self.out(),
                self.err()
            );
            self.out().contains("Chatlake is ready at ").then_some(())
        })
        .await;
        until("/readyz", async || {
            (self
                .client
                .get(format!("{}/readyz", self.url()))
                .send()
                .await
                .ok()?
                .status()
                == 200)
                .then_some(())
        })
        .await;
    }

    /// Without the last slash.
    pub fn url(&self) -> String {
        let out = self.out();
        let line = out
            .lines()
            .find_map(|line| line.strip_prefix("Chatlake is ready at "))
            .unwrap_or_else(|| panic!("not ready: {out}"));
        line.trim_end_matches('/').to_owned()
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    /// Asks it to stop and waits.
    pub async fn stop(&self) {
        self.terminate();
        assert_eq!(
            self.exit(Duration::from_secs(30)).await,
            0,
            "{}",
            self.err()
        );
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> reqwest::Response {
        self.request(method, path, token, body)
            .send()
            .await
            .unwrap()
    }

    /// As `send`, to a server that may be dead.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Option<reqwest::Response> {
        self.request(method, path, token, body).send().await.ok()
    }

    /// Sends what makes it die, and waits until it has.
    pub async fn send_until_death(&self, method: &str, path: &str, token: &str, body: Value) {
        let _ = self
            .request(method, &format!("/api/v1{path}"), token, Some(body))
            .send()
            .await;
        let how = until("the server dies", async || self.ended()).await;
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&how),
            Some(9),
            "{how:?}: {}",
            self.err()
        );
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url()));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string());
        }
        request
    }

    /// Signs a person in as a browser does: the status, and the cookies as a browser sends them
    /// back.
    pub async fn sign_in(&self, email: &str) -> (u16, String) {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("email", email), ("password", PASSWORD)])
            .finish();
        let request = self
            .client
            .post(format!("{}/sign-in", self.url()))
            .header("Origin", self.url());
        let answer = request
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        let cookies = answer
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|line| line.to_str().unwrap().split(';').next().unwrap());
        (
            answer.status().as_u16(),
            cookies.collect::<Vec<_>>().join("; "),
        )
    }

    /// The status of a page.
    pub async fn page(&self, path: &str, cookies: &str) -> u16 {
        self.client
            .get(format!("{}{path}", self.url()))
            .header("Cookie", cookies)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// The text of a page.
    pub async fn page_text(&self, path: &str, cookies: &str) -> String {
        self.client
            .get(format!("{}{path}", self.url()))
            .header("Cookie", cookies)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        json_of(
            self.send("GET", &format!("/api/v1{path}"), token, None)
                .await,
        )
        .await
    }

    pub async fn post(&self, path: &str, token: &str) -> (u16, Value) {
        json_of(
            self.send("POST", &format!("/api/v1{path}"), token, Some(json!({})))
                .await,
        )
        .await
    }

    /// Starts a run and gives its id.
    pub async fn run(&self, dataset: &str, token: &str) -> String {
        let (status, run) = self.post(&format!("/datasets/{dataset}/runs"), token).await;
        assert_eq!(status, 202, "{run}");
        run["id"].as_str().unwrap().to_owned()
    }

    pub async fn run_state(&self, run: &str, token: &str) -> String {
        let (status, run) = self.get(&format!("/runs/{run}"), token).await;
        assert_eq!(status, 200, "{run}");
        run["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a run is over, and gives its record.
    pub async fn over(&self, run: &str, token: &str) -> Value {
        until("the run is over", async || {
            let (_, run) = self.get(&format!("/runs/{run}"), token).await;
            matches!(
                run["state"].as_str()?,
                "succeeded" | "failed" | "cancelled" | "parked"
            )
            .then_some(run)
        })
        .await
    }

    /// The whole of a DataSet as its readers get it.
    pub async fn csv(&self, dataset: &str, token: &str) -> Csv {
        let answer = self
            .send(
                "GET",
                &format!("/api/v1/datasets/{dataset}/data?format=csv"),
                token,
                None,
            )
            .await;
        assert_eq!(answer.status(), 200);
        let head = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let (version, row_count) = (
            head("x-chatlake-version"),
            head("x-chatlake-rows").parse::<usize>().unwrap(),
        );
        let text = answer.bytes().await.unwrap();
        let ids: Vec<String> = csv::Reader::from_reader(&text[..])
            .records()
            .map(|record| record.unwrap()[0].to_owned())
            .collect();
        let rows = ids.len();
        assert_eq!(
            rows, row_count,
            "X-Chatlake-Rows is the number of rows of the body"
        );
        Csv {
            version,
            rows,
            digest: digest(&text),
            bytes: text.len(),
            ids,
        }
    }
}

/// One state of a DataSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csv {
    pub version: String,
    pub rows: usize,
    pub digest: String,
    pub bytes: usize,
    /// The first cell of each row.
    pub ids: Vec<String>,
}

pub async fn json_of(answer: reqwest::Response) -> (u16, Value) {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

pub async fn connect(address: &str) -> tokio::net::TcpStream {
    tokio::net::TcpStream::connect(address).await.unwrap()
}

/// Reads until the other side closes, and returns what it sent.
pub async fn read_to_end(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is also an end.
    let _ = tokio::time::timeout(
        Duration::from_secs(60),
        tokio::io::AsyncReadExt::read_to_end(stream, &mut bytes),
    )
    .await
    .expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}
