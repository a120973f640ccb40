//! Rows on pages and in downloads.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::sandbox::faults::{Fault, FaultKind};
use scraper::{Html, Selector};

use serde_json::json;

use crate::support::context::TestContext;
use crate::support::http::PersonBrowser;
use crate::support::sandbox::of_size;

fn cells(page: &Html) -> Vec<Vec<String>> {
    let (row, cell) = (
        Selector::parse("table.data tbody tr").unwrap(),
        Selector::parse("td").unwrap(),
    );
    page.select(&row)
        .map(|row| {
            row.select(&cell)
                .map(|cell| cell.value().attr("data-value").unwrap().to_owned())
                .collect()
        })
        .collect()
}

fn records(csv: &[u8]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::ReaderBuilder::new().from_reader(csv);
    let header = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    (
        header,
        reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .collect(),
    )
}

async fn all_pages(
    who: &PersonBrowser,
    dataset: &str,
    pages: usize,
    order: &str,
) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for page in 1..=pages {
        rows.extend(cells(
            &who.get(&format!("/datasets/{dataset}/data?page={page}&{order}"))
                .await
                .html(),
        ));
    }
    rows
}

#[tokio::test]
async fn every_cell_of_every_page_is_what_the_csv_holds() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    for report in ["agents", "groups", "chat_report", "chat", "chat_messages"] {
        let dataset = ctx
            .oslo_dataset(&owner.actor, &account, report, report)
            .await;
        let run = ctx.run(&owner.actor, &dataset).await;
        assert!(run.failure.is_none(), "{report}: {:?}", run.failure);
        let download = owner.get(&format!("/datasets/{dataset}/download")).await;
        let (header, rows) = records(&download.bytes);
        assert_eq!(rows.len().to_string(), download.header("x-chatlake-rows"));
        let first = owner.get(&format!("/datasets/{dataset}/data")).await.html();
        let names = Selector::parse("table.data thead th a").unwrap();
        let shown: Vec<String> = first.select(&names).map(|a| a.text().collect()).collect();
        assert_eq!(shown, header, "{report}");
        let pages = rows.len().div_ceil(100);
        let on_pages = all_pages(&owner, dataset.as_str(), pages, "order=stored").await;
        assert_eq!(on_pages.len(), rows.len(), "{report}");
        for (number, (page, csv)) in on_pages.iter().zip(&rows).enumerate() {
            assert_eq!(page, csv, "{report}, row {number}");
        }
    }
}

#[tokio::test]
async fn pages_are_sorted_and_searched_over_all_rows_and_end_on_the_last_one() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat_messages", "Messages")
        .await;
    ctx.run(&owner.actor, &dataset).await;
    let (header, mut rows) = records(
        &owner
            .get(&format!("/datasets/{dataset}/download"))
            .await
            .bytes,
    );
    let data = format!("/datasets/{dataset}/data");
    let last = owner.get(&format!("{data}?order=stored&page=999999")).await;
    assert_eq!(cells(&last.html()).last(), rows.last());
    assert!(
        last.texts(".data-foot")[0].contains(&format!("Page {0} of {0}", rows.len().div_ceil(100)))
    );
    for odd in [
        "?page=-1",
        "?page=x",
        "?page=18446744073709551615",
        "?page=0",
        "?page=1&page=2",
    ] {
        assert_eq!(
            owner.get(&format!("{data}{odd}")).await.status,
            StatusCode::OK,
            "{odd}"
        );
    }
    let column = header.iter().position(|name| name == "text").unwrap();
    let sorted = cells(&owner.get(&format!("{data}?sort=-text")).await.html());
    rows.sort_by(|a, b| b[column].cmp(&a[column]));
    assert_eq!(
        sorted.iter().map(|row| &row[column]).collect::<Vec<_>>(),
        rows.iter()
            .take(100)
            .map(|row| &row[column])
            .collect::<Vec<_>>()
    );
    assert_eq!(
        owner.get(&format!("{data}?sort=none_such")).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let found = owner.get(&format!("{data}?q=%3CSCRIPT")).await;
    let page = cells(&found.html());
    assert!(
        !page.is_empty()
            && page.iter().all(|row| row
                .iter()
                .any(|cell| cell.to_lowercase().contains("<script")))
    );
    assert!(
        !found.text.contains("<script>"),
        "a script tag must be text"
    );
    assert!(found.texts(".data-foot")[0].contains("that match"));
    assert!(
        owner
            .get(&format!("{data}?q=zzzzqqq&page=7"))
            .await
            .texts("h2")[0]
            .contains("No rows match “zzzzqqq”")
    );
}

