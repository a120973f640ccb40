//! Rows of the API agree with the CSV, also when they are sorted and filtered.

use chatlake::actor::Scope;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::Value;

use super::ApiFixture;
use crate::support::api_server::{ApiServer, OWNER};

/// A value of a row as the CSV writes it.
fn csv_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn all_rows(fixture: &ApiFixture, path: &str, token: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = fixture
            .get(&format!("{path}{joint}limit={limit}{cursor}"), token)
            .await;
        assert_eq!(page.status, 200, "{}", page.text);
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        assert!(
            items.len() <= limit && (items.len() == limit || page["next"].is_null()),
            "a page is full or the last"
        );
        rows.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_page_by_page_are_the_csv_sorted_and_filtered_too() {
    let fixture = ApiFixture::new(260).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    let dataset = fixture.dataset("chat").await;
    fixture.pulled(&dataset).await;
    let own = format!("/datasets/{dataset}");
    let file = fixture.get(&format!("{own}/data?format=csv"), &token).await;
    assert_eq!(file.status, 200, "{}", file.text);
    let mut reader = csv::Reader::from_reader(file.text.as_bytes());
    let columns: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let lines: Vec<Vec<String>> = reader
        .records()
        .map(|line| line.unwrap().iter().map(str::to_owned).collect())
        .collect();
    assert!(
        lines.len() >= 200 && file.header("x-chatlake-rows") == lines.len().to_string(),
        "{}",
        lines.len()
    );
    let schema = fixture.get(&format!("{own}/schema"), &token).await.json();
    let named: Vec<&str> = schema["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, named);

    for limit in [7, 100, 1_000] {
        let rows = all_rows(&fixture, &format!("{own}/rows"), &token, limit).await;
        assert_eq!(rows.len(), lines.len());
        for (row, line) in rows.iter().zip(&lines) {
            assert_eq!(row.as_object().unwrap().len(), columns.len());
            for (column, cell) in columns.iter().zip(line) {
                let text = csv_text(&row[column]);
                let same = text == *cell
                    || (row[column].is_f64()
                        && text.parse::<f64>().ok() == cell.parse::<f64>().ok());
                assert!(same, "{column}: {} is not {cell}", row[column]);
            }
        }
    }
    let sorted = all_rows(
        &fixture,
        &format!("{own}/rows?sort=-duration,id"),
        &token,
        40,
    )
    .await;
    let keys: Vec<(std::cmp::Reverse<i64>, &str)> = sorted
        .iter()
        .filter_map(|row| {
            Some((
                std::cmp::Reverse(row["duration"].as_i64()?),
                row["id"].as_str()?,
            ))
        })
        .collect();
    assert!(keys.len() > 100 && keys.is_sorted(), "{keys:?}");
    assert_eq!(sorted.len(), lines.len());
    let id = sorted[3]["id"].as_str().unwrap();
    let one = all_rows(
        &fixture,
        &format!("{own}/rows?filter=id:eq:{id}"),
        &token,
        10,
    )
    .await;
    assert_eq!(one, [sorted[3].clone()]);
    let least = sorted[50]["duration"].as_i64().unwrap();
    let some = all_rows(
        &fixture,
        &format!("{own}/rows?filter=duration:ge:{least}&filter=id:ne:{id}"),
        &token,
        10,
    )
    .await;
    let wanted = sorted
        .iter()
        .filter(|row| row["duration"].as_i64().is_some_and(|d| d >= least) && row["id"] != id)
        .count();
    assert_eq!(some.len(), wanted);

    for wrong in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "sort=nothing",
        "filter=id:like:x",
        "filter=nothing:eq:x",
        "filter=duration:ge:x",
    ] {
        let answer = fixture.get(&format!("{own}/rows?{wrong}"), &token).await;
        assert_eq!(
            (answer.status, answer.error()["code"].as_str()),
            (422, Some("wrong_value")),
            "{wrong}: {}",
            answer.text
        );
    }
    // A cursor is refused by a query with other parameters.
    let next = fixture
        .get(&format!("{own}/rows?limit=5"), &token)
        .await
        .json()["next"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        fixture
            .get(&format!("{own}/rows?limit=5&sort=id&cursor={next}"), &token)
            .await
            .status,
        422
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sorted_rows_beyond_row_100000_are_refused() {
    let fixture = ApiFixture::new(20).await;
    let token = fixture.token(&fixture.owner, Scope::Read).await;
    let dataset = fixture.dataset("agents").await;
    fixture.pulled(&dataset).await;
    let rows = format!("/datasets/{dataset}/rows?sort=login&limit=100");
    let first = fixture.get(&rows, &token).await.json();
    // A cursor as the server writes it for a page further down.
    let at = |offset: u64| {
        use base64::Engine;
        let within = format!(
            "{} {:?} {:?}",
            first["version"].as_str().unwrap(),
            Some("login"),
            Vec::<String>::new()
        );
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("1:{offset}:{within}"))
    };
    for last in [99_900, 99_999] {
        let page = fixture
            .get(&format!("{rows}&cursor={}", at(last)), &token)
            .await;
        assert_eq!(page.status, 200, "{last}: {}", page.text);
        assert_eq!(
            (
                page.json()["items"].as_array().unwrap().len(),
                page.json()["next"].is_null()
            ),
            (0, true)
        );
    }
    let beyond = fixture
        .get(&format!("{rows}&cursor={}", at(100_000)), &token)
        .await;
    assert_eq!(
        (beyond.status, beyond.error()["field"].as_str()),
        (422, Some("cursor")),
        "{}",
        beyond.text
    );
    assert!(beyond.text.contains("up to row 100000"), "{}", beyond.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_is_replaced_in_files_and_pages_counted_and_stored_in_the_row() {
    let fixture = ApiServer::new(10).await;
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
    // The segment stores the original value.
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
