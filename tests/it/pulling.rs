//! Pulls seen from outside: what shares a reading, what an account that is refused or paused does
//! to its DataSets, what is believed and what is not, and what a schedule makes due.

use std::time::Duration;

use chatlake::accounts::ChangeAccount;
use chatlake::actor::Role;
use chatlake::auth::audit::AuditActor;
use chatlake::connectors::{Completeness, Connector, Menus};
use chatlake::datasets::options::{DatasetOptions as Choices, OnEmpty};
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::DatasetId;
use chatlake::puller::ledger;
use chatlake::puller::queue;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use chatlake::secret::Secret;

use crate::support::context::TestContext;
use crate::support::http::PersonBrowser;
use crate::support::sandbox::of_size;

const CHAT_REPORTS: [&str; 9] = [
    "chat",
    "chat_agents",
    "chat_custom_variables",
    "chat_events",
    "chat_goals",
    "chat_messages",
    "chat_postchat_survey",
    "chat_supervisors",
    "chat_tags",
];

/// Waits until a run is in this state.
async fn reaches(ctx: &TestContext, run: &Run, state: RunState) -> Run {
    for _ in 0..600 {
        let run = queue::get(&ctx.app.db, &run.id).await.unwrap().unwrap();
        if run.state == state {
            return run;
        }
        assert!(
            !run.state.is_final(),
            "the run ended as {:?}: {:?}",
            run.state,
            run.failure
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} does not become {state:?}", run.id);
}

async fn start(ctx: &TestContext, who: &PersonBrowser, dataset: &DatasetId) -> Run {
    ctx.app
        .puller
        .run_now(&who.actor, dataset, Trigger::Manual)
        .await
        .unwrap()
}

fn code(run: &Run) -> &str {
    run.failure
        .as_ref()
        .map_or("", |failure| failure.code.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_chat_reports_started_at_once_cost_the_calls_of_one_and_say_so() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let mut datasets = Vec::new();
    for report in CHAT_REPORTS {
        datasets.push(
            ctx.oslo_dataset(&owner.actor, &account, report, report)
                .await,
        );
    }
    ctx.sandbox.forget_calls();
    let alone = ctx.run(&owner.actor, &datasets[0]).await;
    let calls = ctx.sandbox.calls_total();
    assert_eq!((alone.calls as u64, alone.shared_by), (calls, 1));
    ctx.sandbox.forget_calls();
    // More workers are idle than one: none of the others may begin a reading of its own.
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(start(&ctx, &owner, dataset).await);
    }
    for run in &runs {
        let run = ctx.ended(&run.id).await;
        assert_eq!(
            (run.state, run.shared_by, run.calls as u64, run.verified()),
            (RunState::Succeeded, 9, calls, Some(true)),
            "{:?}",
            run.failure
        );
    }
    assert_eq!(ctx.sandbox.calls_total(), calls);
    let record = owner
        .get(&format!("/runs/{}", runs[3].id))
        .await
        .texts(".run-detail")[0]
        .clone();
    assert!(
        record.contains("Calls shared by") && record.contains("9 DataSets"),
        "{record}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_was_changed_while_its_run_was_queued_gets_what_it_asks_for_now() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    // Both workers are busy with something slow.
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 1_000 }).on("/agents"),
        Fault::new(FaultKind::Late { ms: 1_000 }).on("/groups"),
    ]);
    let (agents, groups) = (
        ctx.oslo_dataset(&owner.actor, &account, "agents", "A")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "groups", "G")
            .await,
    );
    let busy = [
        start(&ctx, &owner, &agents).await,
        start(&ctx, &owner, &groups).await,
    ];
    for run in &busy {
        reaches(&ctx, run, RunState::Running).await;
    }
    let (all, one) = (
        ctx.oslo_dataset(&owner.actor, &account, "chat", "All")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "chat", "One")
            .await,
    );
    let runs = [
        start(&ctx, &owner, &all).await,
        start(&ctx, &owner, &one).await,
    ];
    let report = Connector::LiveChat.report("chat_messages").unwrap();
    let settings = DatasetSettings {
        name: DatasetName::parse("One").unwrap(),
        description: DatasetDescription::parse("").unwrap(),
        account_id: account.clone(),
        connector: Connector::LiveChat,
        report,
        menus: Menus {
            group: Some("1".to_owned()),
            ..Menus::default()
        }
        .check(report)
        .unwrap(),
        update_mode: report.mode,
        options: Default::default(),
        time_zone: "Europe/Oslo".to_owned(),
        schedule: None,
    };
    ctx.app
        .datasets
        .configure(&owner.actor, &one, &settings)
        .await
        .unwrap();
    let [all_run, one_run] = [ctx.ended(&runs[0].id).await, ctx.ended(&runs[1].id).await];
    assert_eq!(
        (all_run.state, one_run.state),
        (RunState::Succeeded, RunState::Succeeded),
        "{:?} {:?}",
        all_run.failure,
        one_run.failure
    );
    let columns = |id: DatasetId| {
        let datasets = ctx.app.datasets.clone();
        async move {
            datasets
                .versions
                .current(&id)
                .await
                .unwrap()
                .unwrap()
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect::<Vec<_>>()
        }
    };
    assert!(
        columns(all.clone())
            .await
            .contains(&"visitor_name".to_owned())
    );
    assert!(
        columns(one.clone()).await.contains(&"chat_id".to_owned()),
        "the rows are of the report that is asked for now"
    );
    assert!(
        one_run.records_kept < all_run.records_kept,
        "and of the group"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_three_times_is_not_tried_again_until_it_changes() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("ada", Role::Admin).await;
    let account = ctx.shared_account("wrong-key").await;
    let mut datasets = Vec::new();
    for n in 0..6 {
        datasets.push(
            ctx.oslo_dataset(
                &owner.actor,
                &account,
                if n % 2 == 0 { "agents" } else { "chat" },
                &format!("Number {n}"),
            )
            .await,
        );
    }
    ctx.sandbox.forget_calls();
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(start(&ctx, &owner, dataset).await);
    }
    for run in &runs {
        let run = ctx.ended(&run.id).await;
        assert!(
            matches!(code(&run), "unauthorized" | "credentials_stopped"),
            "{:?}",
            run.failure
        );
    }
    // Each knock is two calls: one for the report, and one that checks whether the credentials are
    // bad.
    assert!(
        ctx.sandbox.calls_total() <= 6,
        "it knocked {} times",
        ctx.sandbox.calls_total()
    );
    while ctx
        .app
        .accounts
        .get(&owner.actor, &account)
        .await
        .unwrap()
        .auth_failures
        < 3
    {
        ctx.run(&owner.actor, &datasets[0]).await;
    }
    let calls = ctx.sandbox.calls_total();
    assert!(calls <= 6, "it knocked {calls} times");
    let stopped = ctx.run(&owner.actor, &datasets[1]).await;
    assert_eq!(
        (code(&stopped), ctx.sandbox.calls_total()),
        ("credentials_stopped", calls)
    );
    let failure = stopped.failure.unwrap();
    assert!(
        failure.who.contains("Support Oslo") && failure.action.contains("No request was sent"),
        "{failure:?}"
    );
    let page = owner.get("/accounts").await;
    assert!(
        page.text.contains("Rejected") && page.text.contains("until the credentials change"),
        "{}",
        page.text
    );
    let change = ChangeAccount {
        credentials: [("api_key".to_owned(), Secret::new("sandbox-key"))].into(),
        ..ChangeAccount::default()
    };
    ctx.app
        .accounts
        .update(&owner.actor, &account, &change)
        .await
        .unwrap();
    for dataset in &datasets {
        assert_eq!(
            ctx.run(&owner.actor, dataset).await.state,
            RunState::Succeeded
        );
    }
    assert!(owner.get("/accounts").await.text.contains("Valid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_menu_that_may_not_be_read_says_nothing_about_the_key() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Status { status: 403 }).on("/tags"),
    ]);
    for _ in 0..4 {
        assert!(
            ctx.app
                .accounts
                .choices(
                    &owner.actor,
                    &account,
                    chatlake::connectors::report::Menu::Tag
                )
                .await
                .is_err()
        );
    }
    let agents = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "Agents")
        .await;
    assert_eq!(
        ctx.run(&owner.actor, &agents).await.state,
        RunState::Succeeded
    );
    let seen = ctx.app.accounts.get(&owner.actor, &account).await.unwrap();
    assert_eq!((seen.auth_failures, seen.is_stopped()), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_must_wait_long_says_until_when_and_who_asked_and_can_be_stopped() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("ada", Role::Admin).await;
    let (account, other) = (
        ctx.shared_account("sandbox-key").await,
        ctx.shared_account("dal:sandbox-token").await,
    );
    let (chats, agents) = (
        ctx.oslo_dataset(&owner.actor, &account, "chat", "Chats")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "agents", "Agents")
            .await,
    );
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(7_200),
        })
        .on("/chats"),
    ]);
    let waits = reaches(&ctx, &start(&ctx, &owner, &chats).await, RunState::Waiting).await;
    let ahead = waits.due_at - ctx.app.clock.now();
    assert!((7_000_000..=7_200_000).contains(&ahead), "{ahead}");
    assert_eq!(waits.attempt, 0, "a wait is no attempt");
    // The whole account waits, without asking; another does not, since the workers are free.
    ctx.sandbox.forget_calls();
    let agents_wait = reaches(&ctx, &start(&ctx, &owner, &agents).await, RunState::Waiting).await;
    assert!((agents_wait.due_at - waits.due_at).abs() < 5_000);
    assert_eq!(ctx.sandbox.calls_total(), 0);
    let elsewhere = ctx
        .oslo_dataset(&owner.actor, &other, "groups", "Elsewhere")
        .await;
    assert_eq!(
        ctx.run(&owner.actor, &elsewhere).await.state,
        RunState::Succeeded
    );

    let zone = jiff::tz::TimeZone::get("Europe/Oslo").unwrap();
    let time = chatlake::clock::timestamp(waits.due_at)
        .to_zoned(zone)
        .strftime("%H:%M")
        .to_string();
    let list = owner.get("/datasets").await;
    assert!(
        list.texts(".status-cell")
            .iter()
            .any(|cell| cell.starts_with("Waiting")
                && cell.contains(&format!("{time}, LiveChat limits calls"))),
        "{}",
        list.text
    );
    let strip = owner
        .get(&format!("/datasets/{chats}"))
        .await
        .texts(".live")[0]
        .clone();
    assert!(
        strip.contains("Waiting until")
            && strip.contains(&format!("{time}: LiveChat limits calls")),
        "{strip}"
    );
    assert!(
        owner
            .get("/accounts")
            .await
            .texts(".health-cell")
            .iter()
            .any(|cell| cell.contains("Waiting until") && cell.contains("LiveChat limits calls"))
    );
    owner.post(&format!("/runs/{}/stop", waits.id), &[]).await;
    assert_eq!(ctx.ended(&waits.id).await.state, RunState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sunset_and_the_region_are_reported_once_and_stored() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("ada", Role::Admin).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "Agents")
        .await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Sunset {
            legacy: Some("2027-06-30".to_owned()),
            deprecation: None,
        }),
        Fault::new(FaultKind::Misdirected {
            region: "fra".to_owned(),
        })
        .times(1),
    ]);
    let run = ctx.run(&owner.actor, &dataset).await;
    assert_eq!(
        (run.state, run.calls),
        (RunState::Succeeded, 2),
        "{:?}",
        run.failure
    );
    let vendor_facts = ctx
        .app
        .accounts
        .get(&owner.actor, &account)
        .await
        .unwrap()
        .vendor_hints;
    assert_eq!(
        (
            vendor_facts
                .api_ends_on
                .map(|day| day.to_string())
                .as_deref(),
            vendor_facts.region.as_deref()
        ),
        (Some("2027-06-30"), Some("fra"))
    );
    let words = "LiveChat ends this API on Wed 30 Jun 2027";
    for page in ["/accounts".to_owned(), format!("/datasets/{dataset}")] {
        assert!(owner.get(&page).await.text.contains(words), "{page}");
    }
    // Where the account lives is remembered: no call is lost on the wrong place again.
    ctx.sandbox.faults().set(Vec::new());
    assert_eq!(ctx.run(&owner.actor, &dataset).await.calls, 1);
    let gauge = owner.get("/accounts").await.texts(".pace-cell")[0].clone();
    assert!(gauge.contains("3 of 60,000 calls"), "{gauge}");
    let metrics = ctx.metrics().await;
    assert!(
        metrics.contains(&format!(
            "chatlake_account_calls_last_minute{{account=\"{account}\"}} 3"
        )),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_where_there_was_something_is_believed_the_second_time_or_when_the_vendor_counts_it()
 {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = async |report: &str| {
        let dataset = ctx
            .oslo_dataset(&owner.actor, &account, report, report)
            .await;
        let checks = Choices {
            on_empty: OnEmpty::Check,
            ..Choices::default()
        };
        ctx.app
            .datasets
            .set_options(&owner.actor, &dataset, &checks)
            .await
            .unwrap();
        let run = ctx.run(&owner.actor, &dataset).await;
        assert!(
            run.state == RunState::Succeeded && run.rows > 0,
            "{report}: {:?}",
            run.failure
        );
        dataset
    };
    let answers = |body: &str| {
        ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Shape {
            body: body.to_owned(),
        })])
    };
    let (periods, visitors, messages) = (
        dataset("chat_report").await,
        dataset("visitors").await,
        dataset("chat_messages").await,
    );

    answers("{}");
    let first = ctx.run(&owner.actor, &periods).await;
    assert_eq!(
        (first.state, code(&first)),
        (RunState::Failed, "suspicious_empty")
    );
    let kept = ctx
        .app
        .datasets
        .versions
        .current(&periods)
        .await
        .unwrap()
        .unwrap();
    assert!(kept.rows > 0, "the rows from before stay");
    let second = ctx.run(&owner.actor, &periods).await;
    assert_eq!(
        (second.state, second.rows),
        (RunState::Succeeded, 0),
        "{:?}",
        second.failure
    );
    // Going back to an older version between two such answers is no run that found something.
    let by = || AuditActor {
        actor: &owner.actor,
        address: None,
    };
    ctx.app
        .puller
        .revert(by(), &periods, &kept.id)
        .await
        .unwrap();
    assert_eq!(
        code(&ctx.run(&owner.actor, &periods).await),
        "suspicious_empty",
        "the run before succeeded"
    );
    ctx.app
        .puller
        .revert(by(), &periods, &kept.id)
        .await
        .unwrap();
    let third = ctx.run(&owner.actor, &periods).await;
    assert_eq!(
        (third.state, third.rows),
        (RunState::Succeeded, 0),
        "{:?}",
        third.failure
    );

    answers("[]");
    let quiet = ctx.run(&owner.actor, &visitors).await;
    assert_eq!(
        (quiet.state, quiet.rows),
        (RunState::Succeeded, 0),
        "nobody is on the site: {:?}",
        quiet.failure
    );

    answers(r#"{"chats":[{"id":"A","messages":[]}],"total":1,"pages":1}"#);
    let silent = ctx.run(&owner.actor, &messages).await;
    assert_eq!(
        (silent.state, silent.rows, silent.verified()),
        (RunState::Succeeded, 0, Some(true)),
        "{:?}",
        silent.failure
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_stays_short_fails_and_the_rows_from_before_stay() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Chats")
        .await;
    let good = ctx.run(&owner.actor, &dataset).await;
    let before = owner.get(&format!("/datasets/{dataset}/download")).await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "nonsense".to_owned(),
        })
        .on("/chats")
        .page(2),
    ]);
    // Every window has one page only when the days are quiet; ask for the second page of the whole
    // by a lie about the count.
    ctx.sandbox.faults().add(
        Fault::new(FaultKind::LyingTotal { by: 30 })
            .on("/chats")
            .page(1),
    );
    let unreadable = ctx.run(&owner.actor, &dataset).await;
    assert_eq!(
        (unreadable.state, code(&unreadable)),
        (RunState::Failed, "malformed"),
        "{:?}",
        unreadable.failure
    );

    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::LyingTotal { by: 3 }).on("/chats"),
    ]);
    let short = ctx.run(&owner.actor, &dataset).await;
    assert_eq!(
        (short.state, code(&short)),
        (RunState::Failed, "incomplete")
    );
    let lines = ledger::of_run(&ctx.app.db, &short.id).await.unwrap();
    let lost: Vec<_> = lines
        .iter()
        .filter(|line| line.completeness() == Some(Completeness::Short))
        .collect();
    assert_eq!(
        (lost.len(), lost[0].counts.total),
        (1, Some(lost[0].counts.kept + 3)),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| !line.done),
        "no other window is called whole by a vendor that lies"
    );
    assert!(
        short.calls > 0,
        "what came to nothing was asked for all the same"
    );
    let page = owner.get(&format!("/runs/{}", short.id)).await;
    assert!(
        page.texts(".run-detail table")[0].contains("Incomplete"),
        "{}",
        page.text
    );

    let now = ctx
        .app
        .datasets
        .versions
        .current(&dataset)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (Some(now.id), now.rows as i64),
        (good.version_id, good.rows)
    );
    assert_eq!(
        owner
            .get(&format!("/datasets/{dataset}/download"))
            .await
            .bytes,
        before.bytes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_becomes_one_run_and_a_schedule_that_cannot_be_read_stops_no_other() {
    let ctx = TestContext::with_sandbox(of_size(200, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let (good, bad) = (
        ctx.oslo_dataset(&owner.actor, &account, "agents", "Good")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "groups", "Bad")
            .await,
    );
    let now = ctx.app.clock.now();
    // Three days of hours were missed by both.
    for (dataset, cron) in [(&bad, "0 0 31 2 x"), (&good, "0 * * * *")] {
        let mut tx = ctx.app.db.write().await.unwrap();
        sqlx::query("UPDATE datasets SET schedule = $1, next_run_at = $2 WHERE id = $3")
            .bind(cron)
            .bind(now - 3 * 86_400_000)
            .bind(dataset)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    ctx.app.puller.wake_scheduler.notify_one();
    let run = loop {
        if let Some(run) = queue::of_dataset(&ctx.app.db, &good, 0, 10)
            .await
            .unwrap()
            .into_iter()
            .next()
        {
            break run;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let run = ctx.ended(&run.id).await;
    assert_eq!(
        (run.state, run.trigger),
        (RunState::Succeeded, Trigger::Schedule)
    );
    assert_eq!(
        queue::count(&ctx.app.db, &good).await.unwrap(),
        1,
        "one run for all that was missed"
    );
    assert_eq!(queue::count(&ctx.app.db, &bad).await.unwrap(), 0);
    let next = async |dataset: &DatasetId| {
        ctx.app
            .datasets
            .for_run(dataset)
            .await
            .unwrap()
            .next_run_at
            .unwrap()
    };
    assert!((now..now + 3_600_000 + 60_000).contains(&next(&good).await));
    assert!(next(&bad).await > now, "it is looked at again later");
}
