//! What happens to a DataSet whose runs fail or do not come, on a clock that the test moves.

mod late_data;
mod manual_actions;
mod retries;
mod settings;
mod stalled_runs;
mod stopped_schedules;

use chatlake::actor::Actor;
use chatlake::ids::DatasetId;
use chatlake::puller::queue;
use chatlake::puller::run::Run;
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::until;

fn audit_actor(owner: &Actor) -> chatlake::auth::audit::AuditActor<'_> {
    chatlake::auth::audit::AuditActor {
        actor: owner,
        address: None,
    }
}

/// The newest run, once there are `count` runs and it has ended.
async fn newest_run(ctx: &TestContext, dataset: &DatasetId, count: i64) -> Run {
    let newest = until("so many runs", async || {
        (queue::count(&ctx.app.db, dataset).await.unwrap() >= count).then_some(())?;
        queue::of_dataset(&ctx.app.db, dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
    })
    .await;
    ctx.ended(&newest.id).await
}

fn set_nonsense_answer(ctx: &TestContext) {
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "nonsense".to_owned(),
        })
        .on("/agents"),
    ]);
}
