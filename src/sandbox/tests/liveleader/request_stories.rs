//! Tests of the parameters and credentials of an export.

use super::super::super::liveleader::{GUEST, STARTER};
use super::*;

#[tokio::test]
async fn requests_without_permission_are_refused_with_a_reason() {
    let served = Served::start(sandbox(100, 10)).await;
    for (email, password, status, begin) in [
        (
            EMAIL,
            PASSWORD,
            200,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<chats>\n",
        ),
        (EMAIL, "wrong", 401, "Wrong e-mail or password"),
        (EMAIL, "", 401, "Wrong e-mail or password"),
        (
            "nobody@sandbox.test",
            PASSWORD,
            401,
            "Wrong e-mail or password",
        ),
        (GUEST, "wrong", 401, "Wrong e-mail or password"),
        (
            GUEST,
            PASSWORD,
            403,
            "The operator does not have the account permission.",
        ),
        (
            STARTER,
            PASSWORD,
            403,
            "The plan does not include data export.",
        ),
    ] {
        let query = path(&[
            ("a", "export"),
            ("email", email),
            ("password", password),
            ("start", START),
            ("stop", STOP),
        ]);
        let (got, kind, text) = served.fetched(&query).await;
        assert_eq!(
            (got, text.starts_with(begin)),
            (status, true),
            "{email} {text}"
        );
        assert_eq!(
            kind,
            if status == 200 {
                "text/xml; charset=utf-8"
            } else {
                "text/plain; charset=utf-8"
            }
        );
    }
    // The path is case-sensitive, and LiveChat's authentication does not apply to it.
    assert_eq!(
        served
            .fetched(&everything().replace("/a/Srv", "/a/srv"))
            .await
            .0,
        401
    );
    assert_eq!(
        served
            .http
            .post(served.url(&everything()))
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let served = Served::start(sandbox(100, 10)).await;
    let good = [
        ("a", "export"),
        ("email", EMAIL),
        ("password", PASSWORD),
        ("start", START),
        ("stop", STOP),
    ];
    let refused = async |parameters: &[(&str, &str)]| {
        let (status, kind, text) = served.fetched(&path(parameters)).await;
        assert_eq!(
            (status, kind.as_str()),
            (400, "text/plain; charset=utf-8"),
            "{parameters:?}: {text}"
        );
        text
    };
    for at in 0..good.len() {
        let mut less = good.to_vec();
        let (name, _) = less.remove(at);
        assert_eq!(
            refused(&less).await,
            format!("The parameter {name} is missing.")
        );
        let twice = [&good[..], &good[at..=at]].concat();
        assert_eq!(
            refused(&twice).await,
            format!("The parameter {name} is unknown or repeated.")
        );
    }
    let with = |at: usize, value: &'static str| {
        let mut other = good;
        other[at].1 = value;
        other
    };
    assert_eq!(
        refused(&with(0, "Export")).await,
        "The parameter a must be export."
    );
    assert_eq!(
        refused(&[&good[..], &[("page", "2")]].concat()).await,
        "The parameter page is unknown or repeated."
    );
    for wrong in [
        "",
        "2026-11-20",
        "2026-11-20T00:00:00+00:00",
        "2026-11-20T00:00:00.00+00:00",
        "2026-11-20T00:00:00.000Z",
        "2026-11-20T00:00:00.000+0000",
        "2026-11-20t00:00:00.000+00:00",
        "2026-11-20T00:00:00,000+00:00",
        "2026-02-30T00:00:00.000+00:00",
        "2026-11-20T00:00:00.000000+00:00",
        "２026-11-20T00:00:00.000+00:0",
    ] {
        assert_eq!(
            refused(&with(3, wrong)).await,
            "The parameter start must be like 2008-08-18T19:24:18.884+02:00.",
            "{wrong}"
        );
    }
    assert_eq!(
        refused(&with(4, "2026-11-20T00:00:00.000 00:00")).await,
        "The parameter stop has a space where its offset begins: a + is written %2B."
    );
    let plus = everything().replace("%2B", "+");
    assert_eq!(
        served.fetched(&plus).await.0,
        400,
        "a plus sign that is not encoded arrives as a space"
    );
    assert_eq!(
        refused(&with(4, "2019-12-31T23:59:59.999+00:00")).await,
        "The parameter stop is before start."
    );
    assert!(served.document(START, START).await.children.is_empty());
}

#[tokio::test]
async fn the_call_log_contains_no_password() {
    let served = Served::start(sandbox(100, 10)).await;
    served.fetched(&everything()).await;
    served
        .fetched("/a/Srv?%70assword=hunter2&a=b&Password=hunter2&password&password=hunter2=hunter2")
        .await;
    served.fetched("/chats?password=hunter2").await;
    let calls = served.sandbox.calls();
    let queries: Vec<_> = calls.iter().map(|call| call.query.as_str()).collect();
    assert_eq!(
        queries,
        [
            "a=export&email=operator%40sandbox.test&password=***\
             &start=2020-01-01T00%3A00%3A00.000%2B00%3A00\
             &stop=2030-01-01T00%3A00%3A00.000%2B00%3A00",
            "%70assword=***&a=b&Password=***&password=***&password=***",
            "password=***",
        ]
    );
    assert_eq!(
        calls.iter().map(|call| call.status).collect::<Vec<_>>(),
        [200, 400, 401]
    );
    let fetched = served
        .http
        .get(served.url("/__calls"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!fetched.contains(PASSWORD) && !fetched.contains("hunter2"));
}
