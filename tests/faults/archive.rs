//! Archives that hold back, and archives that change while they are read, by vendors made for it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Query;
use chatlake::clock::Clock;
use chatlake::connectors::upstream::{SystemResolver, Upstreams};
use chatlake::connectors::{self, Completeness, Connector, Menus, PullError, Window};
use chatlake::sandbox::faults::{Fault, FaultKind};
use jiff::civil::date;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::pulls::{TODAY, ZONE, ids, pull, request};
use crate::support::sandbox::{Vendor, allow, limits, source};
use crate::support::{NOON, rounds};

/// A chat of the hand-made vendor below: id, day of November 2026, group, agent.
type SampleChat = (String, i8, &'static str, &'static str);

fn sample_chats() -> Vec<SampleChat> {
    let quiet = (1..=4)
        .flat_map(|day| (0..3).map(move |n| (format!("Q{day}{n}"), day, "1", "ann@chat.test")));
    // Too many for one day and for one group; agents are few enough. Group 0 alone holds some.
    let busy = (0..36).map(|n| match n {
        0..6 => (format!("Z{n}"), 5, "0", "ann@chat.test"),
        _ => (
            format!("B{n}"),
            5,
            "2",
            ["ann@chat.test", "bob@chat.test", "cyd@chat.test"][n % 3],
        ),
    });
    quiet.chain(busy).collect()
}

/// A vendor that says "1,000 pages" to every question with more than ten chats, and then gives the
/// newest ten alone.
async fn serve_sample_chats() -> String {
    serve_chats(sample_chats()).await
}

async fn serve_chats(chats_to_serve: Vec<SampleChat>) -> String {
    let chats = move |Query(query): Query<BTreeMap<String, String>>| {
        let day = |name: &str| query[name][8..].parse::<i8>().unwrap();
        let (from, to) = (day("date_from"), day("date_to"));
        let is = |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted == value);
        let found: Vec<Value> = chats_to_serve
            .clone()
            .into_iter()
            .filter(|(_, day, group, agent)| (from..=to).contains(day) && is("group", group) && is("agent", agent))
            .map(|(id, ..)| serde_json::json!({"id": id, "started_timestamp": 1_793_500_000, "messages": []}))
            .collect();
        let (total, pages) = (found.len(), if found.len() > 10 { 1_000 } else { 1 });
        let page: Vec<Value> = if query["page"] == "1" {
            found.into_iter().take(10).collect()
        } else {
            Vec::new()
        };
        async move { axum::Json(serde_json::json!({"chats": page, "total": total, "pages": pages})) }
    };
    let groups = serde_json::json!([{"id": 1, "name": "Sales"}, {"id": 2, "name": "Help"}]);
    let agents = serde_json::json!([
        {"login": "ann@chat.test"}, {"login": "bob@chat.test"}, {"login": "cyd@chat.test"}
    ]);
    let router = axum::Router::new()
        .route("/chats", axum::routing::get(chats))
        .route(
            "/groups",
            axum::routing::get(async move || axum::Json(groups.clone())),
        )
        .route(
            "/agents",
            axum::routing::get(async move || axum::Json(agents.clone())),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn november(from: i8, to: i8) -> Window {
    Window {
        from: date(2026, 11, from),
        to: date(2026, 11, to),
    }
}

#[tokio::test]
async fn what_the_vendor_holds_back_is_read_by_halves_of_days_and_a_day_by_groups_and_agents() {
    let address = serve_sample_chats().await;
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        Clock::stopped_at(NOON),
        limits(),
        Arc::new(SystemResolver),
    )
    .unwrap();
    let source = source(&upstreams, &address, "k");
    let (got, done) = pull(&source, &request(&["chat"], &[november(1, 4)])).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        (
            got.rows(0),
            got.set(0, "id").len(),
            got.window_counts[0].total
        ),
        (12, 12, Some(12))
    );
    // Group 2 of the 5th has 30 chats: ten an agent.
    let (got, done) = pull(&source, &request(&["chat"], &[november(1, 5)])).await;
    assert_eq!(done, Ok(()));
    assert_eq!(
        got.set(0, "id"),
        sample_chats().into_iter().map(|(id, ..)| id).collect()
    );
    let counts = got.window_counts[0];
    assert_eq!(
        (got.rows(0), counts.verified(), counts.read),
        (48, Some(true), 48)
    );
    // With the agent given and still too many there is nothing left to divide by.
    let mut pull_request = request(&["chat"], &[november(5, 5)]);
    pull_request.menus.login = Some("ann@chat.test".to_owned());
    let (got, done) = pull(&source, &pull_request).await;
    assert_eq!(
        (done, got.rows(0)),
        (Ok(()), 16),
        "ann has ten of group 2 and six of group 0"
    );
    pull_request.menus = Menus {
        group: Some("2".to_owned()),
        ..Menus::default()
    };
    assert_eq!(
        pull(&source, &pull_request).await.1,
        Ok(()),
        "a group that is given is divided by agents"
    );
}

