//! Older versions of a DataSet, its days, and copies of it: pages and API.

mod calendar;
mod copies;
mod retention;
mod revert;

use chatlake::actor::{Actor, Role};
use chatlake::datasets::options::{DatasetOptions, OnEmpty};
use chatlake::ids::DatasetId;
use chatlake::puller::run::{Run, RunState};
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::http::Browser;

/// An owner at a browser, and a DataSet of the last seven days with two versions that differ.
async fn dataset_with_two_versions(ctx: &TestContext) -> (Actor, Browser, DatasetId, Run, Run) {
    let (owner, browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "People").await;
    let one = ctx.run(&owner, &dataset).await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "[]".to_owned(),
        })
        .on("/agents"),
    ]);
    ctx.app
        .datasets
        .set_options(
            &owner,
            &dataset,
            &DatasetOptions {
                on_empty: OnEmpty::Empty,
                ..DatasetOptions::default()
            },
        )
        .await
        .unwrap();
    let two = ctx.run(&owner, &dataset).await;
    ctx.sandbox.faults().clear();
    assert_eq!(
        (one.state, two.state, two.rows),
        (RunState::Succeeded, RunState::Succeeded, 0)
    );
    (owner, browser, dataset, one, two)
}
