//! Vendors that are right and odd: names of time zones from another year, one thing under two
//! names, markup that is nearly XML. And a vendor's own limit, which a restart does not make
//! higher.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use chatlake::connectors::report::GroupBy;
use chatlake::connectors::{PullError, PullRequest, Window};
use chatlake::sandbox::faults::{Fault, FaultKind};
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::data_dir::DataDir;
use crate::support::datasets::{DatasetFixture, YESTERDAY};
use crate::support::pulls::{WEEK, pull, request};
use crate::support::sandbox::{LocalSandbox, Vendor, source};
use crate::support::server::Server;
use crate::support::until;

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn a_time_zone_is_asked_for_by_its_other_name_where_one_is_unknown() {
    let vendor = Vendor::new(10, 30).await;
    for (ours, theirs, works) in [
        ("Europe/Kyiv", "Europe/Kiev", true),
        ("Europe/Kiev", "Europe/Kyiv", true),
        ("Asia/Kolkata", "Asia/Calcutta", true),
        ("UTC", "Etc/UTC", true),
        ("Europe/Oslo", "UTC", false),
        ("Europe/Kyiv", "UTC", false),
    ] {
        let zones: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = zones.clone();
        let answer = move |Query(arguments): Query<Vec<(String, String)>>| async move {
            let argument = |wanted: &str| {
                arguments
                    .iter()
                    .find(|(name, _)| name == wanted)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default()
            };
            let (zone, day) = (argument("timezone"), argument("date_from"));
            let known = zone == theirs;
            seen.lock().unwrap().push(zone);
            if known {
                return Json(json!({day: {"chats": 7}})).into_response();
            }
            (
                StatusCode::BAD_REQUEST,
                Json(json!({"errors": ["timezone must be one of the names of the tz database"]})),
            )
                .into_response()
        };
        let address = serve(Router::new().route("/reports/chats/total_chats", get(answer))).await;
        let of = |zone: &str| PullRequest {
            zone: TimeZone::get(zone).unwrap(),
            ..request(&["chat_report"], &[WEEK])
        };
        let (got, done) = pull(&source(&vendor.upstreams(), &address, "k"), &of(ours)).await;
        if works {
            assert_eq!(
                (done, got.column(0, "chats")),
                (Ok(()), vec![Some("7".to_owned())]),
                "{ours}"
            );
            assert_eq!(*zones.lock().unwrap(), [ours, theirs]);
            // Several at once find it out together, and those after them know it.
            let mut by_hour = of(ours);
            by_hour.menus.group_by = Some(GroupBy::Hour);
            by_hour.windows = vec![Window {
                from: date(2026, 10, 16),
                to: date(2026, 11, 14),
            }];
            zones.lock().unwrap().clear();
            let (got, done) = pull(&source(&vendor.upstreams(), &address, "k"), &by_hour).await;
            assert_eq!((done, got.rows(0)), (Ok(()), 30), "{ours}");
            let requested_zones = zones.lock().unwrap();
            let refused = requested_zones.iter().filter(|zone| **zone == ours).count();
            assert!(
                (1..=8).contains(&refused) && requested_zones.len() == 30 + refused,
                "{ours}: {refused} of {}",
                requested_zones.len()
            );
        } else {
            assert!(
                matches!(&done, Err(PullError::Refused { status: 400, vendor_message: said }) if said.starts_with("timezone must be")),
                "{ours}: {done:?}"
            );
        }
    }
}

