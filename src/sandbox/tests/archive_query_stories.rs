//! Tests of queries of the archive: they agree with the truth and with each other, and wrong ones are
//! refused.

use std::collections::HashSet;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use serde_json::Value;

use super::super::livechat::ACCESS_TOKEN;
use super::*;

#[tokio::test]
async fn pages_put_together_are_the_truth() {
    let served = Served::start(sandbox(2_000, 60)).await;
    for query in [
        "",
        "date_from=2026-11-06&date_to=2026-11-19&timezone=Europe/Oslo",
        "date_from=2026-11-20&timezone=Pacific/Auckland",
        "date_from=2026-11-01&date_to=2026-11-01&timezone=America/New_York",
        "group=0",
        "group=7&timezone=Asia/Kathmandu&date_to=2026-11-10",
        "agent=zofia@sandbox.test",
        "agent=smith.john%2Bchat@sandbox.test&group=7",
        "agent=nobody@sandbox.test",
        "group=99",
        "include_pending=1",
        "date_from=2026-12-01",
    ] {
        // Without `date_to` the endpoint ends today in the query's time zone, but the truth has no
        // end.
        let query = if query.contains("2026-12") {
            "date_from=2026-12-01&date_to=2026-12-31"
        } else {
            query
        };
        let (ids, total) = served.all_ids(query).await;
        assert_eq!(ids, true_ids(&served.sandbox, query), "{query}");
        assert_eq!(total, ids.len() as u64, "{query}");
        assert_eq!(
            ids.iter().collect::<HashSet<_>>().len(),
            ids.len(),
            "{query}: an id twice"
        );
    }
    assert_eq!(served.all_ids("").await.1, 2_000);
}

#[tokio::test]
async fn days_add_up_to_the_range_in_every_zone_across_clock_changes() {
    let served = Served::start(sandbox(6_000, 270)).await;
    // Ranges with clock changes: forward at midnight, by half an hour, and back.
    for (zone, from) in [
        ("Europe/Oslo", date(2026, 10, 20)),
        ("America/New_York", date(2026, 10, 27)),
        ("Australia/Lord_Howe", date(2026, 4, 1)),
        ("Africa/Cairo", date(2026, 4, 20)),
        ("America/St_Johns", date(2026, 10, 28)),
        ("Asia/Kathmandu", date(2026, 11, 1)),
        ("UTC", date(2026, 11, 1)),
    ] {
        let to = from.saturating_add(11.days());
        let total = async |from: Date, to: Date| {
            let page = served
                .json(&format!(
                    "/chats?date_from={from}&date_to={to}&timezone={zone}"
                ))
                .await;
            page["total"].as_u64().unwrap()
        };
        let mut days = 0;
        for day in from.series(1.day()).take_while(|day| *day <= to) {
            let here = total(day, day).await;
            assert_eq!(
                here,
                true_ids(
                    &served.sandbox,
                    &format!("date_from={day}&date_to={day}&timezone={zone}")
                )
                .len() as u64,
                "{zone} {day}"
            );
            days += here;
        }
        let whole = total(from, to).await;
        assert_eq!(days, whole, "{zone}");
        assert!(whole > 0, "{zone}");
    }
}

#[tokio::test]
async fn the_report_agrees_with_the_archive() {
    let served = Served::start(sandbox(6_000, 270)).await;
    for query in [
        "date_from=2026-10-20&date_to=2026-11-05&timezone=Europe/Oslo",
        "date_from=2026-10-25&date_to=2026-10-25&timezone=Europe/Oslo",
        "date_from=2026-04-05&date_to=2026-04-05&timezone=Australia/Lord_Howe",
        "date_from=2026-04-24&date_to=2026-04-24&timezone=Africa/Cairo",
        "date_from=2026-11-10&date_to=2026-11-19&group=2&agent=oksana@sandbox.test",
    ] {
        let reported = served
            .json(&format!("/reports/chats/total_chats?{query}"))
            .await;
        let truth = served
            .sandbox
            .truth(&question(&format!("report=chat_report&{query}")))
            .unwrap();
        let reported: Vec<_> = reported
            .as_object()
            .unwrap()
            .iter()
            .map(|(period, value)| (period.clone(), value["chats"].clone()))
            .collect();
        let truth: Vec<_> = truth["periods"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(period, chats)| (period.clone(), chats.clone()))
            .collect();
        assert_eq!(reported, truth, "{query}");
    }
    let months = served
        .json("/reports/chats/total_chats?group_by=month&date_from=2026-09-15&date_to=2026-11-02")
        .await;
    assert_eq!(months["2026-09"]["begin"], "2026-09-15");
    assert_eq!(months["2026-10"]["end"], "2026-10-31");
    let sum: u64 = months
        .as_object()
        .unwrap()
        .values()
        .map(|month| month["chats"].as_u64().unwrap())
        .sum();
    assert_eq!(
        sum,
        true_ids(&served.sandbox, "date_from=2026-09-15&date_to=2026-11-02").len() as u64
    );
}

