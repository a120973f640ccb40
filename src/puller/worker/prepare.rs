//! Prepares claimed runs for a pull: their DataSets, writers and shared plan.

use sha2::{Digest, Sha256};

use super::PullingRun;
use crate::connectors::report::UpdateMode;
use crate::connectors::{Source, Window};
use crate::datasets::Dataset;
use crate::datasets::update_mode::Stamp;
use crate::error::Result;
use crate::puller::live::ProgressGuard;
use crate::puller::queue::{self, CallStats, Claimed, LeaseState, RunPlan};
use crate::puller::{Puller, disk_space};

/// Prepares a run of the set. `leader`: the source key of the first run. Returns `None` after
/// requeueing the run: if disk space is low, or if the run cannot share the read because its
/// DataSet was changed after it was queued.
pub(super) async fn prepare(
    puller: &Puller,
    mut run: Claimed,
    progress: ProgressGuard,
    leader: Option<&str>,
) -> Result<Option<PullingRun>> {
    let dataset = puller.datasets.for_run(&run.dataset_id).await?;
    if let Some(account) = &dataset.account_id {
        puller
            .accounts
            .ensure_usable_by(account, &dataset.owner_id)
            .await?;
    }
    if disk_space::defer_if_low(puller, &run, &dataset).await? {
        return Ok(None);
    }
    let key = run.source_key_of(&dataset);
    if key != run.source_key {
        queue::leave_shared_read(&puller.db, &mut run, &key).await?;
    }
    if leader.is_some_and(|leader| leader != key) {
        queue::requeue(&puller.db, &puller.clock, &run, None, CallStats::default()).await?;
        puller.wake_dispatcher.notify_one();
        return Ok(None);
    }
    let writer = puller
        .datasets
        .segments
        .with_own_counter()
        .writer(&run.dataset_id, &run.id);
    let stamp = match dataset.update_mode {
        UpdateMode::Replace => None,
        _ => queue::batch_number(&puller.db, &run)
            .await
            .map(|(batch_id, last_run)| Some(Stamp { batch_id, last_run }))?,
    };
    Ok(Some(PullingRun {
        run,
        dataset,
        writer,
        progress,
        rows: 0,
        window_rows: 0,
        stamp,
        empty_parents: Vec::new(),
        lease_lost: None,
    }))
}

/// The plan that all runs of the set share. A run with another plan is requeued: an earlier attempt
/// was interrupted at another window.
pub(super) async fn share_plan(
    puller: &Puller,
    set: &mut Vec<PullingRun>,
    source: &Source,
    fresh: &[Window],
) -> Result<Option<RunPlan>> {
    let mut shared: Option<RunPlan> = None;
    let mut at = 0;
    while at < set.len() {
        let PullingRun { run, dataset, .. } = &set[at];
        let windows = shared.as_ref().map_or(fresh, |plan| &plan.windows);
        let key = plan_key(run, dataset, source);
        let plan = queue::load_or_create_plan(&puller.db, run, &key, windows).await?;
        match (plan, &shared) {
            (Some(plan), None) => shared = Some(plan),
            (Some(plan), Some(leader))
                if plan.windows == leader.windows && plan.remaining() == leader.remaining() => {}
            (Some(_), Some(_)) => {
                queue::requeue(&puller.db, &puller.clock, run, None, CallStats::default()).await?;
                puller.wake_dispatcher.notify_one();
                set.remove(at).writer.abandon();
                continue;
            }
            (None, _) => set[at].lease_lost = Some(LeaseState::Lost),
        }
        // The writer continues after the rows that an earlier attempt checkpointed, which are known
        // only now.
        let PullingRun { run, .. } = &set[at];
        let writer = puller
            .datasets
            .segments
            .with_own_counter()
            .resume(&run.dataset_id, &run.id)
            .await?;
        (set[at].rows, set[at].writer) = (writer.rows(), writer);
        at += 1;
    }
    Ok(shared)
}

/// Identifies what a plan is for. The key covers the request, the account, and how records become
/// rows.
fn plan_key(run: &Claimed, dataset: &Dataset, source: &Source) -> String {
    let zone = source.zone.iana_name();
    let mode = dataset.update_mode.word();
    let plan_key = format!(
        "{} {} {mode} {} {:?} {zone:?}",
        run.source_key,
        dataset.report.id,
        source.upstream.address(),
        source.fields
    );
    Sha256::digest(plan_key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
