//! Published LiveLeader chats: versions that no run made, and requests to the export API.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatlake::accounts::NewAccount;
use chatlake::actor::{Actor, Role};
use chatlake::auth::audit;
use chatlake::auth::export_passwords::{self, ExportPassword, NewExportPassword};
use chatlake::clock::Millis;
use chatlake::connectors::Connector;
use chatlake::connectors::report::ColumnKind;
use chatlake::datasets::columns::{ColumnInfo, columns_of, to_schema};
use chatlake::datasets::versions::Commit;
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::secret::Secret;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::config::HOST_NAME;
use super::context::TestContext;
use super::datasets::dataset_settings;
use super::{DAY, NOON};

/// The address of a client on this machine.
pub const HERE: &str = "127.0.0.1";
/// The parameters of an export of November 2026.
pub const CLASSIC: &str =
    "a=export&start=2026-11-01T00:00:00.000%2B00:00&stop=2026-12-01T00:00:00.000%2B00:00";

/// A batch of chats. A field that is no declared column becomes a column of text.
fn batch(chats: &[Value]) -> RecordBatch {
    let report = Connector::LiveLeader.report("chats").unwrap();
    let mut columns = columns_of(report);
    for name in chats
        .iter()
        .flat_map(|chat| chat.as_object().unwrap().keys())
    {
        if !columns.iter().any(|column| column.name == *name) {
            columns.push(ColumnInfo {
                name: name.clone(),
                kind: ColumnKind::Text,
                declared: false,
            });
        }
    }
    let arrays = columns.iter().map(|column| {
        let cells = chats.iter().map(|chat| &chat[&column.name]);
        let array: ArrayRef = match column.kind {
            ColumnKind::Integer => Arc::new(Int64Array::from_iter(cells.map(Value::as_i64))),
            ColumnKind::Timestamp => Arc::new(
                TimestampMicrosecondArray::from_iter(
                    cells.map(|cell| cell.as_i64().map(|millis| millis * 1_000)),
                )
                .with_timezone("UTC"),
            ),
            _ => Arc::new(StringArray::from_iter(cells.map(Value::as_str))),
        };
        array
    });
    RecordBatch::try_new(to_schema(&columns), arrays.collect()).unwrap()
}

/// A chat in which the visitor says this.
pub fn chat(id: &str, start: Millis, said: &str) -> Value {
    let transcript =
        json!([{"from": "visitor", "time": "2026-11-20T08:15:30.000+00:00", "text": said}])
            .to_string();
    json!({
        "id": id,
        "operators": "ada@x.test",
        "operator_count": 1,
        "visitor_ip": "192.0.2.1",
        "start": start,
        "stop": start + 5_000,
        "duration": 5,
        "url": "https://x.test/",
        "message_count": 1,
        "transcript": transcript,
    })
}

/// Makes these chats the current version of the DataSet, as a run does.
pub async fn fill(ctx: &TestContext, dataset: &DatasetId, chats: &[Value]) {
    let (app, run) = (&ctx.app, RunId::new());
    let mut tx = app.db.write().await.unwrap();
    sqlx::query(
        "INSERT INTO runs (
             id, dataset_id, trigger, state, source_key, queued_at, due_at, finished_at
         )
         VALUES ($1, $2, 'manual', 'succeeded', '', 0, 0, 0)",
    )
    .bind(&run)
    .bind(dataset)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let mut writer = app.datasets.segments.writer(dataset, &run);
    for some in chats.chunks(500) {
        writer.write(&batch(some)).await.unwrap();
        writer.close().await.unwrap();
    }
    let written = writer.finish().await.unwrap();
    let declared = columns_of(Connector::LiveLeader.report("chats").unwrap());
    let mut tx = app.db.write().await.unwrap();
    app.datasets
        .versions
        .commit(&mut tx, &Commit::new(dataset, &run, &declared, &written))
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// This number of chats with long texts.
pub fn many(count: i64) -> Vec<Value> {
    (0..count)
        .map(|n| {
            chat(
                &format!("{n}"),
                NOON - DAY + n * 1_000,
                &"long ".repeat(2_000),
            )
        })
        .collect()
}

/// A product in which an admin has published the DataSet of an owner.
pub struct ExportFixture {
    pub ctx: TestContext,
    pub admin: Actor,
    pub owner: Actor,
    pub account: AccountId,
    pub dataset: DatasetId,
    /// The export password of the owner.
    pub password: String,
}

impl ExportFixture {
    pub async fn new(chats: &[Value]) -> Self {
        Self::of(TestContext::new().await, chats).await
    }

