//! The built binary in a directory of its own: commands, servers, signals, and the requests that a
//! program sends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chatlake::clock::Clock;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes longer; a condition that is not met by then fails its test.
pub const TIMEOUT: Duration = Duration::from_secs(60);
pub const PASSWORD: &str = "correct horse battery staple";

/// Looks until `look` answers something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    until_within(TIMEOUT, what, check).await
}

pub async fn until_within<T, F: Future<Output = Option<T>>>(
    timeout: Duration,
    what: &str,
    check: impl Fn() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(began.elapsed() < timeout, "waited {timeout:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl CommandOutput {
    /// What it printed, if it worked.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.trim_end().to_owned()
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.good()).unwrap()
    }
}

/// A data directory.
pub struct DataDir {
    dir: tempfile::TempDir,
}

impl DataDir {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn catalogue(&self) -> PathBuf {
        self.data().join("chatlake.db")
    }

    /// `chatlake` with nothing of this process's environment. A shell first sets the loosest umask:
    /// modes must not depend on it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .current_dir(self.dir.path())
            .args([
                "-c",
                "umask 000; exec \"$0\" \"$@\"",
                env!("CARGO_BIN_EXE_chatlake"),
            ])
            .args(arguments)
            .args([
                "--data",
                self.data().to_str().unwrap(),
                "--allow-upstream",
                "127.0.0.1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.run_with(arguments, "").await
    }

    pub async fn run_with(&self, arguments: &[&str], input: &str) -> CommandOutput {
        end(self.command(arguments), input).await
    }

    /// With these variables, and no others, in its environment.
    pub async fn run_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        end(command, "").await
    }

    pub async fn person(&self, name: &str, role: &str) -> String {
        let email = format!("{name}@house.test");
        self.run_with(
            &[
                "user", "add", "--email", &email, "--name", name, "--role", role,
            ],
            PASSWORD,
        )
        .await
        .good();
        email
    }

    pub async fn token(&self, email: &str, scope: &str) -> String {
        self.run(&[
            "token", "create", "--user", email, "--name", "a script", "--scope", scope,
        ])
        .await
        .good()
    }

    /// An account at this address and its id.
    pub async fn account(&self, email: &str, api_url: &str, key: &str) -> String {
        let arguments = [
            "account",
            "add",
            "--user",
            email,
            "--connector",
            "livechat",
            "--name",
            "Support",
            "--field",
            "username=agent@sandbox.test",
        ];
        self.run_with(
            &[
                &arguments[..],
                &["--api-url", api_url, "--requests-per-minute", "60000"],
            ]
            .concat(),
            key,
        )
        .await
        .good()
    }

    /// A DataSet of the last two weeks, today included, and its id.
    pub async fn dataset(&self, email: &str, account: &str, report: &str) -> String {
        let days: &[&str] = if matches!(report, "agents" | "groups") {
            &[]
        } else {
            &["--start-days", "14", "--end-days", "0"]
        };
        let zone = noon_zone();
        let arguments = [
            "dataset",
            "create",
            "--user",
            email,
            "--name",
            "Mine",
            "--account",
            account,
            "--report",
            report,
            "--time-zone",
            &zone,
        ];
        self.run(&[&arguments[..], days].concat()).await.good()
    }

    pub async fn serve(&self) -> Server {
        self.serve_with(&[]).await
    }

    pub async fn serve_with(&self, arguments: &[&str]) -> Server {
        let server = self.spawn(arguments);
        server.ready().await;
        server
    }

    /// Starts a server without waiting for it.
    pub fn spawn(&self, arguments: &[&str]) -> Server {
        self.spawn_in(&[], arguments)
    }

    /// As `spawn`, with these variables in its environment.
    pub fn spawn_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Server {
        let mut command =
            self.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
        let mut child = command.envs(environment.iter().copied()).spawn().unwrap();
        let (out, err) = (
            ProcessOutput::of(child.stdout.take().unwrap()),
            ProcessOutput::of(child.stderr.take().unwrap()),
        );
        Server {
            child: Mutex::new(child),
            out,
            err,
            client: client(),
        }
    }

    /// Starts a server from a shell that first runs this line, such as `ulimit -n 64`.
    pub fn spawn_under(&self, line: &str, arguments: &[&str]) -> Server {
        let serve = self.command(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat());
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .current_dir(self.dir.path())
            .arg("-c")
            .arg(format!("{line}; exec \"$0\" \"$@\""))
            .arg(serve.get_program())
            .args(serve.get_args());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (
            ProcessOutput::of(child.stdout.take().unwrap()),
            ProcessOutput::of(child.stderr.take().unwrap()),
        );
        Server {
            child: Mutex::new(child),
            out,
            err,
            client: client(),
        }
    }

