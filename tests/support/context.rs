//! A complete product in this process, in a temporary directory, with a sandbox as its vendor.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::http::StatusCode;
use chatlake::accounts::{Account, ChangeAccount, NewAccount};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::app::{self, App};
use chatlake::auth::passwords::Hasher;
use chatlake::auth::sessions::Sessions;
use chatlake::auth::throttle::Throttle;
use chatlake::auth::users::{self, NewUser, User};
use chatlake::auth::{invites, session_layer, tokens};
use chatlake::clock::Clock;
use chatlake::config::Config;
use chatlake::connectors::Connector;
use chatlake::datasets::DatasetSettings;
use chatlake::datasets::download::Downloads;
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, Trigger};
use chatlake::quota::Quota;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use chatlake::secret::Secret;
use chatlake::web::{Web, WebState, routes};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::config::test_config;
use super::datasets::dataset_settings;
use super::http::{Browser, PersonBrowser};
use super::sandbox::{LocalSandbox, of_size};
use super::{NOON, PASSWORD, until};

/// A product, its data directory and its vendor. The directory is deleted with this value.
pub struct TestContext {
    pub app: App,
    pub clock: Clock,
    pub router: Router,
    pub sandbox: Sandbox,
    /// The address of the sandbox.
    pub vendor: String,
    pub dir: tempfile::TempDir,
    hasher: Hasher,
    _local_sandbox: LocalSandbox,
}

impl TestContext {
    /// The clock is stopped at `NOON` until `clock.advance`. No run is pulled.
    pub async fn new() -> Self {
        Self::with(Clock::stopped_at(NOON), |_| {}).await
    }

    /// `change` changes the settings. No run is pulled.
    pub async fn with(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        Self::open(of_size(300, 30), clock, change).await
    }

    /// With the system clock. Runs are pulled.
    pub async fn with_workers() -> Self {
        Self::with_sandbox(of_size(300, 30)).await
    }

    /// The clock is stopped at `NOON` until `clock.advance`. Runs are pulled.
    pub async fn stopped_with_workers() -> Self {
        Self::with_sandbox_at(of_size(300, 30), Clock::stopped_at(NOON)).await
    }

    /// With a sandbox of these options and the system clock. Runs are pulled.
    pub async fn with_sandbox(options: SandboxOptions) -> Self {
        Self::with_sandbox_at(options, Clock::system()).await
    }

    /// With a sandbox of these options. It has the same clock as the product. Runs are pulled.
    pub async fn with_sandbox_at(options: SandboxOptions, clock: Clock) -> Self {
        let ctx = Self::open(options, clock, |_| {}).await;
        ctx.app.start_pulling().await.unwrap();
        ctx
    }

