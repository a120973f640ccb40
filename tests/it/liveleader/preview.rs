//! The preview shows the newest days with content.

use std::time::Duration;

use chatlake::connectors::{self, Connector, Menus, Window};
use chatlake::sandbox::faults::FaultKind;
use jiff::civil::date;
use jiff::tz::TimeZone;

use super::DAY;
use super::periods;
use super::valid_source;
use crate::support::pulls::ZONE;
use crate::support::sandbox::Vendor;

#[tokio::test]
async fn a_preview_shows_the_newest_days_with_chats() {
    let vendor = Vendor::new(60, 10).await;
    let report = Connector::LiveLeader.report("chats").unwrap();
    let zone = TimeZone::get(ZONE).unwrap();
    let sample = async |range: Window, most: usize| {
        vendor.sandbox.forget_calls();
        connectors::sample(
            &valid_source(&vendor),
            report,
            &Menus::default(),
            &zone,
            Some(range),
            most,
        )
        .await
        .unwrap()
    };
    let all = Window {
        from: date(2026, 10, 1),
        to: date(2026, 11, 20),
    };
    let newest = sample(all, 3).await;
    assert!((1..=3).contains(&newest.batch.num_rows()));
    assert_eq!(
        (newest.newest, newest.is_complete, newest.calls),
        (true, false, vendor.sandbox.calls_total())
    );
    let week = sample(
        Window {
            from: date(2026, 11, 11),
            to: date(2026, 11, 17),
        },
        2,
    )
    .await;
    assert_eq!(
        (week.batch.num_rows(), week.newest, week.is_complete),
        (2, true, false)
    );
    // The preview of a range that ends long after the last chat goes back until it finds rows.
    let beyond = Window {
        from: date(2026, 11, 1),
        to: date(2027, 3, 1),
    };
    let found = sample(beyond, 500).await;
    assert!(found.batch.num_rows() > 0 && found.newest);
    let mut asked_for = periods(&vendor.sandbox.calls());
    asked_for.reverse();
    assert!(
        asked_for.len() > 3 && asked_for.windows(2).all(|two| two[0].1 == two[1].0),
        "{asked_for:?}"
    );
    // Without any chat, the preview is empty.
    let none = sample(
        Window {
            from: date(2026, 1, 1),
            to: date(2026, 6, 1),
        },
        50,
    )
    .await;
    assert_eq!(
        (none.batch.num_rows(), none.is_complete, none.records),
        (0, true, 0)
    );
    // The preview stops reading a document without an end when it has enough rows.
    vendor.fault(FaultKind::EndlessChats);
    let some = tokio::time::timeout(Duration::from_secs(60), sample(DAY, 50))
        .await
        .unwrap();
    assert_eq!(
        (some.batch.num_rows(), some.newest, some.is_complete),
        (50, false, false)
    );
}
