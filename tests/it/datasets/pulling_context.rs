//! A whole product in a temporary directory, its sandbox beside it, and people with browsers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use chatlake::accounts::{ChangeAccount, NewAccount};
use chatlake::actor::{Actor, Role};
use chatlake::app::App;
use chatlake::auth::sessions::Sessions;
use chatlake::auth::{session_layer, users};
use chatlake::clock::Clock;
use chatlake::config::{Config, LogFormat};
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, Trigger};
use chatlake::sandbox::{Sandbox, SandboxOptions};
use chatlake::secret::Secret;
use scraper::{Html, Selector};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use crate::test_context::read_body;

pub struct PullingContext {
    pub app: App,
    pub router: Router,
    /// The vendor beside it.
    pub sandbox: Sandbox,
    address: String,
    _stop: DropGuard,
    _dir: tempfile::TempDir,
}

/// A person with a browser that runs no scripts.
pub struct PersonBrowser {
    pub actor: Actor,
    router: Router,
    cookie: String,
}

/// What came back.
pub struct PersonResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl PullingContext {
    /// With workers that pull.
    pub async fn new() -> Self {
        Self::with(SandboxOptions {
            chats: 900,
            days: 20,
            ..SandboxOptions::default()
        })
        .await
    }

    pub async fn with(options: SandboxOptions) -> Self {
        Self::at(options, Clock::system()).await
    }

    /// By this clock, which the sandbox has, too.
    pub async fn at(options: SandboxOptions, clock: Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new(options, clock.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let (token, served) = (stop.clone(), sandbox.clone());
        tokio::spawn(async move { served.serve(listener, token).await });
        let config = Config {
            data: dir.path().to_owned(),
            listen: "127.0.0.1:8080".parse().unwrap(),
            public_url: "http://127.0.0.1:8080".parse().unwrap(),
            has_explicit_public_url: false,
            insecure_http: false,
            allow_upstream: vec!["127.0.0.1".parse().unwrap()],
            workers: 2,
            min_transfer_rate: 1_024,
            max_run_hours: 12,
            shortest_interval: 5,
            keep_versions: 10,
            keep_days: 30,
            keep_free_mib: 0,
            scrub_percent: 10,
            downloads_per_person: 8,
            downloads: 64,
            audit_days: 365,
            audit_max_rows: 1_000_000,
            mail_hello: None,
            connections_per_address: 0,
            metrics_listen: None,
            allow_mail_server: Vec::new(),
            trusted_proxy: Vec::new(),
            log: "info".to_owned(),
            log_format: LogFormat::Human,
        };
        let app = App::open(config, clock)
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let router = app.router().unwrap();
        app.start_pulling().await.unwrap();
        Self {
            app,
            router,
            sandbox,
            address,
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    /// Where the vendor is.
    pub fn vendor(&self) -> &str {
        &self.address
    }

    pub async fn person(&self, name: &str, role: Role) -> PersonBrowser {
        let new = users::NewUser {
            email: format!("{name}@house.test"),
            name: name.to_owned(),
            role,
            password: None,
        };
        let hasher = chatlake::auth::passwords::Hasher::new(1);
        let user = users::create(&self.app.db, &self.app.clock, &hasher, &new, None)
            .await
            .unwrap();
        let value = Sessions::new(self.app.db.clone(), self.app.clock.clone())
            .create(&user.id, None)
            .await
            .unwrap();
        let cookie = format!(
            "{}={}",
            session_layer::session_cookie_name(false),
            value.reveal()
        );
        PersonBrowser {
            actor: user.actor(),
            router: self.router.clone(),
            cookie,
        }
    }

    /// An account at the sandbox that everyone may use: only an admin may name an address.
    pub async fn account(&self, key: &str) -> AccountId {
        let keeper = self
            .person(
                &format!(
                    "keeper-{}",
                    key.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
                ),
                Role::Admin,
            )
            .await;
        let new = NewAccount {
            connector: Connector::LiveChat,
            name: "Support Oslo".to_owned(),
            credentials: BTreeMap::from([
                ("username".to_owned(), Secret::new("agent@sandbox.test")),
                ("api_key".to_owned(), Secret::new(key)),
            ]),
            api_url: Some(self.address.clone()),
            requests_per_minute: Some(60_000),
            time_zone: None,
        };
        let id = self
            .app
            .accounts
            .create(&keeper.actor, &new)
            .await
            .unwrap()
            .id;
        let share = ChangeAccount {
            shared: Some(true),
            ..ChangeAccount::default()
        };
        self.app
            .accounts
            .update(&keeper.actor, &id, &share)
            .await
            .unwrap();
        id
    }

    pub async fn dataset(
        &self,
        who: &PersonBrowser,
        account: &AccountId,
        name: &str,
        report: &str,
    ) -> DatasetId {
        let report = Connector::LiveChat.report(report).unwrap();
        let settings = DatasetSettings {
            name: DatasetName::parse(name).unwrap(),
            description: DatasetDescription::parse("").unwrap(),
            account_id: account.clone(),
            connector: Connector::LiveChat,
            report,
            menus: Menus::default().check(report).unwrap(),
            update_mode: report.mode,
            options: Default::default(),
            time_zone: "Europe/Oslo".to_owned(),
            schedule: None,
        };
        self.app
            .datasets
            .create(&who.actor, &settings)
            .await
            .unwrap()
    }

    /// Runs it and waits for the end.
    pub async fn run(&self, who: &PersonBrowser, dataset: &DatasetId) -> Run {
        let run = self
            .app
            .puller
            .run_now(&who.actor, dataset, Trigger::Manual)
            .await
            .unwrap();
        self.ended(&run.id).await
    }

    pub async fn ended(&self, run: &RunId) -> Run {
        for _ in 0..600 {
            let run = queue::get(&self.app.db, run).await.unwrap().unwrap();
            if run.state.is_final() {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{run} did not end");
    }
}

impl PersonBrowser {
    pub async fn send(
        &self,
        request: axum::http::request::Builder,
        body: Body,
    ) -> axum::response::Response {
        let request = request
            .header("host", "127.0.0.1:8080")
            .header("cookie", &self.cookie)
            .header("sec-fetch-site", "same-origin");
        self.router
            .clone()
            .oneshot(request.body(body).unwrap())
            .await
            .unwrap()
    }

    pub async fn get(&self, path: &str) -> PersonResponse {
        PersonResponse::read(self.send(Request::get(path), Body::empty()).await).await
    }

    /// The counters, as a program on this machine reads them.
    pub async fn metrics(&self) -> String {
        let here = axum::extract::ConnectInfo(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        PersonResponse::read(
            self.send(Request::get("/metrics").extension(here), Body::empty())
                .await,
        )
        .await
        .text()
    }

    pub async fn get_with(&self, path: &str, header: &str, value: &str) -> PersonResponse {
        PersonResponse::read(
            self.send(Request::get(path).header(header, value), Body::empty())
                .await,
        )
        .await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> PersonResponse {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        PersonResponse::read(self.send(request, Body::from(body)).await).await
    }
}

impl PersonResponse {
    async fn read(response: axum::response::Response) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            bytes: read_body(body).await,
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    pub fn page(&self) -> Html {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        Html::parse_document(&self.text())
    }

    /// The text of what matches, white space made single.
    pub fn texts(&self, css: &str) -> Vec<String> {
        texts(&self.page(), css)
    }
}

pub fn texts(page: &Html, css: &str) -> Vec<String> {
    let words = |element: scraper::ElementRef<'_>| {
        element
            .text()
            .collect::<String>()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    page.select(&Selector::parse(css).unwrap())
        .map(words)
        .collect()
}
