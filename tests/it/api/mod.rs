//! The API through the whole router.

mod cases;
mod deleted_objects;
mod errors;
mod openapi_document;
mod parameters_and_cursors;
mod permissions;
mod request_headers;
mod rows;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use chatlake::accounts::NewAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::app::App;
use chatlake::auth::passwords::Hasher;
use chatlake::auth::tokens::{self, NewToken};
use chatlake::auth::users::{self, NewUser};
use chatlake::clock::Clock;
use chatlake::config::{Config, GlobalArgs, ServeArgs};
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::Trigger;
use chatlake::secret::Secret;
use serde_json::{Map, Value};
use tower::ServiceExt;

use crate::support::http::read_body;
use crate::support::sandbox::LocalSandbox;
use crate::support::{PASSWORD, noon_zone, until};

use cases::{CASES, filled};

const SCOPES: [Scope; 3] = [Scope::Read, Scope::Run, Scope::Manage];

/// The next client address, from 10.0.0.0 upwards.
static NEXT_CLIENT: AtomicU32 = AtomicU32::new(0x0a00_0000);

struct ApiFixture {
    _dir: tempfile::TempDir,
    vendor: LocalSandbox,
    app: App,
    router: Router,
    hasher: Hasher,
    owner: Actor,
    account: AccountId,
    address: String,
}

impl ApiFixture {
    async fn new(chats: u64) -> Self {
        let (dir, vendor, clock) = (
            tempfile::tempdir().unwrap(),
            LocalSandbox::new(chats).await,
            Clock::system(),
        );
        let global_args = GlobalArgs {
            data: Some(dir.path().join("data")),
            allow_upstream: vec!["127.0.0.1".parse().unwrap()],
            ..GlobalArgs::default()
        };
        let app = App::open(
            Config::resolve(&global_args, &ServeArgs::default()).unwrap(),
            clock.clone(),
        )
        .await
        .unwrap();
        let (router, hasher) = (app.router().unwrap(), Hasher::new(2));
        app.start_pulling().await.unwrap();
        let address = vendor.address.clone();
        let admin = person(&app, &hasher, "ada", Role::Admin).await;
        let owner = person(&app, &hasher, "olga", Role::Editor).await;
        let mut fixture = Self {
            _dir: dir,
            vendor,
            app,
            router,
            hasher,
            account: AccountId::new(),
            owner: owner.clone(),
            address,
        };
        // Only an admin may name an address; the account is then the owner's.
        fixture.account = fixture.account_of(&admin).await;
        fixture.give_to_owner(&fixture.account.clone()).await;
        fixture
    }

    async fn person(&self, name: &str, role: Role) -> Actor {
        person(&self.app, &self.hasher, name, role).await
    }

