//! The LiveChat connector against the sandbox: what it pulls is what there is, and what goes wrong
//! is told for what it is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::report::Menu;
use chatlake::connectors::upstream::{Limits, SystemResolver, Upstreams};
use chatlake::connectors::{self, Completeness, Connector, Menus, PullError, Source, Window};
use chatlake::sandbox::faults::{Cut, Fault, FaultKind, Odd, RetryAfter};
use chatlake::sandbox::truth::TruthQuestion;
use jiff::civil::date;
use jiff::tz::TimeZone;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::pulls::{TODAY, WEEK, ZONE, ids, pull, request, shown};
use crate::support::sandbox::{Vendor, allow, limits, source};

const CANARY: &str = "dal:canary-4711+/=";

fn ids_of(batch: &RecordBatch) -> HashSet<String> {
    let ids = batch.column_by_name("id").unwrap();
    (0..batch.num_rows()).map(|row| shown(ids, row)).collect()
}

#[tokio::test]
async fn every_report_is_what_the_vendor_holds() {
    let vendor = Vendor::new(3_000, 30).await;
    let source = vendor.source();
    let (got, done) = pull(&source, &request(&["agents"], &[])).await;
    done.unwrap();
    assert_eq!(
        got.rows(0) as u64,
        vendor.truth("agents", WEEK)["count"].as_u64().unwrap()
    );
    assert_eq!(got.set(0, "login"), ids(&vendor.truth("agents", WEEK)));
    let (got, done) = pull(&source, &request(&["groups"], &[])).await;
    done.unwrap();
    assert_eq!(
        got.rows(0) as u64,
        vendor.truth("groups", WEEK)["count"].as_u64().unwrap()
    );
    assert!(got.set(0, "id").contains("0"));

    let windows = connectors::windows(Connector::LiveChat.report("chat").unwrap(), Some(WEEK));
    assert_eq!(windows.len(), 7);
    let (got, done) = pull(&source, &request(&["chat", "chat_messages"], &windows)).await;
    done.unwrap();
    let truth = vendor.truth("chat", WEEK);
    assert!(got.rows(0) > 400, "{}", got.rows(0));
    assert_eq!(got.rows(0) as u64, truth["count"].as_u64().unwrap());
    assert_eq!(got.set(0, "id"), ids(&truth));
    assert_eq!(
        got.rows(1) as u64,
        vendor.truth("chat_messages", WEEK)["count"]
            .as_u64()
            .unwrap()
    );
    assert_eq!(got.window_counts.len(), 7);
    for counts in &got.window_counts {
        assert_eq!(
            counts.read,
            counts.kept + counts.duplicates + counts.left_out + counts.rejected
        );
        assert_eq!(
            (counts.verified(), counts.misfits),
            (Some(true), 0),
            "{counts:?}"
        );
    }
    // Both shapes of a visitor fill the same columns; what nobody declared is there as it came.
    assert!(got.column(0, "visitor_name").iter().all(Option::is_some));
    assert!(got.column(0, "visitor_ip").iter().all(Option::is_some));
    assert!(
        got.column(0, "sentiment")
            .iter()
            .flatten()
            .all(|json| json.starts_with("{\"score\":0.73"))
    );
    let counts: u64 = got
        .column(0, "messages_count")
        .iter()
        .flatten()
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    assert_eq!(counts as usize, got.rows(1));
    assert!(
        got.column(1, "chat_started_timestamp")
            .iter()
            .all(Option::is_some)
    );

    let (got, done) = pull(&source, &request(&["chat_report"], &[WEEK])).await;
    done.unwrap();
    let truth = vendor.truth("chat_report", WEEK);
    let pulled: BTreeMap<String, u64> = got
        .column(0, "period")
        .into_iter()
        .flatten()
        .zip(
            got.column(0, "chats")
                .into_iter()
                .flatten()
                .map(|n| n.parse().unwrap()),
        )
        .collect();
    assert_eq!(serde_json::to_value(pulled).unwrap(), truth["periods"]);
    let day = Window {
        from: WEEK.from,
        to: WEEK.from,
    };
    let (got, done) = pull(&source, &request(&["chat_report"], &[day])).await;
    done.unwrap();
    assert_eq!(got.rows(0), 24);
    assert_eq!(
        got.column(0, "period_start")[0].as_deref(),
        Some("2026-11-07T23:00:00Z")
    );
}

