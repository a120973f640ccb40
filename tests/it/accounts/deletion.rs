//! The deletion of an account and what it leaves.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::puller::run::RunState;

use super::row;
use crate::support::context::TestContext;

#[tokio::test]
async fn deleting_names_the_datasets_that_stop() {
    let ctx = TestContext::new().await;
    let (carl, mut his) = ctx.signed_in_person("carl", Role::Editor).await;
    let account = ctx.account(&carl, "Support Oslo").await;
    let ask = format!("/accounts/{}/delete", account.id);
    let unused = his.get(&ask).await;
    assert!(
        unused.text.contains("No DataSet uses it.")
            && unused.words(".is-danger") == "Delete account"
    );
    let agents = ctx
        .dataset(&carl, &account.id, "agents", "Agents & <b>groups</b>")
        .await;
    ctx.dataset(&carl, &account.id, "chat", "Chats, last week")
        .await;
    let listed = his.get("/accounts").await;
    assert!(
        row(&listed, "Support Oslo").contains("2 DataSets")
            && row(&listed, "Support Oslo").contains("Not run yet")
    );

    let question = his.get(&ask).await;
    assert_eq!(
        question.all(".ask-list .cut"),
        ["Agents & <b>groups</b>", "Chats, last week"]
    );
    assert_eq!(
        question.words("button.is-danger"),
        "Delete account and stop 2 DataSets"
    );
    assert!(
        question
            .text
            .contains("These 2 DataSets stop updating. Their history and links stay."),
        "{}",
        question.text
    );
    assert_eq!(
        his.get("/accounts")
            .await
            .all("table.accounts tbody tr")
            .len(),
        1,
        "asking deletes nothing"
    );
    let done = his.submit(&ask, &[]).await;
    assert!(
        done.toast()
            .contains("Support Oslo deleted. 2 DataSets stop updating."),
        "{}",
        done.toast()
    );
    assert!(
        ctx.app
            .datasets
            .get(&carl, &agents)
            .await
            .unwrap()
            .account_id
            .is_none()
    );
    assert_eq!(his.get(&ask).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rows_stay_when_their_account_is_deleted() {
    let ctx = TestContext::with_workers().await;
    let (carl, mut his) = ctx.signed_in_person("carl", Role::Editor).await;
    let account = ctx.account(&carl, "Support Oslo").await;
    let agents = ctx.dataset(&carl, &account.id, "agents", "Agents").await;
    let run = ctx.run(&carl, &agents).await;
    assert_eq!(
        (run.state, run.rows > 0),
        (RunState::Succeeded, true),
        "{:?}",
        run.failure
    );
    assert!(row(&his.get("/accounts").await, "Support Oslo").contains("Up to date"));
    let ask = format!("/accounts/{}/delete", account.id);
    let question = his.get(&ask).await;
    assert!(
        question.text.contains(&format!(
            "This DataSet stops updating. Its {} rows, history and links stay.",
            run.rows
        )),
        "{}",
        question.text
    );
    his.submit(&ask, &[]).await;
    assert_eq!(
        ctx.app
            .datasets
            .get(&carl, &agents)
            .await
            .unwrap()
            .current
            .unwrap()
            .rows,
        run.rows
    );
}
