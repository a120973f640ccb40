//! Accounts, as people keep them. Olga is an admin, Carl owns an account, Stan is another editor,
//! Vera a viewer.

use axum::http::StatusCode;
use chatlake::actor::{Actor, Role};
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;

use crate::support::context::TestContext;
use crate::support::http::{Browser, Page};

const CANARY: &str = "canary-4711";
const NEW: &str = "/accounts/new?connector=livechat";

/// The form of a new account as an admin fills it in.
fn filled<'a>(ctx: &'a TestContext, name: &'a str, key: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("name", name),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", key),
        ("api_url", &ctx.vendor),
    ]
}

async fn only(ctx: &TestContext, actor: &Actor) -> chatlake::accounts::Account {
    let mut all = ctx.app.accounts.list(actor).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn row(page: &Page, name: &str) -> String {
    page.all("table.accounts tbody tr")
        .into_iter()
        .find(|row| row.contains(name))
        .unwrap_or_default()
}

#[tokio::test]
async fn an_account_is_checked_before_it_is_stored_and_shows_the_result() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let empty = olga.get("/accounts").await;
    assert!(empty.text.contains("No accounts yet") && empty.has(&format!("a[href='{NEW}']")));
    let form = olga.get(NEW).await;
    assert_eq!(form.title(), "Add a LiveChat account");
    assert!(form.text.contains("A personal access token") && form.has("#api_url"));
    assert_eq!(
        form.attribute("[name='credentials.api_key']", "type")
            .as_deref(),
        Some("password")
    );
    assert_eq!(
        form.attribute("[name='credentials.api_key']", "autocomplete")
            .as_deref(),
        Some("new-password")
    );
    assert_eq!(
        form.attribute("#requests_per_minute", "value").as_deref(),
        Some("180")
    );

    let refused = olga
        .post(
            NEW,
            &[
                ("name", ""),
                ("credentials.username", "agent@sandbox.test"),
                ("credentials.api_key", CANARY),
                ("requests_per_minute", "many"),
                ("account_zone", "Mars"),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in ["name", "requests_per_minute", "account_zone"] {
        assert!(
            !refused.wrong(field).is_empty(),
            "{field}: {}",
            refused.text
        );
    }
    assert_eq!(
        refused
            .attribute("[name='credentials.username']", "value")
            .as_deref(),
        Some("agent@sandbox.test")
    );
    assert_eq!(
        refused
            .attribute("#requests_per_minute", "value")
            .as_deref(),
        Some("many")
    );
    assert!(!refused.text.contains(CANARY));
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "nothing is sent before all is right"
    );

    let refused = olga.post(NEW, &filled(&ctx, "Support Oslo", CANARY)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("api_key").contains("LiveChat rejected"),
        "{}",
        refused.text
    );
    assert!(
        !refused.text.contains(CANARY) && ctx.app.accounts.list(&actor).await.unwrap().is_empty()
    );

    let done = olga
        .submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    assert!(
        done.toast().contains("Support Oslo is connected:")
            && done.toast().contains("agents visible"),
        "{}",
        done.toast()
    );
    let shown = row(&done, "Support Oslo");
    assert!(
        shown.contains("agent@sandbox.test")
            && shown.contains("olga")
            && shown.contains("Valid")
            && shown.contains("checked just now"),
        "{shown}"
    );
    assert!(!done.text.contains("sandbox-key"));
}

#[tokio::test]
async fn an_unreachable_vendor_is_reported_and_nothing_is_stored() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 404 })]);
    let refused = olga
        .post(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    assert!(refused.status.is_server_error() || refused.status.is_client_error());
    assert!(
        refused.words("[role=alert]").contains("Nothing was saved"),
        "{}",
        refused.text
    );
    assert!(
        !refused.text.contains("sandbox-key")
            && !refused.words("[role=alert]").contains("127.0.0.1"),
        "neither secret nor address is told"
    );
    assert!(ctx.app.accounts.list(&actor).await.unwrap().is_empty());
}