#[tokio::test]
async fn menus_narrow_what_is_asked() {
    let vendor = Vendor::new(2_000, 30).await;
    let mut pull_request = request(&["chat"], &[WEEK]);
    pull_request.menus.group = Some("1".to_owned());
    let (got, done) = pull(&vendor.source(), &pull_request).await;
    done.unwrap();
    let question = TruthQuestion {
        report: "chat".to_owned(),
        date_from: Some(WEEK.from),
        date_to: Some(WEEK.to),
        timezone: Some(ZONE.to_owned()),
        group: Some(1),
        ids: 1,
        ..TruthQuestion::default()
    };
    assert_eq!(
        got.set(0, "id"),
        ids(&vendor.sandbox.truth(&question).unwrap())
    );
}

#[tokio::test]
async fn two_reports_of_one_source_cost_the_calls_of_one() {
    let vendor = Vendor::new(2_000, 30).await;
    let source = vendor.source();
    pull(&source, &request(&["chat"], &[WEEK])).await.1.unwrap();
    let one = vendor.sandbox.calls_total();
    vendor.sandbox.forget_calls();
    let (got, done) = pull(&source, &request(&["chat", "chat_messages"], &[WEEK])).await;
    done.unwrap();
    assert_eq!(vendor.sandbox.calls_total(), one);
    assert_eq!(got.window_counts[0].calls, one);
    assert_eq!(got.progress as u64, one);
}

#[tokio::test]
async fn check_choices_and_sample_take_a_call_each() {
    let vendor = Vendor::new(2_000, 30).await;
    let source = vendor.source();
    let agents = vendor.truth("agents", WEEK)["count"].as_u64().unwrap();
    assert_eq!(
        connectors::check(&source).await.unwrap(),
        format!("{agents} agents visible")
    );
    let groups = connectors::choices(&source, Menu::Group).await.unwrap();
    assert!(groups.iter().any(|choice| choice.value == "0"));
    let logins = connectors::choices(&source, Menu::Login).await.unwrap();
    assert!(
        logins
            .iter()
            .all(|choice| choice.label.ends_with(&format!("({})", choice.value))),
        "{logins:?}"
    );
    assert_eq!(vendor.sandbox.calls_total(), 3);
    let zone = TimeZone::get(ZONE).unwrap();
    for (id, least) in [
        ("agents", 2),
        ("groups", 2),
        ("chat", 10),
        ("chat_messages", 10),
        ("chat_report", 7),
    ] {
        vendor.sandbox.forget_calls();
        let report = Connector::LiveChat.report(id).unwrap();
        let sample = connectors::sample(
            &source,
            report,
            &Menus::default(),
            &zone,
            (id != "agents" && id != "groups").then_some(WEEK),
            10,
        )
        .await
        .unwrap();
        assert!(
            sample.batch.num_rows() >= least && sample.batch.num_rows() <= 10,
            "{id}: {}",
            sample.batch.num_rows()
        );
        assert_eq!((vendor.sandbox.calls_total(), sample.calls), (1, 1), "{id}");
    }
    // A page has 25 chats. When they are too few rows, one more is read, and never a third.
    let sample = async |id: &str, range: Window, most: usize| {
        vendor.sandbox.forget_calls();
        let report = Connector::LiveChat.report(id).unwrap();
        let sample =
            connectors::sample(&source, report, &Menus::default(), &zone, Some(range), most)
                .await
                .unwrap();
        assert_eq!(vendor.sandbox.calls_total(), sample.calls, "{id}");
        sample
    };
    let held = vendor.truth("chat", WEEK)["count"].as_u64().unwrap();
    let chats = sample("chat", WEEK, 50).await;
    assert_eq!(
        (
            chats.batch.num_rows(),
            chats.records,
            chats.calls,
            chats.total,
            chats.is_complete
        ),
        (50, 50, 2, Some(held), false)
    );
    assert_eq!(ids_of(&chats.batch).len(), 50, "no chat comes twice");
    let messages = sample("chat_messages", WEEK, 50).await;
    assert!(
        messages.batch.num_rows() == 50
            && messages.records < 25
            && messages.calls == 1
            && !messages.is_complete,
        "{messages:?}"
    );
    let few = sample("chat_goals", WEEK, 50).await;
    assert!(
        few.batch.num_rows() < 50 && few.records == 50 && few.calls == 2 && !few.is_complete,
        "{few:?}"
    );
    let day = Window {
        from: WEEK.from,
        to: WEEK.from,
    };
    let all = vendor.truth("chat", day)["count"].as_u64().unwrap();
    let everything = sample("chat", day, all as usize).await;
    assert!(all <= 50 || everything.calls == 2, "{all}");
    assert_eq!(
        (everything.is_complete, everything.records),
        (all <= 50, all.min(50)),
        "{everything:?}"
    );
}

