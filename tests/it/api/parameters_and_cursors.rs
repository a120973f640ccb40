//! Unknown parameters are refused, and a cursor reads one version.

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;

use crate::support::api_server::ApiServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_not_known_is_refused_at_every_address() {
    let fixture = ApiServer::new(10).await;
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
    let fixture = ApiServer::new(60).await;
    let dataset = fixture.pulled("agents").await;
    let rows = format!("/datasets/{dataset}/rows?limit=2");
    let (_, first) = fixture.server.get(&rows, &fixture.token).await;
    let next = first["next"].as_str().unwrap();
    let body = r#"[{"login": "a@house.test"}, {"login": "b@house.test"}, {"login": "c@house.test"}, {"login": "d@house.test"}]"#;
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
    // The cursor of another DataSet reveals nothing about it.
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
