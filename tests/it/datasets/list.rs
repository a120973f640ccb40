//! The list, and what is done to a DataSet from it.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

#[tokio::test]
async fn the_list_begins_empty_and_says_what_to_do() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let viewer = ctx.person_with_session("vera", Role::Viewer).await;
    let page = owner.get("/datasets").await;
    assert!(page.texts("h2").contains(&"No DataSets yet".to_owned()));
    assert!(page.text.contains("href=\"/connect\""));
    assert!(
        !viewer
            .get("/datasets")
            .await
            .text
            .contains("href=\"/connect\"")
    );
}

#[tokio::test]
async fn failing_datasets_are_listed_first_with_their_reason_and_a_banner() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let (good, bad) = (
        ctx.shared_account("sandbox-key").await,
        ctx.shared_account("wrong").await,
    );
    let fine = ctx
        .oslo_dataset(&owner.actor, &good, "agents", "A fine one")
        .await;
    let failing = ctx
        .oslo_dataset(&owner.actor, &bad, "agents", "Z the failing one")
        .await;
    ctx.run(&owner.actor, &fine).await;
    ctx.run(&owner.actor, &failing).await;
    ctx.run(&owner.actor, &failing).await;
    let page = owner.get("/datasets").await;
    assert_eq!(
        page.texts("tr[data-row] a.name"),
        ["Z the failing one", "A fine one"]
    );
    assert_eq!(page.texts("tr[data-row] .status"), ["Failed", "Up to date"]);
    let reason = page.texts("tr.band-row").remove(0);
    assert!(
        reason.contains("LiveChat rejected the credentials")
            && reason.contains("must enter new credentials"),
        "{reason}"
    );
    // The account is another's: only who may change it is led there.
    assert!(!reason.contains("Update credentials"), "{reason}");
    let admin = ctx.person_with_session("adam", Role::Admin).await;
    assert!(
        admin
            .get("/datasets")
            .await
            .texts("tr.band-row")
            .remove(0)
            .contains("Update credentials")
    );
    assert!(
        page.texts(".bands .band")
            .remove(0)
            .contains("1 DataSet failed. “Z the failing one” since")
    );
    assert_eq!(
        owner
            .get("/datasets?quick=attention")
            .await
            .texts("tr[data-row] a.name"),
        ["Z the failing one"]
    );
    assert_eq!(
        owner
            .get("/datasets?q=FINE+agents")
            .await
            .texts("tr[data-row] a.name"),
        ["A fine one"]
    );
    assert!(
        owner
            .get("/datasets?q=%3Cscript%3E")
            .await
            .texts("h2")
            .contains(&"No DataSets match".to_owned())
    );
    assert_eq!(
        owner
            .get("/datasets?sort=name&page=99")
            .await
            .texts("tr[data-row] a.name"),
        ["A fine one", "Z the failing one"]
    );
    let overview = owner.get(&format!("/datasets/{failing}")).await.text;
    assert!(overview.contains("What happened") && overview.contains("No data yet."));
}

