//! What programs and administrators meet: the document of the API, its parameters and cursors, and
//! commands at a terminal, in a pipe and on a directory that is not there.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::error::{Error, ErrorKind};
use chatlake::puller::queue;
use chatlake::puller::run::Trigger;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::{PASSWORD, until};

/// A server with a stand-in for the vendor, and what a script needs.
struct ApiCliFixture {
    data_dir: DataDir,
    vendor: LocalSandbox,
    server: Server,
    account: String,
    token: String,
}

const OWNER: &str = "olga@house.test";

impl ApiCliFixture {
    async fn new(chats: u64) -> Self {
        let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(chats).await);
        let server = data_dir.serve().await;
        data_dir.person("olga", "admin").await;
        let token = data_dir.token(OWNER, "manage").await;
        let account = data_dir
            .account(OWNER, &vendor.address, "sandbox-key")
            .await;
        Self {
            data_dir,
            vendor,
            server,
            account,
            token,
        }
    }

    async fn pulled(&self, report: &str) -> String {
        let dataset = self.data_dir.dataset(OWNER, &self.account, report).await;
        self.pull(&dataset).await;
        dataset
    }

    async fn pull(&self, dataset: &str) -> Value {
        let run = self.server.run(dataset, &self.token).await;
        let over = self.server.over(&run, &self.token).await;
        assert_eq!(over["state"], "succeeded", "{over}");
        over
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let answer = self
            .server
            .send(method, &format!("/api/v1{path}"), &self.token, Some(body))
            .await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

// ---- the document ----

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((format!("{method} {path}"), operation));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_a_unique_id_and_documents_its_responses_and_errors() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let (status, document) = server.get("/openapi.json", "").await;
    assert_eq!(status, 200);
    let all = operations(&document);
    assert_eq!(all.len(), chatlake::api::addresses().len());
    let ids: BTreeSet<&str> = all
        .iter()
        .map(|(_, operation)| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), all.len(), "{ids:?}");
    for (name, operation) in &all {
        assert!(
            operation["tags"][0]
                .as_str()
                .is_some_and(|tag| !tag.is_empty()),
            "{name} has no tag"
        );
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            assert!(
                response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{name}: {status} has no description"
            );
            if status.starts_with(['4', '5']) {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ErrorBody", "{name}: {status}");
            }
        }
        if !name.ends_with("/openapi.json") {
            for status in ["401", "403", "429", "500", "503"] {
                assert!(
                    responses.contains_key(status),
                    "{name} does not tell of {status}"
                );
            }
        }
    }
    let named = |name: &str| document["components"]["schemas"][name].is_object();
    assert!(
        named("ErrorBody") && named("ErrorParts"),
        "{}",
        document["components"]["schemas"]
    );
}

/// Whether `value` is of this schema, as far as the document's own schemas go.
fn is_of(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        return schema.is_object() && is_of(document, schema, value);
    }
    if let Some(any) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
        return any
            .as_array()
            .unwrap()
            .iter()
            .any(|one| is_of(document, one, value));
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|words| !words.contains(value))
    {
        return false;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) => {
            return number.is_i64() && is_named(&schema["type"], "integer")
                || is_named(&schema["type"], "number");
        }
        Value::String(_) => "string",
        Value::Array(items) => {
            return is_named(&schema["type"], "array")
                && items
                    .iter()
                    .all(|item| is_of(document, &schema["items"], item));
        }
        Value::Object(fields) => {
            let known = &schema["properties"];
            return is_named(&schema["type"], "object")
                && fields.iter().all(|(name, value)| {
                    known[name].is_null() || is_of(document, &known[name], value)
                });
        }
    };
    is_named(&schema["type"], kind)
}

