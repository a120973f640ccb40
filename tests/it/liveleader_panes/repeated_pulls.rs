//! What a later pull changes, and the backfill of past days.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use chatlake::connectors::report::UpdateMode;
use chatlake::ids::DatasetId;
use chatlake::puller::{backfills, coverage, ledger};
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::at_noon;
use super::cells;
use super::dataset_with;
use super::run_all;
use super::truth_of;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_lost_its_operators_and_messages_is_emptied_at_the_next_pull() {
    let (ctx, maren, account, today) = at_noon().await;
    let mut made = Vec::new();
    for report in ["chats", "chat_messages", "chat_operators"] {
        made.push(dataset_with(&ctx, &maren, &account, report, UpdateMode::Merge, 3, 1).await);
    }
    let all: Vec<&DatasetId> = made.iter().collect();
    run_all(&ctx, &maren, &all).await;
    let rows = async || {
        (
            cells(&maren, &made[1], &["chat_id", "position"]).await,
            cells(&maren, &made[2], &["chat_id", "operator"]).await,
        )
    };
    let set = |rows: Vec<Vec<String>>| rows.into_iter().collect::<BTreeSet<_>>();
    let (messages, operators) = rows().await;
    let lookback = truth_of(
        &ctx,
        today.saturating_sub(jiff::Span::new().days(3)),
        today.yesterday().unwrap(),
    );

    // The first chat of every answer; the three look at the same answers.
    ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Bare)]);
    let runs = run_all(&ctx, &maren, &all).await;
    ctx.sandbox.faults().clear();
    for run in &runs {
        let lines = ledger::of_run(&ctx.app.db, &run.id).await.unwrap();
        assert_eq!(lines.len(), 3, "the days that it looks back");
    }
    let bare: BTreeSet<String> =
        cells(&maren, &made[0], &["id", "operator_count", "message_count"])
            .await
            .into_iter()
            .filter(|row| row[1] == "0")
            .map(|row| {
                assert_eq!(row[2], "0", "{row:?}");
                row[0].clone()
            })
            .collect();
    assert!(
        !bare.is_empty() && bare.len() < 4 && bare.is_subset(&lookback),
        "{bare:?}"
    );
    let (messages_left, operators_left) = rows().await;
    let without = |rows: &[Vec<String>]| {
        rows.iter()
            .filter(|row| !bare.contains(&row[0]))
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        (messages_left.len(), operators_left.len()),
        (without(&messages).len(), without(&operators).len()),
        "each once"
    );
    assert_eq!(
        (set(messages_left), set(operators_left)),
        (without(&messages), without(&operators))
    );
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM windows WHERE empty_parents IS NOT NULL")
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
    assert_eq!(left, 0, "what was noted for the merge goes with it");

    // The chat is filled again when the vendor returns them.
    run_all(&ctx, &maren, &all).await;
    let (messages_again, operators_again) = rows().await;
    assert_eq!(
        (messages_again.len(), operators_again.len()),
        (messages.len(), operators.len())
    );
    assert_eq!(
        (set(messages_again), set(operators_again)),
        (set(messages), set(operators))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_follows_the_vendor_and_merge_keeps_what_it_deleted() {
    let (ctx, maren, account, today) = at_noon().await;
    let (partition, merge) = (
        dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Partition, 0, 1).await,
        dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Merge, 0, 1).await,
    );
    run_all(&ctx, &maren, &[&partition, &merge]).await;
    let span = |days: i64| today.saturating_sub(jiff::Span::new().days(days));
    let before = truth_of(&ctx, span(14), span(1));
    let ids = async |dataset: &DatasetId| {
        let ids: Vec<String> = cells(&maren, dataset, &["id"])
            .await
            .into_iter()
            .flatten()
            .collect();
        let set: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(set.len(), ids.len(), "each once");
        set
    };
    assert_eq!(
        (ids(&partition).await, ids(&merge).await),
        (before.clone(), before.clone())
    );
    // The vendor loses chats after each answer.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Mutate { seed: 3 })]);
    for _ in 0..4 {
        run_all(&ctx, &maren, &[&partition, &merge]).await;
    }
    ctx.sandbox.faults().clear();
    run_all(&ctx, &maren, &[&partition, &merge]).await;
    let after = truth_of(&ctx, span(14), span(1));
    assert!(
        after.is_subset(&before) && after.len() < before.len(),
        "the vendor has lost some"
    );
    assert_eq!((ids(&partition).await, ids(&merge).await), (after, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn past_days_are_backfilled_and_the_calendar_shows_each() {
    let (ctx, maren, account, today) = at_noon().await;
    let chats = dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Merge, 2, 1).await;
    run_all(&ctx, &maren, &[&chats]).await;
    let span = |days: i64| today.saturating_sub(jiff::Span::new().days(days));
    let days = async || {
        let dataset = ctx.app.datasets.get(&maren.actor, &chats).await.unwrap();
        coverage::of_dataset(&ctx.app.db, &ctx.app.clock, &dataset)
            .await
            .unwrap()
    };
    let states_by_day = |days: &[coverage::CoverageDay]| {
        days.iter()
            .map(|day| (day.day, day.state))
            .collect::<Vec<_>>()
    };
    let held = |first: i64, last: i64| {
        (last..=first)
            .rev()
            .map(|back| (span(back), coverage::DayState::Unverified))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states_by_day(&days().await),
        held(14, 1),
        "LiveLeader sends no count to compare a day with"
    );

    let to = maren
        .post(
            &format!("/datasets/{chats}/backfill"),
            &[
                ("from", &span(25).to_string()),
                ("to", &span(17).to_string()),
                ("chunk_days", "4"),
            ],
        )
        .await;
    assert_eq!(to.status, StatusCode::SEE_OTHER, "{}", to.text);
    let done = until("the backfill has ended", async || {
        Some(
            ctx.app
                .puller
                .backfills(&maren.actor, &chats)
                .await
                .unwrap()
                .remove(0),
        )
        .filter(|backfill| backfill.state != backfills::BackfillState::Running)
    })
    .await;
    assert_eq!(
        (done.state, done.chunks_done()),
        (backfills::BackfillState::Finished, 3),
        "{:?}",
        done.stop_reason
    );
    let missing = |back: i64| (span(back), coverage::DayState::Missing);
    assert_eq!(
        states_by_day(&days().await),
        [held(25, 17), vec![missing(16), missing(15)], held(14, 1)].concat()
    );
    let all = &truth_of(&ctx, span(25), span(17)) | &truth_of(&ctx, span(14), span(1));
    let ids: Vec<String> = cells(&maren, &chats, &["id"])
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(
        (ids.len(), ids.into_iter().collect::<BTreeSet<_>>()),
        (all.len(), all)
    );

    let page = maren
        .get(&format!("/datasets/{chats}/coverage"))
        .await
        .html();
    let count = |css: &str| page.select(&scraper::Selector::parse(css).unwrap()).count();
    assert_eq!(
        (count("a.cal-day.is-held"), count("a.cal-day.is-missing")),
        (23, 2)
    );
    // The next pull reads two days again and removes nothing.
    let run = run_all(&ctx, &maren, &[&chats]).await.remove(0);
    assert_eq!(ledger::of_run(&ctx.app.db, &run.id).await.unwrap().len(), 2);
    assert_eq!(states_by_day(&days().await).len(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_not_over_when_it_was_read_is_stale_until_it_is_read_again() {
    let (ctx, maren, account, today) = at_noon().await;
    let chats = dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Merge, 1, 0).await;
    let state = async || {
        let dataset = ctx.app.datasets.get(&maren.actor, &chats).await.unwrap();
        let days = coverage::of_dataset(&ctx.app.db, &ctx.app.clock, &dataset)
            .await
            .unwrap();
        days.into_iter().find(|day| day.day == today).unwrap().state
    };
    run_all(&ctx, &maren, &[&chats]).await;
    assert_eq!(state().await, coverage::DayState::SoFar);
    ctx.app.clock.advance(86_400_000);
    assert_eq!(state().await, coverage::DayState::Stale);
    run_all(&ctx, &maren, &[&chats]).await;
    assert_eq!(state().await, coverage::DayState::Unverified);
}
