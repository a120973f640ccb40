//! All errors of the API have the same shape.

use axum::body::Body;
use axum::http::Request;
use chatlake::actor::Scope;
use serde_json::json;
use tower::ServiceExt;

use super::ApiFixture;
use super::ApiResponse;
use crate::support::http::read_body;

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
async fn every_error_has_the_same_shape() {
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
    // The error names the field of a wrong type, and does not repeat its value.
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
    /// Like `ask`, but a `host` among the headers replaces the default one.
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