fn is_named(types: &Value, kind: &str) -> bool {
    types == kind
        || types
            .as_array()
            .is_some_and(|types| types.iter().any(|one| one == kind))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_days_of_the_month_is_answered_as_the_document_says() {
    let fixture = ApiCliFixture::new(10).await;
    let (_, document) = fixture.server.get("/openapi.json", "").await;
    for schedule in [
        json!({"times": ["09:00", "17:30"], "month_days": [1, "last"]}),
        json!({"times": ["09:00", "17:30"], "weekdays": ["fri"], "nth": [2, "last"]}),
        json!({"every": "30m", "active_from": "08:00", "active_to": "18:00", "months": [1, 12]}),
    ] {
        let new = json!({"name": "Agents", "account_id": fixture.account, "report": "agents", "schedule": schedule});
        assert!(
            is_of(
                &document,
                &json!({"$ref": "#/components/schemas/CreateDataset"}),
                &new
            ),
            "{new}"
        );
        let (status, made) = fixture.send("POST", "/datasets", new).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(made["schedule"], schedule);
        assert!(
            is_of(
                &document,
                &json!({"$ref": "#/components/schemas/DatasetBody"}),
                &made
            ),
            "{made}"
        );
    }
    let wrong = json!({"times": ["09:00"], "month_days": [true]});
    assert!(!is_of(
        &document,
        &json!({"$ref": "#/components/schemas/ScheduleBody"}),
        &wrong
    ));
    let (status, refused) = fixture.send("POST", "/datasets", json!({"name": "x", "account_id": fixture.account, "report": "agents", "schedule": wrong})).await;
    assert_eq!(status, 422, "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("a whole number, or the word last") && !said.contains("untagged"),
        "{said}"
    );
}

// ---- parameters and cursors ----

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_not_known_is_refused_at_every_address() {
    let fixture = ApiCliFixture::new(10).await;
    for (method, path) in chatlake::api::addresses() {
        let path = path
            .replace("{id}", "x")
            .replace("{version}", "x")
            .replace("{backfill}", "x");
        let (status, refused) = fixture
            .send(&method, &format!("{path}?bogus=1"), json!({}))
            .await;
        assert_eq!(
            (status, refused["error"]["field"].as_str()),
            (422, Some("bogus")),
            "{method} {path}: {refused}"
        );
    }
    let head = fixture
        .server
        .send("HEAD", "/api/v1/datasets?bogus=1", &fixture.token, None)
        .await;
    assert_eq!(head.status(), 422);
    let (status, page) = fixture.server.get("/datasets", &fixture.token).await;
    assert_eq!(
        (status, page["items"].as_array().map(Vec::len)),
        (200, Some(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_reads_its_version_until_that_version_is_deleted() {
    let fixture = ApiCliFixture::new(60).await;
    let dataset = fixture.pulled("agents").await;
    let rows = format!("/datasets/{dataset}/rows?limit=2");
    let (_, first) = fixture.server.get(&rows, &fixture.token).await;
    let next = first["next"].as_str().unwrap();
    let body = "[{\"login\": \"a@house.test\"}, {\"login\": \"b@house.test\"}, {\"login\": \"c@house.test\"}, {\"login\": \"d@house.test\"}]";
    fixture.vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: body.to_owned(),
        })
        .on("/agents"),
    ]);
    fixture.pull(&dataset).await;
    let (_, now) = fixture.server.get(&rows, &fixture.token).await;
    assert_ne!(now["version"], first["version"]);
    let (status, second) = fixture
        .server
        .get(&format!("{rows}&cursor={next}"), &fixture.token)
        .await;
    assert_eq!(
        (status, &second["version"]),
        (200, &first["version"]),
        "{second}"
    );
    let current = now["version"].as_str().unwrap();
    let (status, other) = fixture
        .server
        .get(
            &format!("{rows}&cursor={next}&version={current}"),
            &fixture.token,
        )
        .await;
    assert_eq!(
        (status, other["error"]["field"].as_str()),
        (422, Some("cursor")),
        "{other}"
    );

    let old = first["version"].as_str().unwrap();
    assert_eq!(
        fixture
            .send(
                "DELETE",
                &format!("/datasets/{dataset}/versions/{old}"),
                json!({})
            )
            .await
            .0,
        204
    );
    for more in [String::new(), format!("&version={old}")] {
        let (status, gone) = fixture
            .server
            .get(&format!("{rows}&cursor={next}{more}"), &fixture.token)
            .await;
        assert_eq!(
            (status, gone["error"]["code"].as_str()),
            (409, Some("version_gone")),
            "{gone}"
        );
    }
    // The cursor of another DataSet tells nothing about it.
    let other = fixture.pulled("agents").await;
    let (status, refused) = fixture
        .server
        .get(
            &format!("/datasets/{other}/rows?limit=2&cursor={next}"),
            &fixture.token,
        )
        .await;
    assert_eq!(
        (status, refused["error"]["code"].as_str()),
        (409, Some("version_gone")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_started_while_its_dataset_is_deleted_finds_no_dataset() {
    let fixture = ApiCliFixture::new(10).await;
    let mut seen = BTreeSet::new();
    for _ in 0..25 {
        let dataset = fixture
            .data_dir
            .dataset(OWNER, &fixture.account, "agents")
            .await;
        let (runs, own) = (
            format!("/datasets/{dataset}/runs"),
            format!("/datasets/{dataset}"),
        );
        let ((run, said), (deleted, _)) = tokio::join!(
            fixture.send("POST", &runs, json!({})),
            fixture.send("DELETE", &own, json!({}))
        );
        assert!(
            matches!(run, 202 | 404) && deleted == 204,
            "{run} {deleted}: {said}"
        );
        seen.insert(run);
    }
    assert!(!seen.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_after_it_was_looked_up_is_an_object_that_is_not_there() {
    let ctx = TestContext::with(Clock::system(), |_| {}).await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("DELETE FROM datasets WHERE id = $1")
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    for trigger in [Trigger::Manual, Trigger::Schedule, Trigger::Retry] {
        let refused = queue::enqueue(
            &mut tx,
            ctx.clock.now(),
            &dataset,
            "key",
            trigger,
            Some(&owner.user),
        )
        .await
        .unwrap_err();
        assert_eq!(
            (refused.kind(), refused.code()),
            (ErrorKind::NotFound, "not_found"),
            "{refused}"
        );
    }
    assert!(
        !queue::enqueue_scheduled(
            &mut tx,
            ctx.clock.now(),
            &dataset,
            "key",
            ctx.clock.now(),
            0
        )
        .await
        .unwrap()
    );
    // Every other row that refers to something.
    let backfill = "INSERT INTO backfills (
             id, dataset_id, from_day, to_day, chunk_days, remaining_to, state, created_at,
             resumed_at
         )
         VALUES ('bf_x', $1, '2026-01-01', '2026-01-31', 7, '2026-01-24', 'running', 1, 1)";
    let refused: Error = sqlx::query(backfill)
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap_err()
        .into();
    assert_eq!(
        (refused.kind(), refused.code()),
        (ErrorKind::NotFound, "not_found"),
        "{refused}"
    );
}

// ---- rows ----

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_replaced_in_files_and_pages_counted_and_stored_in_the_row() {
    let fixture = ApiCliFixture::new(10).await;
    let body = "[{\"login\": \"a@house.test\", \"name\": \"before\\u0000after\"}, {\"login\": \"b@house.test\", \"name\": \"plain\"}]";
    fixture.vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: body.to_owned(),
        })
        .on("/agents"),
    ]);
    let dataset = fixture.pulled("agents").await;
    let csv = fixture.server.csv(&dataset, &fixture.token).await;
    assert!(csv.rows > 0);
    let text = fixture
        .server
        .send(
            "GET",
            &format!("/api/v1/datasets/{dataset}/data"),
            &fixture.token,
            None,
        )
        .await
        .text()
        .await
        .unwrap();
    assert!(
        text.contains("before\u{fffd}after") && !text.contains('\0'),
        "{text}"
    );
    let (_, rows) = fixture
        .server
        .get(&format!("/datasets/{dataset}/rows"), &fixture.token)
        .await;
    assert_eq!(rows["items"][0]["name"], "before\u{fffd}after", "{rows}");
    let metrics = fixture
        .server
        .send("GET", "/metrics", &fixture.token, None)
        .await
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("chatlake_replaced_nul_characters_total 2\n"),
        "two downloads: {metrics}"
    );
    let (_, cookies) = fixture.server.sign_in(OWNER).await;
    let page = fixture
        .server
        .page_text(&format!("/datasets/{dataset}/data"), &cookies)
        .await;
    assert!(page.contains("before\u{fffd}after") && !page.contains('\0'));
    let exported = fixture.data_dir.run(&["dataset", "export", &dataset]).await;
    assert!(
        exported.out.contains("before\u{fffd}after")
            && exported
                .err
                .contains("1 NUL character was written as U+FFFD"),
        "{exported:?}"
    );
    // The file of rows has it as it came.
    let kept = fixture
        .data_dir
        .listing()
        .into_keys()
        .filter(|path| path.extension().is_some_and(|end| end == "parquet"));
    assert!(kept.into_iter().any(|path| {
        std::fs::read(path)
            .unwrap()
            .windows(12)
            .any(|bytes| bytes == b"before\0after")
    }));
}

