//! A product with people of every role, and objects that they share or do not share.

use std::collections::BTreeMap;

use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role};
use chatlake::auth::export_passwords::{self, NewExportPassword};
use chatlake::auth::passwords::Hasher;
use chatlake::auth::sessions::Sessions;
use chatlake::auth::users::{self, NewUser};
use chatlake::auth::{invites, session_layer};
use chatlake::ids::{AccountId, DatasetId, UserId};
use chatlake::puller::ledger;
use sqlx::{AssertSqlSafe, Row};

use super::assert_security_headers;
use crate::support::PASSWORD;
use crate::support::context::TestContext;
use crate::support::http::{Browser, Page};

/// The objects of a request.
#[derive(Clone)]
pub(super) struct Objects {
    pub(super) account: String,
    pub(super) dataset: String,
    pub(super) run: String,
    /// An older version of the DataSet, and a day that it asked for.
    pub(super) version: String,
    pub(super) day: String,
    pub(super) user: String,
    pub(super) invite: String,
    pub(super) code: String,
    pub(super) export_password: String,
    pub(super) hook: String,
}

pub(super) struct AccessFixture {
    pub(super) ctx: TestContext,
    pub(super) hasher: Hasher,
    pub(super) viewer: Actor,
    pub(super) owner: Actor,
    pub(super) other_editor: Actor,
    pub(super) admin: Actor,
    pub(super) deactivated: Actor,
    pub(super) mine: Objects,
    pub(super) shared: Objects,
    /// A served name below `/static`.
    pub(super) file: String,
}

impl AccessFixture {
    pub(super) async fn new() -> Self {
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
        let [viewer, owner, other_editor, deactivated] = people.try_into().unwrap();
        users::disable(
            &ctx.app.db,
            &ctx.app.clock,
            &deactivated.user,
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
            other_editor,
            admin,
            deactivated,
            mine,
            shared,
            file,
        }
    }

    /// A browser with a new session of this person.
    pub(super) async fn browser(&self, actor: Option<&Actor>) -> Browser {
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

    /// The five kinds of visitor, the first twice: nobody, and a deactivated person with a
    /// session that has not ended.
    pub(super) fn visitors(&self) -> [(&'static str, Option<&Actor>, usize); 6] {
        [
            ("nobody", None, 0),
            ("deactivated", Some(&self.deactivated), 0),
            ("viewer", Some(&self.viewer), 1),
            ("owner", Some(&self.owner), 2),
            ("other editor", Some(&self.other_editor), 3),
            ("admin", Some(&self.admin), 4),
        ]
    }

    pub(super) async fn ask(
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
            browser.post(&path, &form_fields(address, objects)).await
        };
        assert_security_headers(&page, &format!("{method} {address}"), false);
        page
    }

    pub(super) fn path(&self, address: &str, objects: &Objects) -> String {
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

    /// All rows of the catalogue except sessions, the audit rows of their end and of refusals, and
    /// the times of last use; and the files of rows.
    pub(super) async fn digest(&self) -> Digest {
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

/// Columns that the server changes without a request.
pub(super) const OWN_TIME: [&str; 4] =
    ["last_used_at", "late_at", "lateness_key", "recent_requests"];

pub(super) type Digest = BTreeMap<String, Vec<String>>;

pub(super) fn assert_unchanged(before: &Digest, after: &Digest) {
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

/// A person without a password; the tests create the sessions.
pub(super) async fn newcomer(ctx: &TestContext, hasher: &Hasher, name: &str, role: Role) -> Actor {
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

/// A new account, a new DataSet with a run, a new person and a new invitation.
pub(super) async fn objects(
    ctx: &TestContext,
    hasher: &Hasher,
    owner: &Actor,
    admin: &Actor,
) -> Objects {
    let unique = UserId::new().to_string();
    let account = ctx.account(owner, "Support").await.id;
    let dataset = ctx
        .dataset(owner, &account, "chatting_time_report", "Chatting time")
        .await;
    let old = ctx.run(owner, &dataset).await;
    // Other days have other rows, so the run creates another version.
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

/// A valid form for the address.
pub(super) fn form_fields<'a>(address: &str, objects: &'a Objects) -> Vec<(&'static str, &'a str)> {
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