#[tokio::test]
async fn what_passes_is_waited_out_and_nothing_is_lost() {
    let vendor = Vendor::new(2_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    let passing = [
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(0),
        },
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Date(1),
        },
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Date(-100),
        },
        FaultKind::Status { status: 500 },
        FaultKind::Status { status: 503 },
        FaultKind::HangUp,
        FaultKind::Late { ms: 800 },
        FaultKind::Stall { after: 900 },
        FaultKind::Html,
        FaultKind::Empty,
        FaultKind::Shape {
            body: "[]".to_owned(),
        },
        FaultKind::Shape {
            body: "{}".to_owned(),
        },
        FaultKind::Shape {
            body: r#"{"error":"no"}"#.to_owned(),
        },
        FaultKind::Cut {
            after: 900,
            how: Cut::Length,
        },
        FaultKind::Cut {
            after: 900,
            how: Cut::Chunked,
        },
        FaultKind::Cut {
            after: 900,
            how: Cut::Clean,
        },
        FaultKind::Drip {
            bytes: 4_000,
            every_ms: 5,
        },
    ];
    for kind in passing {
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").page(3).times(2)]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert_eq!(done, Ok(()), "{kind:?}");
        assert_eq!(
            (got.rows(0), got.set(0, "id")),
            (truth.len(), truth.clone()),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_that_the_vendor_asks_for_is_no_try_whichever_status_asks_for_it() {
    let vendor = Vendor::new(1_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    for kind in [
        FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(0),
        },
        FaultKind::Maintenance {
            retry_after: RetryAfter::Seconds(0),
        },
    ] {
        // One more than there are tries.
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").page(3).times(6)]);
        let upstreams = vendor.upstreams();
        let (got, done) = pull(
            &source(&upstreams, &vendor.address, "sandbox-key"),
            &request(&["chat"], &[WEEK]),
        )
        .await;
        assert_eq!(
            (done, got.set(0, "id")),
            (Ok(()), truth.clone()),
            "{kind:?}"
        );
        assert_eq!(upstreams.stats().limited, 6, "{kind:?}");
    }
}

#[tokio::test]
async fn permanent_faults_are_reported_with_their_cause() {
    let vendor = Vendor::new(1_000, 30).await;
    let sorted =
        |kind: FaultKind, wanted: fn(&PullError) -> bool, calls: u64| (kind, wanted, calls);
    let lasting = [
        // The second call is the check of the credentials.
        sorted(
            FaultKind::Status { status: 401 },
            |e| *e == PullError::Unauthorized,
            2,
        ),
        sorted(
            FaultKind::Status { status: 403 },
            |e| matches!(e, PullError::Refused { status: 403, vendor_message: said } if said == "Something went wrong"),
            1,
        ),
        sorted(
            FaultKind::Status { status: 400 },
            |e| matches!(e, PullError::Refused { status: 400, vendor_message: said } if said == "Something went wrong"),
            1,
        ),
        // Twice for the days, twice without days, and then for its words.
        sorted(
            FaultKind::Status { status: 404 },
            |e| matches!(e, PullError::Refused { status: 404, vendor_message: said } if said == "Something went wrong"),
            7,
        ),
        sorted(
            FaultKind::Status { status: 500 },
            |e| *e == PullError::Unavailable(Cause::Status(500)),
            5,
        ),
        sorted(
            FaultKind::HangUp,
            |e| *e == PullError::Unavailable(Cause::ConnectionCut),
            5,
        ),
        sorted(
            FaultKind::Late { ms: 800 },
            |e| *e == PullError::Unavailable(Cause::FirstByteTimeout),
            5,
        ),
        sorted(
            FaultKind::Stall { after: 100 },
            |e| *e == PullError::Unavailable(Cause::NoProgress),
            5,
        ),
        sorted(
            FaultKind::Cut {
                after: 100,
                how: Cut::Length,
            },
            |e| *e == PullError::Unavailable(Cause::ConnectionCut),
            5,
        ),
        sorted(
            FaultKind::Cut {
                after: 100,
                how: Cut::Chunked,
            },
            |e| *e == PullError::Unavailable(Cause::ConnectionCut),
            5,
        ),
        sorted(
            FaultKind::Cut {
                after: 100,
                how: Cut::Clean,
            },
            |e| matches!(e, PullError::Malformed { at, .. } if at.page == 1 && at.path == "/chats"),
            3,
        ),
        sorted(
            FaultKind::Html,
            |e| *e == PullError::Unavailable(Cause::WebPage(200)),
            3,
        ),
        sorted(
            FaultKind::Empty,
            |e| matches!(e, PullError::Malformed { why, .. } if why.contains("empty")),
            7,
        ),
        sorted(
            FaultKind::Shape {
                body: "[]".to_owned(),
            },
            |e| matches!(e, PullError::Malformed { .. }),
            7,
        ),
        sorted(
            FaultKind::Shape {
                body: "[".repeat(1_000_000),
            },
            |e| matches!(e, PullError::Malformed { .. }),
            3,
        ),
        sorted(
            FaultKind::GzipBomb,
            |e| matches!(e, PullError::Malformed { why, .. } if why.contains("larger")),
            1,
        ),
        sorted(
            FaultKind::Redirect {
                status: 302,
                to: "http://127.0.0.1:1/x".to_owned(),
            },
            |e| *e == PullError::Unavailable(Cause::Redirected(302)),
            3,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Seconds(3_600),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 3_600),
            1,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Seconds(315_360_000),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 86_400),
            1,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Seconds(-5),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 5),
            1,
        ),
        sorted(
            FaultKind::Maintenance {
                retry_after: RetryAfter::Seconds(1_800),
            },
            |e| matches!(e, PullError::RateLimited { wait: Some(w) } if w.as_secs() == 1_800),
            1,
        ),
        sorted(
            FaultKind::Maintenance {
                retry_after: RetryAfter::Absent,
            },
            |e| *e == PullError::Unavailable(Cause::Status(503)),
            5,
        ),
        sorted(
            FaultKind::TooManyRequests {
                retry_after: RetryAfter::Absent,
            },
            |e| matches!(e, PullError::RateLimited { .. }),
            1,
        ),
    ];
    for (kind, wanted, calls) in lasting {
        vendor.fault(kind.clone());
        let upstreams = vendor.upstreams();
        let (got, done) = pull(
            &source(&upstreams, &vendor.address, "sandbox-key"),
            &request(&["chat"], &[WEEK]),
        )
        .await;
        let error = done.unwrap_err();
        let shown = format!("{:.60}", format!("{kind:?}"));
        assert!(wanted(&error), "{shown}: {error:?}");
        assert_eq!(upstreams.stats().calls, calls, "{shown}");
        assert!(
            got.window_counts.is_empty(),
            "{shown}: no window is complete"
        );
    }
    // Endless at full speed ends at the cap.
    vendor.fault(FaultKind::Endless);
    let small = Limits {
        max_bytes: 4 << 20,
        ..limits()
    };
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        vendor.clock.clone(),
        small,
        Arc::new(SystemResolver),
    )
    .unwrap();
    let (_, done) = pull(
        &source(&upstreams, &vendor.address, "sandbox-key"),
        &request(&["chat"], &[WEEK]),
    )
    .await;
    assert!(
        matches!(done, Err(PullError::Malformed { ref why, .. }) if why.contains("4 MiB")),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_page_that_fails_is_never_taken_for_the_last() {
    let vendor = Vendor::new(2_000, 30).await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 404 })
            .on("/chats")
            .page(4),
    ]);
    let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
    assert_eq!(
        done,
        Err(PullError::Unavailable(Cause::NoData(404))),
        "page 1 was there, so that the request is right"
    );
    assert!(got.window_counts.is_empty());
}

