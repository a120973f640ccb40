//! The rows of every report of LiveLeader, field by field.

use std::collections::{BTreeMap, HashSet};

use chatlake::clock::Millis;
use chatlake::connectors::{self, Completeness, Window};
use chatlake::sandbox::faults::FaultKind;
use jiff::civil::date;
use jiff::tz::TimeZone;

use super::ALL;
use super::MONTH;
use super::PASSWORD;
use super::column_times;
use super::compare;
use super::parse_time;
use super::periods;
use super::pull_request;
use super::sum_of_counts;
use super::truth;
use super::valid_source;
use crate::support::pulls::{WEEK, ZONE, pull};
use crate::support::sandbox::Vendor;

#[tokio::test]
async fn every_report_equals_the_content_of_the_vendor_field_by_field() {
    let vendor = Vendor::new(2_000, 60).await;
    let (got, done) = pull(&valid_source(&vendor), &pull_request(&ALL, MONTH)).await;
    assert_eq!(done, Ok(()));
    let truth = truth(&vendor, "chats", MONTH, None);
    assert!(got.rows(0) > 500, "{}", got.rows(0));
    compare(&got, &truth);
    // Each day has its ledger line, however the days were requested. The counts of a day are those
    // of the chats that began on it.
    assert_eq!(got.window_counts.len(), 31);
    let (read, kept, duplicates, left_out) = sum_of_counts(&got);
    assert_eq!(
        (read, kept, duplicates, left_out),
        (got.rows(0) as u64, read, 0, 0)
    );
    assert!(got.window_counts.iter().all(|counts| (
        counts.misfits,
        counts.total,
        counts.completeness
    ) == (0, None, Some(Completeness::Complete))));
    let zone = TimeZone::get(ZONE).unwrap();
    for (day, counts) in pull_request(&ALL, MONTH)
        .windows
        .iter()
        .zip(&got.window_counts)
    {
        let of_day = column_times(&got, 0, "start").into_iter().flatten();
        let of_day = of_day
            .filter(|at| {
                chatlake::clock::timestamp(*at)
                    .to_zoned(zone.clone())
                    .date()
                    == day.from
            })
            .count();
        assert_eq!(counts.kept, of_day as u64, "{day}");
    }
}

#[tokio::test]
async fn periods_meet_without_a_gap_or_an_overlap_and_grow_while_they_are_small() {
    let vendor = Vendor::new(300, 60).await;
    let source = valid_source(&vendor);
    let (_, done) = pull(&source, &pull_request(&["chats"], MONTH)).await;
    assert_eq!(done, Ok(()));
    let calls = vendor.sandbox.calls();
    let mut asked_for = periods(&calls);
    asked_for.sort();
    let zone = TimeZone::get(ZONE).unwrap();
    let midnight = |day: jiff::civil::Date| day.to_zoned(zone.clone()).unwrap().timestamp();
    assert_eq!(
        (asked_for[0].0, asked_for[asked_for.len() - 1].1),
        (midnight(MONTH.from), midnight(date(2026, 11, 15)))
    );
    assert!(
        asked_for.windows(2).all(|two| two[0].1 == two[1].0),
        "{asked_for:?}"
    );
    assert!(
        (5..=10).contains(&calls.len()),
        "{} calls for 31 days",
        calls.len()
    );
    assert_eq!(source.upstream.call_stats().calls, calls.len() as u64);
    // The plus of an offset is not a space, and the sandbox does not record the password.
    assert!(calls.iter().all(|call| call.query.contains("%2B0")
        && call.query.contains("start=2026-")
        && call.query.contains("T00%3A00%3A00.000%2B0")));
    assert!(calls.iter().all(|call| !call.query.contains(PASSWORD)));
}

#[tokio::test]
async fn an_operator_filter_narrows_the_chats() {
    let vendor = Vendor::new(1_000, 30).await;
    let mut some = pull_request(&ALL, WEEK);
    some.menus.login = Some("Zofia@Sandbox.test".to_owned());
    let (got, done) = pull(&valid_source(&vendor), &some).await;
    assert_eq!(done, Ok(()));
    compare(
        &got,
        &truth(&vendor, "chats", WEEK, Some("zofia@sandbox.test")),
    );
    let (read, kept, _, left_out) = sum_of_counts(&got);
    assert!(
        kept > 0 && left_out > 0 && read == kept + left_out,
        "{read} {kept} {left_out}"
    );
    // In any form that the vendor uses.
    vendor.fault(FaultKind::CapitalOperators);
    for login in ["zofia@sandbox.test", "Zofia@Sandbox.test"] {
        some.menus.login = Some(login.to_owned());
        let (capital, done) = pull(&valid_source(&vendor), &some).await;
        assert_eq!(
            (done, capital.set(0, "id")),
            (Ok(()), got.set(0, "id")),
            "{login}"
        );
        let sample = connectors::sample(
            &valid_source(&vendor),
            some.reports[0],
            &some.menus,
            &some.zone,
            Some(WEEK),
            50,
        )
        .await
        .unwrap();
        assert!(sample.batch.num_rows() > 0, "{login}");
    }
    vendor.sandbox.faults().clear();
    some.menus.login = Some("nobody@sandbox.test".to_owned());
    let (got, done) = pull(&valid_source(&vendor), &some).await;
    assert_eq!((done, got.rows(0), sum_of_counts(&got).1), (Ok(()), 0, 0));
    // The columns exist nevertheless.
    let sample = connectors::sample(
        &valid_source(&vendor),
        some.reports[0],
        &some.menus,
        &some.zone,
        Some(WEEK),
        50,
    )
    .await
    .unwrap();
    assert_eq!((sample.batch.num_rows(), sample.is_complete), (0, true));
    assert!(sample.batch.column_by_name("transcript").is_some());
}

