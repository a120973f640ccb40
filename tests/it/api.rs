//! The API through the whole router: who may do what at every address, the one shape of errors, and
//! rows that agree with the CSV.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use chatlake::accounts::{ChangeAccount, NewAccount};
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
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::support::http::read_body;
use crate::support::sandbox::LocalSandbox;
use crate::support::{PASSWORD, noon_zone, until};

const SCOPES: [Scope; 3] = [Scope::Read, Scope::Run, Scope::Manage];

/// 10.0.0.0 and on.
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

    /// The error in the one shape, without what differs from request to request.
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

    /// Gives the version of a run, and a backfill that was cancelled, ids that are told from the
    /// run's: see `filled`.
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
        // Each from an address of its own: guessed tokens are slowed by address.
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

// ---- who may do what ----

/// What a token gets, by scope: read, run, manage.
type ByScope = [u16; 3];

/// What each caller gets at an address whose object belongs to the owner.
struct Case {
    method: &'static str,
    address: &'static str,
    viewer: ByScope,
    owner: ByScope,
    stranger: ByScope,
    admin: ByScope,
}

const fn case(
    method: &'static str,
    address: &'static str,
    viewer: ByScope,
    owner: ByScope,
    stranger: ByScope,
    admin: ByScope,
) -> Case {
    Case {
        method,
        address,
        viewer,
        owner,
        stranger,
        admin,
    }
}

const ALL: ByScope = [200; 3];
const NO: ByScope = [403; 3];
const HIDDEN: ByScope = [404; 3];

/// Accounts are for the scope manage, and never for viewers.
const fn manage(good: u16) -> ByScope {
    [403, 403, good]
}

const fn run(good: u16) -> ByScope {
    [403, good, good]
}