#[tokio::test]
async fn rows_are_sorted_newest_first_unless_another_order_is_chosen() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    for (report, day) in [
        ("chat", "started_timestamp"),
        ("chat_messages", "chat_started_timestamp"),
        ("chat_report", "period_start"),
        ("tickets", "modified"),
    ] {
        let dataset = ctx
            .oslo_dataset(&owner.actor, &account, report, report)
            .await;
        ctx.run(&owner.actor, &dataset).await;
        let (header, rows) = records(
            &owner
                .get(&format!("/datasets/{dataset}/download"))
                .await
                .bytes,
        );
        let column = header.iter().position(|name| name == day).unwrap();
        let mut newest: Vec<&String> = rows.iter().map(|row| &row[column]).collect();
        assert!(
            report == "tickets" || !newest.is_sorted_by(|a, b| a >= b),
            "{report} is not stored newest first"
        );
        newest.sort_by(|a, b| b.cmp(a));
        let shown = all_pages(&owner, dataset.as_str(), rows.len().div_ceil(100), "").await;
        assert_eq!(
            shown.iter().map(|row| &row[column]).collect::<Vec<_>>(),
            newest,
            "{report}"
        );
        let data = format!("/datasets/{dataset}/data");
        let page = owner.get(&data).await;
        assert_eq!(page.texts("th[aria-sort=descending] a"), [day]);
        assert!(
            page.texts(".facts.bands")[0]
                .contains(&format!("Sorted by {day}, newest firstStored order")),
            "{:?}",
            page.texts(".facts.bands")
        );
        // The order that was chosen stays while somebody pages and searches.
        let stored = owner.get(&format!("{data}?order=stored")).await;
        assert_eq!(
            cells(&stored.html()),
            rows[..rows.len().min(100)],
            "{report}"
        );
        assert!(stored.texts(".facts.bands")[0].contains("Sorted by stored orderNewest first"));
        assert!(
            stored.texts("th[aria-sort]").is_empty()
                && stored.text.contains("name=\"order\" value=\"stored\"")
        );
        assert!(
            rows.len() <= 100
                || stored
                    .text
                    .contains(&format!("href=\"{data}?order=stored&#38;page=2\"")),
            "{}",
            stored.text
        );
        let sorted = owner.get(&format!("{data}?sort={day}")).await;
        assert_eq!(sorted.texts("th[aria-sort=ascending] a"), [day]);
        assert!(sorted.texts(".facts.bands")[0].contains("oldest firstNewest first"));
    }
    // A list of agents has no order in time.
    let agents = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "agents")
        .await;
    ctx.run(&owner.actor, &agents).await;
    let page = owner.get(&format!("/datasets/{agents}/data")).await;
    assert!(page.texts("th[aria-sort]").is_empty() && !page.text.contains("Sorted by"));
}

#[tokio::test]
async fn the_zone_of_times_is_said_once_in_the_head_of_the_table() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Chats")
        .await;
    ctx.run(&owner.actor, &dataset).await;
    let marks = owner
        .get(&format!("/datasets/{dataset}/data"))
        .await
        .texts("table.data thead .mark-type");
    let timed: Vec<&String> = marks
        .iter()
        .filter(|mark| mark.starts_with("timestamp"))
        .collect();
    assert!(
        timed.len() > 1
            && timed[0] == "timestamp, Europe/Oslo"
            && timed[1..].iter().all(|mark| *mark == "timestamp"),
        "{marks:?}"
    );
}

#[tokio::test]
async fn downloads_say_what_they_are_and_an_unchanged_one_is_not_sent_again() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Übersicht")
        .await;
    let path = format!("/datasets/{dataset}/download");
    assert_eq!(owner.get(&path).await.status, StatusCode::CONFLICT);
    assert!(
        !owner
            .get(&format!("/datasets/{dataset}"))
            .await
            .text
            .contains("/download")
    );
    let run = ctx.run(&owner.actor, &dataset).await;
    let exact = owner.get(&path).await;
    assert_eq!(
        exact.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(
        exact.header("content-disposition"),
        "attachment; filename=\"_bersicht.csv\"; filename*=UTF-8''%C3%9Cbersicht.csv"
    );
    assert_eq!(exact.header("x-chatlake-rows"), run.rows.to_string());
    let version = exact.header("x-chatlake-version").to_owned();
    assert!(version.starts_with("ver_") && !exact.bytes.starts_with(b"\xef\xbb\xbf"));
    let tag = exact.header("etag");
    for known in [
        tag.to_owned(),
        format!("W/{tag}"),
        format!("\"other\", W/{tag}"),
        "*".to_owned(),
    ] {
        let again = owner.get_with(&path, "if-none-match", &known).await;
        assert_eq!(
            (again.status, again.bytes.len()),
            (StatusCode::NOT_MODIFIED, 0),
            "{known}"
        );
    }
    assert_eq!(
        owner
            .get_with(&path, "if-none-match", "\"other\"")
            .await
            .status,
        StatusCode::OK
    );
    let excel = owner.get(&format!("{path}?bom=1&formulas=guard")).await;
    assert!(
        excel.bytes.starts_with(b"\xef\xbb\xbf") && excel.header("etag") != exact.header("etag")
    );
    assert_ne!(
        &excel.bytes[3..],
        &exact.bytes[..],
        "the sandbox has texts that begin like a formula"
    );
    let one = json!({"chats": [{"id": "ONE"}], "total": 1, "pages": 1}).to_string();
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape { body: one }).on("/chats"),
    ]);
    let other = ctx.run(&owner.actor, &dataset).await;
    assert!(
        other.outcome.is_none() && other.rows_after.is_some_and(|rows| rows != run.rows),
        "{other:?}"
    );
    assert_ne!(owner.get(&path).await.header("etag"), exact.header("etag"));
    let old = owner.get(&format!("{path}?version={version}")).await;
    assert_eq!(old.bytes, exact.bytes);
    let history = owner
        .get(&format!("/datasets/{dataset}/history"))
        .await
        .text;
    assert!(history.contains(&format!("/datasets/{dataset}/download?version={version}")));
    let other = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "Other")
        .await;
    for wrong in [
        format!("/datasets/{other}/download?version={version}"),
        format!("{path}?version=x"),
        format!("{path}?version=ver_00000000000000000000000000000000"),
    ] {
        assert_eq!(
            owner.get(&wrong).await.status,
            StatusCode::NOT_FOUND,
            "{wrong}"
        );
    }
}