#[tokio::test]
async fn a_day_that_cannot_be_divided_any_further_fails_with_its_name_and_both_numbers() {
    let day = |chats: Vec<SampleChat>| async move {
        let address = serve_chats(chats).await;
        let upstreams = Upstreams::with(
            vec![allow("127.0.0.1")],
            Clock::stopped_at(NOON),
            limits(),
            Arc::new(SystemResolver),
        )
        .unwrap();
        let (got, done) = pull(
            &source(&upstreams, &address, "k"),
            &request(&["chat"], &[november(5, 5)]),
        )
        .await;
        assert!(got.window_counts.is_empty());
        done
    };
    let of = |count: usize, group: &'static str, agent: &'static str| {
        (0..count).map(move |n| (format!("{group}{agent}{n}"), 5, group, agent))
    };
    // One agent of one group has more than can be read.
    let busy = of(11, "2", "ann@chat.test")
        .chain(of(3, "1", "bob@chat.test"))
        .collect();
    assert_eq!(
        day(busy).await,
        Err(PullError::Incomplete {
            window: november(5, 5),
            have: 3,
            of: 14
        })
    );
    // Some are of a group that nobody lists, and of no agent.
    let lost = of(9, "1", "ann@chat.test")
        .chain(of(4, "7", "nobody@chat.test"))
        .collect();
    assert_eq!(
        day(lost).await,
        Err(PullError::Incomplete {
            window: november(5, 5),
            have: 9,
            of: 13
        })
    );
}

#[tokio::test]
async fn a_ticket_of_several_days_is_there_once_when_its_range_had_to_be_cut() {
    // Ticket n is active from day n to day n + 2; more than five are too many for one question.
    let tickets = |Query(query): Query<BTreeMap<String, String>>| {
        let day = |name: &str| query[name][8..].parse::<i64>().unwrap();
        let (from, to) = (day("date_from"), day("date_to"));
        let found: Vec<Value> = (1..=20)
            .filter(|n| *n <= to && n + 2 >= from)
            .map(|n| serde_json::json!({"id": format!("T{n}")}))
            .collect();
        let (total, pages) = (found.len(), if found.len() > 5 { 1_000 } else { 1 });
        async move {
            axum::Json(
                serde_json::json!({"tickets": found.into_iter().take(5).collect::<Vec<_>>(), "total": total, "pages": pages}),
            )
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(
            listener,
            axum::Router::new().route("/tickets", axum::routing::get(tickets)),
        )
        .await
    });
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        Clock::stopped_at(NOON),
        limits(),
        Arc::new(SystemResolver),
    )
    .unwrap();
    let range = november(3, 16);
    let windows = connectors::windows(Connector::LiveChat.report("tickets").unwrap(), Some(range));
    assert_eq!(windows, [range], "days share tickets");
    let (got, done) = pull(
        &source(&upstreams, &address, "k"),
        &request(&["tickets"], &windows),
    )
    .await;
    assert_eq!(
        (done, got.rows(0), got.set(0, "id").len()),
        (Ok(()), 16, 16)
    );
    let counts = got.window_counts[0];
    assert_eq!(
        (counts.total, counts.kept, counts.completeness),
        (Some(16), 16, Some(Completeness::Verified))
    );
    assert!(
        counts.duplicates > 0 && counts.read == counts.kept + counts.duplicates,
        "{counts:?}"
    );
}

