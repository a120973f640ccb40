//! What is proven of a run: that nothing which stays is missing, whatever changes while pages are
//! read, and how far that is shown.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Json, Router};
use chatlake::accounts::{ChangeAccount, NewAccount};
use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::connectors::upstream::{SystemResolver, Upstreams};
use chatlake::connectors::{Completeness, Connector, PullError, Source, Window};
use chatlake::datasets::options::DatasetOptions;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use jiff::civil::date;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::data_dir::DataDir;
use crate::support::datasets::DatasetFixture;
use crate::support::pulls::{TODAY, WEEK, pull, request};
use crate::support::sandbox::{LocalSandbox, Vendor, allow, limits, source};
use crate::support::{NOON, is_soak};

/// Serves `/chats` and `/tickets` by a function of list, page and first day, at the address that is
/// answered.
async fn served(
    answer: impl Fn(&str, usize, &str) -> Value + Clone + Send + Sync + 'static,
) -> String {
    let page = move |Path(list): Path<String>, Query(query): Query<BTreeMap<String, String>>| {
        let response = answer(&list, query["page"].parse().unwrap(), &query["date_from"]);
        async move { Json(response) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/{list}", get(page))).await },
    );
    address
}

fn source_at(address: &str) -> Source {
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        Clock::stopped_at(NOON),
        limits(),
        Arc::new(SystemResolver),
    )
    .unwrap();
    source(&upstreams, address, "k")
}

// ---- chats that come, go and move ----

const PER_PAGE: usize = 5;

/// A vendor whose chats change while they are read, newest first, five a page. The same seed makes
/// the same changes.
#[derive(Default)]
struct ChangingChats {
    chats: Vec<u64>,
    /// In the list since the start, though perhaps at another place.
    unchanged: HashSet<u64>,
    next: u64,
    state: u64,
    /// Answers after which nothing changes any more.
    changes_left: u64,
    inserts: bool,
    deletes: bool,
    moves: bool,
    repeats: bool,
}