#[tokio::test]
async fn two_fields_of_one_column_are_both_stored_where_they_differ() {
    let vendor = Vendor::new(10, 30).await;
    let (written, other) = ("Fri, 11/20/26 09:00:00 am", "2026-11-20T08:59:58Z");
    let visitors = json!([
        {"id": "S1", "chat_start_time": written, "chat_start_time_ts": 1_795_165_200, "chat": {"id": "C1", "start_time": other}},
        {"id": "S2", "chat": {"start_time": other, "id": "C2"}, "chat_start_time": written, "chat_id": "C2"},
        {"id": "S3", "chat": {"id": "C3", "start_time": written}},
        {"id": "S4", "chat_start_time": written, "chat": {"start_time": written}},
        {"id": "S5", "chat": null},
    ]);
    let answer = visitors.clone();
    let address =
        serve(Router::new().route("/visitors", get(move || async move { Json(answer) }))).await;
    let (got, done) = pull(
        &source(&vendor.upstreams(), &address, "k"),
        &request(&["visitors"], &[]),
    )
    .await;
    assert_eq!(
        (done, got.rows(0), got.window_counts[0].misfits),
        (Ok(()), 5, 0)
    );
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        got.column(0, "chat_start_time"),
        [
            some(written),
            some(written),
            some(written),
            some(written),
            None
        ],
        "the vendor's own field counts"
    );
    assert_eq!(
        got.column(0, "chat_start_time_2"),
        [some(other), some(other), None, None, None],
        "in either order"
    );
    assert_eq!(
        got.column(0, "chat_id"),
        [some("C1"), some("C2"), some("C3"), None, None]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_nearly_xml_is_read_and_the_run_says_how_much_of_it_there_was() {
    let fixture = DatasetFixture::new().await;
    let account = fixture.leader().await;
    let dataset = fixture
        .dataset(
            "chats",
            json!({"account_id": account, "menus": YESTERDAY()}),
        )
        .await;
    let whole = fixture.good_run(&dataset).await;
    assert_eq!(whole["repaired"], json!(0));
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::LooseText)]);
    let run = fixture.good_run(&dataset).await;
    assert_eq!(
        (&run["repaired"], &run["misfits"], &run["rows"]),
        (&json!(8), &json!(0), &whole["rows"]),
        "{run}"
    );
    let transcripts = fixture.column(&dataset, "transcript").await;
    assert_eq!(
        transcripts
            .iter()
            .filter(|text| text.contains("café… AT&T, ?a=1&b=2 \u{fffd}"))
            .count(),
        1
    );
    let page = fixture
        .owner
        .get(&format!("/runs/{}", run["id"].as_str().unwrap()))
        .await
        .text;
    assert!(page.contains("Characters repaired"), "{page}");
}

/// Calls of the last minute, as the account's page and the API show them.
async fn shown(server: &Server, account: &str, token: &str) -> u64 {
    server.get(&format!("/accounts/{account}"), token).await.1["calls_last_minute"]
        .as_u64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_forget_what_was_asked_in_the_last_minute() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(300).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let chats = data_dir.dataset(&email, &account, "chat").await;
    let server = data_dir.serve().await;
    let began = tokio::time::Instant::now();
    let run = server.over(&server.run(&chats, &token).await, &token).await;
    assert_eq!(run["state"], "succeeded", "{run}");
    let vendor_calls = vendor.sandbox.calls_total();
    assert_eq!(shown(&server, &account, &token).await, vendor_calls);
    server.stop().await;
    let server = data_dir.serve().await;
    let shown_before = shown(&server, &account, &token).await;
    // Only a machine that takes a minute for this shows less.
    assert!(
        shown_before == vendor_calls || began.elapsed() > Duration::from_secs(50),
        "{shown_before} of {vendor_calls}"
    );
    // What is asked now comes on top, and a server that is killed in the middle loses no more than
    // its last moments.
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 600_000 })
            .on("/chats")
            .page(2),
    ]);
    let stuck = server.run(&chats, &token).await;
    until("it is kept while the run is at work", async || {
        let all: Value = server.get(&format!("/runs/{stuck}"), &token).await.1;
        (all["state"] == "running" && shown(&server, &account, &token).await > shown_before)
            .then_some(())
    })
    .await;
    let kept = || async {
        let pool = sqlx::SqlitePool::connect_with(
            sqlx::sqlite::SqliteConnectOptions::new().filename(data_dir.catalogue()),
        )
        .await
        .unwrap();
        let stored_calls: Option<String> =
            sqlx::query_scalar("SELECT recent_requests FROM accounts")
                .fetch_one(&pool)
                .await
                .unwrap();
        pool.close().await;
        let stored_calls: Vec<(i64, u64)> = serde_json::from_str(&stored_calls.unwrap()).unwrap();
        stored_calls.iter().map(|(_, count)| count).sum::<u64>()
    };
    until("it is in the catalogue", async || {
        (kept().await > shown_before || began.elapsed() > Duration::from_secs(50)).then_some(())
    })
    .await;
    server.kill();
    let server = data_dir.serve().await;
    let after = shown(&server, &account, &token).await;
    assert!(
        after > shown_before || began.elapsed() > Duration::from_secs(50),
        "{after} after {shown_before}"
    );
}