#[tokio::test]
async fn chats_that_end_while_we_page_are_there_once() {
    let vendor = Vendor::new(3_000, 30).await;
    let window = Window {
        from: date(2026, 11, 6),
        to: TODAY.to,
    };
    for shift in [
        FaultKind::Shift { chats: 1 },
        FaultKind::Shift { chats: 7 },
        FaultKind::Shift { chats: 40 },
    ] {
        vendor.sandbox.faults().set(vec![
            Fault::new(shift.clone()).on("/chats").skip(2).times(3),
        ]);
        let before = ids(&vendor.truth("chat", window));
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[window])).await;
        assert_eq!(done, Ok(()), "{shift:?}");
        let pulled = got.set(0, "id");
        assert_eq!(got.rows(0), pulled.len(), "{shift:?}: a chat came twice");
        assert!(before.is_subset(&pulled), "{shift:?}");
        assert_eq!(pulled, ids(&vendor.truth("chat", window)), "{shift:?}");
        let counts = got.window_counts[0];
        assert_eq!(
            (counts.verified(), counts.read),
            (Some(true), counts.kept + counts.duplicates),
            "{shift:?}"
        );
    }
}

#[tokio::test]
async fn a_total_that_lies_or_a_page_that_repeats_never_ends_well_with_a_part() {
    let vendor = Vendor::new(2_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::RepeatPage)
            .on("/chats")
            .page(3)
            .times(1),
    ]);
    let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        (got.rows(0), got.set(0, "id")),
        (truth.len(), truth.clone())
    );
    assert_eq!(
        got.window_counts[0].completeness,
        Some(Completeness::Corrected),
        "it was read twice"
    );
    for kind in [
        FaultKind::RepeatPage,
        FaultKind::LyingTotal { by: 30 },
        FaultKind::LyingTotal { by: -30 },
    ] {
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats")]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert!(
            matches!(done, Err(PullError::Incomplete { window, have, of }) if window == WEEK && have != of),
            "{kind:?}: {done:?}"
        );
        assert!(got.window_counts.is_empty());
    }
}