const CASES: [Case; 42] = [
    case("GET", "/connectors", ALL, ALL, ALL, ALL),
    case("GET", "/connectors/{id}", ALL, ALL, ALL, ALL),
    case(
        "GET",
        "/accounts",
        NO,
        manage(200),
        manage(200),
        manage(200),
    ),
    case(
        "POST",
        "/accounts",
        NO,
        manage(201),
        manage(201),
        manage(201),
    ),
    case(
        "GET",
        "/accounts/{id}",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "PATCH",
        "/accounts/{id}",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "DELETE",
        "/accounts/{id}",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "POST",
        "/accounts/{id}/check",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "GET",
        "/accounts/{id}/choices",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case("GET", "/datasets", ALL, ALL, ALL, ALL),
    case(
        "POST",
        "/datasets",
        NO,
        manage(201),
        manage(404),
        manage(201),
    ),
    case("GET", "/datasets/{id}", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "PATCH",
        "/datasets/{id}",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "DELETE",
        "/datasets/{id}",
        manage(404),
        manage(204),
        manage(404),
        manage(204),
    ),
    // It has no schedule.
    case(
        "POST",
        "/datasets/{id}/pause",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "POST",
        "/datasets/{id}/resume",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "GET",
        "/datasets/{id}/notifications",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "PATCH",
        "/datasets/{id}/notifications",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    // Nothing has taken it off.
    case(
        "POST",
        "/datasets/{id}/bring-back",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "GET",
        "/webhooks",
        NO,
        manage(200),
        manage(200),
        manage(200),
    ),
    case("GET", "/datasets/{id}/runs", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "POST",
        "/datasets/{id}/runs",
        run(404),
        run(202),
        run(404),
        run(202),
    ),
    case("GET", "/runs/{id}", HIDDEN, ALL, HIDDEN, ALL),
    // The run is not held.
    case(
        "POST",
        "/runs/{id}/accept",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "POST",
        "/runs/{id}/discard",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "POST",
        "/runs/{id}/cancel",
        run(404),
        run(200),
        run(404),
        run(200),
    ),
    case("GET", "/datasets/{id}/rows", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/data", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/versions", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/windows", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/schema", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "POST",
        "/datasets/{id}/revert",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    // The version that is current.
    case(
        "DELETE",
        "/datasets/{id}/versions/{version}",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case("GET", "/datasets/{id}/retention", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "PATCH",
        "/datasets/{id}/retention",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case("GET", "/datasets/{id}/coverage", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/backfills", HIDDEN, ALL, HIDDEN, ALL),
    // Agents have no days.
    case(
        "POST",
        "/datasets/{id}/backfills",
        run(404),
        run(409),
        run(404),
        run(409),
    ),
    case(
        "POST",
        "/datasets/{id}/backfills/{backfill}/cancel",
        run(404),
        run(200),
        run(404),
        run(200),
    ),
    case(
        "POST",
        "/datasets/{id}/backfills/{backfill}/resume",
        run(404),
        run(409),
        run(404),
        run(409),
    ),
    case(
        "POST",
        "/datasets/{id}/duplicate",
        manage(404),
        manage(201),
        manage(404),
        manage(201),
    ),
    case("GET", "/openapi.json", ALL, ALL, ALL, ALL),
];

/// The address with the object in it, and the body it wants.
fn filled(case: &Case, account: &str, dataset: &str, run: &str) -> (String, Value) {
    // Whatever the DataSet is, these two are of the run that was pulled, or are not there.
    let (version, backfill) = (run.replace("run_", "ver_"), run.replace("run_", "bf_"));
    let id = match case.address.split('/').nth(1) {
        Some("connectors") => "livechat",
        Some("accounts") => account,
        Some("datasets") => dataset,
        _ => run,
    };
    let mut path = case
        .address
        .replace("{id}", id)
        .replace("{version}", &version)
        .replace("{backfill}", &backfill);
    if path.ends_with("/choices") {
        path.push_str("?menu=group");
    }
    let body = match (case.method, case.address) {
        ("POST", "/accounts") => {
            json!({"connector": "livechat", "name": "New", "credentials": {"username": "a@b.test", "api_key": "k"}})
        }
        ("POST", "/datasets") => json!({"name": "New", "account_id": account, "report": "agents"}),
        ("PATCH", "/accounts/{id}") => json!({"name": "Other"}),
        ("PATCH", "/datasets/{id}/notifications") => json!({"after": 2}),
        ("PATCH", "/datasets/{id}/retention") => json!({"versions": 5}),
        ("POST", "/datasets/{id}/revert") => json!({"version": version}),
        ("POST", "/datasets/{id}/backfills") => json!({"from": "2026-01-01", "to": "2026-01-31"}),
        ("PATCH", _) => json!({"description": "Other"}),
        _ => json!({}),
    };
    (path, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_answers_every_caller_as_the_table_says() {
    let there = chatlake::api::addresses();
    let covered: BTreeSet<(String, String)> = CASES
        .iter()
        .map(|case| (case.method.to_owned(), case.address.to_owned()))
        .collect();
    assert_eq!(
        covered,
        there.into_iter().collect(),
        "every address has its case, and every case its address"
    );

    let fixture = ApiFixture::new(20).await;
    let (viewer, stranger) = (
        fixture.person("vic", Role::Viewer).await,
        fixture.person("stan", Role::Editor).await,
    );
    let (boss, gone) = (
        fixture.person("berta", Role::Admin).await,
        fixture.person("dee", Role::Admin).await,
    );
    let mut refused = vec![
        ("nobody", String::new()),
        ("a wrong token", format!("clk_{}", "x".repeat(49))),
    ];
    let (expired, revoked, disabled) = (
        fixture.token(&boss, Scope::Manage).await,
        fixture.token(&boss, Scope::Manage).await,
        fixture.token(&gone, Scope::Manage).await,
    );
    let ids = tokens::list(&fixture.app.db, Some(&boss.user))
        .await
        .unwrap();
    tokens::revoke(&fixture.app.db, &fixture.app.clock, &ids[0].id, None)
        .await
        .unwrap();
    let mut tx = fixture.app.db.write().await.unwrap();
    sqlx::query("UPDATE tokens SET expires_at = $1 WHERE id = $2")
        .bind(fixture.app.clock.now())
        .bind(&ids[1].id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    users::disable(&fixture.app.db, &fixture.app.clock, &gone.user, None)
        .await
        .unwrap();
    refused.extend([
        ("expired", expired),
        ("revoked", revoked),
        ("disabled", disabled),
    ]);

    let mut callers = Vec::new();
    for (name, actor) in [
        ("viewer", &viewer),
        ("owner", &fixture.owner),
        ("stranger", &stranger),
        ("admin", &boss),
    ] {
        for scope in SCOPES {
            callers.push((name, scope, fixture.token(actor, scope).await));
        }
    }
    let dataset = fixture.dataset("agents").await;
    let pulled = fixture.pulled(&dataset).await;
    fixture.name_parts(&dataset, &pulled).await;
    for case in &CASES {
        let name = format!("{} {}", case.method, case.address);
        let (path, body) = filled(
            case,
            fixture.account.as_str(),
            dataset.as_str(),
            pulled.as_str(),
        );
        for (who, token) in &refused {
            let answer = fixture.send(case.method, &path, token, &body).await;
            let wanted = if case.address == "/openapi.json" {
                200
            } else {
                401
            };
            assert_eq!(answer.status, wanted, "{name} for {who}: {}", answer.text);
            if wanted == 401 {
                assert_eq!(
                    (
                        answer.error()["code"].as_str(),
                        answer.header("www-authenticate")
                    ),
                    (Some("unauthenticated"), "Bearer"),
                    "{name} for {who}"
                );
            }
        }
        if case.address.ends_with("/revert") {
            // Nobody goes back while one of the runs from before is at work.
            until("nothing runs", async || {
                (queue::count_active(&fixture.app.db).await.unwrap() == 0).then_some(())
            })
            .await;
            // And there is something to go back from.
            fixture.vendor.sandbox.faults().set(vec![
                Fault::new(FaultKind::Shape {
                    body: "[{\"login\": \"new@house.test\"}]".to_owned(),
                })
                .on("/agents"),
            ]);
            fixture.pulled(&dataset).await;
            fixture.vendor.sandbox.faults().clear();
        }
        let current = fixture
            .app
            .datasets
            .versions
            .current(&dataset)
            .await
            .unwrap()
            .unwrap();
        for (who, scope, token) in &callers {
            let by_scope = match *who {
                "viewer" => case.viewer,
                "owner" => case.owner,
                "stranger" => case.stranger,
                _ => case.admin,
            };
            let wanted = by_scope[SCOPES.iter().position(|s| s == scope).unwrap()];
            // What goes is made anew for everybody.
            let path = match (case.method, case.address) {
                ("DELETE", "/accounts/{id}") => {
                    let account = fixture.account_of(&fixture.owner).await;
                    format!("/accounts/{account}")
                }
                ("DELETE", "/datasets/{id}/versions/{version}") => {
                    format!("/datasets/{dataset}/versions/{}", current.id)
                }
                ("DELETE", "/datasets/{id}") => {
                    format!("/datasets/{}", fixture.dataset("agents").await)
                }
                _ => path.clone(),
            };
            let answer = fixture.send(case.method, &path, token, &body).await;
            assert_eq!(
                answer.status,
                wanted,
                "{name} for {who} with {}: {}",
                scope.word(),
                answer.text
            );
            if wanted >= 400 {
                let error = answer.error();
                if wanted == 404 {
                    let (nowhere, body) = filled(
                        case,
                        AccountId::new().as_str(),
                        DatasetId::new().as_str(),
                        RunId::new().as_str(),
                    );
                    let random = fixture.send(case.method, &nowhere, token, &body).await;
                    assert_eq!(
                        (random.status, random.error()),
                        (404, error),
                        "{name}: what is hidden looks like what is not there"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_is_read_by_all_and_changed_by_its_owner() {
    let fixture = ApiFixture::new(20).await;
    let dataset = fixture.dataset("agents").await;
    let pulled = fixture.pulled(&dataset).await;
    let own = fixture.token(&fixture.owner, Scope::Manage).await;
    assert_eq!(
        fixture
            .send(
                "PATCH",
                &format!("/datasets/{dataset}"),
                &own,
                &json!({"shared": true})
            )
            .await
            .status,
        200
    );
    for role in [Role::Viewer, Role::Editor] {
        let actor = fixture.person(role.word(), role).await;
        let token = fixture.token(&actor, Scope::Manage).await;
        for case in CASES.iter().filter(|case| {
            case.address.starts_with("/datasets/{id}") || case.address.starts_with("/runs/")
        }) {
            let (path, body) = filled(
                case,
                fixture.account.as_str(),
                dataset.as_str(),
                pulled.as_str(),
            );
            // Addresses of people are for whoever may change it.
            let wanted = if case.method == "GET" && !case.address.ends_with("/notifications") {
                200
            } else {
                403
            };
            let answer = fixture.send(case.method, &path, &token, &body).await;
            assert_eq!(
                answer.status, wanted,
                "{} {} for {role:?}: {}",
                case.method, case.address, answer.text
            );
        }
        let listed = fixture.get("/datasets", &token).await.json();
        assert_eq!(listed["items"][0]["id"], dataset.as_str(), "{listed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_account_was_deleted_still_renames_unshares_and_unschedules() {
    let fixture = ApiFixture::new(20).await;
    let boss = fixture.person("berta", Role::Admin).await;
    let token = fixture.token(&fixture.owner, Scope::Manage).await;
    let lent = fixture.account_of(&boss).await;
    let share = |shared| ChangeAccount {
        shared: Some(shared),
        ..ChangeAccount::default()
    };
    fixture
        .app
        .accounts
        .update(&boss, &lent, &share(true))
        .await
        .unwrap();
    let new = json!({"name": "Agents", "account_id": lent, "report": "agents", "schedule": {"cron": "0 9 * * *"}});
    let made = fixture.send("POST", "/datasets", &token, &new).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let own = format!("/datasets/{}", made.json()["id"].as_str().unwrap());
    let free = [
        json!({"name": "People", "description": "Who answers"}),
        json!({"shared": true}),
        json!({"shared": false, "key": ["login"]}),
        json!({"schedule": null, "name": "By hand"}),
    ];
    let bound = [
        json!({"report": "groups"}),
        json!({"menus": {}}),
        json!({"schedule": {"cron": "0 8 * * *"}}),
        json!({"time_zone": "Europe/Oslo"}),
    ];
    for (gone, status) in [("no longer shared", 404), ("deleted", 422)] {
        match gone {
            "deleted" => drop(fixture.app.accounts.delete(&boss, &lent).await.unwrap()),
            _ => drop(
                fixture
                    .app
                    .accounts
                    .update(&boss, &lent, &share(false))
                    .await
                    .unwrap(),
            ),
        }
        for change in &free {
            let answer = fixture.send("PATCH", &own, &token, change).await;
            assert_eq!(answer.status, 200, "{gone}, {change}: {}", answer.text);
        }
        let now = fixture.get(&own, &token).await.json();
        assert_eq!(
            (
                now["name"].as_str(),
                now["description"].as_str(),
                now["shared"].as_bool()
            ),
            (Some("By hand"), Some("Who answers"), Some(false)),
            "{now}"
        );
        assert!(
            now["schedule"].is_null() && now["next_run_at"].is_null(),
            "{gone}: {now}"
        );
        for change in &bound {
            let answer = fixture.send("PATCH", &own, &token, change).await;
            assert_eq!(answer.status, status, "{gone}, {change}: {}", answer.text);
        }
        for wrong in [
            json!({"name": " "}),
            json!({"key": ["shoe_size"]}),
            json!({"options": {"look_back": 2}}),
            json!({"description": "a\u{0}b"}),
        ] {
            assert_eq!(
                fixture.send("PATCH", &own, &token, &wrong).await.status,
                422,
                "{gone}, {wrong}"
            );
        }
        // As it was, for the next round.
        let mut tx = fixture.app.db.write().await.unwrap();
        sqlx::query("UPDATE datasets SET schedule = '0 9 * * *'")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let healed = fixture
        .send(
            "PATCH",
            &own,
            &token,
            &json!({"account_id": fixture.account}),
        )
        .await;
    assert_eq!(healed.status, 200, "{}", healed.text);
    assert!(
        healed.json()["next_run_at"].is_string(),
        "it runs again, as it was scheduled: {}",
        healed.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_from_its_header_alone() {
    let fixture = ApiFixture::new(20).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    assert_eq!(
        fixture
            .get(&format!("/datasets?token={token}"), "")
            .await
            .status,
        401
    );
    assert_eq!(
        fixture
            .ask(
                "GET",
                "/datasets",
                "",
                &[(
                    "cookie",
                    &format!("token={token}; chatlake_session={token}")
                )],
                ""
            )
            .await
            .status,
        401
    );
    assert_eq!(
        fixture
            .ask(
                "GET",
                "/datasets",
                "",
                &[("authorization", &format!("Token {token}"))],
                ""
            )
            .await
            .status,
        401
    );
    assert_eq!(
        fixture
            .ask(
                "GET",
                "/datasets",
                "",
                &[("authorization", &format!("bearer {token}"))],
                ""
            )
            .await
            .status,
        200
    );
}

// ---- errors ----

/// Method, path, headers, body; status and code of the answer.
type Bad<'a> = (
    &'a str,
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a str,
    u16,
    &'a str,
);

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_one_shape() {
    let fixture = ApiFixture::new(20).await;
    let token = fixture.token(&fixture.owner, Scope::Manage).await;
    let dataset = fixture.dataset("agents").await;
    let (json_type, large) = (
        ("content-type", "application/json"),
        format!("{{\"name\": \"{}\"}}", "x".repeat(70_000)),
    );
    let unknown_field =
        r#"{"connector": "livechat", "name": "n", "credentials": {}, "colour": "red"}"#;
    let own = format!("/datasets/{dataset}");
    let cases: [Bad<'_>; 21] = [
        ("GET", "/nowhere", &[], "", 404, "not_found"),
        ("GET", "/", &[], "", 404, "not_found"),
        ("GET", "", &[], "", 404, "not_found"),
        ("POST", "/../v2/datasets", &[], "", 404, "not_found"),
        (
            "PUT",
            "/accounts",
            &[json_type],
            "{}",
            405,
            "method_not_allowed",
        ),
        ("DELETE", "/connectors", &[], "", 405, "method_not_allowed"),
        (
            "POST",
            "/accounts",
            &[json_type],
            "{\"name\": ",
            400,
            "not_json",
        ),
        ("POST", "/accounts", &[json_type], "[]", 422, "wrong_value"),
        (
            "POST",
            "/accounts",
            &[json_type],
            unknown_field,
            422,
            "wrong_value",
        ),
        (
            "POST",
            "/accounts",
            &[("content-type", "application/x-www-form-urlencoded")],
            "name=x",
            415,
            "not_json",
        ),
        (
            "POST",
            "/accounts",
            &[("content-type", "text/plain")],
            "{}",
            415,
            "not_json",
        ),
        ("POST", "/accounts", &[json_type], &large, 413, "too_large"),
        (
            "POST",
            "/accounts",
            &[json_type, ("content-length", "70000")],
            "",
            413,
            "too_large",
        ),
        ("GET", "/datasets/not-an-id", &[], "", 404, "not_found"),
        ("GET", "/datasets/%00%ff/rows", &[], "", 404, "not_found"),
        (
            "GET",
            "/accounts?x=%E0%A4",
            &[("host", "elsewhere.test")],
            "",
            421,
            "other_host",
        ),
        ("TRACE", "/datasets", &[], "", 405, "method_not_allowed"),
        (
            "POST",
            "/datasets",
            &[json_type],
            r#"{"name": "x", "account_id": "acc_1", "report": "agents"}"#,
            422,
            "wrong_value",
        ),
        ("GET", &format!("{own}/rows"), &[], "", 409, "no_data_yet"),
        (
            "GET",
            &format!("{own}/data?format=csv"),
            &[],
            "",
            409,
            "no_data_yet",
        ),
        (
            "GET",
            &format!("{own}/rows?colour=red"),
            &[],
            "",
            422,
            "wrong_value",
        ),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = fixture.ask_as(method, path, &token, headers, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let error = answer.error();
        assert_eq!(error["code"], code, "{method} {path}: {error:?}");
    }
    let wrong = fixture
        .ask("POST", "/accounts", &token, &[json_type], unknown_field)
        .await;
    assert_eq!(wrong.error()["field"], "colour");
    // Whatever is of the wrong kind is named where it is, and never repeated.
    for (body, field, said) in [
        (
            r#"{"options": {"look_back": -1}}"#,
            "options.look_back",
            "a whole number, 0 or more",
        ),
        (
            r#"{"options": {"hold_drop": "kanarie"}}"#,
            "options.hold_drop",
            "a whole number, 0 or more",
        ),
        (r#"{"shared": "yes"}"#, "shared", "true or false"),
        (r#"{"key": "id"}"#, "key", "a list"),
        (
            r#"{"schedule": {"weekdays": "mon"}}"#,
            "schedule.weekdays",
            "a list",
        ),
        (
            r#"{"options": {"colour": 1}}"#,
            "options.colour",
            "unknown field",
        ),
        ("[]", "body", "an object"),
    ] {
        let wrong = fixture.ask("PATCH", &own, &token, &[json_type], body).await;
        assert_eq!(
            (wrong.status, wrong.error()["field"].as_str()),
            (422, Some(field)),
            "{body}: {}",
            wrong.text
        );
        assert!(
            wrong.error()["message"].as_str().unwrap().contains(said)
                && !wrong.text.contains("kanarie"),
            "{body}: {}",
            wrong.text
        );
    }
    for line in ["99 * * * *", "0 22-2 * * *", "a b c d e"] {
        let body = json!({"schedule": {"cron": line}}).to_string();
        let wrong = fixture
            .ask("PATCH", &own, &token, &[json_type], &body)
            .await;
        let said = wrong.error()["message"].as_str().unwrap().to_owned();
        assert!(
            wrong.status == 422
                && said.contains("Hours: 0 to 23")
                && !said.contains("Component")
                && !said.ends_with(".."),
            "{line}: {said}"
        );
    }
}

impl ApiFixture {
    /// Like `ask`, with a `host` among the headers in place of ours.
    async fn ask_as(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ApiResponse {
        let Some((_, host)) = headers.iter().find(|(name, _)| *name == "host") else {
            return self.ask(method, path, token, headers, body).await;
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", *host)
            .header("authorization", format!("Bearer {token}"));
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
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_lists_every_route() {
    let fixture = ApiFixture::new(20).await;
    let document = fixture.get("/openapi.json", "").await.json();
    let mut covered = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| ["get", "post", "patch", "delete", "put"].contains(&key.as_str()))
        {
            covered.insert((method.to_uppercase(), path.clone()));
            assert!(
                item[method]["responses"]
                    .as_object()
                    .is_some_and(|answers| !answers.is_empty()),
                "{method} {path}"
            );
        }
    }
    assert_eq!(covered, chatlake::api::addresses().into_iter().collect());
    assert_eq!(document["servers"][0]["url"], "/api/v1");
    assert_eq!(
        document["paths"]["/openapi.json"]["get"]["security"],
        json!([]),
        "the document itself asks for no token"
    );
    // Every menu that is filled from an account is told where its choices are asked for, and where
    // they are asked for wrongly.
    let token = fixture.token(&fixture.owner, Scope::Manage).await;
    let wrong = fixture
        .get(
            &format!("/accounts/{}/choices?menu=colour", fixture.account),
            &token,
        )
        .await;
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    let parameters = document["paths"]["/accounts/{id}/choices"]["get"]["parameters"].to_string();
    for menu in chatlake::connectors::report::Menu::ALL
        .into_iter()
        .filter(|menu| menu.kind() == "choice")
    {
        assert!(
            parameters.contains(menu.id()) && wrong.text.contains(menu.id()),
            "{}: {parameters} {}",
            menu.id(),
            wrong.text
        );
    }
}

// ---- rows ----

/// A value of a row as the CSV writes it.
fn csv_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn all_rows(fixture: &ApiFixture, path: &str, token: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = fixture
            .get(&format!("{path}{joint}limit={limit}{cursor}"), token)
            .await;
        assert_eq!(page.status, 200, "{}", page.text);
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        assert!(
            items.len() <= limit && (items.len() == limit || page["next"].is_null()),
            "a page is full or the last"
        );
        rows.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_page_by_page_are_the_csv_sorted_and_filtered_too() {
    let fixture = ApiFixture::new(260).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    let dataset = fixture.dataset("chat").await;
    fixture.pulled(&dataset).await;
    let own = format!("/datasets/{dataset}");
    let file = fixture.get(&format!("{own}/data?format=csv"), &token).await;
    assert_eq!(file.status, 200, "{}", file.text);
    let mut reader = csv::Reader::from_reader(file.text.as_bytes());
    let columns: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let lines: Vec<Vec<String>> = reader
        .records()
        .map(|line| line.unwrap().iter().map(str::to_owned).collect())
        .collect();
    assert!(
        lines.len() >= 200 && file.header("x-chatlake-rows") == lines.len().to_string(),
        "{}",
        lines.len()
    );
    let schema = fixture.get(&format!("{own}/schema"), &token).await.json();
    let named: Vec<&str> = schema["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, named);

    for limit in [7, 100, 1_000] {
        let rows = all_rows(&fixture, &format!("{own}/rows"), &token, limit).await;
        assert_eq!(rows.len(), lines.len());
        for (row, line) in rows.iter().zip(&lines) {
            assert_eq!(row.as_object().unwrap().len(), columns.len());
            for (column, cell) in columns.iter().zip(line) {
                let text = csv_text(&row[column]);
                let same = text == *cell
                    || (row[column].is_f64()
                        && text.parse::<f64>().ok() == cell.parse::<f64>().ok());
                assert!(same, "{column}: {} is not {cell}", row[column]);
            }
        }
    }
    let sorted = all_rows(
        &fixture,
        &format!("{own}/rows?sort=-duration,id"),
        &token,
        40,
    )
    .await;
    let keys: Vec<(std::cmp::Reverse<i64>, &str)> = sorted
        .iter()
        .filter_map(|row| {
            Some((
                std::cmp::Reverse(row["duration"].as_i64()?),
                row["id"].as_str()?,
            ))
        })
        .collect();
    assert!(keys.len() > 100 && keys.is_sorted(), "{keys:?}");
    assert_eq!(sorted.len(), lines.len());
    let id = sorted[3]["id"].as_str().unwrap();
    let one = all_rows(
        &fixture,
        &format!("{own}/rows?filter=id:eq:{id}"),
        &token,
        10,
    )
    .await;
    assert_eq!(one, [sorted[3].clone()]);
    let least = sorted[50]["duration"].as_i64().unwrap();
    let some = all_rows(
        &fixture,
        &format!("{own}/rows?filter=duration:ge:{least}&filter=id:ne:{id}"),
        &token,
        10,
    )
    .await;
    let wanted = sorted
        .iter()
        .filter(|row| row["duration"].as_i64().is_some_and(|d| d >= least) && row["id"] != id)
        .count();
    assert_eq!(some.len(), wanted);

    for wrong in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "sort=nothing",
        "filter=id:like:x",
        "filter=nothing:eq:x",
        "filter=duration:ge:x",
    ] {
        let answer = fixture.get(&format!("{own}/rows?{wrong}"), &token).await;
        assert_eq!(
            (answer.status, answer.error()["code"].as_str()),
            (422, Some("wrong_value")),
            "{wrong}: {}",
            answer.text
        );
    }
    // A cursor of one question is none of another.
    let next = fixture
        .get(&format!("{own}/rows?limit=5"), &token)
        .await
        .json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        fixture
            .get(&format!("{own}/rows?limit=5&sort=id&cursor={next}"), &token)
            .await
            .status,
        422
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sorted_rows_end_at_their_depth_with_a_clear_answer() {
    let fixture = ApiFixture::new(20).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    let dataset = fixture.dataset("agents").await;
    fixture.pulled(&dataset).await;
    let rows = format!("/datasets/{dataset}/rows?sort=login&limit=100");
    let first = fixture.get(&rows, &token).await.json();
    // A cursor as the server writes it for a page further down.
    let at = |offset: u64| {
        use base64::Engine;
        let within = format!(
            "{} {:?} {:?}",
            first["version"].as_str().unwrap(),
            Some("login"),
            Vec::<String>::new()
        );
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("1:{offset}:{within}"))
    };
    for last in [99_900, 99_999] {
        let page = fixture
            .get(&format!("{rows}&cursor={}", at(last)), &token)
            .await;
        assert_eq!(page.status, 200, "{last}: {}", page.text);
        assert_eq!(
            (
                page.json()["items"].as_array().unwrap().len(),
                page.json()["next"].is_null()
            ),
            (0, true)
        );
    }
    let beyond = fixture
        .get(&format!("{rows}&cursor={}", at(100_000)), &token)
        .await;
    assert_eq!(
        (beyond.status, beyond.error()["field"].as_str()),
        (422, Some("cursor")),
        "{}",
        beyond.text
    );
    assert!(beyond.text.contains("up to row 100000"), "{}", beyond.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_known_already_is_not_sent_again() {
    let fixture = ApiFixture::new(60).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    let dataset = fixture.dataset("chat").await;
    fixture.pulled(&dataset).await;
    let path = format!("/datasets/{dataset}/data?format=csv");
    let first = fixture.get(&path, &token).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for known in [
        tag.clone(),
        format!("\"other\", {tag}"),
        format!("W/{tag}"),
        "*".to_owned(),
    ] {
        let again = fixture
            .ask("GET", &path, &token, &[("if-none-match", &known)], "")
            .await;
        assert_eq!(
            (again.status, again.text.len(), again.header("etag")),
            (304, 0, tag.as_str()),
            "{known}"
        );
    }
    assert_eq!(
        fixture
            .ask("GET", &path, &token, &[("if-none-match", "\"other\"")], "")
            .await
            .status,
        200
    );
    // Another form of it is another body.
    let mut tags = BTreeSet::from([tag.clone()]);
    for options in [
        "bom=1",
        "formulas=guard",
        "columns=id",
        "columns=id,duration",
        "bom=1&formulas=guard",
    ] {
        let other = fixture.get(&format!("{path}&{options}"), &token).await;
        assert_eq!(other.status, 200, "{options}: {}", other.text);
        assert!(tags.insert(other.header("etag").to_owned()), "{options}");
        assert_eq!(other.text.starts_with('\u{feff}'), options.contains("bom"));
    }
    let version = first.header("x-chatlake-version").to_owned();
    fixture.vendor.sandbox.end_chats(1);
    fixture.pulled(&dataset).await;
    let now = fixture
        .ask("GET", &path, &token, &[("if-none-match", &tag)], "")
        .await;
    assert_eq!(now.status, 200, "a new version is a new file");
    assert_ne!(now.header("x-chatlake-version"), version);
    let old = fixture
        .get(&format!("{path}&version={version}"), &token)
        .await;
    assert_eq!(
        (old.status, old.header("etag"), old.text == first.text),
        (200, tag.as_str(), true),
        "the old one is still there"
    );
    let versions = fixture
        .get(&format!("/datasets/{dataset}/versions"), &token)
        .await
        .json();
    assert_eq!(
        (
            versions["items"][1]["id"].as_str(),
            versions["items"][0]["current"].as_bool()
        ),
        (Some(version.as_str()), Some(true)),
        "{versions}"
    );
    for wrong in [
        "format=pdf",
        "bom=2",
        "formulas=maybe",
        "columns=nothing",
        "version=x",
    ] {
        let answer = fixture
            .get(&format!("/datasets/{dataset}/data?{wrong}"), &token)
            .await;
        assert!(
            matches!(answer.status, 404 | 422),
            "{wrong}: {}",
            answer.status
        );
        answer.error();
    }
}