    /// Starts a server that dies at this marked step (`db/failpoints.rs`), as `kill -9` would end
    /// it.
    pub fn spawn_dying(&self, step: &str) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.env("CHATLAKE_DIE_AT", step).spawn().unwrap();
        let (out, err) = (
            ProcessOutput::of(child.stdout.take().unwrap()),
            ProcessOutput::of(child.stderr.take().unwrap()),
        );
        Server {
            child: Mutex::new(child),
            out,
            err,
            client: client(),
        }
    }

    /// Every file with its mode and a digest of its bytes.
    pub fn listing(&self) -> BTreeMap<PathBuf, (u32, String)> {
        let mut found = BTreeMap::new();
        list(&self.data(), &mut found);
        found
    }
}

/// Runs a command to its end, off the test's own thread, where a sandbox may be answering it.
async fn end(mut command: Command, input: &str) -> CommandOutput {
    let (what, input) = (format!("{command:?}"), input.to_owned());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    });
    let ended = tokio::time::timeout(TIMEOUT, ended)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput {
        code: ended.status.code().unwrap_or(-1),
        out: text(&ended.stdout),
        err: text(&ended.stderr),
    }
}

fn list(dir: &Path, found: &mut BTreeMap<PathBuf, (u32, String)>) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| {
        std::fs::metadata(path)
            .map(|about| about.permissions().mode() & 0o7777)
            .ok()
    };
    found.extend(mode(dir).map(|mode| (dir.to_owned(), (mode, "directory".to_owned()))));
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, found);
        } else if let (Some(mode), Ok(bytes)) = (mode(&path), std::fs::read(&path)) {
            found.insert(path, (mode, digest(&bytes)));
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A zone in which it is about noon, so that no test meets a midnight.
pub fn noon_zone() -> String {
    let hour = i64::from(
        Clock::system()
            .timestamp()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .hour(),
    );
    match 12 - hour {
        0 => "Etc/GMT".to_owned(),
        // These names count westwards.
        ahead => format!("Etc/GMT{:+}", -ahead),
    }
}

/// What a process has printed so far, line by line.
#[derive(Clone, Default)]
struct ProcessOutput(Arc<Mutex<String>>);

impl ProcessOutput {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let more = output.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut all = more.0.lock().unwrap();
                all.push_str(&String::from_utf8_lossy(&line));
                all.push('\n');
            }
        });
        output
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A server of its own process; killed when the test is done with it.
pub struct Server {
    child: Mutex<Child>,
    out: ProcessOutput,
    err: ProcessOutput,
    client: reqwest::Client,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one HTTP client of the product guards the way to vendors; this one asks our own server"
)]
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .unwrap()
}

impl Server {
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

    pub fn out(&self) -> String {
        self.out.text()
    }

    pub fn err(&self) -> String {
        self.err.text()
    }

    pub fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// The end, as `kill -9` or a power cut makes it.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        child.wait().unwrap();
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// By its name, without SIG.
    pub fn signal(&self, name: &str) {
        let done = Command::new("/bin/sh")
            .args(["-c", &format!("kill -{name} {}", self.id())])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Its exit code, within this time.
    pub async fn exit(&self, within: Duration) -> i32 {
        until_within(within, "the server ends", async || self.ended())
            .await
            .code()
            .unwrap_or(-1)
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
            "X-Chatlake-Rows tells the rows of the body"
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

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
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

/// The vendor's stand-in, in this process.
pub struct LocalSandbox {
    pub sandbox: Sandbox,
    pub address: String,
    _stop: DropGuard,
}

impl LocalSandbox {
    pub async fn new(chats: u64) -> Self {
        Self::slow(chats, Duration::ZERO).await
    }

    pub async fn slow(chats: u64, delay: Duration) -> Self {
        Self::at(chats, delay, Clock::system()).await
    }

    /// One whose world stands still: no chat begins or ends by itself.
    pub async fn still(chats: u64, delay: Duration) -> Self {
        Self::at(chats, delay, Clock::stopped_at(Clock::system().now())).await
    }

    async fn at(chats: u64, delay: Duration, clock: Clock) -> Self {
        let sandbox = Sandbox::new(
            SandboxOptions {
                chats,
                days: 10,
                delay,
                ..SandboxOptions::default()
            },
            clock,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (served, token) = (sandbox.clone(), stop.clone());
        tokio::spawn(async move { served.serve(listener, token).await });
        Self {
            sandbox,
            address,
            _stop: stop.drop_guard(),
        }
    }
}

/// A file of `tests/fixtures/tls`.
pub fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

/// A vendor that speaks TLS, shows this certificate and lets nobody in: whoever comes through gets
/// 401.
pub struct TlsVendor {
    pub address: String,
    calls: Arc<AtomicUsize>,
}

impl TlsVendor {
    pub fn new(name: &str) -> Self {
        let pem = std::fs::read(certificate(name)).unwrap();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(&pem).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = Arc::new(
            config
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap(),
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut tls = rustls::Stream::new(&mut connection, &mut stream);
                if tls.read(&mut [0; 4_096]).is_ok_and(|bytes| bytes > 0) {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = tls.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = tls.flush();
                }
            }
        });
        Self { address, calls }
    }

    /// How many requests came through.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
