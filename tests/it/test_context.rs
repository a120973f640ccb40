//! A whole Chatlake in a temporary directory, with people who use it through its router as a
//! browser would, and a sandbox as the vendor. Start a story with `TestContext::new()`, give it
//! people with `person`, and let them click in a `Browser`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use chatlake::accounts::{Account, NewAccount};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::app::{self, App};
use chatlake::auth::passwords::Hasher;
use chatlake::auth::sessions::Sessions;
use chatlake::auth::throttle::Throttle;
use chatlake::auth::users::{self, NewUser};
use chatlake::auth::{invites, tokens};
use chatlake::clock::{Clock, Millis};
use chatlake::config::{Config, LogFormat};
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::download::Downloads;
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::run::{Run, Trigger};
use chatlake::quota::Quota;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use chatlake::secret::Secret;
use chatlake::web::{Web, WebState, routes};
use http_body_util::BodyExt;
use scraper::{Html, Selector};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

/// Whether the long forms of tests run: `bin/soak` sets `CHATLAKE_SOAK=1`.
pub fn is_soak() -> bool {
    std::env::var_os("CHATLAKE_SOAK").is_some_and(|value| value == "1")
}

/// 2026-11-20 12:00 UTC: when a stopped ctx stands.
pub const NOON: Millis = 1_795_176_000_000;
pub const PASSWORD: &str = "correct horse battery";
const HOST_NAME: &str = "127.0.0.1:8080";

/// Everything, in a directory that goes away with it.
pub struct TestContext {
    pub app: App,
    pub clock: Clock,
    pub router: Router,
    pub sandbox: Sandbox,
    /// The sandbox's root.
    pub vendor: String,
    pub dir: tempfile::TempDir,
    hasher: Hasher,
    _vendor_stops: DropGuard,
}

impl TestContext {
    /// Time stands still at `NOON` until `clock.advance`; runs are not pulled.
    pub async fn new() -> Self {
        Self::with(Clock::stopped_at(NOON), |_| {}).await
    }

    /// Time passes and runs are pulled.
    pub async fn with_workers() -> Self {
        let ctx = Self::with(Clock::system(), |_| {}).await;
        ctx.app.start_pulling().await.unwrap();
        ctx
    }

    /// `change` is what differs from the usual settings.
    pub async fn with(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let sandbox = Sandbox::new(
            SandboxOptions {
                chats: 300,
                days: 30,
                ..SandboxOptions::default()
            },
            clock.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (served, token) = (sandbox.clone(), stop.clone());
        tokio::spawn(async move { served.serve(listener, token).await });
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            data: dir.path().join("data"),
            listen: HOST_NAME.parse().unwrap(),
            public_url: format!("http://{HOST_NAME}").parse().unwrap(),
            has_explicit_public_url: false,
            insecure_http: false,
            allow_upstream: vec!["127.0.0.1".parse().unwrap()],
            workers: 2,
            min_transfer_rate: 1_024,
            max_run_hours: 12,
            shortest_interval: 5,
            keep_versions: 10,
            keep_days: 30,
            scrub_percent: 10,
            keep_free_mib: 0,
            downloads_per_person: 8,
            downloads: 64,
            audit_days: 365,
            audit_max_rows: 1_000_000,
            mail_hello: None,
            connections_per_address: 0,
            metrics_listen: None,
            allow_mail_server: vec!["127.0.0.1".parse().unwrap()],
            trusted_proxy: Vec::new(),
            log: "warn".to_owned(),
            log_format: LogFormat::Human,
        };
        change(&mut config);
        let app = App::open(config, clock.clone()).await.unwrap();
        let router = app.router().unwrap();
        Self {
            app,
            clock,
            router,
            sandbox,
            vendor,
            dir,
            hasher: Hasher::new(4),
            _vendor_stops: stop.drop_guard(),
        }
    }

    /// The counters, as a program on this machine reads them.
    pub async fn metrics(&self) -> String {
        let mut here = Browser {
            address: Ipv4Addr::LOCALHOST.into(),
            ..self.browser()
        };
        let page = here.get("/metrics").await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.text
    }

