//! Who may do what on every page: the address table of `src/web/routes.rs` against a table of
//! cases, and what no address may do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::auth::export_passwords::{self, NewExportPassword};
use chatlake::auth::sessions::Sessions;
use chatlake::auth::users::{self, NewUser};
use chatlake::auth::{invites, passwords::Hasher, session_layer};
use chatlake::clock::Clock;
use chatlake::ids::{AccountId, DatasetId, ExportPasswordId, InviteId, RunId, UserId, WebhookId};
use chatlake::puller::ledger;
use scraper::{Html, Selector};
use sqlx::{AssertSqlSafe, Row};

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageOutcome {
    Page,
    /// It was done, and the answer leads on.
    Done,
    /// The answer leads to signing in.
    SignIn,
    Forbidden,
    Hidden,
    /// The form again, with what is wrong.
    Wrong,
    /// The form again, after what it asks for was tried and failed.
    Failed,
    Other(u16),
}
use PageOutcome::{Done, Failed, Forbidden, Hidden, Other, Page as Shown, SignIn, Wrong};

use crate::support::PASSWORD;
use crate::support::context::TestContext;
use crate::support::http::{Browser, Page};

impl PageOutcome {
    fn of(page: &Page) -> Self {
        match page.status.as_u16() {
            200 => Shown,
            303 if page.location().split('?').next() == Some("/sign-in") => SignIn,
            303 => Done,
            403 => Forbidden,
            404 => Hidden,
            422 => Wrong,
            other => Self::Other(other),
        }
    }

    fn refuses(self) -> bool {
        !matches!(self, Shown | Done | Failed)
    }

    fn is(self, page: &Page) -> bool {
        Self::of(page) == if self == Failed { Wrong } else { self }
    }
}

/// A method and an address, and what comes back to: nobody and a person who is shut out, a viewer,
/// the editor whose object it is, another editor, an admin.
type Case = (&'static str, &'static str, [PageOutcome; 5]);

const ALL: [PageOutcome; 5] = [Shown; 5];
const PEOPLE: [PageOutcome; 5] = [SignIn, Shown, Shown, Shown, Shown];
const SAVED: [PageOutcome; 5] = [SignIn, Done, Done, Done, Done];
const EDITORS: [PageOutcome; 5] = [SignIn, Forbidden, Shown, Shown, Shown];

const fn admins(got: PageOutcome) -> [PageOutcome; 5] {
    [SignIn, Forbidden, Forbidden, Forbidden, got]
}

/// An object of the owner's that nobody else knows of. `viewer`: accounts as a whole are not for
/// viewers.
const fn own(viewer: PageOutcome, got: PageOutcome) -> [PageOutcome; 5] {
    [SignIn, viewer, got, Hidden, got]
}

