//! Answers that are empty, incomplete or cannot be read.

use chatlake::actor::Role;
use chatlake::auth::audit::AuditActor;
use chatlake::connectors::Completeness;
use chatlake::datasets::options::{DatasetOptions as Choices, OnEmpty};
use chatlake::puller::ledger;
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::failure_code;
use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_accepted_if_it_is_repeated_or_counted_by_the_vendor() {
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
        (first.state, failure_code(&first)),
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
    // A revert between two such answers does not count as a run that found rows.
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
        failure_code(&ctx.run(&owner.actor, &periods).await),
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
async fn unreadable_or_incomplete_answers_fail_the_run_and_existing_rows_stay() {
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
    // A window may have only one page, so a wrong count makes the run request a second page.
    ctx.sandbox.faults().add(
        Fault::new(FaultKind::LyingTotal { by: 30 })
            .on("/chats")
            .page(1),
    );
    let unreadable = ctx.run(&owner.actor, &dataset).await;
    assert_eq!(
        (unreadable.state, failure_code(&unreadable)),
        (RunState::Failed, "malformed"),
        "{:?}",
        unreadable.failure
    );

    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::LyingTotal { by: 3 }).on("/chats"),
    ]);
    let short = ctx.run(&owner.actor, &dataset).await;
    assert_eq!(
        (short.state, failure_code(&short)),
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