    pub async fn of(ctx: TestContext, chats: &[Value]) -> Self {
        let (admin, owner) = (
            ctx.person("ada", Role::Admin).await,
            ctx.person("olga", Role::Editor).await,
        );
        let credentials = [("email", "op@x.test"), ("password", "x")]
            .map(|(id, value)| (id.to_owned(), Secret::new(value)))
            .into();
        let new = NewAccount {
            connector: Connector::LiveLeader,
            name: "LL".to_owned(),
            credentials,
            api_url: None,
            requests_per_minute: None,
            time_zone: None,
        };
        let account = ctx.app.accounts.create(&owner, &new).await.unwrap().id;
        let dataset = ctx
            .app
            .datasets
            .create(
                &owner,
                &dataset_settings(Connector::LiveLeader, &account, "chats", "Chats"),
            )
            .await
            .unwrap();
        fill(&ctx, &dataset, chats).await;
        ctx.app
            .datasets
            .publish((&admin).into(), &dataset, true)
            .await
            .unwrap();
        let password = export_password(&ctx, &owner).await.1;
        Self {
            ctx,
            admin,
            owner,
            account,
            dataset,
            password,
        }
    }

    /// Another published DataSet of the owner.
    pub async fn another(&self, chats: &[Value]) -> DatasetId {
        let dataset = self
            .ctx
            .app
            .datasets
            .create(
                &self.owner,
                &dataset_settings(Connector::LiveLeader, &self.account, "chats", "Chats"),
            )
            .await
            .unwrap();
        fill(&self.ctx, &dataset, chats).await;
        self.ctx
            .app
            .datasets
            .publish((&self.admin).into(), &dataset, true)
            .await
            .unwrap();
        dataset
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ExportResponse {
        self.ask_from(HERE, method, path, headers, body).await
    }

    pub async fn ask_from(
        &self,
        address: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ExportResponse {
        let (parts, mut body) = self
            .send(address, method, path, headers, body)
            .await
            .into_parts();
        let (mut bytes, mut broken) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => broken = true,
            }
        }
        ExportResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes).unwrap(),
            broken,
        }
    }

    pub async fn send(
        &self,
        address: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> axum::http::Response<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST_NAME);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.extension(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 1)));
        self.ctx
            .router
            .clone()
            .oneshot(request.body(Body::from(body.to_owned())).unwrap())
            .await
            .unwrap()
    }

    /// The call with its parameters and the credentials of the owner in the URL.
    pub fn classic(&self, rest: &str) -> String {
        format!(
            "/a/Srv?{rest}&email=olga@house.test&password={}",
            self.password
        )
    }

    pub async fn get(&self, rest: &str) -> ExportResponse {
        self.ask("GET", &self.classic(rest), &[], "").await
    }

    pub async fn audit_trail(&self) -> Vec<String> {
        let all = audit::list(&self.ctx.app.db, None, 200).await.unwrap();
        all.into_iter()
            .rev()
            .map(|entry| format!("{} {}", entry.action, entry.result))
            .collect()
    }
}

/// A new export password of this person, and its text.
pub async fn export_password(ctx: &TestContext, of: &Actor) -> (ExportPassword, String) {
    let new = NewExportPassword {
        name: "script".to_owned(),
        days: 30,
    };
    let (made, text) = export_passwords::create(&ctx.app.db, &ctx.clock, of.into(), &new)
        .await
        .unwrap();
    (made, text.reveal().to_owned())
}

#[derive(Debug)]
pub struct ExportResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The connection was cut before the end of the body.
    pub broken: bool,
}

impl ExportResponse {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Checks the headers that requirement S-111 demands, on errors too.
    pub fn has_security_headers(&self, what: &str) {
        for (name, wanted) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("x-robots-tag", "noindex"),
            (
                "content-type",
                if self.status == 200 {
                    "application/xml; charset=utf-8"
                } else {
                    "text/plain; charset=utf-8"
                },
            ),
        ] {
            assert_eq!(
                (self.header(name), self.headers.get_all(name).iter().count()),
                (wanted, 1),
                "{what}: {name}"
            );
        }
        assert!(
            self.header("x-request-id").len() > 20 && !self.headers.contains_key("set-cookie"),
            "{what}"
        );
        assert!(!self.headers.contains_key("location"), "{what}");
        if self.status != 200 && !self.text.is_empty() {
            assert!(
                self.text.ends_with(".\n") && self.text.lines().count() == 1,
                "{what}: {}",
                self.text
            );
        }
        assert_eq!(
            self.header("www-authenticate").starts_with("Basic realm="),
            self.status == 401,
            "{what}"
        );
        assert_eq!(
            self.headers.contains_key("retry-after"),
            matches!(self.status, 429 | 503),
            "{what}"
        );
    }

    /// The ids of the chats, in order.
    pub fn ids(&self) -> Vec<&str> {
        assert_eq!(self.status, 200, "{}", self.text);
        assert!(
            !self.broken
                && self
                    .text
                    .starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<chats>\n")
                && self.text.ends_with("</chats>\n"),
            "{}",
            self.text
        );
        self.text
            .split("<id>")
            .skip(1)
            .map(|rest| rest.split("</id>").next().unwrap())
            .collect()
    }
}

/// The header of HTTP basic authentication.
pub fn basic(email: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{email}:{password}")))
}
