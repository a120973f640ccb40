//! Days without records, in every form in which a vendor may report them, and answers that say
//! "nothing" where there is something: the first are no failure, and the second never cost a row.

use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::{self, Connector, PullError, Window};
use chatlake::sandbox::faults::{Fault, FaultKind, Frame};

use crate::support::pulls::{WEEK, ZONE, ids, pull, request};
use crate::support::sandbox::Vendor;

fn quiet(status: u16, body: &str) -> FaultKind {
    FaultKind::Quiet {
        status,
        body: body.to_owned(),
    }
}

fn answer(status: u16, body: &str) -> FaultKind {
    FaultKind::Answer {
        status,
        content_type: None,
        body: body.to_owned(),
    }
}

fn days() -> Vec<Window> {
    connectors::windows(Connector::LiveChat.report("chat").unwrap(), Some(WEEK))
}

#[tokio::test]
async fn a_day_without_records_counts_as_read_in_every_form_of_response() {
    // A chat or two in the week.
    let vendor = Vendor::new(6, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    assert!((1..=5).contains(&truth.len()), "{}", truth.len());
    for kind in [
        quiet(204, ""),
        quiet(404, r#"{"errors":["No chats found for these filters"]}"#),
        quiet(404, ""),
        quiet(200, ""),
        quiet(200, "null"),
        quiet(200, "{}"),
        quiet(200, "[]"),
        quiet(200, r#"{"chats":null,"total":null,"pages":1}"#),
        quiet(200, r#"{"chats":[],"total":null}"#),
        quiet(200, r#"{"chats":{},"total":0,"pages":1}"#),
        quiet(200, r#"{"chats":null,"total":"0"}"#),
        quiet(200, r#"{"total":0}"#),
    ] {
        vendor.fault(kind.clone());
        vendor.sandbox.forget_calls();
        let (got, done) = pull(
            &vendor.source(),
            &request(&["chat", "chat_messages"], &days()),
        )
        .await;
        assert_eq!(
            (done, got.set(0, "id")),
            (Ok(()), truth.clone()),
            "{kind:?}"
        );
        assert_eq!(got.window_counts.len(), 7, "{kind:?}");
        assert!(
            got.window_counts
                .iter()
                .all(|counts| counts.verified() == Some(true)),
            "{kind:?}: {:?}",
            got.window_counts
        );
        // That LiveChat serves the archive at all is asked once.
        let without_days = vendor
            .sandbox
            .calls()
            .iter()
            .filter(|call| call.argument("date_from").is_none())
            .count();
        assert!(without_days <= 1, "{kind:?}: {without_days}");
        // A preview says so as well.
        let report = Connector::LiveChat.report("chat").unwrap();
        let empty = days()
            .into_iter()
            .find(|day| ids(&vendor.truth("chat", *day)).is_empty())
            .unwrap();
        let menus = request(&["chat"], &[]).menus;
        let zone = jiff::tz::TimeZone::get(ZONE).unwrap();
        let sample = connectors::sample(&vendor.source(), report, &menus, &zone, Some(empty), 50)
            .await
            .unwrap();
        assert_eq!(
            (sample.batch.num_rows(), sample.is_complete),
            (0, true),
            "{kind:?}"
        );
    }
    // With a filter that finds some on other days; and one that finds nothing at all, of which
    // nothing is proven.
    vendor.fault(quiet(
        404,
        r#"{"errors":["No chats found for these filters"]}"#,
    ));
    let all = Window {
        from: jiff::civil::date(2026, 10, 1),
        to: WEEK.to,
    };
    let mut some = request(&["chat"], &days());
    let mut found = 0;
    for group in 0..8 {
        some.menus.group = Some(group.to_string());
        let question = chatlake::sandbox::truth::TruthQuestion {
            report: "chat".to_owned(),
            date_from: Some(all.from),
            date_to: Some(jiff::civil::date(2026, 11, 20)),
            timezone: Some(ZONE.to_owned()),
            group: Some(group),
            ..Default::default()
        };
        let Ok(truth) = vendor.sandbox.truth(&question) else {
            continue;
        };
        let (got, done) = pull(&vendor.source(), &some).await;
        if truth["count"] == 0 {
            assert!(
                matches!(&done, Err(PullError::Refused { status: 404, vendor_message: said }) if said.contains("No chats found")),
                "{group}: {done:?}"
            );
            found |= 1;
        } else {
            assert_eq!((done, got.window_counts.len()), (Ok(()), 7), "{group}");
            found |= 2;
        }
    }
    assert_eq!(found, 3, "there are groups with chats and groups without");
}

#[tokio::test]
async fn nothing_is_not_believed_where_it_would_cost_rows() {
    let vendor = Vendor::new(2_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    // Said once, of a day that has records, or in the middle of them: it is asked again.
    for kind in [
        answer(204, ""),
        answer(404, r#"{"error":"no"}"#),
        answer(202, r#"{"status":"processing"}"#),
        answer(206, "{}"),
        answer(200, "null"),
    ] {
        for page in [1, 2, 3] {
            vendor.sandbox.faults().set(vec![
                Fault::new(kind.clone()).on("/chats").page(page).times(1),
            ]);
            let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
            assert_eq!(
                (done, got.set(0, "id")),
                (Ok(()), truth.clone()),
                "{kind:?} on page {page}"
            );
        }
    }
    // Two answers that differ are not the same answer twice.
    vendor.sandbox.faults().set(vec![
        Fault::new(answer(204, "")).on("/chats").page(1).times(1),
        Fault::new(answer(404, "{}")).on("/chats").page(1).times(1),
    ]);
    let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
    assert_eq!((done, got.set(0, "id")), (Ok(()), truth.clone()));
    // An archive that is not served any more is no archive without records, and a page that stays
    // away is not the end of the list.
    for (kind, everywhere, beyond) in [
        (
            answer(204, ""),
            PullError::Unavailable(Cause::NoData(204)),
            PullError::Unavailable(Cause::NoData(204)),
        ),
        (
            answer(404, r#"{"error":"No such resource"}"#),
            PullError::Refused {
                status: 404,
                vendor_message: "No such resource".to_owned(),
            },
            PullError::Unavailable(Cause::NoData(404)),
        ),
        (
            answer(202, ""),
            PullError::Unavailable(Cause::NoData(202)),
            PullError::Unavailable(Cause::NoData(202)),
        ),
    ] {
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats")]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &days())).await;
        assert_eq!(
            (done, got.window_counts.len()),
            (Err(everywhere), 0),
            "{kind:?}"
        );
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).on("/chats").page(3)]);
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert_eq!(
            (done, got.window_counts.len()),
            (Err(beyond), 0),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_frame_that_still_says_how_many_there_are_is_read() {
    let vendor = Vendor::new(2_000, 30).await;
    let truth = ids(&vendor.truth("chat", WEEK));
    for frame in [Frame::TextTotal, Frame::NoPages] {
        vendor.fault(FaultKind::OddFrame { frame });
        let (got, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
        assert_eq!(
            (done, got.set(0, "id")),
            (Ok(()), truth.clone()),
            "{frame:?}"
        );
        assert_eq!(
            got.window_counts[0].total,
            Some(truth.len() as u64),
            "{frame:?}"
        );
    }
    // Records without a total: that they are all is not proven.
    vendor.fault(FaultKind::OddFrame {
        frame: Frame::NullTotal,
    });
    let (_, done) = pull(&vendor.source(), &request(&["chat"], &[WEEK])).await;
    assert!(
        matches!(&done, Err(PullError::Malformed { why, .. }) if why.contains("a field is missing")),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_report_or_list_that_holds_nothing_is_empty_when_it_is_said_twice() {
    let vendor = Vendor::new(100, 30).await;
    for (report, path) in [
        ("chat_report", "/reports/chats/total_chats"),
        ("ranking_report", "/reports/chats/ratings/ranking"),
        ("visitors", "/visitors"),
    ] {
        let pull_request = request(
            &[report],
            &if report == "visitors" {
                Vec::new()
            } else {
                vec![WEEK]
            },
        );
        let whole = pull(&vendor.source(), &pull_request).await.0.rows(0);
        assert!(whole > 0, "{report}");
        for kind in [answer(204, ""), answer(200, "null"), answer(200, "[]")] {
            vendor
                .sandbox
                .faults()
                .set(vec![Fault::new(kind.clone()).on(path)]);
            let (got, done) = pull(&vendor.source(), &pull_request).await;
            assert_eq!(
                (done, got.rows(0), got.window_counts.len()),
                (Ok(()), 0, 1),
                "{report} {kind:?}"
            );
            // A list without items is an answer of its own; all others have to be said twice.
            if (report, &kind) != ("visitors", &answer(200, "[]")) {
                vendor
                    .sandbox
                    .faults()
                    .set(vec![Fault::new(kind.clone()).on(path).times(1)]);
                let (got, done) = pull(&vendor.source(), &pull_request).await;
                assert_eq!(
                    (done, got.rows(0)),
                    (Ok(()), whole),
                    "{report} {kind:?} once"
                );
            }
        }
        // That it is not there is another matter.
        vendor.sandbox.faults().set(vec![
            Fault::new(answer(404, r#"{"error":"gone"}"#)).on(path),
        ]);
        let (_, done) = pull(&vendor.source(), &pull_request).await;
        assert_eq!(
            done,
            Err(PullError::Refused {
                status: 404,
                vendor_message: "gone".to_owned()
            }),
            "{report}"
        );
        vendor.sandbox.faults().clear();
    }
    for empty in ["null", "{}", "[]"] {
        vendor.fault(answer(200, &format!(r#"{{"ranking":{empty}}}"#)));
        let (got, done) = pull(&vendor.source(), &request(&["ranking_report"], &[WEEK])).await;
        assert_eq!((done, got.rows(0)), (Ok(()), 0), "{empty}");
    }
}
