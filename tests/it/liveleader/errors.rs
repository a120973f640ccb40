//! Which error LiveLeader causes, how much of a run it affects, and documents without an end.

use std::time::Duration;

use chatlake::connectors::pull_error::{Cause, MissingAccess};
use chatlake::connectors::report::Menu;
use chatlake::connectors::{self, PullError};
use chatlake::sandbox::faults::{Cut, Fault, FaultKind};

use super::ALL;
use super::DAY;
use super::MONTH;
use super::PASSWORD;
use super::compare;
use super::periods;
use super::pull_request;
use super::source_of;
use super::truth;
use super::valid_source;
use crate::support::pulls::{WEEK, pull};
use crate::support::sandbox::Vendor;

#[tokio::test]
async fn a_failure_affects_one_window() {
    let vendor = Vendor::new(400, 60).await;
    // Requests for several days always fail, as unreadable or missing, but requests for single days
    // succeed.
    for kind in [
        FaultKind::Shape {
            body: "nonsense".to_owned(),
        },
        FaultKind::Html,
        FaultKind::Status { status: 500 },
    ] {
        vendor.sandbox.forget_calls();
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(kind.clone()).longer_than(1)]);
        let (got, done) = pull(&valid_source(&vendor), &pull_request(&["chats"], MONTH)).await;
        assert_eq!((done, got.window_counts.len()), (Ok(()), 31), "{kind:?}");
        compare(&got, &truth(&vendor, "chats", MONTH, None));
        assert!(
            vendor.sandbox.calls().iter().any(|call| call.days() > 1),
            "{kind:?}: several days were asked for together"
        );
    }
    vendor.sandbox.faults().clear();
    // A request that succeeds at the second attempt is sent twice, and no other is.
    vendor.sandbox.forget_calls();
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Cut {
            after: 500,
            how: Cut::Length,
        })
        .times(1),
    ]);
    let (got, done) = pull(&valid_source(&vendor), &pull_request(&["chats"], MONTH)).await;
    assert_eq!(done, Ok(()));
    compare(&got, &truth(&vendor, "chats", MONTH, None));
    let mut asked_for = periods(&vendor.sandbox.calls());
    let calls = asked_for.len();
    asked_for.sort();
    asked_for.dedup();
    assert_eq!(calls, asked_for.len() + 1);
    // A window that keeps failing ends the pull with an error that names it; the windows before it
    // are complete.
    vendor
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Empty).skip(2)]);
    let (got, done) = pull(&valid_source(&vendor), &pull_request(&["chats"], WEEK)).await;
    assert!(done.unwrap_err().to_string().contains("(days: 2026-11-"));
    assert!(got.window_counts.len() <= 2);
}

#[tokio::test]
async fn a_repeated_answer_without_content_means_no_chats() {
    let answer = |status: u16| FaultKind::Answer {
        status,
        content_type: None,
        body: String::new(),
    };
    let few = Vendor::new(12, 60).await;
    few.fault(FaultKind::Quiet {
        status: 204,
        body: String::new(),
    });
    let (got, done) = pull(&valid_source(&few), &pull_request(&ALL, MONTH)).await;
    assert_eq!((done, got.window_counts.len()), (Ok(()), 31));
    let whole = truth(&few, "chats", MONTH, None);
    assert!((1..12).contains(&whole["count"].as_u64().unwrap()));
    compare(&got, &whole);
    // A single empty answer for a day with chats is requested again, and a missing export is not an
    // empty answer.
    let vendor = Vendor::new(2_000, 60).await;
    let whole = truth(&vendor, "chats", DAY, None);
    for status in [202, 204, 206, 404] {
        vendor
            .sandbox
            .faults()
            .set(vec![Fault::new(answer(status)).times(1)]);
        let (got, done) = pull(&valid_source(&vendor), &pull_request(&ALL, DAY)).await;
        assert_eq!(done, Ok(()), "{status}");
        compare(&got, &whole);
    }
    vendor.fault(answer(404));
    let (_, done) = pull(&valid_source(&vendor), &pull_request(&ALL, DAY)).await;
    assert_eq!(
        done,
        Err(PullError::Refused {
            status: 404,
            vendor_message: String::new()
        })
    );
}

