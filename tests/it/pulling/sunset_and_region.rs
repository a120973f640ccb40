//! The sunset and the region that a vendor reports.

use chatlake::actor::Role;
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

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
    // The region of the account is stored: no further call goes to the wrong region.
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
