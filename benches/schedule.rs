//! Measures the scheduler with ten thousand DataSets: the duration of one pass, and the time from
//! when a thousand DataSets are due in the same minute to the last commit. Prints a line
//! `| what | measured | bound |` for each figure; `bin/bench` collects them.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot measure has nothing better to do"
)]

use std::time::{Duration, Instant};

use chatlake::accounts::NewAccount;
use chatlake::actor::{Actor, Role};
use chatlake::app::App;
use chatlake::auth::passwords::Hasher;
use chatlake::auth::users::{self, NewUser};
use chatlake::clock::{Clock, Millis};
use chatlake::config::{Config, GlobalArgs, ServeArgs};
use chatlake::connectors::Connector;
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::scheduler;
use chatlake::puller::schedules::Schedule;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use chatlake::secret::Secret;
use tokio_util::sync::CancellationToken;

const DATASETS: usize = 10_000;
const DUE: i64 = 1_000;
const ACCOUNTS: usize = 10;
const ROUNDS: usize = 50;

fn main() {
    // `cargo test --all-targets` runs this file too.
    if std::env::args().any(|argument| argument == "--bench") {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(table());
    }
}

/// A data directory with ten thousand scheduled DataSets of ten accounts at a sandbox.
async fn scheduled_app(dir: &std::path::Path, clock: &Clock) -> App {
    let sandbox = Sandbox::new(
        SandboxOptions {
            chats: 300,
            days: 30,
            ..SandboxOptions::default()
        },
        clock.clone(),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let vendor = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { sandbox.serve(listener, CancellationToken::new()).await });
    let global_args = GlobalArgs {
        data: Some(dir.to_owned()),
        allow_upstream: vec!["127.0.0.1".parse().unwrap()],
        ..GlobalArgs::default()
    };
    let app = App::open(
        Config::resolve(&global_args, &ServeArgs::default()).unwrap(),
        clock.clone(),
    )
    .await
    .unwrap_or_else(|why| panic!("{why:?}"));
    let new = NewUser {
        email: "ada@bench.test".to_owned(),
        name: "Ada".to_owned(),
        role: Role::Admin,
        password: None,
    };
    let owner = users::create(&app.db, clock, &Hasher::new(1), &new, None)
        .await
        .unwrap()
        .actor();
    let mut accounts = Vec::new();
    for n in 0..ACCOUNTS {
        accounts.push(account(&app, &owner, &vendor, n).await);
    }
    let now = clock.now();
    let mut tx = app.db.write().await.unwrap();
    for n in 0..DATASETS {
        // Each DataSet has its own minute; all kinds of schedules occur.
        let (minute, hour) = (n % 60, n / 60 % 24);
        let cron = match n % 4 {
            0 => format!("{minute} * * * *"),
            1 => format!("{minute} {hour} * * *"),
            2 => format!("{minute} {hour} * * 1-5"),
            _ => format!("{minute} {hour} 1,15,L * *"),
        };
        let next = Schedule::parse(&cron, "Europe/Oslo", now)
            .unwrap()
            .next_after(now)
            .unwrap()
            + 3_600_000;
        sqlx::query(
            "INSERT INTO datasets (
                 id, owner_id, account_id, connector, report, name, description, menus,
                 update_mode, time_zone, schedule, next_run_at, created_at, updated_at, last_due_at
             )
             VALUES (
                 $1, $2, $3, 'livechat', $4, $5, '', '{}',
                 'replace', 'Europe/Oslo', $6, $7, $8, $8, $8
             )",
        )
        .bind(DatasetId::new())
        .bind(&owner.user)
        .bind(&accounts[n % ACCOUNTS])
        .bind(if (n / ACCOUNTS).is_multiple_of(2) {
            "agents"
        } else {
            "groups"
        })
        .bind(format!("Number {n}"))
        .bind(cron)
        .bind(next)
        .bind(now)
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    tx.commit().await.unwrap();
    app
}

async fn account(app: &App, owner: &Actor, vendor: &str, n: usize) -> AccountId {
    let new = NewAccount {
        connector: Connector::LiveChat,
        name: format!("Account {n}"),
        credentials: [
            ("username", "agent@sandbox.test"),
            ("api_key", "sandbox-key"),
        ]
        .map(|(id, value)| (id.to_owned(), Secret::new(value)))
        .into(),
        api_url: Some(vendor.to_owned()),
        requests_per_minute: Some(60_000),
        time_zone: None,
    };
    app.accounts.create(owner, &new).await.unwrap().id
}

/// Makes `DUE` DataSets due at this time.
async fn due(app: &App, at: Millis) {
    let mut tx = app.db.write().await.unwrap();
    sqlx::query(
        "UPDATE datasets
         SET next_run_at = $1
         WHERE id IN (SELECT id FROM datasets ORDER BY id LIMIT $2)",
    )
    .bind(at)
    .bind(DUE)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn runs(app: &App, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(app.db.read())
        .await
        .unwrap()
}

async fn tick(app: &App) -> f64 {
    let began = Instant::now();
    scheduler::tick(&app.puller).await.unwrap();
    began.elapsed().as_secs_f64() * 1_000.0
}

async fn table() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let app = scheduled_app(dir.path(), &clock).await;
    tick(&app).await;
    let mut idle = Vec::new();
    for _ in 0..ROUNDS {
        idle.push(tick(&app).await);
    }
    idle.sort_by(f64::total_cmp);
    println!(
        "| One scheduler pass over {DATASETS} scheduled DataSets, none due | \
         {:.1} ms, at worst {:.1} ms | under 50 ms |",
        idle[ROUNDS / 2],
        idle[ROUNDS - 1]
    );
    due(&app, clock.now() - 1).await;
    let took = tick(&app).await;
    assert_eq!(runs(&app, "SELECT COUNT(*) FROM runs").await, DUE);
    println!(
        "| {DUE} of {DATASETS} DataSets due at once: one pass that queues all of them | \
         {took:.0} ms | |"
    );

    let began = Instant::now();
    app.start_pulling().await.unwrap();
    while runs(&app, "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL").await > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pulled = began.elapsed().as_secs_f64();
    assert_eq!(
        runs(&app, "SELECT COUNT(*) FROM runs WHERE state = 'succeeded'").await,
        DUE
    );
    println!(
        "| {DUE} DataSets of {ACCOUNTS} accounts due in the same minute, until the last commit, \
         four workers | {pulled:.1} s | |"
    );
    app.stop().await;
}
