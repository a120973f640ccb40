//! Runs that share one read of the vendor.

use chatlake::actor::Role;
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::DatasetId;
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::start_run;
use super::wait_for_state;
use crate::support::context::TestContext;
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

#[tokio::test(flavor = "multi_thread")]
async fn nine_chat_reports_started_together_share_the_calls_of_one() {
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
    // Several workers are idle: none of the other runs may start its own read.
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(start_run(&ctx, &owner, dataset).await);
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
async fn a_queued_run_uses_the_changed_settings_of_its_dataset() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    // Both workers process slow runs.
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
        start_run(&ctx, &owner, &agents).await,
        start_run(&ctx, &owner, &groups).await,
    ];
    for run in &busy {
        wait_for_state(&ctx, run, RunState::Running).await;
    }
    let (all, one) = (
        ctx.oslo_dataset(&owner.actor, &account, "chat", "All")
            .await,
        ctx.oslo_dataset(&owner.actor, &account, "chat", "One")
            .await,
    );
    let runs = [
        start_run(&ctx, &owner, &all).await,
        start_run(&ctx, &owner, &one).await,
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