#[tokio::test]
async fn secrets_are_written_and_never_read() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let account = only(&ctx, &actor).await;
    let edit = format!("/accounts/{}/edit", account.id);
    for path in [
        "/accounts",
        &edit,
        &format!("/accounts/{}/delete", account.id),
        NEW,
    ] {
        let page = olga.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.text.contains("sandbox-key"), "{path}");
        assert_eq!(page.headers["cache-control"], "no-store");
    }
    let form = olga.get(&edit).await;
    assert!(
        form.text.contains("Set on 20 November 2026"),
        "{}",
        form.text
    );
    assert_eq!(
        form.attribute("[name='credentials.api_key']", "value"),
        None
    );
    assert!(
        !ctx.on_disk()
            .windows(11)
            .any(|bytes| bytes == b"sandbox-key")
    );
}

#[tokio::test]
async fn an_empty_secret_leaves_the_stored_one() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let before = only(&ctx, &actor).await;
    ctx.clock.advance(60_000);
    ctx.sandbox.forget_calls();
    let edit = format!("/accounts/{}/edit", before.id);
    let mut fields = filled(&ctx, "Support Bergen", "");
    fields.extend([
        ("requests_per_minute", "600"),
        ("account_zone", "Europe/Oslo"),
        ("shared", "true"),
        ("owner_id", "usr_1"),
        ("id", "acc_1"),
        ("sealed_at", "1"),
    ]);
    let done = olga.submit(&edit, &fields).await;
    assert_eq!(done.toast(), "Support Bergen is saved.");
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "the vendor is not asked when the credentials stay"
    );
    let after = only(&ctx, &actor).await;
    assert_eq!(
        (
            after.name.as_str(),
            after.requests_per_minute,
            after.time_zone.as_str(),
            after.shared
        ),
        ("Support Bergen", 600, "Europe/Oslo", true)
    );
    assert_eq!(
        (after.sealed_at, &after.owner_id, &after.id),
        (before.sealed_at, &actor.user, &before.id)
    );
    let checked = olga
        .submit(&format!("/accounts/{}/check", before.id), &[])
        .await;
    assert!(
        checked.toast().contains("Support Bergen works:"),
        "{}",
        checked.toast()
    );
}

#[tokio::test]
async fn a_new_secret_is_tried_before_it_replaces_the_old_one() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let before = only(&ctx, &actor).await;
    ctx.clock.advance(60_000);
    let edit = format!("/accounts/{}/edit", before.id);
    let refused = olga.post(&edit, &filled(&ctx, "Renamed", CANARY)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused
            .wrong("api_key")
            .contains("rejected these credentials")
            && !refused.text.contains(CANARY)
    );
    assert_eq!(
        refused.attribute("#name", "value").as_deref(),
        Some("Renamed")
    );
    assert_eq!(only(&ctx, &actor).await.sealed_at, before.sealed_at);
    let done = olga
        .submit(&edit, &filled(&ctx, "Renamed", "dal:sandbox-token"))
        .await;
    assert!(
        done.toast().contains("Renamed is saved and connected:"),
        "{}",
        done.toast()
    );
    assert!(only(&ctx, &actor).await.sealed_at > before.sealed_at);
}

