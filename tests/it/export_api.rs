//! LiveLeader's export API as it is served at `/a/Srv`: who gets what, in which order, and what no
//! chat, caller or disk can break. The chats are put into versions as a run would, since the vendor
//! has no part in this.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatlake::actor::{Role, Scope};
use chatlake::auth::export_passwords;
use chatlake::auth::users;
use chatlake::clock::Clock;
use chatlake::connectors::Connector;
use chatlake::db::Db;
use chatlake::ids::{DatasetId, UserId};
use http_body_util::BodyExt;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::datasets::dataset_settings;
use crate::support::exports::{
    CLASSIC, ExportFixture, HERE, basic, chat, export_password, fill, many,
};
use crate::support::server::Server;
use crate::support::{DAY, NOON, PASSWORD};

/// Header lines of a request.
type Lines<'a> = Vec<(&'a str, &'a str)>;

// ---- published, or not ----

#[tokio::test]
async fn while_nothing_is_published_there_is_nothing() {
    let export_fixture = ExportFixture::new(&[chat("1", NOON - DAY, "Hi")]).await;
    assert_eq!(export_fixture.get(CLASSIC).await.ids(), ["1"]);
    export_fixture
        .ctx
        .app
        .datasets
        .publish(
            (&export_fixture.admin).into(),
            &export_fixture.dataset,
            false,
        )
        .await
        .unwrap();
    let before = export_fixture.audit_trail().await;
    let mut said = Vec::new();
    for (address, path, header) in [
        (HERE, export_fixture.classic(CLASSIC), String::new()),
        (HERE, "/a/Srv".to_owned(), String::new()),
        (
            HERE,
            "/a/srv?a=nothing".to_owned(),
            basic("olga@house.test", "wrong"),
        ),
        // Nor does it matter how it came.
        (
            "203.0.113.7",
            export_fixture.classic(CLASSIC),
            String::new(),
        ),
    ] {
        let headers: Lines = [("authorization", header.as_str())]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        for method in ["GET", "POST"] {
            let answer = export_fixture
                .ask_from(address, method, &path, &headers, "")
                .await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
            answer.has_security_headers(&path);
            said.push(answer.text);
        }
    }
    assert!(said.iter().all(|text| text == &said[0]), "{said:?}");
    assert_eq!(
        export_fixture.audit_trail().await,
        before,
        "no credentials were looked at"
    );
}