#[tokio::test]
async fn the_sample_form_keeps_its_hundredths_in_the_zone_of_the_account() {
    let vendor = Vendor::new(600, 30).await;
    let whole = truth(&vendor, "chats", WEEK, None);
    vendor.fault(FaultKind::SampleTimes {
        zone: Some("America/New_York".to_owned()),
    });
    let mut source = valid_source(&vendor);
    source.zone = TimeZone::get("America/New_York").unwrap();
    let (got, done) = pull(&source, &pull_request(&["chats"], WEEK)).await;
    assert_eq!(
        (
            done,
            got.window_counts
                .iter()
                .map(|counts| counts.misfits)
                .sum::<u64>()
        ),
        (Ok(()), 0)
    );
    let seen: BTreeMap<String, Millis> = whole["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (
                record["id"].as_str().unwrap().to_owned(),
                parse_time(&record["start"]),
            )
        })
        .collect();
    let pulled: BTreeMap<String, Millis> = got
        .column(0, "id")
        .into_iter()
        .flatten()
        .zip(column_times(&got, 0, "start").into_iter().flatten())
        .collect();
    assert_eq!(pulled.len(), seen.len());
    assert!(pulled.iter().all(|(id, at)| *at == seen[id] / 10 * 10));
}

#[tokio::test]
async fn a_chat_in_two_windows_is_stored_once_also_after_an_interruption() {
    let vendor = Vendor::new(20_000, 20).await;
    vendor.fault(FaultKind::Overlap);
    let few = Window {
        from: date(2026, 11, 10),
        to: date(2026, 11, 14),
    };
    let (got, done) = pull(&valid_source(&vendor), &pull_request(&ALL, few)).await;
    assert_eq!(done, Ok(()));
    let (read, kept, duplicates, _) = sum_of_counts(&got);
    assert_eq!(
        (got.rows(0), got.set(0, "id").len()),
        (kept as usize, kept as usize)
    );
    assert!(duplicates > 0 && read == kept + duplicates);
    assert_eq!(got.set(0, "id"), got.set(1, "chat_id"));
    assert_eq!(got.set(0, "id"), got.set(2, "chat_id"));
    let messages: HashSet<(String, String)> = got
        .column(1, "chat_id")
        .into_iter()
        .flatten()
        .zip(got.column(1, "position").into_iter().flatten())
        .collect();
    assert_eq!(messages.len(), got.rows(1));

    // The same in two parts: the second pull begins after a window that is already stored.
    let mut second = pull_request(
        &ALL,
        Window {
            from: date(2026, 11, 12),
            ..few
        },
    );
    second.previous_window = Some(Window {
        from: date(2026, 11, 11),
        to: date(2026, 11, 11),
    });
    let (first, _) = pull(
        &valid_source(&vendor),
        &pull_request(
            &ALL,
            Window {
                to: date(2026, 11, 11),
                ..few
            },
        ),
    )
    .await;
    let (rest, done) = pull(&valid_source(&vendor), &second).await;
    assert_eq!(done, Ok(()));
    assert!(first.set(0, "id").is_disjoint(&rest.set(0, "id")));
    assert_eq!(first.rows(0) + rest.rows(0), got.rows(0));
}

#[tokio::test]
async fn unknown_fields_become_columns() {
    let vendor = Vendor::new(300, 30).await;
    vendor.fault(FaultKind::Unknown);
    let (got, done) = pull(&valid_source(&vendor), &pull_request(&ALL, WEEK)).await;
    assert_eq!(done, Ok(()));
    compare(&got, &truth(&vendor, "chats", WEEK, None));
    let names: HashSet<String> = got.batches[0][0]
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    for name in [
        "lang",
        "priority",
        "rating",
        "rating_scale",
        "tag",
        "archived",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
        assert!(got.column(0, name).iter().all(Option::is_some), "{name}");
    }
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("visitor_") && name != "visitor_ip"),
        "{names:?}"
    );
    assert!(
        got.column(0, "tag")[0].as_ref().unwrap().starts_with('['),
        "what comes twice is a list"
    );
    assert!(
        got.column(1, "read")
            .iter()
            .all(|cell| cell.as_deref() == Some("true"))
    );
    assert!(
        got.column(0, "transcript")[0]
            .as_ref()
            .unwrap()
            .contains("\"read\":\"true\"")
    );
}