#[tokio::test]
async fn only_the_newest_25_000_can_be_read() {
    let served = Served::start(sandbox(30_000, 60)).await;
    let last = served.json("/chats?page=1000").await;
    assert_eq!(
        (last["total"].as_u64(), last["pages"].as_u64()),
        (Some(30_000), Some(1_000))
    );
    assert_eq!(ids_of(&last), true_ids(&served.sandbox, "")[24_975..25_000]);
    assert_eq!(served.status("/chats?page=1001").await, 400);
    assert_eq!(served.status("/chats?page=1000&group=3").await, 200);
}

#[tokio::test]
async fn credentials_version_and_arguments_are_checked() {
    let served = Served::start(sandbox(100, 10)).await;
    let plain = |path: &str| served.http.get(served.url(path));
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(plain("/agents")).await, 401);
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth(LOGIN, Some("wrong"))
                .header("X-API-Version", "2")
        )
        .await,
        401
    );
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth("somebody@sandbox.test", Some(API_KEY))
                .header("X-API-Version", "2")
        )
        .await,
        401
    );
    assert_eq!(
        status(plain("/agents").basic_auth(LOGIN, Some(API_KEY))).await,
        400
    );
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth(LOGIN, Some(API_KEY))
                .header("X-API-Version", "3")
        )
        .await,
        400
    );
    assert_eq!(
        status(
            plain("/agents")
                .basic_auth(LOGIN, Some(ACCESS_TOKEN))
                .header("X-API-Version", "2")
        )
        .await,
        200
    );
    for wrong in [
        "/chats?page=0",
        "/chats?page=x",
        "/chats?date_from=2026-13-01",
        "/chats?date_from=2026-11-20&date_to=2026-11-19",
        "/chats?timezone=Mars/Olympus",
        "/chats?group=sales",
        "/chats?include_pending=yes",
        "/chats?pgae=2",
        "/chats?page=1&page=2",
        "/reports/chats/total_chats?group_by=week",
        "/reports/chats/total_chats?date_from=1900-01-01",
        "/groups?x=1",
    ] {
        let answer = served.get(wrong).await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
        assert!(
            serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["error"]
                .is_string(),
            "{wrong}"
        );
    }
    for missing in ["/nothing", "/agents/nobody@sandbox.test", "/chats/1"] {
        assert_eq!(served.status(missing).await, 404, "{missing}");
    }
    assert_eq!(
        status(
            served
                .http
                .post(served.url("/chats"))
                .basic_auth(LOGIN, Some(API_KEY))
                .header("X-API-Version", "2")
        )
        .await,
        405
    );
}

#[tokio::test]
async fn chats_that_end_while_pages_are_read_are_the_newest_from_then_on() {
    let served = Served::start(sandbox(200, 10)).await;
    served.sandbox.faults().add(
        Fault::new(faults::FaultKind::Shift { chats: 3 })
            .on("/chats")
            .times(2),
    );
    let before = served.json("/chats").await;
    let shifted = served.json("/chats?page=2").await;
    assert_eq!(shifted["total"], 203);
    assert_eq!(
        ids_of(&shifted)[..3],
        ids_of(&before)[22..],
        "the last three chats of page 1 are repeated"
    );
    let (ids, total) = served.all_ids("").await;
    assert_eq!((total, ids), (206, true_ids(&served.sandbox, "")));
    let today = served
        .json("/reports/chats/total_chats?date_from=2026-11-20&group_by=day")
        .await;
    assert_eq!(
        today["2026-11-20"]["chats"],
        true_ids(&served.sandbox, "date_from=2026-11-20").len()
    );
}