    /// The code of the link that makes the first admin.
    pub async fn set_up_code(&self) -> String {
        invites::setup_link(&self.app.db, &self.clock)
            .await
            .unwrap()
            .unwrap()
            .reveal()
            .to_owned()
    }

    /// Somebody who signs in as `name@house.test` with `PASSWORD`.
    pub async fn person(&self, name: &str, role: Role) -> Actor {
        let new = NewUser {
            email: format!("{name}@house.test"),
            name: name.to_owned(),
            role,
            password: Some(Secret::new(PASSWORD)),
        };
        users::create(&self.app.db, &self.clock, &self.hasher, &new, None)
            .await
            .unwrap()
            .actor()
    }

    /// A browser in which nobody is signed in, at an address of its own.
    pub fn browser(&self) -> Browser {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let address = IpAddr::V4(Ipv4Addr::from(
            u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number,
        ));
        Browser {
            router: self.router.clone(),
            cookies: BTreeMap::new(),
            address,
        }
    }

    /// A browser in front of the same pages with `more` addresses beside them.
    pub fn browser_with(&self, more: Router) -> Browser {
        let app = &self.app;
        let web = Web::new(WebState {
            config: app.config.clone(),
            db: app.db.clone(),
            clock: app.clock.clone(),
            accounts: app.accounts.clone(),
            datasets: app.datasets.clone(),
            puller: app.puller.clone(),
            metrics: app.metrics.clone(),
            hasher: Hasher::new(1),
            throttle: Throttle::new(app.clock.clone()),
            sessions: Sessions::new(app.db.clone(), app.clock.clone()),
            downloads: Downloads::new(app.clock.clone(), 8, 64),
            event_streams: Quota::new(16, 256),
            stop: CancellationToken::new(),
        });
        Browser {
            router: routes::router(web, more, app::rejection_handler()).unwrap(),
            ..self.browser()
        }
    }

    /// The person at a browser of their own, signed in.
    pub async fn signed_in(&self, actor: &Actor) -> Browser {
        let mut browser = self.browser();
        let page = browser
            .post(
                "/sign-in",
                &[("email", &actor.email), ("password", PASSWORD)],
            )
            .await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        browser
    }

    /// A new person, signed in.
    pub async fn signed_in_person(&self, name: &str, role: Role) -> (Actor, Browser) {
        let actor = self.person(name, role).await;
        let browser = self.signed_in(&actor).await;
        (actor, browser)
    }

    /// The text of a new token of this person.
    pub async fn token(&self, actor: &Actor, scope: Scope) -> String {
        let new = tokens::NewToken {
            name: "script".to_owned(),
            scope,
            days: 30,
        };
        tokens::create(&self.app.db, &self.clock, actor, &new)
            .await
            .unwrap()
            .1
            .reveal()
            .to_owned()
    }

    /// An account of this person at the sandbox. Only admins may name an address, so somebody who
    /// is none is one for a moment.
    pub async fn account(&self, actor: &Actor, name: &str) -> Account {
        let new = NewAccount {
            connector: Connector::LiveChat,
            name: name.to_owned(),
            credentials: [
                ("username", "agent@sandbox.test"),
                ("api_key", "sandbox-key"),
            ]
            .map(|(id, value)| (id.to_owned(), Secret::new(value)))
            .into(),
            api_url: Some(self.vendor.clone()),
            requests_per_minute: Some(60_000),
            time_zone: None,
        };
        let admin = Actor {
            role: Role::Admin,
            ..actor.clone()
        };
        self.app.accounts.create(&admin, &new).await.unwrap()
    }

    /// A DataSet of this person that pulls seven days until yesterday, by hand.
    pub async fn dataset(
        &self,
        actor: &Actor,
        account: &AccountId,
        report: &str,
        name: &str,
    ) -> DatasetId {
        let report = Connector::LiveChat.report(report).unwrap();
        let settings = DatasetSettings {
            name: DatasetName::parse(name).unwrap(),
            description: DatasetDescription::default(),
            account_id: account.clone(),
            connector: Connector::LiveChat,
            report,
            menus: Menus::default().check(report).unwrap(),
            update_mode: report.mode,
            options: Default::default(),
            time_zone: "UTC".to_owned(),
            schedule: None,
        };
        self.app.datasets.create(actor, &settings).await.unwrap()
    }

