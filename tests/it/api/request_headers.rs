//! The token header, and conditional requests for files.

use std::collections::BTreeSet;

use chatlake::actor::Scope;

use super::ApiFixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_from_its_header_alone() {
    let fixture = ApiFixture::new(20).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    assert_eq!(
        fixture
            .get(&format!("/datasets?token={token}"), "")
            .await
            .status,
        401
    );
    assert_eq!(
        fixture
            .ask(
                "GET",
                "/datasets",
                "",
                &[(
                    "cookie",
                    &format!("token={token}; chatlake_session={token}")
                )],
                ""
            )
            .await
            .status,
        401
    );
    assert_eq!(
        fixture
            .ask(
                "GET",
                "/datasets",
                "",
                &[("authorization", &format!("Token {token}"))],
                ""
            )
            .await
            .status,
        401
    );
    assert_eq!(
        fixture
            .ask(
                "GET",
                "/datasets",
                "",
                &[("authorization", &format!("bearer {token}"))],
                ""
            )
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_file_is_not_sent_again() {
    let fixture = ApiFixture::new(60).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    let dataset = fixture.dataset("chat").await;
    fixture.pulled(&dataset).await;
    let path = format!("/datasets/{dataset}/data?format=csv");
    let first = fixture.get(&path, &token).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for known in [
        tag.clone(),
        format!("\"other\", {tag}"),
        format!("W/{tag}"),
        "*".to_owned(),
    ] {
        let again = fixture
            .ask("GET", &path, &token, &[("if-none-match", &known)], "")
            .await;
        assert_eq!(
            (again.status, again.text.len(), again.header("etag")),
            (304, 0, tag.as_str()),
            "{known}"
        );
    }
    assert_eq!(
        fixture
            .ask("GET", &path, &token, &[("if-none-match", "\"other\"")], "")
            .await
            .status,
        200
    );
    // Another format is another body.
    let mut tags = BTreeSet::from([tag.clone()]);
    for options in [
        "bom=1",
        "formulas=guard",
        "columns=id",
        "columns=id,duration",
        "bom=1&formulas=guard",
    ] {
        let other = fixture.get(&format!("{path}&{options}"), &token).await;
        assert_eq!(other.status, 200, "{options}: {}", other.text);
        assert!(tags.insert(other.header("etag").to_owned()), "{options}");
        assert_eq!(other.text.starts_with('\u{feff}'), options.contains("bom"));
    }
    let version = first.header("x-chatlake-version").to_owned();
    fixture.vendor.sandbox.end_chats(1);
    fixture.pulled(&dataset).await;
    let now = fixture
        .ask("GET", &path, &token, &[("if-none-match", &tag)], "")
        .await;
    assert_eq!(now.status, 200, "a new version is a new file");
    assert_ne!(now.header("x-chatlake-version"), version);
    let old = fixture
        .get(&format!("{path}&version={version}"), &token)
        .await;
    assert_eq!(
        (old.status, old.header("etag"), old.text == first.text),
        (200, tag.as_str(), true),
        "the old one is still there"
    );
    let versions = fixture
        .get(&format!("/datasets/{dataset}/versions"), &token)
        .await
        .json();
    assert_eq!(
        (
            versions["items"][1]["id"].as_str(),
            versions["items"][0]["current"].as_bool()
        ),
        (Some(version.as_str()), Some(true)),
        "{versions}"
    );
    for wrong in [
        "format=pdf",
        "bom=2",
        "formulas=maybe",
        "columns=nothing",
        "version=x",
    ] {
        let answer = fixture
            .get(&format!("/datasets/{dataset}/data?{wrong}"), &token)
            .await;
        assert!(
            matches!(answer.status, 404 | 422),
            "{wrong}: {}",
            answer.status
        );
        answer.error();
    }
}
