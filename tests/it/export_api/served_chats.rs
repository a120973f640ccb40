//! Which chats a request gets, in which order and in which form.

use chatlake::actor::Role;
use chatlake::connectors::Connector;
use serde_json::json;

use super::Lines;
use crate::support::datasets::dataset_settings;
use crate::support::exports::{CLASSIC, ExportFixture, basic, chat, export_password, fill};
use crate::support::{DAY, NOON};

#[tokio::test]
async fn every_form_of_the_request_gets_the_same_bytes() {
    let export_fixture = ExportFixture::new(&[
        chat("2", NOON - DAY, "two"),
        chat("1", NOON - 2 * DAY, "one"),
    ])
    .await;
    let first = export_fixture.get(CLASSIC).await;
    assert_eq!(first.ids(), ["1", "2"]);
    first.has_security_headers("GET");
    let wanted = "<chat>\n<id>1</id>\n<operator>ada@x.test</operator>\n\
        <visitorip>192.0.2.1</visitorip>\n<start>2026-11-18T12:00:00.000+00:00</start>\n\
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
        // The query of a POST is ignored.
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
    // Times finer than a millisecond are compared exactly.
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
    // A new version of the other DataSet is the newest.
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
    // Only the DataSets that this person may read.
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
    // Only published DataSets.
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