#[tokio::test]
async fn another_address_demands_the_secret_again_and_an_admin() {
    let ctx = TestContext::new().await;
    let other = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let account = only(&ctx, &actor).await;
    let edit = format!("/accounts/{}/edit", account.id);
    let mut fields = filled(&ctx, "Support Oslo", "");
    fields.retain(|(name, _)| *name != "api_url");
    fields.push(("api_url", &other.vendor));
    let refused = olga.post(&edit, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("api_key").contains("Enter the API Key again"),
        "{}",
        refused.text
    );
    assert_eq!(
        other.sandbox.calls_total(),
        0,
        "the stored secret went nowhere"
    );
    for private in [
        "http://10.0.0.1",
        "https://169.254.169.254",
        "file:///etc/passwd",
        "http://example.com",
    ] {
        let refused = olga
            .post(
                NEW,
                &[
                    ("name", "x"),
                    ("credentials.username", "a@b.test"),
                    ("credentials.api_key", CANARY),
                    ("api_url", private),
                ],
            )
            .await;
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{private}"
        );
        assert!(
            !refused.wrong("api_url").is_empty(),
            "{private}: {}",
            refused.text
        );
    }

    let (_, mut carl) = ctx.signed_in_person("carl", Role::Editor).await;
    assert!(
        !carl.get(NEW).await.has("#api_url"),
        "the address is for admins"
    );
    assert_eq!(
        carl.post(NEW, &filled(&ctx, "Mine", "sandbox-key"))
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(other.sandbox.calls_total(), 0);
}

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
async fn rows_stay_when_their_account_goes() {
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

#[tokio::test]
async fn strangers_and_viewers_do_not_reach_an_account() {
    let ctx = TestContext::new().await;
    let (carl, mut his) = ctx.signed_in_person("carl", Role::Editor).await;
    let account = ctx.account(&carl, "Support Oslo").await;
    let (_, mut stan) = ctx.signed_in_person("stan", Role::Editor).await;
    let (_, mut vera) = ctx.signed_in_person("vera", Role::Viewer).await;
    let missing = "acc_00000000000000000000000000000000";
    assert!(!stan.get("/accounts").await.text.contains("Support Oslo"));
    for (verb, is_get) in [
        ("edit", true),
        ("edit", false),
        ("delete", true),
        ("delete", false),
        ("check", false),
    ] {
        let foreign = request_account(&mut stan, account.id.as_str(), verb, is_get).await;
        let nothing = request_account(&mut stan, missing, verb, is_get).await;
        assert_eq!(
            (foreign.0, nothing.0),
            (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            "{verb}"
        );
        assert_eq!(foreign.1, nothing.1, "{verb}");
        assert_eq!(
            request_account(&mut vera, account.id.as_str(), verb, is_get)
                .await
                .0,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
        assert_eq!(
            request_account(&mut vera, missing, verb, is_get).await.0,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
    }
    for path in ["/accounts", NEW] {
        assert_eq!(vera.get(path).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        vera.post(NEW, &filled(&ctx, "Mine", "sandbox-key"))
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "nobody's knocking reached the vendor"
    );

    let mut fields = filled(&ctx, "Support Oslo", "");
    fields.retain(|(name, _)| *name != "api_url");
    fields.push(("shared", "true"));
    his.submit(&format!("/accounts/{}/edit", account.id), &fields)
        .await;
    let listed = stan.get("/accounts").await;
    assert!(
        row(&listed, "Support Oslo").contains("Test") && !listed.has("a[href$='/edit']"),
        "a shared account is used, not changed"
    );
    for (verb, is_get) in [
        ("edit", true),
        ("edit", false),
        ("delete", true),
        ("delete", false),
    ] {
        assert_eq!(
            request_account(&mut stan, account.id.as_str(), verb, is_get)
                .await
                .0,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
    }
    assert_eq!(
        request_account(&mut stan, account.id.as_str(), "check", false)
            .await
            .0,
        StatusCode::SEE_OTHER
    );
}

/// Status and title of the answer.
async fn request_account(
    browser: &mut Browser,
    id: &str,
    verb: &str,
    is_get: bool,
) -> (StatusCode, String) {
    let path = format!("/accounts/{id}/{verb}");
    let page = if is_get {
        browser.get(&path).await
    } else {
        browser
            .post(&path, &[("name", "Taken over"), ("shared", "true")])
            .await
    };
    (
        page.status,
        page.words("main")
            .split(" Request ")
            .next()
            .unwrap_or_default()
            .to_owned(),
    )
}

#[tokio::test]
async fn a_refused_key_shows_as_failing_with_the_button_that_fixes_it() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let good = ctx.account(&actor, "A good one").await;
    let bad = ctx.account(&actor, "Z bad one").await;
    let change = chatlake::accounts::ChangeAccount {
        credentials: [("api_key".to_owned(), Secret::new(CANARY))].into(),
        ..Default::default()
    };
    ctx.app
        .accounts
        .update(&actor, &bad.id, &change)
        .await
        .unwrap();
    assert!(row(&olga.get("/accounts").await, "A good one").contains("not checked yet"));
    let checked = olga
        .submit(&format!("/accounts/{}/check", bad.id), &[])
        .await;
    assert!(
        checked.toast().contains("rejected the credentials"),
        "{}",
        checked.toast()
    );
    olga.submit(&format!("/accounts/{}/check", good.id), &[])
        .await;
    let page = olga.get("/accounts").await;
    let rows = page.all("table.accounts tbody tr");
    assert!(
        rows[0].contains("Z bad one")
            && rows[0].contains("Rejected")
            && rows[0].contains("Update API Key"),
        "{rows:?}"
    );
    assert!(
        rows[1].contains("Valid") && page.words(".facts").contains("1 rejected"),
        "{rows:?}"
    );
    assert!(!page.text.contains(CANARY));
}