#[tokio::test]
async fn a_misfit_costs_one_cell_and_is_stored_verbatim() {
    let vendor = Vendor::new(1_000, 30).await;
    let total = vendor.truth("chat", WEEK)["count"].as_u64().unwrap() as usize;
    for (odd, misfit) in [
        (Odd::HugeFloat, Some(r#"{"duration":1e999}"#)),
        (Odd::HugeInteger, None),
        (Odd::WrongType, Some(r#"{"duration":"forty"}"#)),
        (Odd::DuplicateKey, Some(r#"{"duration":41}"#)),
        (Odd::LoneSurrogate, Some("\\ud800")),
    ] {
        vendor.sandbox.faults().set(vec![
            Fault::new(FaultKind::OddRecord { odd })
                .on("/chats")
                .page(1)
                .times(1),
        ]);
        let (got, done) = pull(
            &vendor.source(),
            &request(&["chat", "chat_messages"], &[WEEK]),
        )
        .await;
        assert_eq!(done, Ok(()), "{odd:?}");
        assert_eq!(got.rows(0), total, "{odd:?}");
        assert_eq!(
            got.column(0, "id").iter().flatten().count(),
            total,
            "{odd:?}"
        );
        let kept: Vec<String> = [0, 1]
            .iter()
            .flat_map(|report| got.column(*report, "_misfit"))
            .flatten()
            .collect();
        match misfit {
            Some(text) => assert!(
                kept.iter().any(|json| json.contains(text)),
                "{odd:?}: {kept:?}"
            ),
            None => assert!(
                kept.is_empty() && got.set(0, "duration").contains("9007199254740993"),
                "{odd:?}: {kept:?}"
            ),
        }
        assert_eq!(got.window_counts[0].misfits, kept.len() as u64, "{odd:?}");
    }
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::OddRecord { odd: Odd::NoId })
            .on("/chats")
            .page(1)
            .times(1),
    ]);
    let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        (got.rows(0), got.column(0, "id").iter().flatten().count()),
        (total - 1, total - 1),
        "a record without an id is rejected"
    );
    let counts = got.window_counts[0];
    assert_eq!(
        (counts.read, counts.kept, counts.rejected, counts.verified()),
        (total as u64, total as u64 - 1, 1, Some(true))
    );
}

#[tokio::test]
async fn a_pull_stops_when_cancelled_and_when_the_receiver_is_dropped() {
    let vendor = Vendor::new(2_000, 30).await;
    vendor.fault(FaultKind::Late { ms: 300 });
    let pull_request = request(&["chat"], &[WEEK]);
    let source = vendor.source();
    let stop = pull_request.cancel.clone();
    let (pulled, ()) = tokio::join!(pull(&source, &pull_request), async move {
        tokio::task::yield_now().await;
        stop.cancel();
    });
    assert_eq!(pulled.1, Err(PullError::Cancelled));
    vendor.sandbox.faults().clear();
    let (out, pulled) = mpsc::channel(1);
    drop(pulled);
    assert_eq!(
        connectors::pull(&source, &request(&["chat"], &[WEEK]), &out).await,
        Err(PullError::Cancelled)
    );
}

#[tokio::test]
async fn the_sunset_of_the_api_is_reported() {
    let vendor = Vendor::new(500, 30).await;
    vendor.fault(FaultKind::Sunset {
        legacy: Some("2027-03-01".to_owned()),
        deprecation: None,
    });
    let source = vendor.source();
    let (_, done) = pull(&source, &request(&["chat"], &[WEEK])).await;
    assert_eq!(
        (done, source.upstream.vendor_hints().api_ends_on),
        (Ok(()), Some(date(2027, 3, 1)))
    );
}

#[tokio::test]
async fn one_pause_holds_the_whole_account_and_no_other() {
    let vendor = Vendor::new(500, 30).await;
    let upstreams = vendor.upstreams();
    let of = |key: &str| Source {
        upstream: upstreams
            .for_account(key, Connector::LiveChat, Some(&vendor.address), 0)
            .unwrap(),
        ..vendor.source()
    };
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(600),
        })
        .times(1),
    ]);
    assert!(matches!(
        connectors::check(&of("a")).await,
        Err(PullError::RateLimited { .. })
    ));
    let calls = vendor.sandbox.calls_total();
    assert!(
        matches!(connectors::check(&of("a")).await, Err(PullError::RateLimited { wait: Some(w) }) if w.as_secs() > 590)
    );
    assert_eq!(
        vendor.sandbox.calls_total(),
        calls,
        "nothing was asked during the pause"
    );
    connectors::check(&of("b")).await.unwrap();
    let stats = upstreams.stats();
    assert_eq!((stats.calls, stats.limited), (2, 1));
}

