//! The OpenAPI document agrees with the routes and with the answers.

use std::collections::BTreeSet;

use chatlake::actor::Scope;
use serde_json::{Value, json};

use super::ApiFixture;
use crate::support::api_server::ApiServer;
use crate::support::data_dir::DataDir;

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
    // The description of the choices names every menu that is filled from an account, and so does
    // the error for an unknown menu.
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
                    "{name} does not document {status}"
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

/// Whether `value` matches this schema of the document.
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
    let fixture = ApiServer::new(10).await;
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
    let dataset = json!({
        "name": "x",
        "account_id": fixture.account,
        "report": "agents",
        "schedule": wrong,
    });
    let (status, refused) = fixture.send("POST", "/datasets", dataset).await;
    assert_eq!(status, 422, "{refused}");
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("a whole number, or the word last") && !said.contains("untagged"),
        "{said}"
    );
}
