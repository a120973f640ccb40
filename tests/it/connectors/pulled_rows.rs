//! A pull returns what the sandbox holds.

use std::collections::BTreeMap;

use chatlake::connectors::{self, Connector, Window};
use chatlake::sandbox::faults::{Fault, FaultKind, Odd};
use chatlake::sandbox::truth::TruthQuestion;

use crate::support::pulls::{WEEK, ZONE, ids, pull, request};
use crate::support::sandbox::Vendor;

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
    // Both shapes of a visitor fill the same columns; undeclared fields are stored unchanged.
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
async fn two_reports_of_one_source_need_the_calls_of_one() {
    let vendor = Vendor::new(2_000, 30).await;
    let source = vendor.patient_source();
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
async fn a_misfit_empties_one_cell_and_is_stored_verbatim() {
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