#[tokio::test]
async fn the_credential_is_in_no_error() {
    let vendor = Vendor::new(100, 30).await;
    let pair = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("agent@sandbox.test:{CANARY}"),
    );
    let mut shown = Vec::new();
    for kind in [
        FaultKind::Status { status: 401 },
        FaultKind::Status { status: 404 },
        FaultKind::Status { status: 500 },
        FaultKind::Html,
        FaultKind::HangUp,
        FaultKind::Late { ms: 800 },
        FaultKind::Redirect {
            status: 307,
            to: format!("http://127.0.0.1:1/{CANARY}"),
        },
        FaultKind::Shape {
            body: format!("\"Basic {pair}\""),
        },
    ] {
        vendor.fault(kind);
        let error = connectors::check(&vendor.source_with(CANARY))
            .await
            .unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    let upstreams = vendor.upstreams();
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for address in [
        format!("http://{closed}/{CANARY}").replace("+/=", ""),
        format!("https://{}", vendor.address.trim_start_matches("http://")),
    ] {
        let error = connectors::check(&source(&upstreams, &address, CANARY))
            .await
            .unwrap_err();
        shown.push(format!("{error} {error:?}"));
    }
    shown.push(format!("{:?}", vendor.source_with(CANARY)));
    for text in shown {
        for bad in ["4711", "canary", &pair, "http://", "https://"] {
            assert!(!text.contains(bad), "{bad} in {text}");
        }
    }
}

#[tokio::test]
async fn a_preview_of_a_long_list_has_its_first_rows() {
    // More than a batch holds.
    let replies: Vec<serde_json::Value> = (0..9_000)
        .map(|n| serde_json::json!({"id": n, "group": 0, "text": "hello", "tags": []}))
        .collect();
    let router = axum::Router::new().route(
        "/canned_responses",
        axum::routing::get(move || async move { axum::Json(replies.clone()) }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let vendor = Vendor::new(10, 30).await;
    let report = Connector::LiveChat.report("canned_responses").unwrap();
    let menus = Menus {
        group: Some("0".to_owned()),
        ..Menus::default()
    };
    let sample = connectors::sample(
        &source(&vendor.upstreams(), &address, "k"),
        report,
        &menus,
        &TimeZone::UTC,
        None,
        50,
    )
    .await
    .unwrap();
    assert_eq!(
        (sample.batch.num_rows(), sample.records, sample.is_complete),
        (50, 9_000, false)
    );
    let ids = sample.batch.column_by_name("id").unwrap();
    assert_eq!(
        (shown(ids, 0), shown(ids, 49)),
        ("0".to_owned(), "49".to_owned())
    );
}
