//! The errors of invalid requests.

use serde_json::json;

use super::Lines;
use crate::support::exports::{CLASSIC, ExportFixture, basic};

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
    // The catalogue is closed.
    export_fixture.ctx.app.db.close().await;
    let answer = export_fixture.get(CLASSIC).await;
    assert_eq!(answer.status, 500, "{}", answer.text);
    answer.has_security_headers("the catalogue is gone");
}