// ---- commands ----

/// Every command that works on a data directory which is there, with arguments that it takes.
const ON_A_DIRECTORY: [&[&str]; 16] = [
    &["user", "list"],
    &["user", "password", "--email", OWNER],
    &["user", "disable", "--email", OWNER],
    &[
        "token", "create", "--user", OWNER, "--name", "x", "--scope", "read",
    ],
    &["token", "list"],
    &["token", "revoke", "tok_x"],
    &["export-password", "create", "--user", OWNER, "--name", "x"],
    &["export-password", "list"],
    &["export-password", "revoke", "exp_x"],
    &[
        "account",
        "add",
        "--user",
        OWNER,
        "--connector",
        "livechat",
        "--name",
        "x",
    ],
    &["account", "list"],
    &["account", "check", "acc_x"],
    &["account", "rotate-secret", "acc_x"],
    &["dataset", "list"],
    &["dataset", "run", "ds_x"],
    &["verify"],
];

/// Those that make one, or need none.
const WITHOUT: [&str; 5] = ["serve", "demo", "sandbox", "user add", "healthcheck"];

fn leaves(command: &clap::Command, before: &str, all: &mut Vec<String>) {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let path = format!("{before} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &path, all)
        } else {
            all.push(path)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_mistyped_data_directory_makes_nothing_and_says_so() {
    let create = [
        "dataset",
        "create",
        "--user",
        OWNER,
        "--name",
        "x",
        "--account",
        "acc_x",
        "--report",
        "agents",
    ];
    let all: Vec<&[&str]> = ON_A_DIRECTORY
        .into_iter()
        .chain([&create[..], &["dataset", "export", "ds_x"]])
        .collect();
    let mut known = Vec::new();
    leaves(&chatlake::cli::command_line(), "", &mut known);
    for command in known
        .iter()
        .filter(|command| !WITHOUT.contains(&command.as_str()))
    {
        assert!(
            all.iter()
                .any(|arguments| arguments.join(" ").starts_with(command.as_str())),
            "{command} is not tried"
        );
    }
    let (absent, empty) = (DataDir::new(), DataDir::new());
    std::fs::create_dir(empty.data()).unwrap();
    for arguments in all {
        for data_dir in [&absent, &empty] {
            let refused = data_dir
                .run_with(arguments, "a long enough passphrase\n")
                .await;
            assert_eq!(
                (refused.code, refused.out.as_str()),
                (1, ""),
                "{arguments:?}: {refused:?}"
            );
            assert!(
                refused.err.contains("is not a Chatlake data directory")
                    && refused.err.contains("data"),
                "{arguments:?}: {}",
                refused.err
            );
        }
    }
    assert!(!absent.data().exists());
    assert_eq!(std::fs::read_dir(empty.data()).unwrap().count(), 0);
    // Nor does a person who cannot be added.
    let refused = absent
        .run_with(
            &[
                "user", "add", "--email", "nobody", "--name", "Olga", "--role", "admin",
            ],
            "a long enough passphrase\n",
        )
        .await;
    assert!(
        refused.code == 1 && !refused.err.is_empty() && !absent.data().exists(),
        "{refused:?}"
    );
    // The first person of a server without a browser.
    absent.person("olga", "admin").await;
    assert_eq!(
        absent
            .run(&["user", "list", "--json"])
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Runs a command on a terminal of its own, answers each prompt in turn, and gives its exit code
/// and all that the terminal showed.
async fn on_a_terminal(
    data_dir: &DataDir,
    arguments: &[&str],
    answers: &[(&str, &str)],
) -> (i32, String) {
    let command = [
        &[env!("CARGO_BIN_EXE_chatlake")],
        arguments,
        &["--data", data_dir.data().to_str().unwrap()],
    ]
    .concat()
    .join(" ");
    let answers: Vec<(String, String)> = answers
        .iter()
        .map(|(prompt, answer)| ((*prompt).to_owned(), (*answer).to_owned()))
        .collect();
    let transcript = tokio::task::spawn_blocking(move || {
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut shown = Vec::new();
        let mut at = 0;
        for (prompt, answer) in answers {
            while !String::from_utf8_lossy(&shown[at..]).contains(&prompt) {
                let mut byte = [0];
                assert_eq!(
                    from.read(&mut byte).unwrap(),
                    1,
                    "no prompt {prompt:?}: {}",
                    String::from_utf8_lossy(&shown)
                );
                shown.push(byte[0]);
            }
            at = shown.len();
            to.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        from.read_to_end(&mut shown).unwrap();
        (
            child.wait().unwrap().code().unwrap_or(-1),
            String::from_utf8_lossy(&shown).into_owned(),
        )
    });
    transcript.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_typed_on_a_terminal_is_asked_for_and_not_shown() {
    let data_dir = DataDir::new();
    let add = [
        "user", "add", "--email", OWNER, "--name", "Olga", "--role", "admin",
    ];
    let (code, shown) = on_a_terminal(
        &data_dir,
        &add,
        &[
            ("Password: ", PASSWORD),
            ("Password again: ", "something else"),
        ],
    )
    .await;
    assert!(code == 1 && shown.contains("are not the same"), "{shown}");
    let (code, shown) = on_a_terminal(
        &data_dir,
        &add,
        &[("Password: ", PASSWORD), ("Password again: ", PASSWORD)],
    )
    .await;
    assert!(
        code == 0 && shown.contains("olga@house.test was added as admin"),
        "{shown}"
    );
    assert!(!shown.contains(PASSWORD), "{shown}");
    let other = "another battery staple";
    let change = ["user", "password", "--email", OWNER];
    let (code, shown) = on_a_terminal(
        &data_dir,
        &change,
        &[("New password: ", other), ("New password again: ", other)],
    )
    .await;
    assert!(code == 0 && !shown.contains(other), "{shown}");
    let account = [
        "account",
        "add",
        "--user",
        OWNER,
        "--connector",
        "livechat",
        "--name",
        "Support",
        "--field",
        "username=agent@sandbox.test",
    ];
    let (code, shown) = on_a_terminal(&data_dir, &account, &[("API Key: ", "canary-4711")]).await;
    assert!(
        code == 0 && shown.contains("acc_") && !shown.contains("canary-4711"),
        "{shown}"
    );
    let server = data_dir.serve().await;
    assert_eq!(server.sign_in(OWNER).await.0, 401, "the password before");
}

/// Runs a command whose standard output nobody reads any more.
async fn into_a_closed_pipe(data_dir: &DataDir, arguments: &[&str]) -> (i32, String) {
    let mut command = data_dir.command(arguments);
    let ended = tokio::task::spawn_blocking(move || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command
            .stdout(writer)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    });
    let ended = ended.await.unwrap();
    (
        ended.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_to_standard_output_when_asked_and_a_closed_pipe_is_no_error() {
    let fixture = ApiCliFixture::new(400).await;
    let dataset = fixture.pulled("chat").await;
    let export = ["dataset", "export", dataset.as_str()];
    let plain = fixture.data_dir.run(&export).await.good();
    let dashed = fixture
        .data_dir
        .run(&[&export[..], &["--output", "-"]].concat())
        .await
        .good();
    assert!(plain.len() > 100_000 && plain == dashed);
    assert!(
        !fixture.data_dir.data().parent().unwrap().join("-").exists(),
        "no file of that name"
    );
    for arguments in [
        &export[..],
        &["user", "list"],
        &["user", "list", "--json"],
        &["dataset", "list"],
        &["verify"],
        &["token", "list"],
        &["account", "list"],
    ] {
        let (code, said) = into_a_closed_pipe(&fixture.data_dir, arguments).await;
        assert_eq!((code, said.as_str()), (0, ""), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_does_not_end_a_server() {
    let data_dir = DataDir::new();
    let server = data_dir.serve_with(&["--log", "info"]).await;
    server.signal("HUP");
    until("it is told", async || {
        server.err().contains("SIGHUP is ignored").then_some(())
    })
    .await;
    assert_eq!(server.send("GET", "/readyz", "", None).await.status(), 200);
    server.stop().await;
}

// ---- the log ----

#[tokio::test(flavor = "multi_thread")]
async fn each_run_is_logged_under_its_own_id_also_when_runs_share_a_reading() {
    let fixture = ApiCliFixture::new(40).await;
    let mut datasets = Vec::new();
    for report in ["chat", "chat_messages", "chat_events"] {
        datasets.push(
            fixture
                .data_dir
                .dataset(OWNER, &fixture.account, report)
                .await,
        );
    }
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(fixture.server.run(dataset, &fixture.token).await);
    }
    let mut shared = Vec::new();
    for run in &runs {
        let over = fixture.server.over(run, &fixture.token).await;
        assert_eq!(over["state"], "succeeded", "{over}");
        shared.push(over["shared_by"].as_i64().unwrap());
    }
    assert!(
        shared.iter().any(|count| *count > 1),
        "no two of them shared a reading: {shared:?}"
    );
    let log = until("all is told", async || {
        let log = fixture.server.err();
        (log.matches("the run succeeded").count() == 3).then_some(log)
    })
    .await;
    assert!(
        !log.contains('\u{1b}'),
        "colours that no terminal shows: {log}"
    );
    for (run, dataset) in runs.iter().zip(&datasets) {
        for message in ["the run began", "the run succeeded"] {
            let lines: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(message) && line.contains(run.as_str()))
                .collect();
            assert_eq!(lines.len(), 1, "{message} {run}: {log}");
            assert!(lines[0].contains(dataset.as_str()), "{}", lines[0]);
        }
    }
    assert!(
        !log.contains("/readyz") && log.contains("/api/v1/datasets/{id}/runs"),
        "probes are not told, requests are: {log}"
    );
}

// ---- credentials ----

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_another_kind_are_recognised_when_livechat_rejects_them() {
    let fixture = ApiCliFixture::new(10).await;
    let account_id = "5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3";
    // `5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3:dal:canary-4711`
    let pasted = "NWE5YjBjMWQtMmUzZi00YTViLThjNmQtN2U4ZjkwYTFiMmMzOmRhbDpjYW5hcnktNDcxMQ==";
    for (username, secret, said) in [
        (account_id, "dal:canary-4711", "This is an account ID"),
        ("agent@sandbox.test", pasted, "Enter only the token"),
        ("agent", "canary-4711", "Username must be the email address"),
        ("agent@sandbox.test", "canary-4711", "agents--all:ro"),
    ] {
        let field = format!("username={username}");
        let add = [
            "account",
            "add",
            "--user",
            OWNER,
            "--connector",
            "livechat",
            "--name",
            "x",
            "--field",
            &field,
            "--api-url",
            &fixture.vendor.address,
        ];
        let account = fixture.data_dir.run_with(&add, secret).await.good();
        let (status, checked) = fixture
            .send("POST", &format!("/accounts/{account}/check"), json!({}))
            .await;
        let message = checked["message"].as_str().unwrap();
        assert!(
            status == 200
                && checked["ok"] == false
                && message.contains(said)
                && !message.contains("canary"),
            "{username}: {checked}"
        );
    }
}

// ---- metrics ----

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_new_server_have_version_process_disk_and_each_run_outcome() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let metrics = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    let value = |name: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(
        value(&format!(
            "chatlake_build_info{{version=\"{}\"}} ",
            env!("CARGO_PKG_VERSION")
        )),
        1.0
    );
    for outcome in ["succeeded", "failed", "cancelled"] {
        assert_eq!(
            value(&format!("chatlake_runs_total{{outcome=\"{outcome}\"}} ")),
            0.0
        );
    }
    assert!(value("chatlake_data_free_bytes ") > 0.0);
    assert!(
        value("process_resident_memory_bytes ") > 1_000_000.0 && value("process_open_fds ") > 3.0
    );
    assert!(
        value("process_start_time_seconds ") > 1_700_000_000.0
            && value("process_cpu_seconds_total ") >= 0.0
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