#[tokio::test]
async fn only_an_admin_publishes_and_only_liveleaders_chats() {
    let export_fixture = ExportFixture::new(&[]).await;
    let ctx = &export_fixture.ctx;
    let (dataset, other) = (
        export_fixture.dataset.clone(),
        export_fixture.another(&[]).await,
    );
    let settings_page = format!("/datasets/{dataset}/settings");
    let (mut admins, mut owners) = (
        ctx.signed_in(&export_fixture.admin).await,
        ctx.signed_in(&export_fixture.owner).await,
    );
    let press = format!("/datasets/{dataset}/publishing");

    assert_eq!(owners.post(&press, &[]).await.status, StatusCode::FORBIDDEN);
    let page = owners.get(&settings_page).await;
    assert!(
        page.words("#liveleader-api")
            .contains("On: people who can view")
            && !page.has("#liveleader-api form"),
        "{}",
        page.words("#liveleader-api")
    );
    let page = admins.get(&settings_page).await;
    assert!(
        page.has("#liveleader-api input[name=published][checked]"),
        "{}",
        page.text
    );
    assert_eq!(page.words("#export-address"), "http://127.0.0.1:8080/a/Srv");
    let page = admins.submit(&press, &[]).await;
    assert!(
        page.toast().contains("no longer") && !page.has("#liveleader-api input[checked]"),
        "{}",
        page.text
    );
    let page = owners.get(&settings_page).await;
    assert!(
        page.words("#liveleader-api").contains("Off."),
        "{}",
        page.words("#liveleader-api")
    );
    admins.submit(&press, &[("published", "true")]).await;
    let trail = export_fixture.audit_trail().await;
    let published: Vec<&String> = trail
        .iter()
        .filter(|action| action.starts_with("dataset."))
        .collect();
    assert_eq!(
        published,
        [
            "dataset.publish done",
            "dataset.publish done",
            "dataset.unpublish done",
            "dataset.publish done"
        ]
    );

    // Over the API.
    let path = format!("/api/v1/datasets/{dataset}");
    let json = ("content-type", "application/json");
    for (who, scope, status) in [
        (&export_fixture.owner, Scope::Manage, 403),
        (&export_fixture.admin, Scope::Read, 403),
        (&export_fixture.admin, Scope::Run, 403),
        (&export_fixture.admin, Scope::Manage, 200),
    ] {
        let bearer = format!("Bearer {}", ctx.token(who, scope).await);
        let answer = export_fixture
            .ask(
                "PATCH",
                &path,
                &[json, ("authorization", &bearer)],
                r#"{"published": false, "name": "Renamed"}"#,
            )
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(
            ctx.app
                .datasets
                .get(&export_fixture.admin, &dataset)
                .await
                .unwrap()
                .published,
            status != 200,
            "{who:?} {scope:?}"
        );
        assert_eq!(
            ctx.app
                .datasets
                .get(&export_fixture.admin, &dataset)
                .await
                .unwrap()
                .name
                == "Renamed",
            status == 200,
            "nothing else is done either"
        );
        if status == 200 {
            let body: Value = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(body["published"], false);
        }
    }
    let bearer = format!(
        "Bearer {}",
        ctx.token(&export_fixture.admin, Scope::Manage).await
    );
    let change = async |id: &DatasetId, body: &str| {
        export_fixture
            .ask(
                "PATCH",
                &format!("/api/v1/datasets/{id}"),
                &[json, ("authorization", &bearer)],
                body,
            )
            .await
            .status
    };
    let account = ctx.account(&export_fixture.admin, "LiveChat").await;
    let livechat = ctx
        .dataset(&export_fixture.admin, &account.id, "agents", "Agents")
        .await;
    assert_eq!(change(&livechat, r#"{"published": true}"#).await, 422);
    assert_eq!(change(&livechat, r#"{"published": false}"#).await, 200);
    assert!(
        !ctx.signed_in(&export_fixture.admin)
            .await
            .get(&format!("/datasets/{livechat}/settings"))
            .await
            .has("#liveleader-api")
    );
    assert_eq!(
        change(&other, r#"{"published": true, "report": "chat_messages"}"#).await,
        422
    );
    assert!(
        ctx.app
            .datasets
            .get(&export_fixture.admin, &other)
            .await
            .unwrap()
            .published
    );
    // One that becomes another report is no longer what was published, and stays so when it turns
    // back.
    assert_eq!(change(&other, r#"{"report": "chat_messages"}"#).await, 200);
    assert_eq!(change(&other, r#"{"report": "chats"}"#).await, 200);
    assert!(
        !ctx.app
            .datasets
            .get(&export_fixture.admin, &other)
            .await
            .unwrap()
            .published
    );
    assert_eq!(export_fixture.get(CLASSIC).await.status, 404);
}

// ---- what is served ----

#[tokio::test]
async fn every_way_to_ask_gives_the_same_bytes() {
    let export_fixture = ExportFixture::new(&[
        chat("2", NOON - DAY, "two"),
        chat("1", NOON - 2 * DAY, "one"),
    ])
    .await;
    let first = export_fixture.get(CLASSIC).await;
    assert_eq!(first.ids(), ["1", "2"]);
    first.has_security_headers("GET");
    let wanted = "<chat>\n<id>1</id>\n<operator>ada@x.test</operator>\n<visitorip>192.0.2.1</visitorip>\n<start>2026-11-18T12:00:00.000+00:00</start>\n\
        <stop>2026-11-18T12:00:05.000+00:00</stop>\n<duration>5</duration>\n<url>https://x.test/</url>\n\
        <msg from=\"visitor\" time=\"2026-11-20T08:15:30.000+00:00\">one</msg>\n</chat>\n";
    assert!(first.text.contains(wanted), "{}", first.text);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let (basic, bearer) = (
        basic("olga@house.test", &export_fixture.password),
        format!("bearer {}", export_fixture.password),
    );
    let credentials = format!(
        "email=olga%40house.test&password={}",
        export_fixture.password
    );
    let plus = CLASSIC.replace("%2B", "+");
    let cases: Vec<(&str, String, Lines, String)> = vec![
        (
            "GET",
            export_fixture.classic(CLASSIC).replace("Srv", "srv"),
            vec![],
            String::new(),
        ),
        ("GET", export_fixture.classic(&plus), vec![], String::new()),
        (
            "GET",
            export_fixture.classic(&CLASSIC.replace(
                "2026-11-01T00:00:00.000%2B00:00",
                "2026-11-01T01:00:00%2B01",
            )),
            vec![],
            String::new(),
        ),
        (
            "GET",
            export_fixture.classic(&format!("{CLASSIC}&x=1&x=2")),
            vec![("cookie", "chatlake_session=x")],
            String::new(),
        ),
        (
            "GET",
            format!(
                "/a/Srv?{CLASSIC}&email=%20Olga@House.Test&password={}",
                export_fixture.password
            ),
            vec![],
            String::new(),
        ),
        (
            "GET",
            format!("/a/Srv?{CLASSIC}"),
            vec![("authorization", basic.as_str())],
            String::new(),
        ),
        (
            "GET",
            format!("/a/Srv?{CLASSIC}"),
            vec![("authorization", &bearer)],
            String::new(),
        ),
        (
            "GET",
            format!("/a/Srv?{CLASSIC}&email=olga@house.test"),
            vec![("authorization", &bearer)],
            String::new(),
        ),
        (
            "POST",
            "/a/Srv".to_owned(),
            vec![form],
            format!("{CLASSIC}&{credentials}"),
        ),
        (
            "POST",
            "/a/Srv".to_owned(),
            vec![(
                "content-type",
                "Application/X-WWW-Form-Urlencoded; charset=utf-8",
            )],
            format!("{CLASSIC}&{credentials}"),
        ),
        (
            "POST",
            "/a/srv".to_owned(),
            vec![form, ("authorization", &basic)],
            CLASSIC.to_owned(),
        ),
        (
            "POST",
            "/a/Srv".to_owned(),
            vec![
                form,
                ("authorization", &bearer),
                ("origin", "https://evil.example"),
            ],
            CLASSIC.to_owned(),
        ),
        // What the address of a POST says is not read.
        (
            "POST",
            "/a/Srv?a=nothing&email=x&password=y&start=z".to_owned(),
            vec![form],
            format!("{CLASSIC}&{credentials}"),
        ),
    ];
    for (method, path, headers, body) in cases {
        let answer = export_fixture.ask(method, &path, &headers, &body).await;
        assert_eq!(
            (answer.status, &answer.text),
            (200, &first.text),
            "{method} {path} {headers:?} {body}"
        );
        answer.has_security_headers(&path);
    }
    let head = export_fixture
        .ask("HEAD", &export_fixture.classic(CLASSIC), &[], "")
        .await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    head.has_security_headers("HEAD");
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let answer = export_fixture
            .ask(method, &export_fixture.classic(CLASSIC), &[], "")
            .await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(
            answer.header("allow").contains("GET") && answer.header("allow").contains("POST"),
            "{method}"
        );
        answer.has_security_headers(method);
    }
}

#[tokio::test]
async fn a_chat_belongs_to_the_period_that_its_start_lies_in() {
    let moment = |millis| {
        jiff::Timestamp::from_millisecond(millis)
            .unwrap()
            .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
            .to_string()
    };
    let nowhere =
        json!({"id": "nowhere", "start": null, "_misfit": "{\"start\":\"20-11-2026T08:15:3000\"}"});
    let chats = [
        chat("c", NOON - 1_000, "x"),
        chat("a", NOON - 3_000, "x"),
        nowhere,
        chat("b", NOON - 2_000, "x"),
        chat("b2", NOON - 2_000, "x"),
    ];
    let export_fixture = ExportFixture::new(&chats).await;
    for (from, to, wanted) in [
        (NOON - 3_000, NOON - 1_000, &["a", "b", "b2"][..]),
        (NOON - 2_999, NOON - 1_000, &["b", "b2"]),
        (NOON - 3_000, NOON - 2_999, &["a"]),
        (NOON - 1_000, NOON + DAY, &["c"]),
        (NOON - 999, NOON, &[]),
        (NOON - 360 * DAY, NOON - 3_000, &[]),
        (NOON - 360 * DAY, NOON, &["a", "b", "b2", "c"]),
    ] {
        let answer = export_fixture
            .get(&format!(
                "a=export&start={}&stop={}",
                moment(from),
                moment(to)
            ))
            .await;
        assert_eq!(answer.ids(), wanted, "{from} {to}");
    }
    // Finer than a millisecond: the ends stay true.
    let answer = export_fixture
        .get("a=export&start=2026-11-20T11:59:57.0001Z&stop=2026-11-20T11:59:58.0001Z")
        .await;
    assert_eq!(answer.ids(), ["b", "b2"]);
}

#[tokio::test]
async fn chats_of_several_datasets_are_one_list_and_each_chat_is_there_once() {
    let export_fixture = ExportFixture::new(&[
        chat("1", NOON - 4 * DAY, "old one"),
        chat("3", NOON - 2 * DAY, "three"),
        chat("5", NOON - 5 * DAY, "five, old time"),
    ])
    .await;
    export_fixture.ctx.clock.advance(1_000);
    let newer = export_fixture
        .another(&[
            chat("4", NOON - DAY, "four"),
            chat("1", NOON - 4 * DAY, "new one"),
            chat("5", NOON - 40 * DAY, "five"),
        ])
        .await;
    let answer = export_fixture.get(CLASSIC).await;
    assert_eq!(
        answer.ids(),
        ["1", "3", "4"],
        "5 lies elsewhere by the newer version"
    );
    assert!(answer.text.contains("new one") && !answer.text.contains("old one"));
    // A version of the other one makes that the newest.
    export_fixture.ctx.clock.advance(1_000);
    fill(
        &export_fixture.ctx,
        &export_fixture.dataset,
        &[
            chat("1", NOON - 3 * DAY, "newest one"),
            chat("3", NOON - 5 * DAY, "three"),
        ],
    )
    .await;
    let answer = export_fixture.get(CLASSIC).await;
    assert_eq!(answer.ids(), ["3", "1", "4"]);
    assert!(answer.text.contains("newest one"));
    // Only what this person may read.
    export_fixture
        .ctx
        .app
        .datasets
        .share(&export_fixture.admin, &newer, true)
        .await
        .unwrap();
    let viewer = export_fixture.ctx.person("vic", Role::Viewer).await;
    let header = basic(
        "vic@house.test",
        &export_password(&export_fixture.ctx, &viewer).await.1,
    );
    let answer = export_fixture
        .ask(
            "GET",
            &format!("/a/Srv?{CLASSIC}"),
            &[("authorization", &header)],
            "",
        )
        .await;
    assert_eq!(answer.ids(), ["1", "4"]);
    export_fixture
        .ctx
        .app
        .datasets
        .share(&export_fixture.admin, &newer, false)
        .await
        .unwrap();
    let answer = export_fixture
        .ask(
            "GET",
            &format!("/a/Srv?{CLASSIC}"),
            &[("authorization", &header)],
            "",
        )
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    answer.has_security_headers("nothing shared");
    // And only what is published.
    export_fixture
        .ctx
        .app
        .datasets
        .publish((&export_fixture.admin).into(), &newer, false)
        .await
        .unwrap();
    assert_eq!(export_fixture.get(CLASSIC).await.ids(), ["3", "1"]);
}

#[tokio::test]
async fn a_published_dataset_without_data_gives_an_empty_list() {
    let export_fixture = ExportFixture::new(&[]).await;
    let none = export_fixture
        .ctx
        .app
        .datasets
        .create(
            &export_fixture.owner,
            &dataset_settings(
                Connector::LiveLeader,
                &export_fixture.account,
                "chats",
                "Chats",
            ),
        )
        .await
        .unwrap();
    export_fixture
        .ctx
        .app
        .datasets
        .publish((&export_fixture.admin).into(), &none, true)
        .await
        .unwrap();
    assert_eq!(export_fixture.get(CLASSIC).await.ids(), Vec::<&str>::new());
}

// ---- what is asked wrongly ----

/// Start and stop, and what comes: `ok`, or the parameter that is named.
const PERIODS: [(&str, &str, &str); 42] = [
    (
        "2026-11-01T00:00:00.000%2B00:00",
        "2026-11-02T00:00:00.000%2B00:00",
        "ok",
    ),
    (
        "2026-11-01T00:00:00.000+00:00",
        "2026-11-02T00:00:00.000+00:00",
        "ok",
    ),
    ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "ok"),
    (
        "2026-11-01T00:00:00.5Z",
        "2026-11-02T00:00:00.123456789Z",
        "ok",
    ),
    ("2026-11-01T00:00:00%2B0100", "2026-11-02T00:00:00-05", "ok"),
    (
        "2026-11-01T00:00:00-00:00",
        "2026-11-02T00:00:00%2B14:00",
        "ok",
    ),
    (
        "2008-08-18T19:24:18.884%2B02:00",
        "2008-08-19T19:24:18.884%2B02:00",
        "ok",
    ),
    // The end of the period may lie ahead, its beginning not.
    ("2026-11-20T00:00:00Z", "2027-01-01T00:00:00Z", "ok"),
    ("2026-11-20T12:00:00.001Z", "2026-11-21T00:00:00Z", "start"),
    ("2031-01-01T00:00:00Z", "2031-01-02T00:00:00Z", "start"),
    // 366 days, and a millisecond more.
    ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "ok"),
    ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00.001Z", "stop"),
    ("2008-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "stop"),
    ("2026-11-02T00:00:00Z", "2026-11-02T00:00:00Z", "stop"),
    (
        "2026-11-02T01:00:00%2B01:00",
        "2026-11-02T00:00:00Z",
        "stop",
    ),
    ("2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z", "stop"),
    ("", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01T00:00:00Z", "", "stop"),
    ("2026-11-01T00:00:00.000", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01T00:00:00", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00", "stop"),
    ("2026-11-01", "2026-11-02", "start"),
    ("2026-11-01T00:00Z", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01%2000:00:00Z", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01t00:00:00z", "2026-11-02T00:00:00Z", "start"),
    ("20261101T000000Z", "2026-11-02T00:00:00Z", "start"),
    ("0000-01-01T00:00:00Z", "0000-01-02T00:00:00Z", "start"),
    ("0001-01-01T00:00:00Z", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01T00:00:00Z", "9999-12-31T23:59:59Z", "stop"),
    ("9999-12-31T00:00:00Z", "9999-12-31T23:59:59Z", "start"),
    ("%2B12026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "start"),
    ("2016-12-31T23:59:60Z", "2017-01-02T00:00:00Z", "start"),
    ("2026-11-01T24:00:00Z", "2026-11-02T00:00:00Z", "start"),
    ("2026-02-29T00:00:00Z", "2026-03-02T00:00:00Z", "start"),
    ("2026-13-01T00:00:00Z", "2026-11-02T00:00:00Z", "start"),
    ("2026-11-01T00:60:00Z", "2026-11-02T00:00:00Z", "start"),
    (
        "2026-11-01T00:00:00%2B14:01",
        "2026-11-02T00:00:00Z",
        "start",
    ),
    (
        "2026-11-01T00:00:00%2B01:60",
        "2026-11-02T00:00:00Z",
        "start",
    ),
    ("2026-11-01T00:00:00.Z", "2026-11-02T00:00:00Z", "start"),
    (
        "2026-11-01T00:00:00.0000000001Z",
        "2026-11-02T00:00:00Z",
        "start",
    ),
    (
        "2026-11-01T00:00:00Z[Europe/Oslo]",
        "2026-11-02T00:00:00Z",
        "start",
    ),
    ("1793491200", "2026-11-02T00:00:00Z", "start"),
];

#[tokio::test]
async fn every_odd_start_and_stop_is_taken_or_named() {
    let export_fixture = ExportFixture::new(&[]).await;
    for (start, stop, wanted) in PERIODS {
        let answer = export_fixture
            .get(&format!("a=export&start={start}&stop={stop}"))
            .await;
        answer.has_security_headers(start);
        let got = if answer.status == 200 {
            "ok"
        } else {
            answer.text.split(' ').next().unwrap()
        };
        assert_eq!(
            (got, answer.status),
            (wanted, if wanted == "ok" { 200 } else { 400 }),
            "{start} {stop}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn an_invalid_request_gets_one_sentence_that_names_the_parameter() {
    let export_fixture = ExportFixture::new(&[]).await;
    let (own, basic) = (
        format!("email=olga@house.test&password={}", export_fixture.password),
        basic("olga@house.test", &export_fixture.password),
    );
    let (form, json) = (
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json"),
    );
    let rest = &CLASSIC["a=export&".len()..];
    let large = format!("{CLASSIC}&{own}&x={}", "y".repeat(70_000));
    let cases: Vec<(u16, &str, &str, String, Lines, String)> = vec![
        (
            400,
            "a must",
            "GET",
            format!("{rest}&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "a must",
            "GET",
            format!("a=Export&{rest}&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "a must",
            "GET",
            format!("a=export;{rest}&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "a must",
            "GET",
            format!("A=export&{rest}&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "a is given twice",
            "GET",
            format!("a=export&a=export&{rest}&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "start is given twice",
            "GET",
            format!("{CLASSIC}&start=x&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "email is given twice",
            "GET",
            format!("{CLASSIC}&{own}&email=olga@house.test"),
            vec![],
            String::new(),
        ),
        (
            400,
            "password is given twice",
            "GET",
            format!("{CLASSIC}&{own}&password="),
            vec![],
            String::new(),
        ),
        (
            400,
            "password is missing",
            "GET",
            format!("{CLASSIC}&email=olga@house.test"),
            vec![],
            String::new(),
        ),
        (
            400,
            "password is missing",
            "GET",
            format!("{CLASSIC}&email=olga@house.test&password="),
            vec![],
            String::new(),
        ),
        (
            400,
            "email is missing",
            "GET",
            format!("{CLASSIC}&password={}", export_fixture.password),
            vec![],
            String::new(),
        ),
        (
            400,
            "email is given twice",
            "GET",
            format!("{CLASSIC}&email=olga@house.test"),
            vec![("authorization", &basic)],
            String::new(),
        ),
        (
            400,
            "password is given twice",
            "GET",
            format!("{CLASSIC}&{own}"),
            vec![("authorization", &basic)],
            String::new(),
        ),
        (
            400,
            "email is not well-formed",
            "GET",
            format!("{CLASSIC}&email=%zz&password=x"),
            vec![],
            String::new(),
        ),
        (
            400,
            "password is not well-formed",
            "GET",
            format!("{CLASSIC}&email=x&password=%FF"),
            vec![],
            String::new(),
        ),
        (
            400,
            "start is not well-formed",
            "GET",
            format!("a=export&start=%00&stop=x&{own}"),
            vec![],
            String::new(),
        ),
        (
            400,
            "The name of a parameter",
            "GET",
            format!("{CLASSIC}&{own}&%=x"),
            vec![],
            String::new(),
        ),
        (
            401,
            "This address needs",
            "GET",
            CLASSIC.to_owned(),
            vec![],
            String::new(),
        ),
        (
            401,
            "This address needs",
            "GET",
            String::new(),
            vec![("cookie", "chatlake_session=x")],
            String::new(),
        ),
        (
            401,
            "The Authorization header",
            "GET",
            CLASSIC.to_owned(),
            vec![("authorization", "Basic %%%")],
            String::new(),
        ),
        (
            401,
            "The Authorization header",
            "GET",
            CLASSIC.to_owned(),
            vec![("authorization", "Digest username=x")],
            String::new(),
        ),
        (
            401,
            "The Authorization header",
            "GET",
            CLASSIC.to_owned(),
            vec![("authorization", &basic), ("authorization", &basic)],
            String::new(),
        ),
        (
            400,
            "a must",
            "POST",
            format!("{CLASSIC}&{own}"),
            vec![form, ("authorization", &basic)],
            String::new(),
        ),
        (
            400,
            "a must",
            "POST",
            CLASSIC.to_owned(),
            vec![("authorization", &basic)],
            String::new(),
        ),
        (
            415,
            "The body must be a form",
            "POST",
            String::new(),
            vec![json],
            json!({"a": "export"}).to_string(),
        ),
        (
            415,
            "The body must be a form",
            "POST",
            String::new(),
            vec![],
            format!("{CLASSIC}&{own}"),
        ),
        (
            413,
            "The body is longer",
            "POST",
            String::new(),
            vec![form],
            large.clone(),
        ),
        (
            413,
            "The request is larger",
            "POST",
            String::new(),
            vec![form, ("content-length", "70000")],
            large,
        ),
        (
            414,
            "The address is longer",
            "GET",
            format!("{CLASSIC}&{own}&x={}", "y".repeat(9_000)),
            vec![],
            String::new(),
        ),
        (
            421,
            "This server is not available",
            "GET",
            format!("{CLASSIC}&{own}"),
            vec![("host", "elsewhere.test")],
            String::new(),
        ),
    ];
    for (status, says, method, query, headers, body) in cases {
        let what = format!("{method} {query} {headers:?}");
        let answer = export_fixture
            .ask(method, &format!("/a/Srv?{query}"), &headers, &body)
            .await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(answer.text.starts_with(says), "{what}: {}", answer.text);
        answer.has_security_headers(&what);
    }
    // With the catalogue gone.
    export_fixture.ctx.app.db.close().await;
    let answer = export_fixture.get(CLASSIC).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    answer.has_security_headers("the catalogue is gone");
}

// ---- who is let in ----

#[tokio::test]
async fn every_rejected_login_gets_the_same_response() {
    let export_fixture = ExportFixture::new(&[]).await;
    let (db, clock) = (&export_fixture.ctx.app.db, &export_fixture.ctx.clock);
    let stan = export_fixture.ctx.person("stan", Role::Editor).await;
    let gone = export_fixture.ctx.person("dee", Role::Admin).await;
    let (revoked, expired, disabled) = (
        export_password(&export_fixture.ctx, &export_fixture.owner).await,
        export_password(&export_fixture.ctx, &export_fixture.owner).await,
        export_password(&export_fixture.ctx, &gone).await,
    );
    export_passwords::revoke(
        db,
        clock,
        &revoked.0.id,
        Some((&export_fixture.owner).into()),
    )
    .await
    .unwrap();
    let mut tx = db.write().await.unwrap();
    sqlx::query("UPDATE export_passwords SET expires_at = $1 WHERE id = $2")
        .bind(clock.now())
        .bind(&expired.0.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    users::disable(db, clock, &gone.user, Some((&export_fixture.admin).into()))
        .await
        .unwrap();
    let stans = export_password(&export_fixture.ctx, &stan).await.1;
    let token = export_fixture
        .ctx
        .token(&export_fixture.owner, Scope::Manage)
        .await;
    let mistyped = format!("{}x", &export_fixture.password[..52]);
    let long = "p".repeat(5_000);
    let tries: Vec<(&str, &str)> = vec![
        ("olga@house.test", "wrong"),
        ("nobody@house.test", "wrong"),
        ("nobody@house.test", &export_fixture.password),
        ("stan@house.test", &export_fixture.password),
        ("olga@house.test", &stans),
        // The one for signing in.
        ("olga@house.test", PASSWORD),
        ("olga@house.test", &token),
        ("olga@house.test", &mistyped),
        ("olga@house.test", &long),
        ("olga@house.test", &revoked.1),
        ("olga@house.test", &expired.1),
        ("dee@house.test", &disabled.1),
        ("olga", "wrong"),
    ];
    let mut said = Vec::new();
    for (email, password) in tries {
        clock.advance(60_000);
        let query: String = url::form_urlencoded::Serializer::new(CLASSIC.to_owned())
            .append_pair("email", email)
            .append_pair("password", password)
            .finish();
        let answer = export_fixture
            .ask("GET", &format!("/a/Srv?{query}"), &[], "")
            .await;
        assert_eq!(answer.status, 401, "{email} {password}: {}", answer.text);
        answer.has_security_headers(email);
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id")
            .map(|line| format!("{line:?}"))
            .collect();
        headers.sort();
        said.push((answer.text, headers));
    }
    assert!(said.iter().all(|words| words == &said[0]), "{said:?}");
    for bearer in [&token, "x", &revoked.1] {
        clock.advance(60_000);
        let answer = export_fixture
            .ask(
                "GET",
                &format!("/a/Srv?{CLASSIC}"),
                &[("authorization", &format!("Bearer {bearer}"))],
                "",
            )
            .await;
        assert_eq!((answer.status, &answer.text), (401, &said[0].0));
    }
    // Nor is it good for anything else.
    clock.advance(60_000);
    let mut browser = export_fixture.ctx.browser();
    let page = browser
        .post(
            "/sign-in",
            &[
                ("email", "olga@house.test"),
                ("password", &export_fixture.password),
            ],
        )
        .await;
    assert_eq!(
        (page.status, browser.is_signed_in().await),
        (StatusCode::UNAUTHORIZED, false)
    );
    let answer = export_fixture
        .ask(
            "GET",
            "/api/v1/datasets",
            &[(
                "authorization",
                &format!("Bearer {}", export_fixture.password),
            )],
            "",
        )
        .await;
    assert_eq!(answer.status, 401);
    clock.advance(60_000);
    let mut owners = export_fixture.ctx.signed_in(&export_fixture.owner).await;
    let page = owners
        .post(
            "/me/password",
            &[
                ("current_password", PASSWORD),
                ("password", &export_fixture.password),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.wrong("password").contains("export password"),
        "{}",
        page.wrong("password")
    );
    clock.advance(60_000);
    assert_eq!(export_fixture.get(CLASSIC).await.status, 200);
    // A new password for signing in ends them, if that is asked for.
    owners
        .submit(
            "/me/password",
            &[
                ("current_password", PASSWORD),
                ("password", "quite another battery"),
                ("revoke_tokens", "true"),
            ],
        )
        .await;
    assert_eq!(export_fixture.get(CLASSIC).await.status, 401);
    assert!(
        !export_fixture
            .ctx
            .on_disk()
            .windows(export_fixture.password.len())
            .any(|bytes| bytes == export_fixture.password.as_bytes()),
        "it is kept nowhere"
    );
}

#[tokio::test]
async fn password_guessing_is_throttled_without_locking_out_the_owner() {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.trusted_proxy = vec!["127.0.0.1/32".parse().unwrap()]
    })
    .await;
    let export_fixture = ExportFixture::of(ctx, &[]).await;
    let guess = format!("/a/Srv?{CLASSIC}&email=olga@house.test&password=guess");
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = export_fixture.ask("GET", &guess, &[], "").await;
        answer.has_security_headers("guess");
        statuses.push(answer.status);
        if answer.status == 429 {
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=120).contains(&wait), "{wait}");
        }
    }
    assert_eq!(
        (
            statuses[0],
            statuses.iter().filter(|status| **status == 429).count()
        ),
        (401, 39)
    );
    // From many addresses.
    let mut evaluated = 0;
    for n in 0..200_u32 {
        let address = IpAddr::V4((0x0a00_0000 + n).into()).to_string();
        let headers = [
            ("x-forwarded-for", address.as_str()),
            ("x-forwarded-proto", "https"),
        ];
        evaluated +=
            usize::from(export_fixture.ask("GET", &guess, &headers, "").await.status == 401);
        export_fixture.ctx.clock.advance(1_000);
    }
    assert!(evaluated <= 50, "{evaluated}");
    // The owner's script goes on, and so does the owner, in a browser that was never here.
    assert_eq!(export_fixture.get(CLASSIC).await.status, 200);
    let mut browser = export_fixture.ctx.browser();
    browser.address = HERE.parse().unwrap();
    assert_eq!(
        browser
            .post(
                "/sign-in",
                &[("email", "olga@house.test"), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    // Nor do guesses at the sign-in page slow this one.
    let mut stranger = export_fixture.ctx.browser();
    for _ in 0..20 {
        stranger
            .post(
                "/sign-in",
                &[("email", "olga@house.test"), ("password", "guess")],
            )
            .await;
    }
    export_fixture.ctx.clock.advance(16 * 60_000);
    assert_eq!(export_fixture.ask("GET", &guess, &[], "").await.status, 401);
}

#[tokio::test]
async fn remote_plain_http_is_refused_and_the_password_marked_exposed() {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.public_url = "https://127.0.0.1:8080".parse().unwrap();
        config.trusted_proxy = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let export_fixture = ExportFixture::of(ctx, &[chat("1", NOON - DAY, "Hi")]).await;
    let marked = async || {
        let all =
            export_passwords::list(&export_fixture.ctx.app.db, Some(&export_fixture.owner.user))
                .await
                .unwrap();
        all[0].exposed_at.is_some()
    };
    let far = [("x-forwarded-for", "203.0.113.7")];
    for headers in [
        vec![],
        vec![far[0]],
        vec![far[0], ("x-forwarded-proto", "https")],
    ] {
        let answer = export_fixture
            .ask("GET", &export_fixture.classic(CLASSIC), &headers, "")
            .await;
        assert_eq!(answer.ids(), ["1"], "{headers:?}");
        answer.has_security_headers("over https");
        assert_eq!(
            answer.header("strict-transport-security"),
            "max-age=31536000"
        );
    }
    let plain = [far[0], ("x-forwarded-proto", "http")];
    // What cannot be read, and what is wrong, hears the same and marks nothing.
    let mut said = Vec::new();
    for query in [
        "",
        "%",
        CLASSIC,
        &format!("{CLASSIC}&email=olga@house.test&password=wrong"),
    ] {
        let answer = export_fixture
            .ask("GET", &format!("/a/Srv?{query}"), &plain, "")
            .await;
        assert_eq!(answer.status, 403, "{query}: {}", answer.text);
        answer.has_security_headers(query);
        said.push(answer.text);
    }
    assert!(!marked().await);
    for (address, headers, query) in [
        // Whatever else is wrong.
        (HERE, &plain[..], "a=nothing"),
        (HERE, &plain[..], CLASSIC),
        // Not through a proxy that is trusted, whatever is said.
        (
            "203.0.113.7",
            &[
                ("x-forwarded-proto", "https"),
                ("x-forwarded-for", "127.0.0.1"),
            ][..],
            CLASSIC,
        ),
    ] {
        let answer = export_fixture
            .ask_from(address, "GET", &export_fixture.classic(query), headers, "")
            .await;
        assert_eq!(answer.status, 403, "{address}: {}", answer.text);
        answer.has_security_headers(address);
        said.push(answer.text);
        assert!(marked().await);
    }
    assert!(said.iter().all(|text| text == &said[0]), "{said:?}");
    assert_eq!(
        export_fixture
            .audit_trail()
            .await
            .iter()
            .filter(|action| action.starts_with("export_password.expose"))
            .count(),
        1
    );
    let mut tx = export_fixture.ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET published = 0")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        export_fixture
            .ask("GET", &export_fixture.classic(CLASSIC), &plain, "")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn an_export_password_is_made_shown_once_and_revoked_on_ones_own_page() {
    let export_fixture = ExportFixture::new(&[chat("1", NOON - DAY, "Hi")]).await;
    let viewer = export_fixture.ctx.person("vic", Role::Viewer).await;
    export_fixture
        .ctx
        .app
        .datasets
        .share(&export_fixture.admin, &export_fixture.dataset, true)
        .await
        .unwrap();
    let mut browser = export_fixture.ctx.signed_in(&viewer).await;
    let page = browser.get("/me").await;
    assert!(
        page.words("#export-passwords")
            .contains("http://127.0.0.1:8080/a/Srv"),
        "{}",
        page.words("#export-passwords")
    );
    for (name, days, field) in [
        ("", "90", "export_name"),
        ("x", "0", "days"),
        ("x", "367", "days"),
        ("x", "many", "days"),
    ] {
        let page = browser
            .post(
                "/me/export-passwords",
                &[("export_name", name), ("days", days)],
            )
            .await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            !page.wrong(field).is_empty()
                && page.attribute("#days", "value").as_deref() == Some(days),
            "{field}: {}",
            page.text
        );
    }
    let made = browser
        .post(
            "/me/export-passwords",
            &[("export_name", "billing <script>"), ("days", "7")],
        )
        .await;
    let text = made.words("#export-password");
    assert!(
        made.status == StatusCode::OK && text.starts_with("clx_"),
        "{}",
        made.text
    );
    let page = browser.get("/me").await;
    assert!(
        !page.text.contains(&text) && page.words("#export-passwords td b") == "billing <script>",
        "{}",
        page.text
    );
    let header = basic("vic@house.test", &text);
    let ask = async || {
        export_fixture
            .ask(
                "GET",
                &format!("/a/Srv?{CLASSIC}"),
                &[("authorization", &header)],
                "",
            )
            .await
            .status
    };
    assert_eq!(ask().await, 200);
    assert!(
        browser
            .get("/me")
            .await
            .words("#export-passwords tbody")
            .contains("just now")
    );
    let open = export_fixture
        .ask_from(
            "203.0.113.7",
            "GET",
            &format!("/a/Srv?{CLASSIC}"),
            &[("authorization", &header)],
            "",
        )
        .await;
    assert_eq!(open.status, 403);
    assert!(
        browser
            .get("/me")
            .await
            .words("#export-passwords tbody")
            .contains("Exposed")
    );
    let revoke = page
        .attribute("#export-passwords tbody form", "action")
        .unwrap();
    assert!(
        browser
            .submit(&revoke, &[])
            .await
            .words("#export-passwords tbody")
            .contains("revoked")
    );
    assert_eq!(ask().await, 401);
    let trail = export_fixture.audit_trail().await;
    for deed in [
        "export_password.create done",
        "export_password.revoke done",
        "export.read done",
        "export.read refused",
    ] {
        assert!(trail.iter().any(|line| line == deed), "{deed}: {trail:?}");
    }
}

// ---- any text ----

/// Feeds a document to a program and gives what it says.
fn feed(program: &str, arguments: &[&str], document: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pipe, document) = (child.stdin.take().unwrap(), document.to_owned());
    let feeding = std::thread::spawn(move || pipe.write_all(document.as_bytes()));
    let ended = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(
        ended.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).unwrap()
}

/// Every element's name, attributes and text, as expat reads them.
const EXPAT: &str = "
import json, sys, xml.parsers.expat
parser, seen, stack = xml.parsers.expat.ParserCreate(), [], []
parser.buffer_text = True
def start(name, attributes):
    entry = [name, attributes, '']
    seen.append(entry)
    stack.append(entry)
def data(text):
    stack[-1][2] += text
parser.StartElementHandler, parser.CharacterDataHandler = start, data
parser.EndElementHandler = lambda name: stack.pop()
parser.Parse(sys.stdin.buffer.read(), True)
print(json.dumps(seen))
";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_said_two_readers_accept_the_document_and_read_it_back() {
    let forbidden = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    let all: String = (0..=0xffff_u32).filter_map(char::from_u32).collect();
    let wanted: String = all
        .chars()
        .map(|c| if forbidden(c) { '\u{fffd}' } else { c })
        .collect();
    let odd = [
        "]]>",
        "<![CDATA[x]]>",
        "<!DOCTYPE x>",
        "&amp;&#13;",
        "\r\n a \r",
        "\u{1f600}\u{10ffff}",
        "<!-- -- -->",
        "<?xml?>",
    ];
    let mut chats = vec![chat("all", NOON - DAY, &all)];
    let transcript = json!([{"from": all, "time": "23-10-2008T12:49:1231", "text": "x", "further": all, "a b": "no name"}]).to_string();
    let misfit = json!({"stop": "23-10-2008T12:49:1231", "duration": "long & dull"}).to_string();
    chats.push(json!({"id": "attributes", "start": NOON, "url": all, "transcript": transcript, "_misfit": misfit, "city": "Ålesund <3", "bad name": "x"}));
    chats.extend(
        odd.iter()
            .enumerate()
            .map(|(n, said)| chat(&format!("odd {n}"), NOON + n as i64 + 1, said)),
    );
    let export_fixture = ExportFixture::new(&chats).await;
    let answer = export_fixture.get(CLASSIC).await;
    assert_eq!(answer.ids().len(), chats.len());
    assert_eq!(
        feed("xmllint", &["--noout", "--huge", "-"], &answer.text),
        ""
    );
    let seen: Vec<(String, Value, String)> =
        serde_json::from_str(&feed("python3", &["-c", EXPAT], &answer.text)).unwrap();
    let said: Vec<&(String, Value, String)> =
        seen.iter().filter(|(name, ..)| name == "msg").collect();
    assert!(said[0].2 == wanted, "the text of all code points differs");
    assert!(
        said[1].1["from"] == wanted.as_str() && said[1].1["further"] == wanted.as_str(),
        "an attribute of all code points differs"
    );
    assert_eq!(
        (
            said[1].1["time"].as_str(),
            said[1].1.as_object().unwrap().len()
        ),
        (Some("23-10-2008T12:49:1231"), 3)
    );
    for (message, text) in said[2..].iter().zip(odd) {
        assert_eq!(message.2, text);
    }
    for (name, text) in [
        ("city", "Ålesund <3"),
        ("duration", "long & dull"),
        ("stop", "23-10-2008T12:49:1231"),
        ("url", &wanted),
    ] {
        assert!(
            seen.iter()
                .any(|(element, _, read)| element == name && read == text),
            "{name} is not read back"
        );
    }
    assert!(!answer.text.contains("bad name") && !answer.text.contains("_misfit"));
    let metrics = export_fixture.ctx.metrics().await;
    let count = all.chars().filter(|c| forbidden(*c)).count() * 4;
    assert!(
        metrics.contains(&format!("chatlake_replaced_code_points_total {count}\n")),
        "{metrics}"
    );
}

// ---- what breaks in the middle ----

/// What was said in the later chats can no longer be read, as when a disk fails under an export:
/// everything else of their files can.
fn lose_half(ctx: &TestContext) {
    let mut files: Vec<_> = std::fs::read_dir(ctx.dir.path().join("data/segments"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in &files[files.len() / 2..] {
        let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
        let group = reader.metadata().row_group(0);
        let column = group
            .columns()
            .iter()
            .find(|column| column.column_path().string() == "transcript")
            .unwrap();
        let (start, length) = column.byte_range();
        let mut bytes = std::fs::read(file).unwrap();
        bytes[start as usize..(start + length) as usize].fill(0xff);
        std::fs::write(file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_in_the_middle_leaves_the_document_open_and_cuts_the_connection() {
    let export_fixture = ExportFixture::new(&many(2_000)).await;
    let whole = export_fixture.get(CLASSIC).await;
    assert_eq!(whole.ids().len(), 2_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = export_fixture
        .ctx
        .router
        .clone()
        .into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let fetch = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(
                format!(
                    "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
                    export_fixture.classic(CLASSIC)
                )
                .as_bytes(),
            )
            .await
            .unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let good = fetch().await;
    assert!(
        good.starts_with("HTTP/1.1 200")
            && good.contains("</chats>")
            && good.ends_with("0\r\n\r\n")
    );
    lose_half(&export_fixture.ctx);
    // As far as there are checksums, nothing is sent at all.
    let damaged = export_fixture.get(CLASSIC).await;
    assert_eq!(damaged.status, 500, "{}", damaged.text);
    assert!(
        damaged.text.contains("cannot be read") && !damaged.text.contains("<chat"),
        "{}",
        damaged.text
    );
    damaged.has_security_headers("damaged");
    let mut tx = export_fixture.ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE segments SET checksums = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let cut = fetch().await;
    assert!(
        cut.starts_with("HTTP/1.1 200"),
        "{}",
        &cut[..cut.len().min(500)]
    );
    assert!(
        cut.contains("<chat>")
            && !cut.contains("</chats>")
            && !cut.ends_with("0\r\n\r\n")
            && cut.len() < good.len(),
        "{}",
        cut.len()
    );
    let answer = export_fixture.get(CLASSIC).await;
    assert!(answer.broken && !answer.text.contains("</chats>"));
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_when_its_reader_may_no_longer_have_it_and_a_person_has_few_at_once() {
    let export_fixture = ExportFixture::of(
        TestContext::with(Clock::stopped_at(NOON), |config| {
            config.downloads_per_person = 4
        })
        .await,
        &many(3_000),
    )
    .await;
    let (db, clock) = (&export_fixture.ctx.app.db, &export_fixture.ctx.clock);
    let start = async || {
        export_fixture
            .send(HERE, "GET", &export_fixture.classic(CLASSIC), &[], "")
            .await
    };
    let mut under_way = Vec::new();
    for _ in 0..4 {
        let answer = start().await;
        assert_eq!(answer.status(), StatusCode::OK);
        under_way.push(answer.into_body());
    }
    // The fifth waits for a minute.
    let (fifth, ()) = tokio::join!(export_fixture.get(CLASSIC), async {
        while !export_fixture
            .ask("GET", "/metrics", &[], "")
            .await
            .text
            .contains("chatlake_downloads_waiting 1\n")
        {
            tokio::task::yield_now().await;
        }
        clock.advance(60_000);
    });
    assert_eq!(
        (fifth.status, fifth.header("retry-after")),
        (429, "30"),
        "{}",
        fifth.text
    );
    fifth.has_security_headers("the fifth");
    drop(under_way.pop());
    let next = start().await;
    assert_eq!(next.status(), StatusCode::OK, "the place is free again");
    under_way.push(next.into_body());

    let one = export_passwords::list(db, Some(&export_fixture.owner.user))
        .await
        .unwrap()
        .remove(0);
    let mut body = under_way.pop().unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    export_passwords::revoke(db, clock, &one.id, None)
        .await
        .unwrap();
    for mut body in under_way.into_iter().chain([body]) {
        let mut text = Vec::new();
        let broken = loop {
            clock.advance(11_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken && !String::from_utf8_lossy(&text).contains("</chats>"));
    }
}

// ---- what never gets out ----

#[tokio::test(flavor = "multi_thread")]
async fn no_password_gets_into_the_log_at_trace_however_it_is_sent() {
    const CANARY: &str = "kanarie-geheim-4711";
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let server = data_dir
        .serve_with(&[
            "--log",
            "trace",
            "--log-format",
            "json",
            "--trusted-proxy",
            "127.0.0.1/32",
        ])
        .await;
    let db = Db::open(&data_dir.catalogue()).await.unwrap();
    publish_an_empty_one(
        &db,
        &users::by_email(&db, &email).await.unwrap().unwrap().id,
    )
    .await;
    let good = data_dir
        .run(&[
            "export-password",
            "create",
            "--user",
            &email,
            "--name",
            "script",
        ])
        .await
        .good();
    let good = good.as_str();
    let (long, form) = (
        format!("{CANARY}{}", "x".repeat(8_192)),
        "Content-Type: application/x-www-form-urlencoded",
    );
    let queries = [
        format!("a=export&email={email}&password={CANARY}&start=x&stop=y"),
        format!("a=export&email={email}password={CANARY}&start=x&stop=y"),
        format!("a=export;email={email};password={CANARY};start=x;stop=y"),
        format!("a=export&email={email}&password={CANARY}&password={CANARY}"),
        format!("a=export&email={email}&PASSWORD={CANARY}"),
        format!("a=export&email={email}&Password={CANARY}&start={CANARY}"),
        format!("a=export&email={email}&password={CANARY}#fragment-{CANARY}"),
        format!("a=export&email={email}&password={CANARY}%"),
        format!("a=export&email={email}&password={CANARY}%zz"),
        format!("a=export&email={email}&password={CANARY}%00"),
        format!("a=export&email={email}&password={CANARY}%FF"),
        format!("a=export&email={email}&password={long}"),
        format!("a={CANARY}"),
        CANARY.to_owned(),
        format!("?password={CANARY}"),
        format!("a=export&email={CANARY}&password={CANARY}"),
        format!("a=export&email={CANARY}"),
        format!("a=export&{CANARY}=x&password[]={CANARY}"),
        format!("a=export&email={email}&password={CANARY}&start={CANARY}&stop={CANARY}"),
        format!("{CLASSIC}&email={email}&password={CANARY}"),
        format!("{CLASSIC}&email={email}&password={good}"),
        format!("{CLASSIC}&email={email}&password={good}&password={good}"),
        format!("a=export&password={CANARY} with a space"),
    ];
    let mut requests: Vec<String> = Vec::new();
    for query in &queries {
        requests.push(format!("GET /a/Srv?{query} HTTP/1.1\r\n"));
        requests.push(format!("GET /a/Srv?{query} HTTP/1.1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\n"));
        requests.push(format!(
            "POST /a/srv HTTP/1.1\r\n{form}\r\nContent-Length: {}\r\n\r\n{query}",
            query.len()
        ));
    }
    let body = format!("{{\"password\": \"{CANARY}\"}}");
    requests.push(format!("POST /a/Srv HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    requests.push(format!(
        "POST /a/Srv HTTP/1.1\r\n{form}\r\nContent-Length: 200\r\n\r\npassword={CANARY}"
    ));
    requests.push(format!("DELETE /a/Srv?password={CANARY} HTTP/1.1\r\n"));
    requests.push(format!(
        "GET /a/Srv?password={CANARY} HTTP/1.1\r\nHost: elsewhere.test\r\n"
    ));
    requests.push(format!(
        "GET /a/Srv/{CANARY}?password={CANARY} HTTP/1.1\r\n"
    ));
    for header in [
        basic(&email, CANARY),
        format!("Basic {CANARY}"),
        format!("Bearer {CANARY}"),
        format!("Digest {CANARY}"),
        format!("Bearer {good}"),
    ] {
        requests.push(format!(
            "GET /a/Srv?{CLASSIC} HTTP/1.1\r\nAuthorization: {header}\r\n"
        ));
    }
    assert!(requests.len() >= 60);
    let mut statuses = std::collections::BTreeMap::new();
    for request in requests {
        let said = raw(&server, &request).await;
        assert!(
            !said.contains(CANARY) && !said.contains(good),
            "an answer repeats it: {said}"
        );
        *statuses
            .entry(said.get(9..12).unwrap_or("none").to_owned())
            .or_insert(0) += 1;
    }
    for status in [
        "200", "400", "401", "403", "405", "413", "414", "415", "421", "429",
    ] {
        // 413 needs a longer body than any of these.
        assert!(
            status == "413" || statuses.contains_key(status),
            "{status}: {statuses:?}"
        );
    }
    let listed = data_dir
        .run(&["export-password", "list", "--json"])
        .await
        .json();
    assert!(
        listed[0]["exposed_at"].is_i64()
            && listed[0]["last_used_at"].is_i64()
            && !listed.to_string().contains(good),
        "{listed}"
    );
    let classic = format!("GET /a/Srv?{CLASSIC}&email={email}&password={good} HTTP/1.1\r\n");
    assert!(raw(&server, &classic).await.starts_with("HTTP/1.1 200"));
    data_dir
        .run(&[
            "export-password",
            "revoke",
            listed[0]["id"].as_str().unwrap(),
        ])
        .await
        .good();
    assert!(!raw(&server, &classic).await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        data_dir
            .run(&["export-password", "revoke", "xpw_1"])
            .await
            .code,
        1
    );
    let metrics = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    let log = server.err();
    server.stop().await;
    assert!(
        log.lines().count() > 60 && log.contains("/a/Srv"),
        "the log is not at trace:\n{log}"
    );
    let encoded = [
        STANDARD.encode(format!("{email}:{CANARY}")),
        STANDARD.encode(format!("{email}:{good}")),
    ];
    for text in [
        CANARY,
        good,
        "password=",
        "email=",
        &encoded[0],
        &encoded[1],
    ] {
        assert!(
            !log.contains(text),
            "the log holds {text}: {}",
            log.lines().find(|line| line.contains(text)).unwrap()
        );
        assert!(!metrics.contains(text), "the metrics hold {text}");
    }
    for path in data_dir.listing().into_keys().filter(|path| path.is_file()) {
        let bytes = std::fs::read(&path).unwrap();
        for secret in [CANARY, good] {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|some| some == secret.as_bytes()),
                "{} holds {secret}",
                path.display()
            );
        }
    }
}

async fn publish_an_empty_one(db: &Db, owner: &UserId) {
    let mut tx = db.write().await.unwrap();
    sqlx::query(
        "INSERT INTO datasets (id, owner_id, connector, report, name, description, menus, update_mode, time_zone, published, created_at, updated_at)
         VALUES ($1, $2, 'liveleader', 'chats', 'Chats', '', '{}', 'replace', 'UTC', 1, 0, 0)",
    )
    .bind(DatasetId::new())
    .bind(owner)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// Sends a request as it is, and reads until the server closes.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let (head, body) = request
        .split_once("\r\n\r\n")
        .unwrap_or((request.trim_end_matches("\r\n"), ""));
    let host = if head.contains("\r\nHost:") {
        String::new()
    } else {
        format!("Host: {}\r\n", server.address())
    };
    stream
        .write_all(format!("{head}\r\n{host}Connection: close\r\n\r\n{body}").as_bytes())
        .await
        .unwrap();
    if head.contains("Content-Length: 200") {
        // There is no more.
        let _ = stream.shutdown().await;
    }
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut bytes))
        .await
        .expect("it answers");
    String::from_utf8_lossy(&bytes).into_owned()
}