#[tokio::test]
async fn a_colleague_sees_what_is_shared_and_only_reads_it() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let (owner, colleague, admin) = (
        ctx.person_with_session("olga", Role::Editor).await,
        ctx.person_with_session("carl", Role::Viewer).await,
        ctx.person_with_session("ada", Role::Admin).await,
    );
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "Agents")
        .await;
    let run = ctx.run(&owner.actor, &dataset).await;
    let pages = ["", "/data", "/data/schema", "/history", "/download"]
        .map(|part| format!("/datasets/{dataset}{part}"));
    let run_pages = ["", "/progress", "/events"].map(|part| format!("/runs/{}{part}", run.id));
    let missing = colleague
        .get("/datasets/ds_00000000000000000000000000000000")
        .await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    for path in pages.iter().chain(&run_pages) {
        let answer = colleague.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(admin.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in [
        "/datasets/missed",
        "/datasets/missed/data",
        "/runs/missed",
        "/datasets/..%2f/history",
    ] {
        assert_eq!(
            owner.get(path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert!(
        colleague
            .get("/datasets")
            .await
            .texts("h2")
            .contains(&"No DataSets yet".to_owned())
    );
    let answer = owner
        .post(
            &format!("/datasets/{dataset}/sharing"),
            &[("shared", "true")],
        )
        .await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (
            StatusCode::SEE_OTHER,
            format!("/datasets/{dataset}/settings").as_str()
        )
    );
    for path in pages.iter().chain(&run_pages) {
        let answer = colleague.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let changes = answer.text.matches("method=\"post\"").count();
        assert_eq!(
            changes,
            usize::from(answer.header("content-type").starts_with("text/html")),
            "{path}: a reader may do nothing but sign out"
        );
    }
    for (path, fields) in [
        ("run", &[][..]),
        ("sharing", &[]),
        ("rename", &[("name", "Mine")]),
        ("delete", &[]),
    ] {
        assert_eq!(
            colleague
                .post(&format!("/datasets/{dataset}/{path}"), fields)
                .await
                .status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    owner
        .post(&format!("/datasets/{dataset}/sharing"), &[])
        .await;
    assert_eq!(colleague.get(&pages[0]).await.status, StatusCode::NOT_FOUND);
    for path in ["run", "sharing", "rename", "delete"] {
        assert_eq!(
            colleague
                .post(&format!("/datasets/{dataset}/{path}"), &[])
                .await
                .status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_hostile_name_is_text_on_every_page_and_harmless_in_a_download() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let name = "\"><script>alert(1)</script> ../../x.exe";
    // One that would be read in another order is no name.
    assert_eq!(
        chatlake::datasets::DatasetName::parse(&format!("{name}\u{202e}x"))
            .unwrap_err()
            .field_errors()[0]
            .0,
        "name"
    );
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "agents", name)
        .await;
    ctx.run(&owner.actor, &dataset).await;
    let paths = [
        "",
        "/data",
        "/data/schema",
        "/history",
        "/rename",
        "/delete",
    ]
    .map(|part| format!("/datasets/{dataset}{part}"));
    for path in paths
        .iter()
        .map(String::as_str)
        .chain(["/datasets", "/activity"])
    {
        let answer = owner.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.text.contains("<script>alert"), "{path}");
        assert!(
            answer.text.contains("script&#62;alert"),
            "{path} does not show the name"
        );
    }
    let disposition = owner.get(&format!("/datasets/{dataset}/download")).await;
    let disposition = disposition.header("content-disposition");
    assert!(
        disposition.starts_with("attachment; filename=\"")
            && !disposition.contains("..%2F")
            && !disposition.contains('<'),
        "{disposition}"
    );
}

#[tokio::test]
async fn a_dataset_is_renamed_and_deleted_after_naming_what_goes() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "agents", "Agents")
        .await;
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "[{\"login\": \"one@house.test\"}]".to_owned(),
        })
        .on("/agents"),
    ]);
    ctx.run(&owner.actor, &dataset).await;
    ctx.sandbox.faults().clear();
    let run = ctx.run(&owner.actor, &dataset).await;
    let rename = format!("/datasets/{dataset}/rename");
    let wrong = owner
        .post(&rename, &[("name", "  "), ("description", "typed already")])
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.text.contains("Enter a name (1 to 200 characters).")
            && wrong.text.contains("typed already")
    );
    let answer = owner
        .post(
            &rename,
            &[("name", "People"), ("description", "All agents")],
        )
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let page = owner.get(answer.header("location")).await;
    assert_eq!(page.texts("h1"), ["People"]);
    assert_eq!(page.texts(".toast"), ["Name and description are saved."]);
    assert!(
        owner
            .get(&format!("/datasets/{dataset}"))
            .await
            .texts(".toast")
            .is_empty()
    );
    let ask = owner.get(&format!("/datasets/{dataset}/delete")).await.text;
    assert!(
        ask.contains(&format!("{} rows", run.rows))
            && ask.contains("2 versions")
            && ask.contains("2 runs"),
        "{ask}"
    );
    let answer = owner
        .post(&format!("/datasets/{dataset}/delete"), &[])
        .await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, "/datasets")
    );
    assert_eq!(
        owner.get(&format!("/datasets/{dataset}")).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        owner.get(&format!("/runs/{}", run.id)).await.status,
        StatusCode::NOT_FOUND
    );
}
