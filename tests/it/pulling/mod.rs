//! Pulls through the product, against the sandbox.

mod empty_answers;
mod rate_limits;
mod rejected_keys;
mod shared_reads;
mod sunset_and_region;

use std::time::Duration;

use chatlake::ids::DatasetId;
use chatlake::puller::queue;
use chatlake::puller::run::{Run, RunState, Trigger};

use crate::support::context::TestContext;
use crate::support::http::PersonBrowser;

/// Waits until a run is in this state.
async fn wait_for_state(ctx: &TestContext, run: &Run, state: RunState) -> Run {
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

async fn start_run(ctx: &TestContext, who: &PersonBrowser, dataset: &DatasetId) -> Run {
    ctx.app
        .puller
        .run_now(&who.actor, dataset, Trigger::Manual)
        .await
        .unwrap()
}

fn failure_code(run: &Run) -> &str {
    run.failure
        .as_ref()
        .map_or("", |failure| failure.code.as_str())
}