impl ChangingChats {
    fn new(seed: u64, settled: bool) -> Self {
        let count = seed % 61;
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let kinds = seed % 16;
        Self {
            chats: (0..count).rev().collect(),
            unchanged: (0..count).collect(),
            next: count,
            state,
            changes_left: seed % 23,
            inserts: kinds & 1 == 0 && !settled,
            deletes: kinds & 2 == 0,
            moves: kinds & 4 == 0,
            repeats: kinds & 8 == 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below.max(1)
    }

    /// Most changes are at the two ends.
    fn place(&mut self, len: usize) -> usize {
        match self.random(4) {
            0 => 0,
            1 => len,
            _ => self.random(len as u64 + 1) as usize,
        }
    }

    fn page(&mut self, list: &str, mut page: usize) -> Value {
        if self.changes_left > 0 && self.repeats && page > 1 && self.random(8) == 0 {
            page -= 1;
        }
        let mut found: Vec<u64> = self
            .chats
            .iter()
            .skip((page - 1) * PER_PAGE)
            .take(PER_PAGE)
            .copied()
            .collect();
        if self.changes_left > 0 && self.repeats && self.random(4) == 0 {
            found.extend(found.first().copied());
        }
        let found: Vec<Value> = found
            .into_iter()
            .map(|id| json!({"id": id.to_string()}))
            .collect();
        let response = json!({list: found, "total": self.chats.len(), "pages": self.chats.len().div_ceil(PER_PAGE)});
        if self.changes_left > 0 {
            self.changes_left -= 1;
            for _ in 0..self.random(4) {
                self.change();
            }
        }
        response
    }

    fn change(&mut self) {
        match self.random(3) {
            0 if self.inserts => {
                let at = self.place(self.chats.len());
                self.chats.insert(at, self.next);
                self.next += 1;
            }
            1 if self.deletes && !self.chats.is_empty() => {
                let at = self.place(self.chats.len() - 1);
                let gone = self.chats.remove(at);
                self.unchanged.remove(&gone);
            }
            2 if self.moves && !self.chats.is_empty() => {
                let from = self.place(self.chats.len() - 1);
                let chat = self.chats.remove(from);
                let to = self.place(self.chats.len());
                self.chats.insert(to, chat);
            }
            _ => {}
        }
    }
}

/// Pulls from a vendor that changes by each of these seeds, and answers how many pulls came to an
/// end. Every other pull is of a settled day, to which nothing is added.
async fn nothing_is_lost(seeds: impl Iterator<Item = u64>) -> u64 {
    let world = Arc::new(Mutex::new(ChangingChats::default()));
    let held = world.clone();
    let source =
        source_at(&served(move |list, page, _| held.lock().unwrap().page(list, page)).await);
    let mut whole = 0;
    for seed in seeds {
        let settled = seed % 2 == 1;
        *world.lock().unwrap() = ChangingChats::new(seed / 2, settled);
        let window = if settled { WEEK } else { TODAY };
        let (got, done) = pull(
            &source,
            &request(&[if seed % 3 == 0 { "tickets" } else { "chat" }], &[window]),
        )
        .await;
        let pulled: Vec<u64> = got
            .column(0, "id")
            .into_iter()
            .flatten()
            .map(|id| id.parse().unwrap())
            .collect();
        let distinct: HashSet<u64> = pulled.iter().copied().collect();
        assert_eq!(
            pulled.len(),
            distinct.len(),
            "seed {seed}: a chat came twice"
        );
        match done {
            Ok(()) => {
                whole += 1;
                let counts = got.window_counts[0];
                let world = world.lock().unwrap();
                assert!(
                    world.unchanged.is_subset(&distinct),
                    "seed {seed}: a chat is missing, {counts:?}"
                );
                let proven = counts.completeness.unwrap();
                let possible = if settled {
                    [Completeness::Verified, Completeness::Corrected]
                } else {
                    [Completeness::Reread, Completeness::Corrected]
                };
                assert!(possible.contains(&proven), "seed {seed}: {counts:?}");
                assert_eq!(
                    counts.read,
                    counts.kept + counts.duplicates,
                    "seed {seed}: {counts:?}"
                );
                assert_eq!(
                    counts.kept,
                    distinct.len() as u64,
                    "seed {seed}: {counts:?}"
                );
            }
            Err(PullError::Incomplete { .. }) => {}
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_stays_is_there_once_whatever_is_added_deleted_moved_and_repeated() {
    // The long form, for hours beside a soak: CHATLAKE_SOAK=1.
    let seeds = if is_soak() { 40_000 } else { 1_000 };
    let lanes = (0..4).map(|lane| {
        tokio::spawn(nothing_is_lost(
            (0..seeds).filter(move |seed| seed % 4 == lane),
        ))
    });
    let mut whole = 0;
    for lane in lanes.collect::<Vec<_>>() {
        whole += lane.await.unwrap();
    }
    assert!(
        whole * 10 > seeds * 9,
        "only {whole} of {seeds} pulls came to an end"
    );
}

// ---- one deletion and one addition that cancel out ----

/// 60 chats of one day on 3 pages. After page 1 is answered for the first time the newest chat is
/// deleted, and one is added at the day's start.
async fn serve_a_list_that_loses_and_gains_a_record() -> String {
    let chats: Vec<String> = (0..60).rev().map(|n| format!("C{n:03}")).collect();
    let chats = Arc::new(Mutex::new((chats, false)));
    served(move |list, page, _| {
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
async fn a_deletion_and_an_addition_that_leave_the_total_as_it_was_hide_no_chat() {
    let fixture = DatasetFixture::new().await;
    let keeper = fixture.ctx.person_with_session("mia", Role::Admin).await;
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
            .create(&keeper.actor, &new)
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
            .update(&keeper.actor, &account, &share)
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
    // The first read lacks C034. The second has it on its first page, whose answer also tells how
    // many there are, and all others again.
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
    // The deleted chat had been read before it went, so there is one more than the vendor reports.
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
        "this is what a total cannot tell"
    );
    assert_eq!(
        (&run["calls"], &run["completeness"], &run["verified"]),
        (&json!(3), &json!("counted"), &json!(false)),
        "{run}"
    );
}

#[tokio::test]
async fn reads_that_never_agree_end_as_incomplete_and_a_record_without_an_id_is_rejected_once() {
    // Each answer to page 1 deletes a chat that was on it, for ever.
    let gone = Arc::new(Mutex::new(0_usize));
    let address = served(move |list, page, _| {
        let mut gone = gone.lock().unwrap();
        let chats: Vec<Value> = (*gone..200).map(|n| json!({"id": n.to_string()})).collect();
        let response = json!({list: chats.iter().skip((page - 1) * 25).take(25).collect::<Vec<_>>(), "total": chats.len(), "pages": chats.len().div_ceil(25)});
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

    // Chats without an id, two of them alike, and one that comes to the head between two reads:
    // they stand elsewhere in each read.
    let query = Arc::new(Mutex::new(0_u64));
    let address = served(move |list, _, _| {
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

// ---- what it costs ----

#[tokio::test]
async fn settled_days_cost_a_call_for_each_page_and_later_days_twice_that() {
    let vendor = Vendor::new(6_000, 30).await;
    // With the usual patience: a busy machine must not make it ask twice.
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

// ---- how it is shown ----

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_as_complete_as_the_weakest_of_its_windows_and_all_places_say_so() {
    let fixture = DatasetFixture::new().await;
    // The 15th to the 19th; at noon of the 20th the 17th is the last settled day.
    let dataset = fixture
        .dataset("chat", json!({"menus": {"start_days": 5, "end_days": 1}}))
        .await;
    let windows = async || {
        let lines = fixture
            .call(
                "GET",
                &format!("/datasets/{dataset}/windows?limit=5"),
                Value::Null,
            )
            .await
            .1;
        let of = |name: &str| {
            lines["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line[name].clone())
                .collect::<Vec<_>>()
        };
        (of("completeness"), of("verified"))
    };
    let days = async || {
        let days = fixture
            .call("GET", &format!("/datasets/{dataset}/coverage"), Value::Null)
            .await
            .1;
        days["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|day| format!("{} {}", day["state"], day["completeness"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    let run = fixture.good_run(&dataset).await;
    assert_eq!(
        (&run["completeness"], &run["verified"]),
        (&json!("reread"), &json!(true)),
        "{run}"
    );
    assert_eq!(
        windows().await,
        (
            ["verified", "verified", "verified", "reread", "reread"]
                .map(Value::from)
                .into(),
            vec![json!(true); 5]
        )
    );
    assert_eq!(
        days().await,
        [
            "verified verified",
            "verified verified",
            "verified verified",
            "verified reread",
            "verified reread"
        ]
    );
    let page = fixture
        .owner
        .get(&format!("/runs/{}", run["id"].as_str().unwrap()))
        .await;
    let record = page.texts(".run-detail").join(" ");
    assert!(
        record.contains("Read twice: two reads of the newest days agree. LiveChat reports"),
        "{record}"
    );
    assert!(
        record.contains("Pages read again")
            && page.texts(".run-detail table")[0].contains("Read twice"),
        "{record}"
    );
    assert!(
        page.texts(".run-log")
            .join(" ")
            .contains("Two reads agree."),
        "{:?}",
        page.texts(".run-log")
    );

    // Without the second read, which is asked for as another thing.
    let changed = fixture
        .change(&dataset, json!({"options": {"second_read": false}}))
        .await;
    assert_eq!(changed["options"]["second_read"], json!(false));
    let once = fixture.good_run(&dataset).await;
    assert_eq!(
        (&once["completeness"], &once["verified"], &once["rows"]),
        (&json!("counted"), &json!(false), &run["rows"]),
        "{once}"
    );
    assert!(once["calls"].as_u64() < run["calls"].as_u64(), "{once}");
    let (proven, verified) = windows().await;
    assert_eq!(
        proven,
        ["verified", "verified", "verified", "counted", "counted"].map(Value::from)
    );
    assert_eq!(verified, [true, true, true, false, false].map(Value::from));
    assert_eq!(days().await[3..], ["held counted", "held counted"]);
    let history = fixture
        .owner
        .get(&format!("/datasets/{dataset}/history"))
        .await;
    assert!(
        history.texts(".run-detail")[0].contains("Counted: LiveChat reports"),
        "{:?}",
        history.texts(".run-detail")
    );
    assert!(
        history
            .text
            .contains("aria-label=\"Thu 19 Nov 2026: present, counted\""),
        "the calendar says what is proven of the day"
    );
    let day = fixture
        .owner
        .get(&format!("/datasets/{dataset}/days/2026-11-19"))
        .await;
    assert!(
        day.texts("table")[0].contains("Counted") && day.texts("table")[0].contains("Read twice"),
        "{:?}",
        day.texts("table")
    );

    // A page that came twice, on a settled day: it was read again.
    let faults = fixture.ctx.sandbox.faults();
    faults.set(vec![
        Fault::new(FaultKind::RepeatPage)
            .on("/chats")
            .page(2)
            .times(1),
    ]);
    let corrected = fixture.good_run(&dataset).await;
    assert_eq!(
        (
            &corrected["completeness"],
            &corrected["verified"],
            &corrected["rows"]
        ),
        (&json!("corrected"), &json!(false), &run["rows"]),
        "{corrected}"
    );
    faults.set(vec![
        Fault::new(FaultKind::LyingTotal { by: 3 }).on("/chats"),
    ]);
    let short = fixture.run(&dataset).await;
    assert_eq!(
        (&short["state"], &short["completeness"], &short["verified"]),
        (&json!("failed"), &json!("short"), &json!(false)),
        "{short}"
    );
    assert_eq!(
        (windows().await.0[0].clone(), windows().await.1[0].clone()),
        (json!("short"), json!(false))
    );
    faults.clear();
    assert_eq!(
        days().await[0],
        "stale verified",
        "the rows of the run before are those that people read"
    );

    // Lists, periods and LiveLeader's document are read to their ends.
    let agents = fixture.dataset("agents", json!({})).await;
    let run = fixture.good_run(&agents).await;
    assert_eq!(
        (&run["completeness"], &run["verified"]),
        (&json!("complete"), &Value::Null),
        "{run}"
    );
    let leader = fixture.leader().await;
    let exported = fixture
        .dataset(
            "chats",
            json!({"account_id": leader, "menus": {"start_days": 2, "end_days": 1}}),
        )
        .await;
    assert_eq!(
        fixture.good_run(&exported).await["completeness"],
        json!("complete")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_read_is_an_option_of_a_dataset_by_command_and_by_what_is_stored() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(30).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let make = [
        "dataset",
        "create",
        "--user",
        email.as_str(),
        "--name",
        "Chats",
        "--account",
        account.as_str(),
        "--report",
        "chat",
        "--no-second-read",
    ];
    let once = data_dir.run(&make).await.good();
    let usual = data_dir.run(&make[..make.len() - 1]).await.good();
    let server = data_dir.serve().await;
    for (dataset, wanted, proven) in [(&once, false, "counted"), (&usual, true, "reread")] {
        assert_eq!(
            server.get(&format!("/datasets/{dataset}"), &token).await.1["options"]["second_read"],
            json!(wanted)
        );
        let run = server
            .over(&server.run(dataset, &token).await, &token)
            .await;
        assert_eq!(
            (&run["state"], &run["completeness"]),
            (&json!("succeeded"), &json!(proven)),
            "{run}"
        );
    }
    server.stop().await;
    // What was stored before there was a choice has it on.
    assert!(
        serde_json::from_str::<DatasetOptions>(r#"{"key":[],"look_back":2}"#)
            .unwrap()
            .second_read
    );
}

// ---- catalogues from before ----

/// A run as it was stored: id, `verified`, `corrected`, last day and state of each window, and what
/// its completeness is now.
type Stored = (
    &'static str,
    Option<i64>,
    i64,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
);

#[tokio::test]
async fn runs_from_before_are_verified_only_when_their_days_were_settled_everywhere() {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{AssertSqlSafe, Connection};

    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("chatlake.db"))
        .create_if_missing(true)
        .foreign_keys(false);
    let mut catalogue = SqliteConnection::connect_with(&options).await.unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    all.sort();
    let (before, rest) = all.split_at(
        all.iter()
            .position(|path| path.ends_with("0016_completeness.sql"))
            .unwrap(),
    );
    for path in before {
        sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(path).unwrap()))
            .execute(&mut catalogue)
            .await
            .unwrap();
    }
    // Read at noon of the 20th (UTC): the 17th had ended 48 hours before in every zone, the 18th
    // had not.
    let runs: [Stored; 8] = [
        (
            "settled",
            Some(1),
            0,
            &[("2026-11-16", "done"), ("2026-11-17", "done")],
            Some("verified"),
        ),
        (
            "young",
            Some(1),
            0,
            &[("2026-11-17", "done"), ("2026-11-18", "done")],
            Some("counted"),
        ),
        (
            "leap day",
            Some(1),
            0,
            &[("2024-02-29", "done")],
            Some("verified"),
        ),
        (
            "corrected",
            Some(1),
            1,
            &[("2026-11-17", "done")],
            Some("corrected"),
        ),
        (
            "other count",
            Some(0),
            0,
            &[("2026-11-17", "done")],
            Some("corrected"),
        ),
        ("no total", None, 0, &[("", "done")], Some("complete")),
        (
            "short",
            Some(1),
            0,
            &[("2026-11-17", "done"), ("2026-11-18", "short")],
            Some("short"),
        ),
        ("nothing yet", None, 0, &[("2026-11-17", "planned")], None),
    ];
    for (id, verified, corrected, windows, _) in runs {
        sqlx::query(
            "INSERT INTO runs (
                 id, dataset_id, cause, state, source_key, queued_at, due_at, finished_at,
                 verified, corrected
             )
             VALUES ($1, 'ds', 'manual', 'succeeded', '', 0, 0, 0, $2, $3)",
        )
        .bind(id)
        .bind(verified)
        .bind(corrected)
        .execute(&mut catalogue)
        .await
        .unwrap();
        for (position, (day, state)) in windows.iter().enumerate() {
            sqlx::query(
                "INSERT INTO windows (
                     run_id, dataset_id, position, from_day, to_day, state, finished_at
                 )
                 VALUES ($1, 'ds', $2, $3, $3, $4, $5)",
            )
            .bind(id)
            .bind(position as i64)
            .bind((!day.is_empty()).then_some(*day))
            .bind(*state)
            .bind(NOON)
            .execute(&mut catalogue)
            .await
            .unwrap();
        }
    }
    sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(&rest[0]).unwrap()))
        .execute(&mut catalogue)
        .await
        .unwrap();
    for (id, _, _, _, wanted) in runs {
        let found: Option<String> =
            sqlx::query_scalar("SELECT completeness FROM runs WHERE id = $1")
                .bind(id)
                .fetch_one(&mut catalogue)
                .await
                .unwrap();
        assert_eq!(found.as_deref(), wanted, "{id}");
    }
}