const CASES: [Case; 94] = [
    ("GET", "/healthz", ALL),
    ("GET", "/readyz", ALL),
    ("GET", "/metrics", [Other(401); 5]),
    ("GET", "/", [Done; 5]),
    ("GET", "/sign-in", [Shown, Done, Done, Done, Done]),
    ("POST", "/sign-in", [Done; 5]),
    ("POST", "/sign-out", [SignIn; 5]),
    // Somebody is here, so no code sets up any more.
    ("GET", "/set-up/{code}", [Hidden; 5]),
    ("POST", "/set-up", [Hidden; 5]),
    ("GET", "/invite/{code}", ALL),
    ("POST", "/invite", [Done; 5]),
    ("GET", "/me", PEOPLE),
    ("POST", "/me/name", SAVED),
    // With another password than the present one.
    ("POST", "/me/password", [SignIn, Wrong, Wrong, Wrong, Wrong]),
    ("POST", "/me/sign-out-everywhere", [SignIn; 5]),
    ("POST", "/me/export-passwords", PEOPLE),
    (
        "POST",
        "/me/export-passwords/{id}/revoke",
        own(Hidden, Done),
    ),
    ("GET", "/settings", PEOPLE),
    ("GET", "/settings/people/new", admins(Shown)),
    ("POST", "/settings/people/new", admins(Shown)),
    ("POST", "/settings/people/{id}/disable", admins(Done)),
    ("POST", "/settings/people/{id}/enable", admins(Done)),
    ("POST", "/settings/people/{id}/role", admins(Done)),
    ("POST", "/settings/people/{id}/link", admins(Shown)),
    ("POST", "/settings/invites/{id}/withdraw", admins(Done)),
    ("GET", "/settings/notifications", admins(Shown)),
    // Without a server's name; without a server; to nobody.
    ("POST", "/settings/notifications/mail", admins(Wrong)),
    ("POST", "/settings/notifications/mail/test", admins(Wrong)),
    ("POST", "/settings/notifications/mail/remove", admins(Done)),
    ("POST", "/settings/notifications/webhooks", admins(Shown)),
    (
        "POST",
        "/settings/notifications/webhooks/{id}/test",
        admins(Failed),
    ),
    (
        "GET",
        "/settings/notifications/webhooks/{id}/remove",
        admins(Shown),
    ),
    (
        "POST",
        "/settings/notifications/webhooks/{id}/remove",
        admins(Done),
    ),
    ("GET", "/accounts", EDITORS),
    ("GET", "/accounts/new", EDITORS),
    // Without credentials.
    (
        "POST",
        "/accounts/new",
        [SignIn, Forbidden, Wrong, Wrong, Wrong],
    ),
    ("GET", "/accounts/{id}/edit", own(Forbidden, Shown)),
    ("POST", "/accounts/{id}/edit", own(Forbidden, Done)),
    ("POST", "/accounts/{id}/check", own(Forbidden, Done)),
    ("POST", "/accounts/{id}/bring-back", own(Forbidden, Done)),
    ("POST", "/accounts/{id}/run-failed", own(Forbidden, Done)),
    ("GET", "/accounts/{id}/delete", own(Forbidden, Shown)),
    ("POST", "/accounts/{id}/delete", own(Forbidden, Done)),
    ("GET", "/help", PEOPLE),
    ("GET", "/help/components", admins(Shown)),
    ("GET", "/connect", EDITORS),
    // With the owner's account.
    ("GET", "/connect/{connector}", own(Forbidden, Shown)),
    ("POST", "/connect/{connector}", own(Forbidden, Done)),
    ("GET", "/datasets", PEOPLE),
    ("GET", "/datasets/{id}", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/settings", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/settings", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/data", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/data/schema", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/history", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/download", own(Hidden, Shown)),
    (
        "GET",
        "/datasets/{id}/versions/{version}/revert",
        own(Hidden, Shown),
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/revert",
        own(Hidden, Done),
    ),
    (
        "GET",
        "/datasets/{id}/versions/{version}/delete",
        own(Hidden, Shown),
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/delete",
        own(Hidden, Done),
    ),
    ("GET", "/datasets/{id}/retention", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/retention", own(Hidden, Done)),
    ("GET", "/datasets/{id}/coverage", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/days/{day}", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/backfill", own(Hidden, Shown)),
    // Every run of it replaces all rows.
    ("POST", "/datasets/{id}/backfill", own(Hidden, Other(409))),
    // It has had none.
    (
        "POST",
        "/datasets/{id}/backfill/cancel",
        own(Hidden, Other(409)),
    ),
    (
        "POST",
        "/datasets/{id}/backfill/resume",
        own(Hidden, Other(409)),
    ),
    ("POST", "/datasets/{id}/duplicate", own(Hidden, Done)),
    ("GET", "/datasets/{id}/rename", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/rename", own(Hidden, Done)),
    ("GET", "/datasets/{id}/delete", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/delete", own(Hidden, Done)),
    ("POST", "/datasets/{id}/run", own(Hidden, Done)),
    // It has no schedule.
    ("POST", "/datasets/{id}/pause", own(Hidden, Other(409))),
    ("POST", "/datasets/{id}/resume", own(Hidden, Done)),
    ("POST", "/datasets/{id}/sharing", own(Hidden, Done)),
    (
        "POST",
        "/datasets/{id}/publishing",
        [SignIn, Hidden, Forbidden, Hidden, Done],
    ),
    ("GET", "/datasets/{id}/notifications", own(Hidden, Done)),
    ("POST", "/datasets/{id}/notifications", own(Hidden, Done)),
    ("POST", "/datasets/{id}/bring-back", own(Hidden, Done)),
    ("GET", "/runs/{id}", own(Hidden, Shown)),
    ("GET", "/runs/{id}/events", own(Hidden, Shown)),
    ("GET", "/runs/{id}/progress", own(Hidden, Shown)),
    ("GET", "/runs/{id}/stop", own(Hidden, Shown)),
    ("POST", "/runs/{id}/stop", own(Hidden, Done)),
    // The run is not held.
    (
        "POST",
        "/runs/{id}/accept",
        own(Hidden, PageOutcome::Other(409)),
    ),
    (
        "POST",
        "/runs/{id}/discard",
        own(Hidden, PageOutcome::Other(409)),
    ),
    ("GET", "/activity", PEOPLE),
    // One file of `/static`, which is no route of the table.
    ("GET", "/static/{file}", ALL),
    // Addresses that are not there.
    ("GET", "/nowhere", [Hidden; 5]),
    ("POST", "/nowhere", [Hidden; 5]),
    ("GET", "/datasets/{id}/nowhere", [Hidden; 5]),
    ("GET", "/static/nowhere", [Hidden; 5]),
];

/// What is in `CASES` beside the table of addresses.
const OTHER_ADDRESSES: [&str; 4] = [
    "/static/{file}",
    "/nowhere",
    "/datasets/{id}/nowhere",
    "/static/nowhere",
];

/// What comes back of an object of somebody else's that is shared: to a viewer, to another editor.
const SHARED: [(&str, &str, [PageOutcome; 2]); 49] = [
    // An export password is never shared.
    ("POST", "/me/export-passwords/{id}/revoke", [Hidden; 2]),
    ("GET", "/accounts/{id}/edit", [Forbidden; 2]),
    ("POST", "/accounts/{id}/edit", [Forbidden; 2]),
    ("POST", "/accounts/{id}/check", [Forbidden, Done]),
    ("POST", "/accounts/{id}/bring-back", [Forbidden; 2]),
    ("POST", "/accounts/{id}/run-failed", [Forbidden, Done]),
    ("GET", "/accounts/{id}/delete", [Forbidden; 2]),
    ("POST", "/accounts/{id}/delete", [Forbidden; 2]),
    ("GET", "/connect/{connector}", [Forbidden, Shown]),
    ("POST", "/connect/{connector}", [Forbidden, Done]),
    ("GET", "/datasets/{id}", [Shown; 2]),
    ("GET", "/datasets/{id}/settings", [Forbidden; 2]),
    ("POST", "/datasets/{id}/settings", [Forbidden; 2]),
    ("GET", "/datasets/{id}/data", [Shown; 2]),
    ("GET", "/datasets/{id}/data/schema", [Shown; 2]),
    ("GET", "/datasets/{id}/history", [Shown; 2]),
    ("GET", "/datasets/{id}/download", [Shown; 2]),
    (
        "GET",
        "/datasets/{id}/versions/{version}/revert",
        [Forbidden; 2],
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/revert",
        [Forbidden; 2],
    ),
    (
        "GET",
        "/datasets/{id}/versions/{version}/delete",
        [Forbidden; 2],
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/delete",
        [Forbidden; 2],
    ),
    ("GET", "/datasets/{id}/retention", [Forbidden; 2]),
    ("POST", "/datasets/{id}/retention", [Forbidden; 2]),
    ("GET", "/datasets/{id}/coverage", [Shown; 2]),
    ("GET", "/datasets/{id}/days/{day}", [Shown; 2]),
    ("GET", "/datasets/{id}/backfill", [Forbidden; 2]),
    ("POST", "/datasets/{id}/backfill", [Forbidden; 2]),
    ("POST", "/datasets/{id}/backfill/cancel", [Forbidden; 2]),
    ("POST", "/datasets/{id}/backfill/resume", [Forbidden; 2]),
    // Its account is shared, too.
    ("POST", "/datasets/{id}/duplicate", [Forbidden, Done]),
    ("GET", "/datasets/{id}/rename", [Forbidden; 2]),
    ("POST", "/datasets/{id}/rename", [Forbidden; 2]),
    ("GET", "/datasets/{id}/delete", [Forbidden; 2]),
    ("POST", "/datasets/{id}/delete", [Forbidden; 2]),
    ("POST", "/datasets/{id}/run", [Forbidden; 2]),
    ("POST", "/datasets/{id}/pause", [Forbidden; 2]),
    ("POST", "/datasets/{id}/resume", [Forbidden; 2]),
    ("POST", "/datasets/{id}/sharing", [Forbidden; 2]),
    ("POST", "/datasets/{id}/publishing", [Forbidden; 2]),
    ("POST", "/datasets/{id}/notifications", [Forbidden; 2]),
    ("POST", "/datasets/{id}/bring-back", [Forbidden; 2]),
    ("GET", "/runs/{id}", [Shown; 2]),
    ("GET", "/runs/{id}/events", [Shown; 2]),
    ("GET", "/runs/{id}/progress", [Shown; 2]),
    ("GET", "/runs/{id}/stop", [Forbidden; 2]),
    ("POST", "/runs/{id}/stop", [Forbidden; 2]),
    ("POST", "/runs/{id}/accept", [Forbidden; 2]),
    ("POST", "/runs/{id}/discard", [Forbidden; 2]),
    ("GET", "/datasets/{id}/notifications", [Done; 2]),
];

// ---- the table of addresses, read as text ----

fn source() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/routes.rs"))
        .unwrap()
}

/// Every method and address of the table.
fn routes(source: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (at, start) in source.match_indices(".route(") {
        let rest = source[at + start.len()..]
            .trim_start()
            .strip_prefix('"')
            .expect("an address is written out");
        let (path, rest) = rest.split_once('"').unwrap();
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let handlers = &rest[..end.unwrap()];
        let mut methods = 0;
        for (at, _) in handlers.match_indices('(') {
            let word = handlers[..at]
                .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            assert!(
                ["get", "post", "put", "patch", "delete"].contains(&word),
                "{path}: what is {word}?"
            );
            assert!(
                found.insert((word.to_uppercase(), path.to_owned())),
                "{path} twice"
            );
            methods += 1;
        }
        assert!(methods > 0, "{path} takes no method");
    }
    found
}

#[test]
fn every_address_has_its_case_and_every_case_its_address() {
    let source = source();
    let there = routes(&source);
    let covered: BTreeSet<(String, String)> = CASES
        .iter()
        .filter(|case| !OTHER_ADDRESSES.contains(&case.1))
        .map(|case| (case.0.to_owned(), case.1.to_owned()))
        .collect();
    assert_eq!(covered, there);
    let shared: BTreeSet<(&str, &str)> = SHARED.iter().map(|case| (case.0, case.1)).collect();
    let objects = CASES
        .iter()
        .filter(|case| case.2[3] == Hidden && case.2[4] != Hidden)
        .map(|case| (case.0, case.1))
        .collect();
    assert_eq!(
        shared, objects,
        "whatever is hidden from a stranger may be shared with one"
    );
    // No other door beside the table.
    for word in [
        "route_service(",
        "nest_service(",
        "fallback_service(",
        "any(",
    ] {
        assert!(!source.contains(word), "{word}");
    }
    assert_eq!(source.matches(".nest(").count(), 1, "only /static");
    for folder in ["src/web", "src/web/pages", "src/web/panes"] {
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
            .unwrap()
            .map(|file| file.unwrap().path())
        {
            let is_table = file.ends_with("src/web/routes.rs");
            assert!(
                is_table
                    || file.is_dir()
                    || !std::fs::read_to_string(&file).unwrap().contains(".route("),
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn the_reader_of_the_table_reads_it_rightly() {
    let read = routes(
        ".route(\"/a\", get(x::get).post(x::delete))\n .route(\n  \"/b/{id}\",\n  put(y),\n)",
    );
    let read: Vec<(&str, &str)> = read
        .iter()
        .map(|(method, path)| (method.as_str(), path.as_str()))
        .collect();
    assert_eq!(read, [("GET", "/a"), ("POST", "/a"), ("PUT", "/b/{id}")]);
}

// ---- a ctx with an owner, a colleague and a stranger ----

/// The objects that a request is about.
#[derive(Clone)]
struct Objects {
    account: String,
    dataset: String,
    run: String,
    /// An older version of the DataSet, and a day that it asked for.
    version: String,
    day: String,
    user: String,
    invite: String,
    code: String,
    export_password: String,
    hook: String,
}

struct AccessFixture {
    ctx: TestContext,
    hasher: Hasher,
    viewer: Actor,
    owner: Actor,
    stranger: Actor,
    admin: Actor,
    shut_out: Actor,
    mine: Objects,
    shared: Objects,
    /// A served name below `/static`.
    file: String,
}

impl AccessFixture {
    async fn new() -> Self {
        let ctx = TestContext::with_workers().await;
        let hasher = Hasher::new(2);
        let admin = ctx.person("ada", Role::Admin).await;
        let mut people = Vec::new();
        for (name, role) in [
            ("vic", Role::Viewer),
            ("olga", Role::Editor),
            ("stan", Role::Editor),
            ("dee", Role::Admin),
        ] {
            people.push(newcomer(&ctx, &hasher, name, role).await);
        }
        let [viewer, owner, stranger, shut_out] = people.try_into().unwrap();
        users::disable(
            &ctx.app.db,
            &ctx.app.clock,
            &shut_out.user,
            Some((&admin).into()),
        )
        .await
        .unwrap();
        let mine = objects(&ctx, &hasher, &owner, &admin).await;
        let shared = objects(&ctx, &hasher, &owner, &admin).await;
        let (account, dataset) = (
            AccountId::parse(&shared.account).unwrap(),
            DatasetId::parse(&shared.dataset).unwrap(),
        );
        let change = ChangeAccount {
            shared: Some(true),
            ..ChangeAccount::default()
        };
        ctx.app
            .accounts
            .update(&owner, &account, &change)
            .await
            .unwrap();
        ctx.app
            .datasets
            .share(&owner, &dataset, true)
            .await
            .unwrap();
        let page = ctx.browser().get("/sign-in").await;
        let file = page.attribute("link[rel=stylesheet]", "href").unwrap();
        Self {
            ctx,
            hasher,
            viewer,
            owner,
            stranger,
            admin,
            shut_out,
            mine,
            shared,
            file,
        }
    }

    /// A browser with a new session of this person.
    async fn browser(&self, actor: Option<&Actor>) -> Browser {
        let mut browser = self.ctx.browser();
        if let Some(actor) = actor {
            let app = &self.ctx.app;
            let value = Sessions::new(app.db.clone(), app.clock.clone())
                .create(&actor.user, None)
                .await
                .unwrap();
            browser.cookies.insert(
                session_layer::session_cookie_name(false).to_owned(),
                value.reveal().to_owned(),
            );
        }
        browser
    }

    /// The five kinds of visitor, the first twice: nobody, and a person who is shut out with a
    /// session that has not ended.
    fn visitors(&self) -> [(&'static str, Option<&Actor>, usize); 6] {
        [
            ("nobody", None, 0),
            ("shut out", Some(&self.shut_out), 0),
            ("viewer", Some(&self.viewer), 1),
            ("owner", Some(&self.owner), 2),
            ("stranger", Some(&self.stranger), 3),
            ("admin", Some(&self.admin), 4),
        ]
    }

    async fn ask(
        &self,
        who: Option<&Actor>,
        method: &str,
        address: &str,
        objects: &Objects,
    ) -> Page {
        let mut browser = self.browser(who).await;
        let path = self.path(address, objects);
        let page = if method == "GET" {
            browser.get(&path).await
        } else {
            browser.post(&path, &fields(address, objects)).await
        };
        has_security_headers(&page, &format!("{method} {address}"), false);
        page
    }

    fn path(&self, address: &str, objects: &Objects) -> String {
        let id = match address.split('/').collect::<Vec<_>>()[..] {
            ["", "me", ..] => &objects.export_password,
            ["", "settings", "people", ..] => &objects.user,
            ["", "settings", "notifications", ..] => &objects.hook,
            ["", "settings", ..] => &objects.invite,
            ["", "accounts", ..] => &objects.account,
            ["", "runs", ..] => &objects.run,
            _ => &objects.dataset,
        };
        match address {
            "/static/{file}" => self.file.clone(),
            "/accounts/new" => "/accounts/new?connector=livechat".to_owned(),
            "/connect/{connector}" => format!("/connect/livechat?account={}", objects.account),
            _ => address
                .replace("{id}", id)
                .replace("{code}", &objects.code)
                .replace("{version}", &objects.version)
                .replace("{day}", &objects.day),
        }
    }

    /// Every row of the catalogue but sessions and notes of their end and of what was refused,
    /// without when a device or token was last seen; and the files of rows.
    async fn digest(&self) -> Digest {
        let db = self.ctx.app.db.read();
        let mut digest = Digest::new();
        let tables: Vec<String> =
            sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
                .fetch_all(db)
                .await
                .unwrap();
        for table in tables.into_iter().filter(|table| table != "sessions") {
            let columns = sqlx::query("SELECT name FROM pragma_table_info($1)")
                .bind(&table)
                .fetch_all(db)
                .await
                .unwrap();
            let columns: Vec<String> = columns
                .iter()
                .map(|row| row.get::<String, _>("name"))
                .filter(|name| !OWN_TIME.contains(&name.as_str()))
                .collect();
            let row = columns
                .iter()
                .map(|name| format!("quote({name})"))
                .collect::<Vec<_>>()
                .join(" || ',' || ");
            let rows = sqlx::query_scalar(AssertSqlSafe(format!(
                "SELECT {row} FROM {table} ORDER BY 1"
            )))
            .fetch_all(db)
            .await
            .unwrap();
            digest.insert(
                table,
                rows.into_iter()
                    .filter(|row: &String| {
                        !row.ends_with("'refused',1") && !row.contains("'user.sign_out")
                    })
                    .collect(),
            );
        }
        let files = std::fs::read_dir(self.ctx.dir.path().join("data/segments")).unwrap();
        let mut files: Vec<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert!(digest.len() > 10 && !digest["datasets"].is_empty() && !files.is_empty());
        digest.insert("files".to_owned(), files);
        digest
    }
}

/// Columns that the server writes by itself as time goes by.
const OWN_TIME: [&str; 4] = ["last_used_at", "late_at", "lateness_key", "recent_requests"];

type Digest = BTreeMap<String, Vec<String>>;

fn is_unchanged(before: &Digest, after: &Digest) {
    for (table, rows) in before {
        let is_in = |rows: &[String], row: &String| rows.contains(row);
        let gone: Vec<&String> = rows
            .iter()
            .filter(|row| !is_in(&after[table], row))
            .collect();
        let added: Vec<&String> = after[table]
            .iter()
            .filter(|row| !is_in(rows, row))
            .collect();
        assert!(
            gone.is_empty() && added.is_empty(),
            "{table}: {gone:?} became {added:?}"
        );
    }
}

/// A person without a password: their sessions are made, not signed in to.
async fn newcomer(ctx: &TestContext, hasher: &Hasher, name: &str, role: Role) -> Actor {
    let new = NewUser {
        email: format!("{name}@house.test"),
        name: name.to_owned(),
        role,
        password: None,
    };
    users::create(&ctx.app.db, &ctx.app.clock, hasher, &new, None)
        .await
        .unwrap()
        .actor()
}

/// An account, a DataSet that was pulled, a person and a link, new.
async fn objects(ctx: &TestContext, hasher: &Hasher, owner: &Actor, admin: &Actor) -> Objects {
    let unique = UserId::new().to_string();
    let account = ctx.account(owner, "Support").await.id;
    let dataset = ctx
        .dataset(owner, &account, "chatting_time_report", "Chatting time")
        .await;
    let old = ctx.run(owner, &dataset).await;
    // Other days are other rows, and so another version.
    let mut tx = ctx.app.db.write().await.unwrap();
    let menus = r#"{"start_days":9,"end_days":1}"#;
    sqlx::query("UPDATE datasets SET menus = $1 WHERE id = $2")
        .bind(menus)
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let run = ctx.run(owner, &dataset).await;
    let day = ledger::of_run(&ctx.app.db, &run.id).await.unwrap()[0]
        .window
        .unwrap()
        .from;
    assert!(run.version_id.is_some(), "{run:?}");
    let user = newcomer(ctx, hasher, &unique, Role::Viewer).await.user;
    let email = format!("new-{unique}@house.test");
    let (invite, code) = invites::create(
        &ctx.app.db,
        &ctx.app.clock,
        admin.into(),
        &email,
        "Nina",
        Role::Viewer,
    )
    .await
    .unwrap();
    let new = NewExportPassword {
        name: "script".to_owned(),
        days: 1,
    };
    let (export_password, _) =
        export_passwords::create(&ctx.app.db, &ctx.app.clock, owner.into(), &new)
            .await
            .unwrap();
    Objects {
        account: account.to_string(),
        dataset: dataset.to_string(),
        run: run.id.to_string(),
        version: old.version_id.unwrap().to_string(),
        day: day.to_string(),
        user: user.to_string(),
        invite: invite.id.to_string(),
        code: code.reveal().to_owned(),
        export_password: export_password.id.to_string(),
        hook: ctx
            .app
            .puller
            .notifications
            .add_webhook(
                &format!("Team chat of {dataset}"),
                &format!("{}/hook", ctx.vendor),
            )
            .await
            .unwrap()
            .0
            .id
            .to_string(),
    }
}

/// A form that does what the address is for.
fn fields<'a>(address: &str, objects: &'a Objects) -> Vec<(&'static str, &'a str)> {
    match address {
        "/sign-in" => vec![("email", "ada@house.test"), ("password", PASSWORD)],
        "/set-up" => vec![
            ("code", &objects.code),
            ("name", "Eve"),
            ("email", "eve@house.test"),
            ("password", PASSWORD),
        ],
        "/invite" => vec![("code", &objects.code), ("password", PASSWORD)],
        "/me/name" => vec![("name", "Another")],
        "/me/password" => vec![
            ("current_password", "not the present one"),
            ("password", "quite another battery"),
        ],
        "/me/export-passwords" => vec![("export_name", "script"), ("days", "1")],
        "/settings/people/new" => vec![
            ("email", "eve@house.test"),
            ("name", "Eve"),
            ("role", "viewer"),
        ],
        "/settings/people/{id}/role" => vec![("role", "editor")],
        "/accounts/{id}/edit" => vec![
            ("name", "Other"),
            ("credentials.username", "agent@sandbox.test"),
        ],
        "/connect/{connector}" => vec![("step", "connect"), ("account_id", &objects.account)],
        "/datasets/{id}/settings" => vec![("step", "edit_schedule")],
        "/datasets/{id}/rename" => vec![("name", "Renamed"), ("description", "")],
        "/datasets/{id}/sharing" => vec![("shared", "true")],
        "/datasets/{id}/notifications" => vec![("to", "owner"), ("on", "failure"), ("after", "2")],
        "/settings/notifications/webhooks" => vec![
            ("name", "Team chat"),
            ("address", "http://127.0.0.1:9/hook"),
        ],
        "/datasets/{id}/retention" => vec![("versions", "5"), ("days", "")],
        "/datasets/{id}/backfill" => vec![
            ("from", "2026-01-01"),
            ("to", "2026-01-31"),
            ("chunk_days", "7"),
        ],
        _ => Vec::new(),
    }
}

/// What S-23 and S-24 want of every answer.
fn has_security_headers(page: &Page, what: &str, https: bool) {
    let header = |name: &str| {
        page.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'";
    assert_eq!(header("content-security-policy"), policy, "{what}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(
        header("referrer-policy"),
        if https { "no-referrer" } else { "same-origin" },
        "{what}"
    );
    assert_eq!(
        header("cross-origin-opener-policy"),
        "same-origin",
        "{what}"
    );
    assert_eq!(
        header("cross-origin-resource-policy"),
        "same-origin",
        "{what}"
    );
    assert!(header("permissions-policy").contains("camera=()"), "{what}");
    assert_eq!(
        header("strict-transport-security"),
        if https { "max-age=31536000" } else { "" },
        "{what}"
    );
    assert!(header("x-request-id").len() > 20, "{what}");
    assert!(
        !page.headers.contains_key("server")
            && !page.headers.contains_key("access-control-allow-origin"),
        "{what}"
    );
    let is_file = what.contains("/static/") && page.status == StatusCode::OK;
    if is_file {
        assert!(
            header("cache-control").contains("max-age=31536000"),
            "{what}: {}",
            header("cache-control")
        );
    } else {
        assert!(
            header("cache-control").contains("no-store"),
            "{what}: {}",
            header("cache-control")
        );
    }
    let kind = header("content-type");
    assert!(
        page.bytes.is_empty() || !kind.is_empty(),
        "{what} does not say what it is"
    );
    assert!(
        !kind.starts_with("text/") || kind.contains("charset=utf-8") || kind == "text/event-stream",
        "{what}: {kind}"
    );
    for line in page.headers.get_all("set-cookie") {
        let line = line.to_str().unwrap();
        assert!(
            line.contains("HttpOnly")
                && line.contains("SameSite=Lax")
                && line.contains("Path=/")
                && line.contains("Secure") == https,
            "{what}: {line}"
        );
    }
    let is_bare = page.text.contains("<body class=\"bare\">");
    assert!(
        !is_bare || !page.text.contains(env!("CARGO_PKG_VERSION")),
        "{what} tells strangers the version"
    );
    let to = page.location();
    assert!(
        to.is_empty() || (to.starts_with('/') && !to.starts_with("//")),
        "{what} leads to {to}"
    );
    if page.status.is_client_error() || page.status.is_server_error() {
        for word in [
            "src/",
            ".rs",
            "sqlx",
            "axum",
            "panicked",
            "SELECT ",
            "RUST_BACKTRACE",
            env!("CARGO_PKG_VERSION"),
        ] {
            assert!(
                !page.text.contains(word),
                "{what} says {word}: {}",
                page.title()
            );
        }
        // What is asked again in its form needs no looking up in the log.
        let is_page =
            kind.starts_with("text/html") && !page.bytes.is_empty() && !page.has("main form");
        assert!(
            !is_page || page.text.contains(header("x-request-id")),
            "{what} does not show the request's id: {}",
            page.title()
        );
    }
}

// ---- the stories ----

#[tokio::test(flavor = "multi_thread")]
async fn every_address_answers_every_visitor_as_the_table_says() {
    let fixture = AccessFixture::new().await;
    // First whatever is refused, in a ctx where nothing else happens: it changes nothing.
    let before = fixture.digest().await;
    for (method, address, wanted) in CASES {
        for (who, actor, column) in fixture.visitors() {
            if wanted[column].refuses() {
                let page = fixture.ask(actor, method, address, &fixture.mine).await;
                assert!(
                    wanted[column].is(&page),
                    "{method} {address} for {who}: {:?}, {}",
                    PageOutcome::of(&page),
                    page.title()
                );
            }
        }
    }
    for (method, address, wanted) in SHARED {
        for ((who, actor), got) in [
            ("a viewer", &fixture.viewer),
            ("a stranger", &fixture.stranger),
        ]
        .into_iter()
        .zip(wanted)
        {
            if got.refuses() {
                let page = fixture
                    .ask(Some(actor), method, address, &fixture.shared)
                    .await;
                assert_eq!(
                    PageOutcome::of(&page),
                    got,
                    "shared {method} {address} for {who}: {}",
                    page.title()
                );
            }
        }
    }
    is_unchanged(&before, &fixture.digest().await);

    for (method, address, wanted) in SHARED {
        for ((who, actor), got) in [
            ("a viewer", &fixture.viewer),
            ("a stranger", &fixture.stranger),
        ]
        .into_iter()
        .zip(wanted)
        {
            if !got.refuses() {
                let page = fixture
                    .ask(Some(actor), method, address, &fixture.shared)
                    .await;
                assert_eq!(
                    PageOutcome::of(&page),
                    got,
                    "shared {method} {address} for {who}: {}",
                    page.title()
                );
            }
        }
    }
    for (method, address, wanted) in CASES {
        // What is used up is made anew for everybody.
        let used_up = address.ends_with("/delete")
            || address.ends_with("/withdraw")
            || address.ends_with("/link")
            || address.ends_with("/remove")
            || address == "/invite";
        for (who, actor, column) in fixture.visitors() {
            if !wanted[column].refuses() {
                let anew = method == "POST" && used_up;
                let objects = if anew {
                    objects(
                        &fixture.ctx,
                        &fixture.hasher,
                        &fixture.owner,
                        &fixture.admin,
                    )
                    .await
                } else {
                    fixture.mine.clone()
                };
                let page = fixture.ask(actor, method, address, &objects).await;
                assert!(
                    wanted[column].is(&page),
                    "{method} {address} for {who}: {:?}, {}",
                    PageOutcome::of(&page),
                    page.title()
                );
            }
        }
    }
}

/// What an answer says, without the ids that differ.
fn said(page: &Page, ids: &Objects) -> (StatusCode, BTreeMap<String, String>, String) {
    let request = page.headers["x-request-id"].to_str().unwrap();
    let plain = |text: &str| {
        [request, &ids.account, &ids.dataset, &ids.run]
            .iter()
            .fold(text.to_owned(), |text, id| text.replace(id, "ID"))
    };
    let headers = page
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), plain(value.to_str().unwrap())));
    (
        page.status,
        headers.filter(|(name, _)| name != "set-cookie").collect(),
        plain(&page.text),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_answers_as_what_is_not_there() {
    let fixture = AccessFixture::new().await;
    let nothing = Objects {
        account: AccountId::new().to_string(),
        dataset: DatasetId::new().to_string(),
        run: RunId::new().to_string(),
        version: fixture.mine.version.clone(),
        day: fixture.mine.day.clone(),
        user: UserId::new().to_string(),
        invite: InviteId::new().to_string(),
        code: "x".repeat(43),
        export_password: ExportPasswordId::new().to_string(),
        hook: WebhookId::new().to_string(),
    };
    for (method, address, _) in SHARED {
        for (who, actor) in [("viewer", &fixture.viewer), ("stranger", &fixture.stranger)] {
            let hidden = fixture
                .ask(Some(actor), method, address, &fixture.mine)
                .await;
            let missing = fixture.ask(Some(actor), method, address, &nothing).await;
            assert!(
                matches!(PageOutcome::of(&hidden), Hidden | Forbidden),
                "{method} {address} for {who}"
            );
            assert_eq!(
                said(&hidden, &fixture.mine),
                said(&missing, &nothing),
                "{method} {address} for {who}"
            );
        }
        let missing = fixture
            .ask(Some(&fixture.admin), method, address, &nothing)
            .await;
        assert_eq!(
            PageOutcome::of(&missing),
            Hidden,
            "{method} {address} for an admin"
        );
    }
    for (method, address, _) in CASES
        .iter()
        .filter(|case| case.1.starts_with("/settings/") && case.1.contains("{id}"))
    {
        assert_eq!(
            PageOutcome::of(
                &fixture
                    .ask(Some(&fixture.admin), method, address, &nothing)
                    .await
            ),
            Hidden,
            "{method} {address}"
        );
    }

    // Nor does any text that is no id find anything.
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    let odd = [
        ":id",
        "{id}",
        "0",
        "-1",
        "null",
        "1%20OR%201=1",
        "'",
        "..",
        "../",
        "%2e%2e%2f",
        "%2F",
        "%00",
        "%FF",
        "*",
        "😀",
        "ds_",
        "acc_0",
    ]
    .map(str::to_owned);
    let upper = fixture.mine.dataset.to_uppercase();
    let others = [
        fixture.mine.account.clone(),
        format!("{}%00", fixture.mine.dataset),
        format!("%20{}", fixture.mine.dataset),
        upper,
        "a".repeat(4_096),
        "a".repeat(10_240),
    ];
    for (method, address, _) in CASES
        .iter()
        .filter(|case| case.1.contains('{') && !OTHER_ADDRESSES.contains(&case.1))
    {
        let (start, end) = (address.find('{').unwrap(), address.find('}').unwrap());
        for text in odd
            .iter()
            .chain(&others)
            .filter(|text| !address.starts_with("/accounts/") || **text != fixture.mine.account)
        {
            let path = format!("{}{text}{}", &address[..start], &address[end + 1..]);
            let path = path
                .replace('😀', "%F0%9F%98%80")
                .replace('{', "%7B")
                .replace('}', "%7D");
            let page = if *method == "GET" {
                browser.get(&path).await
            } else {
                browser.post(&path, &fields(address, &fixture.mine)).await
            };
            let wanted: &[u16] = if text.len() > 8_192 {
                &[414]
            } else {
                &[400, 404]
            };
            assert!(
                wanted.contains(&page.status.as_u16()),
                "{method} {path}: {} {}",
                page.status,
                page.title()
            );
            assert!(
                page.headers["content-type"]
                    .to_str()
                    .unwrap()
                    .starts_with("text/html"),
                "{method} {path}: {}",
                page.title()
            );
            has_security_headers(&page, &format!("{method} {path}"), false);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_changes_nothing_and_no_link_is_broken() {
    let fixture = AccessFixture::new().await;
    // One of the two DataSets fails for want of credentials.
    let mut tx = fixture.ctx.app.db.write().await.unwrap();
    let failed = "UPDATE runs
         SET
             state = 'failed', version_id = NULL, error_code = 'unauthorized',
             error_message = 'No', error_who = '', error_action = ''
         WHERE id = $1";
    sqlx::query(failed)
        .bind(&fixture.shared.run)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE accounts SET health = 'failing' WHERE id = $1")
        .bind(&fixture.shared.account)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // The other account is known to work, so panes that open ask the vendor for its menus.
    assert_eq!(
        PageOutcome::of(
            &fixture
                .ask(
                    Some(&fixture.owner),
                    "POST",
                    "/accounts/{id}/check",
                    &fixture.mine
                )
                .await
        ),
        Done
    );
    let before = fixture.digest().await;
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    // From every address of the table on, to wherever a link leads.
    let mut to_see: VecDeque<String> = CASES
        .iter()
        .filter(|case| case.0 == "GET" && !case.2[4].refuses())
        .map(|case| fixture.path(case.1, &fixture.mine))
        .collect();
    let mut seen: BTreeSet<String> = to_see.iter().cloned().collect();
    let links = Selector::parse("a[href], link[href], script[src], img[src], [data-src]").unwrap();
    while let Some(path) = to_see.pop_front() {
        let page = browser.get(&path).await;
        has_security_headers(&page, &format!("GET {path}"), false);
        assert!(
            page.status == StatusCode::OK || page.status == StatusCode::SEE_OTHER,
            "{path}: {}",
            page.status
        );
        let html = page
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"));
        if !html {
            continue;
        }
        for element in Html::parse_document(&page.text).select(&links) {
            let to = ["href", "src", "data-src"]
                .iter()
                .find_map(|name| element.attr(name))
                .unwrap()
                .split('#')
                .next()
                .unwrap();
            // Kinds of links that go on without end are followed so far.
            if to.starts_with('/') && seen.len() < 400 && seen.insert(to.to_owned()) {
                to_see.push_back(to.to_owned());
            }
        }
    }
    assert!(seen.len() > 60, "{seen:?}");
    assert!(
        seen.contains(&format!("/accounts/{}/edit", fixture.shared.account)),
        "{seen:?}"
    );
    is_unchanged(&before, &fixture.digest().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_a_body_and_no_other_method_is_served() {
    let fixture = AccessFixture::new().await;
    let before = fixture.digest().await;
    for (_, address, _) in CASES.iter().filter(|case| case.0 == "GET") {
        let path = fixture.path(address, &fixture.mine);
        for actor in [None, Some(&fixture.admin)] {
            let get = fixture.browser(actor).await.get(&path).await;
            let head = fixture
                .browser(actor)
                .await
                .send(Method::HEAD, &path, None, &[])
                .await;
            has_security_headers(&head, &format!("HEAD {path}"), false);
            assert!(head.bytes.is_empty(), "HEAD {path} has a body");
            let (mut get, mut head) = (said(&get, &fixture.mine), said(&head, &fixture.mine));
            if path == "/metrics" {
                // It counts the requests themselves.
                get.1.remove("content-length");
                head.1.remove("content-length");
            }
            assert_eq!((head.0, head.1), (get.0, get.1), "HEAD {path}");
        }
    }
    let methods = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get",
        "TRACK",
    ];
    let table = routes(&source());
    let addresses: BTreeSet<&str> = table.iter().map(|(_, path)| path.as_str()).collect();
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    for address in addresses {
        let taken: Vec<&str> = table
            .iter()
            .filter(|(_, path)| path == address)
            .map(|(method, _)| method.as_str())
            .collect();
        for method in methods.iter().filter(|method| !taken.contains(method)) {
            let path = fixture.path(address, &fixture.mine);
            let own = [
                ("origin", "http://127.0.0.1:8080"),
                ("sec-fetch-site", "same-origin"),
            ];
            let page = browser
                .send(method.parse().unwrap(), &path, None, &own)
                .await;
            assert_eq!(
                page.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}: {}",
                page.title()
            );
            let allowed = page
                .headers
                .get("allow")
                .map_or("", |allow| allow.to_str().unwrap());
            assert!(
                taken.iter().all(|method| allowed.contains(method)),
                "{method} {path} allows {allowed:?}"
            );
            has_security_headers(&page, &format!("{method} {path}"), false);
        }
    }
    is_unchanged(&before, &fixture.digest().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_page_of_ours_sends_a_form() {
    let fixture = AccessFixture::new().await;
    let before = fixture.digest().await;
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    let (own, other) = ("http://127.0.0.1:8080", "https://evil.example");
    let sites = ["cross-site", "same-site", "none", "same-origin", "", "x"];
    let origins = [
        own,
        other,
        "null",
        "https://127.0.0.1:8080",
        "http://127.0.0.1:8081",
        "http://127.0.0.1:8080.evil.example",
        "",
    ];
    let (mut refused, mut let_in) = (0, 0);
    for (method, address, _) in CASES
        .iter()
        .filter(|case| case.0 == "POST" && !OTHER_ADDRESSES.contains(&case.1))
    {
        for site in sites {
            for origin in origins {
                let headers: Vec<(&str, &str)> = [("sec-fetch-site", site), ("origin", origin)]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .collect();
                let is_own =
                    matches!(site, "none" | "same-origin") || (site.is_empty() && origin == own);
                // What is let in is done, so it is tried where it does little.
                if is_own && *address != "/accounts/new" {
                    continue;
                }
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields(address, &fixture.mine))
                    .finish();
                let page = browser
                    .send(
                        Method::POST,
                        &fixture.path(address, &fixture.mine),
                        Some(form),
                        &headers,
                    )
                    .await;
                let wanted = if is_own { Wrong } else { Forbidden };
                assert_eq!(
                    PageOutcome::of(&page),
                    wanted,
                    "{method} {address} from {site:?} {origin:?}: {}",
                    page.title()
                );
                has_security_headers(&page, &format!("{method} {address}"), false);
                if is_own { let_in += 1 } else { refused += 1 }
            }
        }
    }
    assert!(refused > 500 && let_in == 15, "{refused} {let_in}");
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let page = browser
            .send(
                method,
                "/datasets",
                Some(String::new()),
                &[("origin", other)],
            )
            .await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
    is_unchanged(&before, &fixture.digest().await);
    assert!(
        browser.is_signed_in().await,
        "still signed in after forged sign-outs"
    );
}

/// The status that is to come; method, address, body and headers.
type RequestCase<'a> = (
    u16,
    &'a str,
    &'a str,
    Option<String>,
    Vec<(&'a str, &'a str)>,
);

#[tokio::test]
async fn every_kind_of_answer_carries_the_headers() {
    for https in [false, true] {
        let ctx = TestContext::with(Clock::system(), |config| {
            if https {
                config.public_url = "https://127.0.0.1:8080".parse().unwrap();
            }
        })
        .await;
        let own = [("sec-fetch-site", "same-origin")];
        let admin = ctx.person("ada", Role::Admin).await;
        let bearer = format!("Bearer {}", ctx.token(&admin, Scope::Read).await);
        let mut browser = ctx.browser();
        let form = |password: &str| {
            Some(
                url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("email", "ada@house.test")
                    .append_pair("password", password)
                    .finish(),
            )
        };
        let file = browser
            .get("/sign-in")
            .await
            .attribute("link[rel=stylesheet]", "href")
            .unwrap();
        let long = format!("/{}", "a".repeat(9_000));
        let (large, wide) = ("a".repeat(70_000), "a".repeat(33_000));
        let cases: Vec<RequestCase> = vec![
            (200, "GET", "/sign-in", None, vec![]),
            (200, "GET", &file, None, vec![]),
            (200, "GET", "/api/v1/openapi.json", None, vec![]),
            (303, "GET", "/datasets", None, vec![]),
            (
                415,
                "POST",
                "/sign-in",
                Some("{}".to_owned()),
                [&own[..], &[("content-type", "application/json")]].concat(),
            ),
            (401, "POST", "/sign-in", form("wrong"), own.to_vec()),
            (401, "GET", "/api/v1/datasets", None, vec![]),
            (
                401,
                "GET",
                "/api/v1/datasets",
                None,
                vec![("authorization", "Bearer nothing")],
            ),
            (403, "POST", "/sign-in", form(PASSWORD), vec![]),
            (404, "GET", "/nowhere", None, vec![]),
            (404, "GET", "/static/nowhere", None, vec![]),
            (404, "GET", "/api/nowhere", None, vec![]),
            (404, "GET", "/api/v1/nowhere", None, vec![]),
            (405, "GET", "/sign-out", None, vec![]),
            (405, "POST", "/healthz", None, own.to_vec()),
            (405, "POST", &file, None, own.to_vec()),
            (405, "TRACE", "/", None, vec![]),
            (405, "PUT", "/api/v1/datasets", None, vec![]),
            (
                413,
                "POST",
                "/sign-in",
                Some(large),
                [&own[..], &[("content-length", "70000")]].concat(),
            ),
            (414, "GET", &long, None, vec![]),
            (431, "GET", "/sign-in", None, vec![("x-wide", &wide)]),
        ];
        let page = ctx
            .browser()
            .send(Method::POST, "/sign-in", form(PASSWORD), &own)
            .await;
        assert_eq!(
            (
                page.status,
                page.headers.get_all("set-cookie").iter().count()
            ),
            (StatusCode::SEE_OTHER, 2)
        );
        has_security_headers(&page, "POST /sign-in", https);
        for (status, method, path, body, headers) in cases {
            let page = browser
                .send(method.parse().unwrap(), path, body, &headers)
                .await;
            assert_eq!(
                page.status.as_u16(),
                status,
                "{method} {path}: {}",
                page.title()
            );
            has_security_headers(&page, &format!("{method} {path}"), https);
        }
        let mut stranger = ctx.browser();
        let mut slowed = false;
        for _ in 0..30 {
            let page = stranger
                .send(Method::POST, "/sign-in", form("wrong"), &own)
                .await;
            has_security_headers(&page, "POST /sign-in", https);
            slowed |= page.status == StatusCode::TOO_MANY_REQUESTS;
            if slowed {
                break;
            }
        }
        assert!(slowed, "guessing is slowed");
        // With the catalogue gone: what fails inside.
        ctx.app.db.close().await;
        for (status, path) in [
            (503, "/readyz"),
            (500, "/invite/code"),
            (500, "/api/v1/datasets"),
        ] {
            let page = browser
                .send(Method::GET, path, None, &[("authorization", &bearer)])
                .await;
            assert_eq!(page.status.as_u16(), status, "{path}: {}", page.title());
            has_security_headers(&page, &format!("GET {path}"), https);
        }
    }
}

#[tokio::test]
async fn the_version_is_no_strangers_business() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    for path in [
        "/sign-in".to_owned(),
        format!("/set-up/{code}"),
        "/invite/nothing".to_owned(),
    ] {
        let page = ctx.browser().get(&path).await;
        assert!(page.has("body.bare footer"), "{path}: {}", page.text);
        has_security_headers(&page, &path, false);
    }
}

/// What a test's own thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Hears every line until the guard is dropped.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(NoSubscriber).unwrap());
        let log = Self::default();
        let pen = log.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || pen.clone())
            .finish();
        (log, tracing::subscriber::set_default(lines))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Hears nothing but may at any time. Where nobody listens, a line that another test's thread meets
/// first is taken for one that nobody wants, just as this test begins to listen.
struct NoSubscriber;

impl tracing::Subscriber for NoSubscriber {
    fn register_callsite(
        &self,
        _: &'static tracing::Metadata<'static>,
    ) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::TRACE)
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

async fn breaks() -> &'static str {
    panic!("kanarie 4711")
}

#[tokio::test]
async fn a_panic_page_shows_the_request_id_and_no_details() {
    let ctx = TestContext::new().await;
    let mut browser = ctx.browser_with(
        Router::new()
            .route("/breaks", get(breaks))
            .route("/api/v1/breaks", get(breaks)),
    );
    let (log, _guard) = Log::listen();
    for path in ["/breaks", "/api/v1/breaks"] {
        let page = browser.get(path).await;
        let id = page.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
        has_security_headers(&page, path, false);
        assert!(
            page.text.contains(&id) && !page.text.contains("kanarie"),
            "{path}: {}",
            page.text
        );
        let is_json = serde_json::from_slice::<serde_json::Value>(&page.bytes)
            .is_ok_and(|body| body["error"]["code"] == "internal");
        assert_eq!(is_json, path.starts_with("/api/"), "{path}: {}", page.text);
        assert!(
            is_json || page.title() == "Something went wrong",
            "{}",
            page.text
        );
        let log = log.text();
        assert!(
            log.lines().any(|line| line.contains("answered")
                && line.contains(&id)
                && line.contains("500")),
            "{log}"
        );
        assert!(!log.contains("kanarie"), "{log}");
    }
    assert_eq!(
        browser.get("/sign-in").await.status,
        StatusCode::OK,
        "the next request is served"
    );
}

#[tokio::test]
async fn a_requests_id_is_ours_whatever_a_client_calls_it() {
    let ctx = TestContext::new().await;
    let (log, _guard) = Log::listen();
    for path in ["/nowhere", "/api/v1/nowhere", "/sign-in"] {
        let page = ctx
            .browser()
            .send(Method::GET, path, None, &[("x-request-id", "kanarie-4711")])
            .await;
        let ids: Vec<&str> = page
            .headers
            .get_all("x-request-id")
            .iter()
            .map(|id| id.to_str().unwrap())
            .collect();
        let [id] = ids[..] else {
            panic!("{path}: {ids:?}")
        };
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{path}: {id}");
        assert!(
            page.status == StatusCode::OK || page.text.contains(id),
            "{path}: {}",
            page.text
        );
        assert!(!page.text.contains("kanarie"), "{path}: {}", page.text);
        assert!(log.text().contains(id), "{path}");
    }
    assert!(!log.text().contains("kanarie"), "{}", log.text());
}