#[tokio::test]
async fn credential_permission_and_plan_errors_are_distinguished() {
    let vendor = Vendor::new(50, 10).await;
    let check = async |email: &str, password: &str| {
        connectors::check(&source_of(&vendor, email, password)).await
    };
    assert_eq!(
        check("operator@sandbox.test", PASSWORD).await,
        Ok("the data export works".to_owned())
    );
    assert_eq!(vendor.sandbox.calls_total(), 1);
    let (from, to) = periods(&vendor.sandbox.calls())[0];
    assert_eq!((to - from).total(jiff::Unit::Minute).unwrap(), 1.0);
    vendor.sandbox.forget_calls();
    assert_eq!(
        check("operator@sandbox.test", "wrong").await,
        Err(PullError::Unauthorized)
    );
    assert_eq!(
        vendor.sandbox.calls_total(),
        2,
        "the last minute is asked for once more"
    );
    assert_eq!(
        check("guest@sandbox.test", PASSWORD).await,
        Err(PullError::NotAllowed(MissingAccess::Permission))
    );
    assert_eq!(
        check("starter@sandbox.test", PASSWORD).await,
        Err(PullError::NotAllowed(MissingAccess::Plan))
    );
    vendor.fault(FaultKind::Html);
    let seen = check("operator@sandbox.test", PASSWORD)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        seen.contains("web page")
            && seen.contains("wrong email or password")
            && seen.contains("no data export in the plan"),
        "{seen}"
    );
    vendor.fault(FaultKind::Shape {
        body: "<error>Wrong password</error>".to_owned(),
    });
    let seen = check("operator@sandbox.test", PASSWORD)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        seen.contains("wrong email or password") && seen.contains("no data export in the plan"),
        "{seen}"
    );
    // Text about a login is not a rejection, whatever its origin. The error for a 403 without a
    // page quotes its text.
    for (body, is) in [
        (
            "Access denied. Login id 4711",
            Some("Access denied. Login id 4711"),
        ),
        ("<div>Login blocked by the firewall</div>", None),
    ] {
        vendor.fault(FaultKind::Answer {
            status: 403,
            content_type: Some("text/plain".to_owned()),
            body: body.to_owned(),
        });
        let refused = is.map_or(PullError::Unavailable(Cause::WebPage(403)), |said| {
            PullError::Refused {
                status: 403,
                vendor_message: said.to_owned(),
            }
        });
        assert_eq!(
            check("operator@sandbox.test", PASSWORD).await,
            Err(refused),
            "{body}"
        );
    }
    // One rejection that the check does not repeat is a busy server, not bad credentials.
    vendor
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 401 }).times(1)]);
    let (got, done) = pull(&valid_source(&vendor), &pull_request(&["chats"], DAY)).await;
    assert_eq!(
        (done, got.rows(0) as u64),
        (
            Ok(()),
            truth(&vendor, "chats", DAY, None)["count"]
                .as_u64()
                .unwrap()
        )
    );
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 401 }).longer_than(0),
    ]);
    let (_, done) = pull(&valid_source(&vendor), &pull_request(&["chats"], DAY)).await;
    assert!(
        matches!(done, Err(PullError::Unavailable(Cause::Unconfirmed(_)))),
        "{done:?}"
    );
    // The page of a firewall says nothing about the plan or the credentials.
    vendor.fault(FaultKind::Answer {
        status: 403,
        content_type: Some("text/html".to_owned()),
        body: "<html>Sorry, you have been blocked</html>".to_owned(),
    });
    assert_eq!(
        check("operator@sandbox.test", PASSWORD).await,
        Err(PullError::Unavailable(Cause::WebPage(403)))
    );
    assert!(
        connectors::choices(&valid_source(&vendor), Menu::Login)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_an_end_can_be_stopped_and_leaves_nothing_behind() {
    let vendor = Vendor::new(100, 10).await;
    vendor.fault(FaultKind::EndlessChats);
    let scratch = tempfile::tempdir().unwrap();
    let mut endless = pull_request(&ALL, DAY);
    endless.scratch = scratch.path().to_owned();
    let cancel = endless.cancel.clone();
    let source = valid_source(&vendor);
    let pulling = async {
        let (out, mut come) = tokio::sync::mpsc::channel(4);
        let pulling = connectors::pull(&source, &endless, &out);
        tokio::pin!(pulling);
        let mut seen = 0;
        loop {
            tokio::select! {
                done = &mut pulling => break (done, seen),
                pulled = come.recv() => match pulled {
                    Some(connectors::PullEvent::Progress { read, .. }) => {
                        seen = read;
                        if read > 1_000 {
                            cancel.cancel();
                        }
                    }
                    other => panic!("nothing of it is handed on: {other:?}"),
                },
            }
        }
    };
    let (done, seen) = tokio::time::timeout(Duration::from_secs(60), pulling)
        .await
        .unwrap();
    assert!(
        done == Err(PullError::Cancelled) && seen > 1_000,
        "{done:?} {seen}"
    );
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