    /// Runs a DataSet to its end. Needs a live ctx.
    pub async fn run(&self, actor: &Actor, dataset: &DatasetId) -> Run {
        let run = self
            .app
            .puller
            .run_now(actor, dataset, Trigger::Manual)
            .await
            .unwrap();
        for _ in 0..600 {
            let now = self.app.puller.get(actor, &run.id).await.unwrap();
            if now.state.is_final() {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the run did not end within 30 seconds");
    }

    /// Every byte of the data directory, to look for what must not be there.
    pub fn on_disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for file in std::fs::read_dir(self.dir.path().join("data"))
            .unwrap()
            .map(Result::unwrap)
        {
            if file.file_type().unwrap().is_file() && file.file_name() != "vault.key" {
                all.extend(std::fs::read(file.path()).unwrap());
            }
        }
        all
    }
}

/// A browser: keeps cookies and does not follow redirects by itself. A clone is a copy of its
/// cookies.
#[derive(Clone)]
pub struct Browser {
    router: Router,
    pub cookies: BTreeMap<String, String>,
    pub address: IpAddr,
}

impl Browser {
    pub async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    /// Posts a form as a page of ours would.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send(
            Method::POST,
            path,
            Some(body),
            &[
                ("origin", &format!("http://{HOST_NAME}")),
                ("sec-fetch-site", "same-origin"),
            ],
        )
        .await
    }

    /// Posts a form and goes where the answer leads.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let answer = self.post(path, fields).await;
        assert_eq!(
            answer.status,
            StatusCode::SEE_OTHER,
            "{path}: {}",
            answer.text
        );
        let to = answer.location();
        self.get(&to).await
    }

    /// Any request. `headers` come on top of Host and cookies.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Page {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, HOST_NAME);
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        if body.is_some()
            && !headers
                .iter()
                .any(|(name, _)| *name == CONTENT_TYPE.as_str())
        {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(body.map_or_else(Body::empty, Body::from))
            .unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(self.address, 40_000)));
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        for line in parts.headers.get_all(SET_COOKIE) {
            self.store_cookie(line.to_str().unwrap());
        }
        let bytes = read_body(body).await;
        Page {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
        }
    }

    fn store_cookie(&mut self, line: &str) {
        let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
        if line.to_ascii_lowercase().contains("max-age=0") || value.is_empty() {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn session_cookie(&self) -> Option<&str> {
        self.cookies.get("chatlake_session").map(String::as_str)
    }

    /// Whether somebody is signed in here.
    pub async fn is_signed_in(&mut self) -> bool {
        self.get("/me").await.status == StatusCode::OK
    }
}

/// What came back.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub bytes: Vec<u8>,
}

impl Page {
    pub fn location(&self) -> String {
        self.headers
            .get(LOCATION)
            .map(|to| to.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    /// The words of every element that fits, white space made one space.
    pub fn all(&self, selector: &str) -> Vec<String> {
        let html = Html::parse_document(&self.text);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .map(|element| {
                element
                    .text()
                    .flat_map(str::split_whitespace)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// The words of the first element that fits; empty when there is none.
    pub fn words(&self, selector: &str) -> String {
        self.all(selector).into_iter().next().unwrap_or_default()
    }

    pub fn has(&self, selector: &str) -> bool {
        !self.all(selector).is_empty()
    }

    /// An attribute of the first element that fits.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let html = Html::parse_document(&self.text);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector)
            .next()
            .and_then(|element| element.value().attr(name))
            .map(str::to_owned)
    }

    /// What is wrong with a field, as its own words beside it say.
    pub fn wrong(&self, field: &str) -> String {
        self.words(&format!("[id='{field}-wrong']"))
    }

    pub fn toast(&self) -> String {
        self.words("[data-toast] > span")
    }

    pub fn title(&self) -> String {
        self.words("h1")
    }
}

/// All that a body holds, taken as a client takes it: each piece is dropped before the next one is
/// asked for.
pub async fn read_body(mut body: Body) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(frame.unwrap().data_ref().map_or(&[], |data| data));
    }
    all
}
