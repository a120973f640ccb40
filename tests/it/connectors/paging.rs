//! Pages that fail, repeat or move never produce a successful pull with missing rows.

use chatlake::connectors::pull_error::Cause;
use chatlake::connectors::{Completeness, PullError, Window};
use chatlake::sandbox::faults::{Fault, FaultKind};
use jiff::civil::date;

use crate::support::pulls::{TODAY, WEEK, ids, pull, request};
use crate::support::sandbox::Vendor;

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
async fn chats_that_end_during_paging_are_read_once() {
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
async fn a_wrong_total_or_a_repeated_page_never_succeeds_with_missing_rows() {
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
