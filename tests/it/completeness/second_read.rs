//! A second read of recent days finds records that moved, and costs the calls of the first one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use chatlake::accounts::{ChangeAccount, NewAccount};
use chatlake::actor::Role;
use chatlake::connectors::upstream::Upstreams;
use chatlake::connectors::{Completeness, Connector, PullError, Window};
use chatlake::secret::Secret;
use jiff::civil::date;
use serde_json::{Value, json};

use super::serve_pages;
use super::source_at;
use crate::support::datasets::DatasetFixture;
use crate::support::pulls::{TODAY, WEEK, pull, request};
use crate::support::sandbox::{Vendor, allow, source};

/// 60 chats of one day on 3 pages. After the first answer to page 1, the newest chat is deleted,
/// and a chat is added at the start of the day.
async fn serve_a_list_that_loses_and_gains_a_record() -> String {
    let chats: Vec<String> = (0..60).rev().map(|n| format!("C{n:03}")).collect();
    let chats = Arc::new(Mutex::new((chats, false)));
    serve_pages(move |list, page, _| {
        let (chats, changed) = &mut *chats.lock().unwrap();
        let found: Vec<Value> = chats
            .iter()
            .skip((page - 1) * 25)
            .take(25)
            .map(|id| json!({"id": id, "messages": []}))
            .collect();
        let response =
            json!({list: found, "total": chats.len(), "pages": chats.len().div_ceil(25)});
        if page == 1 && !std::mem::replace(changed, true) {
            chats.remove(0);
            chats.push("NEW".to_owned());
        }
        response
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_an_addition_that_cancel_out_hide_no_chat() {
    let fixture = DatasetFixture::new().await;
    let admin = fixture.ctx.person_with_session("mia", Role::Admin).await;
    let dataset_at = async |address: String, name: &str, options: Value| {
        let new = NewAccount {
            connector: Connector::LiveChat,
            name: name.to_owned(),
            credentials: [("username", "agent@sandbox.test"), ("api_key", "k")]
                .map(|(id, value)| (id.to_owned(), Secret::new(value)))
                .into(),
            api_url: Some(address),
            requests_per_minute: Some(60_000),
            time_zone: None,
        };
        let account = fixture
            .ctx
            .app
            .accounts
            .create(&admin.actor, &new)
            .await
            .unwrap()
            .id;
        let share = ChangeAccount {
            shared: Some(true),
            ..ChangeAccount::default()
        };
        fixture
            .ctx
            .app
            .accounts
            .update(&admin.actor, &account, &share)
            .await
            .unwrap();
        let menus = json!({"start_days": 1, "end_days": 1});
        fixture
            .dataset(
                "chat",
                json!({"name": name, "account_id": account, "menus": menus, "options": options}),
            )
            .await
    };
    let unchanged: BTreeSet<String> = (0..59).map(|n| format!("C{n:03}")).collect();

    let dataset = dataset_at(
        serve_a_list_that_loses_and_gains_a_record().await,
        "Read twice",
        json!({}),
    )
    .await;
    let run = fixture.good_run(&dataset).await;
    let ids: BTreeSet<String> = fixture.column(&dataset, "id").await.into_iter().collect();
    assert!(
        unchanged.is_subset(&ids) && ids.contains("NEW"),
        "{:?} missing",
        unchanged.difference(&ids).collect::<Vec<_>>()
    );
    // The first read lacks C034. The second read has it on its first page, whose answer also
    // contains the total, and has all other chats again.
    assert_eq!(
        (
            &run["calls"],
            &run["kept"],
            &run["vendor_total"],
            &run["rows"]
        ),
        (&json!(6), &json!(61), &json!(60), &json!(61)),
        "{run}"
    );
    assert_eq!(
        (&run["read"], &run["duplicates"]),
        (&json!(61), &json!(0)),
        "what is only read again is not counted again: {run}"
    );
    // The deleted chat was read before its deletion, so there is one chat more than the vendor
    // reports.
    assert_eq!(
        (&run["completeness"], &run["verified"]),
        (&json!("corrected"), &json!(false)),
        "{run}"
    );

    let once = dataset_at(
        serve_a_list_that_loses_and_gains_a_record().await,
        "Read once",
        json!({"second_read": false}),
    )
    .await;
    let run = fixture.good_run(&once).await;
    let ids: BTreeSet<String> = fixture.column(&once, "id").await.into_iter().collect();
    assert_eq!(
        unchanged.difference(&ids).collect::<Vec<_>>(),
        ["C034"],
        "a total cannot show this"
    );
    assert_eq!(
        (&run["calls"], &run["completeness"], &run["verified"]),
        (&json!(3), &json!("counted"), &json!(false)),
        "{run}"
    );
}

#[tokio::test]
async fn reads_that_never_agree_end_as_incomplete_and_a_record_without_an_id_is_rejected_once() {
    // Each answer to page 1 deletes a chat of this page.
    let gone = Arc::new(Mutex::new(0_usize));
    let address = serve_pages(move |list, page, _| {
        let mut gone = gone.lock().unwrap();
        let chats: Vec<Value> = (*gone..200).map(|n| json!({"id": n.to_string()})).collect();
        let response = json!({list: chats.iter().skip((page - 1) * 25).take(25).collect::<Vec<_>>(),
            "total": chats.len(), "pages": chats.len().div_ceil(25)});
        *gone += usize::from(page == 1);
        response
    })
    .await;
    let (got, done) = pull(&source_at(&address), &request(&["chat"], &[TODAY])).await;
    assert!(
        matches!(done, Err(PullError::Incomplete { window, have, of }) if window == TODAY && have >= of),
        "{done:?}"
    );
    assert!(got.window_counts.is_empty());

    // Chats without an id, two of them identical, and a chat that is added at the start between two
    // reads: their positions differ in each read.
    let query = Arc::new(Mutex::new(0_u64));
    let address = serve_pages(move |list, _, _| {
        let mut query = query.lock().unwrap();
        let mut chats: Vec<Value> = ["a", "b", "a", "c"]
            .map(|name| json!({"visitor_name": name}))
            .into();
        if *query > 0 {
            chats.insert(0, json!({"id": "1"}));
        }
        *query += 1;
        json!({list: chats, "total": chats.len(), "pages": 1})
    })
    .await;
    let (got, done) = pull(&source_at(&address), &request(&["chat"], &[TODAY])).await;
    let counts = got.window_counts[0];
    assert_eq!(
        (
            done,
            got.rows(0),
            counts.kept,
            counts.rejected,
            counts.total
        ),
        (Ok(()), 1, 1, 4, Some(5))
    );
}

#[tokio::test]
async fn settled_days_cost_a_call_for_each_page_and_later_days_twice_that() {
    let vendor = Vendor::new(6_000, 30).await;
    // With the usual timeouts: a busy machine must not cause retries.
    let upstreams = Upstreams::new(vec![allow("127.0.0.1")], vendor.clock.clone()).unwrap();
    let source = source(&upstreams, &vendor.address, "sandbox-key");
    let cost = async |window: Window, second_read: bool| {
        vendor.sandbox.forget_calls();
        let mut query = request(&["chat"], &[window]);
        query.second_read = second_read;
        let (got, done) = pull(&source, &query).await;
        assert_eq!(done, Ok(()));
        let counts = got.window_counts[0];
        assert_eq!(
            (counts.calls, counts.pages),
            (vendor.sandbox.calls_total(), vendor.sandbox.calls_total())
        );
        assert_eq!(
            (counts.duplicates, counts.read, counts.kept),
            (0, counts.total.unwrap(), counts.total.unwrap()),
            "{counts:?}"
        );
        (
            counts.calls,
            counts.pages_again,
            counts.total.unwrap().div_ceil(25),
            counts.completeness.unwrap(),
        )
    };
    let (calls, again, pages, proven) = cost(WEEK, true).await;
    assert!(pages > 40, "{pages}");
    assert_eq!(
        (calls, again, proven),
        (pages, 0, Completeness::Verified),
        "3 percent more would be allowed, and none is needed"
    );
    // NOON is noon of the 20th: the 17th ended 48 hours before at 23:00 UTC of the day before, the
    // 18th did not.
    let day = |number: i8| Window {
        from: date(2026, 11, number),
        to: date(2026, 11, number),
    };
    for (number, proven) in [
        (17, Completeness::Verified),
        (18, Completeness::Reread),
        (19, Completeness::Reread),
        (20, Completeness::Reread),
    ] {
        let (calls, again, pages, found) = cost(day(number), true).await;
        let twice = proven == Completeness::Reread;
        assert_eq!(
            (calls, again, found),
            (
                pages * if twice { 2 } else { 1 },
                if twice { pages } else { 0 },
                proven
            ),
            "the {number}th"
        );
    }
    let (calls, again, pages, proven) = cost(day(19), false).await;
    assert_eq!((calls, again, proven), (pages, 0, Completeness::Counted));
    // The last day of a window decides.
    assert_eq!(
        cost(
            Window {
                from: date(2026, 11, 12),
                to: date(2026, 11, 18)
            },
            true
        )
        .await
        .3,
        Completeness::Reread
    );
}