    async fn give_to_owner(&self, account: &AccountId) {
        let mut tx = self.app.db.write().await.unwrap();
        sqlx::query("UPDATE accounts SET owner_id = $1 WHERE id = $2")
            .bind(&self.owner.user)
            .bind(account)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn account_of(&self, actor: &Actor) -> AccountId {
        let credentials = BTreeMap::from([
            ("username".to_owned(), Secret::new("agent@sandbox.test")),
            ("api_key".to_owned(), Secret::new("sandbox-key")),
        ]);
        let api_url = (actor.role == Role::Admin).then(|| self.address.clone());
        let new = NewAccount {
            connector: Connector::LiveChat,
            name: "Support".to_owned(),
            credentials,
            api_url,
            requests_per_minute: Some(60_000),
            time_zone: None,
        };
        self.app.accounts.create(actor, &new).await.unwrap().id
    }

    async fn token(&self, actor: &Actor, scope: Scope) -> String {
        let new = NewToken {
            name: "a script".to_owned(),
            scope,
            days: 1,
        };
        tokens::create(&self.app.db, &self.app.clock, actor, &new)
            .await
            .unwrap()
            .1
            .reveal()
            .to_owned()
    }

    /// A DataSet of the owner.
    async fn dataset(&self, report: &str) -> DatasetId {
        let report = Connector::LiveChat.report(report).unwrap();
        let days = report.day.is_some() || report.id == "chat";
        let menus = if days {
            Menus {
                start_days: Some(14),
                end_days: Some(0),
                ..Menus::default()
            }
        } else {
            Menus::default()
        };
        let settings = DatasetSettings {
            name: DatasetName::parse("Mine").unwrap(),
            description: DatasetDescription::default(),
            account_id: self.account.clone(),
            connector: Connector::LiveChat,
            menus: menus.check(report).unwrap(),
            update_mode: report.mode,
            options: Default::default(),
            report,
            time_zone: noon_zone(),
            schedule: None,
        };
        self.app
            .datasets
            .create(&self.owner, &settings)
            .await
            .unwrap()
    }

    async fn pulled(&self, dataset: &DatasetId) -> RunId {
        let run = self
            .app
            .puller
            .run_now(&self.owner, dataset, Trigger::Manual)
            .await
            .unwrap()
            .id;
        until("the run is over", async || {
            queue::get(&self.app.db, &run)
                .await
                .unwrap()
                .filter(|run| run.state.is_final())
        })
        .await;
        run
    }

    /// Gives the version of a run and a cancelled backfill ids that follow from the id of the run:
    /// see `filled`.
    async fn name_parts(&self, dataset: &DatasetId, run: &RunId) {
        let (version, backfill) = (
            run.as_str().replace("run_", "ver_"),
            run.as_str().replace("run_", "bf_"),
        );
        let mut tx = self.app.db.write().await.unwrap();
        sqlx::query("PRAGMA defer_foreign_keys = ON")
            .execute(&mut *tx)
            .await
            .unwrap();
        for statement in [
            "UPDATE version_segments
             SET version_id = $1
             WHERE version_id = (SELECT version_id FROM runs WHERE id = $2)",
            "UPDATE versions SET id = $1 WHERE run_id = $2",
            "UPDATE datasets
             SET current_version = $1
             WHERE id = (SELECT dataset_id FROM runs WHERE id = $2)",
            "UPDATE runs SET version_id = $1 WHERE id = $2",
        ] {
            sqlx::query(statement)
                .bind(&version)
                .bind(run)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        let cancelled = "INSERT INTO backfills (
                 id, dataset_id, from_day, to_day, chunk_days, remaining_to, state, created_at,
                 resumed_at
             )
             VALUES ($1, $2, '2026-01-01', '2026-01-31', 7, '2026-01-24', 'cancelled', 1, 1)";
        sqlx::query(cancelled)
            .bind(backfill)
            .bind(dataset)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ApiResponse {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "127.0.0.1:8080");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // Each request has its own address, because guessed tokens are throttled by address.
        request = request.extension(ConnectInfo(SocketAddr::from((
            NEXT_CLIENT.fetch_add(1, Ordering::Relaxed).to_be_bytes(),
            1,
        ))));
        let answer = self
            .router
            .clone()
            .oneshot(request.body(Body::from(body.to_owned())).unwrap())
            .await
            .unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = read_body(answer.into_body()).await;
        ApiResponse {
            status,
            headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str, token: &str) -> ApiResponse {
        self.ask("GET", path, token, &[], "").await
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> ApiResponse {
        self.ask(
            method,
            path,
            token,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
        .await
    }
}

/// An answer, read whole.
struct ApiResponse {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl ApiResponse {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The error, without the request id.
    fn error(&self) -> Map<String, Value> {
        let whole = self.json();
        let [(name, error)] = &whole.as_object().unwrap().iter().collect::<Vec<_>>()[..] else {
            panic!("{whole}")
        };
        assert_eq!(name.as_str(), "error", "{whole}");
        let mut error = error.as_object().unwrap().clone();
        let id = error
            .remove("request_id")
            .unwrap_or_else(|| panic!("no request id: {whole}"));
        assert!(
            id.as_str()
                .is_some_and(|id| id.len() > 8 && id == self.header("x-request-id")),
            "{whole} {:?}",
            self.headers
        );
        assert_eq!(self.header("content-type"), "application/json", "{whole}");
        for part in ["code", "message"] {
            assert!(
                error[part].as_str().is_some_and(|text| !text.is_empty()),
                "{part}: {whole}"
            );
        }
        assert!(
            error
                .keys()
                .all(|key| ["code", "message", "action", "field"].contains(&key.as_str())),
            "{whole}"
        );
        error
    }
}

async fn person(app: &App, hasher: &Hasher, name: &str, role: Role) -> Actor {
    let new = NewUser {
        email: format!("{name}@house.test"),
        name: name.to_owned(),
        role,
        password: Some(Secret::new(PASSWORD)),
    };
    users::create(&app.db, &app.clock, hasher, &new, None)
        .await
        .unwrap()
        .actor()
}