    async fn open(options: SandboxOptions, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let local_sandbox = LocalSandbox::with(options, clock.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let mut config = test_config(dir.path().join("data"));
        change(&mut config);
        let app = App::open(config, clock.clone())
            .await
            .unwrap_or_else(|why| panic!("{why:?}"));
        let router = app.router().unwrap();
        Self {
            app,
            clock,
            router,
            sandbox: local_sandbox.sandbox.clone(),
            vendor: local_sandbox.address.clone(),
            dir,
            hasher: Hasher::new(4),
            _local_sandbox: local_sandbox,
        }
    }

    /// The metrics, requested from this machine.
    pub async fn metrics(&self) -> String {
        let mut here = Browser {
            address: Ipv4Addr::LOCALHOST.into(),
            ..self.browser()
        };
        let page = here.get("/metrics").await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.text
    }

    /// The code of the link that creates the first admin.
    pub async fn set_up_code(&self) -> String {
        invites::setup_link(&self.app.db, &self.clock)
            .await
            .unwrap()
            .unwrap()
            .reveal()
            .to_owned()
    }

    async fn user(&self, name: &str, role: Role, password: Option<Secret>) -> User {
        let new = NewUser {
            email: format!("{name}@house.test"),
            name: name.to_owned(),
            role,
            password,
        };
        users::create(&self.app.db, &self.clock, &self.hasher, &new, None)
            .await
            .unwrap()
    }

    /// A person who cannot sign in.
    pub async fn person_without_password(&self, name: &str, role: Role) -> Actor {
        self.user(name, role, None).await.actor()
    }

    /// A person who can sign in as `name@house.test` with `PASSWORD`.
    pub async fn person(&self, name: &str, role: Role) -> Actor {
        self.user(name, role, Some(Secret::new(PASSWORD)))
            .await
            .actor()
    }

    /// A person without a password, and a browser with a session of this person. It is faster than
    /// `signed_in_person`, because no password is hashed.
    pub async fn person_with_session(&self, name: &str, role: Role) -> PersonBrowser {
        let user = self.user(name, role, None).await;
        let value = Sessions::new(self.app.db.clone(), self.clock.clone())
            .create(&user.id, None)
            .await
            .unwrap();
        let mut browser = self.browser();
        browser.cookies.insert(
            session_layer::session_cookie_name(false).to_owned(),
            value.reveal().to_owned(),
        );
        PersonBrowser {
            actor: user.actor(),
            browser,
        }
    }

    /// A browser in which nobody is signed in. Each browser has another address.
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

    /// A browser for the same pages and the routes of `more`.
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

    /// A browser in which this person has signed in.
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

    /// A new person and a browser in which they have signed in.
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

    /// Sends a request to the API and returns the status and the JSON of the response.
    pub async fn api(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = (method != "GET").then(|| body.to_string());
        let answer = self
            .browser()
            .send(
                method.parse().unwrap(),
                &format!("/api/v1{path}"),
                body,
                &headers,
            )
            .await;
        (
            answer.status,
            serde_json::from_str(&answer.text).unwrap_or(Value::Null),
        )
    }

    /// A LiveChat account of this person at the sandbox. Only admins may set an address, so the
    /// person is an admin during this call.
    pub async fn account(&self, actor: &Actor, name: &str) -> Account {
        let admin = Actor {
            role: Role::Admin,
            ..actor.clone()
        };
        let new = self.new_account(name, "sandbox-key");
        self.app.accounts.create(&admin, &new).await.unwrap()
    }

    /// A LiveChat account with this API key that a new admin shares with everyone.
    pub async fn shared_account(&self, key: &str) -> AccountId {
        let part = key.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let admin = self
            .person_without_password(&format!("admin-{part}"), Role::Admin)
            .await;
        let new = self.new_account("Support Oslo", key);
        let id = self.app.accounts.create(&admin, &new).await.unwrap().id;
        self.share_account(&admin, &id).await;
        id
    }

    pub async fn share_account(&self, actor: &Actor, account: &AccountId) {
        let share = ChangeAccount {
            shared: Some(true),
            ..ChangeAccount::default()
        };
        self.app
            .accounts
            .update(actor, account, &share)
            .await
            .unwrap();
    }

    fn new_account(&self, name: &str, key: &str) -> NewAccount {
        NewAccount {
            connector: Connector::LiveChat,
            name: name.to_owned(),
            credentials: BTreeMap::from([
                ("username".to_owned(), Secret::new("agent@sandbox.test")),
                ("api_key".to_owned(), Secret::new(key)),
            ]),
            api_url: Some(self.vendor.clone()),
            requests_per_minute: Some(60_000),
            time_zone: None,
        }
    }

    /// A LiveChat DataSet of this person without a schedule. It pulls seven days until yesterday,
    /// in UTC.
    pub async fn dataset(
        &self,
        actor: &Actor,
        account: &AccountId,
        report: &str,
        name: &str,
    ) -> DatasetId {
        let settings = dataset_settings(Connector::LiveChat, account, report, name);
        self.app.datasets.create(actor, &settings).await.unwrap()
    }

    /// As `dataset`, in the time zone of Oslo.
    pub async fn oslo_dataset(
        &self,
        actor: &Actor,
        account: &AccountId,
        report: &str,
        name: &str,
    ) -> DatasetId {
        let settings = DatasetSettings {
            time_zone: "Europe/Oslo".to_owned(),
            ..dataset_settings(Connector::LiveChat, account, report, name)
        };
        self.app.datasets.create(actor, &settings).await.unwrap()
    }

    /// Runs a DataSet and waits for the end of the run. Needs workers.
    pub async fn run(&self, actor: &Actor, dataset: &DatasetId) -> Run {
        let run = self
            .app
            .puller
            .run_now(actor, dataset, Trigger::Manual)
            .await
            .unwrap();
        self.ended(&run.id).await;
        self.app.puller.get(actor, &run.id).await.unwrap()
    }

    /// Waits for the end of a run.
    pub async fn ended(&self, run: &RunId) -> Run {
        until("the run is over", async || {
            queue::get(&self.app.db, run)
                .await
                .unwrap()
                .filter(|run| run.state.is_final())
        })
        .await
    }

    /// All bytes of the files in the data directory, without the key of the vault. For tests that
    /// no secret is stored in plain text.
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