/// A vendor of so many chats a day that takes a while for each page, and knows how many it was
/// asked for at once.
async fn slow(a_day: usize) -> (String, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let chats = move |Query(query): Query<BTreeMap<String, String>>| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(80)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let page: usize = query["page"].parse().unwrap();
            let found: Vec<Value> = (0..a_day)
                .skip((page - 1) * 5)
                .take(5)
                .map(|n| serde_json::json!({"id": format!("{} {n}", query["date_from"])}))
                .collect();
            axum::Json(
                serde_json::json!({"chats": found, "total": a_day, "pages": a_day.div_ceil(5)}),
            )
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(
            listener,
            axum::Router::new().route("/chats", axum::routing::get(chats)),
        )
        .await
    });
    (address, seen)
}

#[tokio::test]
async fn pages_are_asked_for_eight_at_a_time_however_the_range_is_cut() {
    let upstreams = Upstreams::new(vec![allow("127.0.0.1")], Clock::stopped_at(NOON)).unwrap();
    // One long window, and many of one page each, all of them settled.
    for (a_day, days) in [(200, 1), (3, 17)] {
        let (address, most) = slow(a_day).await;
        let windows: Vec<Window> = (1..=days).map(|day| november(day, day)).collect();
        let (got, done) = pull(
            &source(&upstreams, &address, "k"),
            &request(&["chat"], &windows),
        )
        .await;
        assert_eq!(
            (done, got.rows(0), got.window_counts.len()),
            (Ok(()), a_day * days as usize, days as usize)
        );
        assert_eq!(most.load(Ordering::SeqCst), 8, "{a_day} chats a day");
        assert!(
            got.window_counts
                .iter()
                .all(|counts| counts.completeness == Some(Completeness::Verified))
        );
        assert_eq!(
            got.window_counts
                .iter()
                .map(|counts| counts.calls)
                .sum::<u64>() as usize,
            a_day.div_ceil(5) * days as usize,
            "no page was asked for twice"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_may_change_under_our_hands_and_no_chat_that_stays_is_lost() {
    // As above, with the sandbox, whose pages have 25 chats, as the vendor, and its own word for
    // what stayed.
    let pulls_per_lane = rounds(50, 100, 250);
    let lanes = (0..4).map(|lane| {
        tokio::spawn(async move {
            let mut whole = 0;
            for block in 0..pulls_per_lane / 50 {
                // A new one now and then: what ends is kept, and a day of thousands is slow to
                // read.
                let vendor = Vendor::new(900, 15).await;
                for seed in (block * 50..(block + 1) * 50).map(|n| n * 4 + lane) {
                    let mark = vendor.sandbox.mark();
                    vendor.sandbox.faults().set(vec![
                        Fault::new(FaultKind::Mutate { seed })
                            .on("/chats")
                            .times(seed % 7),
                    ]);
                    let (got, done) = pull(&vendor.source(), &request(&["chat"], &[TODAY])).await;
                    let pulled = got
                        .column(0, "id")
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>();
                    let distinct: HashSet<String> = pulled.iter().cloned().collect();
                    assert_eq!(
                        pulled.len(),
                        distinct.len(),
                        "seed {seed}: a chat came twice"
                    );
                    match done {
                        Ok(()) => {
                            let stayed = chatlake::sandbox::truth::TruthQuestion {
                                report: "chat".to_owned(),
                                date_from: Some(TODAY.from),
                                date_to: Some(TODAY.to),
                                timezone: Some(ZONE.to_owned()),
                                since: Some(mark),
                                ids: 1,
                                ..Default::default()
                            };
                            let stayed = ids(&vendor.sandbox.truth(&stayed).unwrap());
                            assert!(
                                stayed.is_subset(&distinct),
                                "seed {seed}: {:?} missing",
                                stayed.difference(&distinct).collect::<Vec<_>>()
                            );
                            whole += 1;
                        }
                        Err(PullError::Incomplete { .. }) => {}
                        Err(other) => panic!("seed {seed}: {other:?}"),
                    }
                }
            }
            whole
        })
    });
    let mut whole = 0;
    for lane in lanes {
        whole += lane.await.unwrap();
    }
    let pulls = 4 * pulls_per_lane;
    assert!(whole * 10 > pulls * 9, "only {whole} of {pulls} came whole");
}
