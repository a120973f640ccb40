//! The four panes through the router, as a browser without scripts uses them: every step sends the
//! form that the page holds.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::Role;
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use chatlake::secret::Secret;

use crate::support::context::TestContext;
use crate::support::panes::{BEFORE_SPRING, Form, KEY, PaneSession, before_spring, only_dataset};

async fn first_runs(ctx: &TestContext) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE trigger = 'first'")
        .fetch_one(ctx.app.db.read())
        .await
        .unwrap()
}

#[tokio::test]
async fn each_report_becomes_a_dataset_without_scripts() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let mut page = maren.connect().await;
    assert_eq!(page.open_pane(), ["details"]);
    assert!(
        page.summary("credentials")
            .starts_with("Support Oslo, connected, "),
        "{}",
        page.summary("credentials")
    );
    for (made, report) in ["agents", "groups", "chat", "chat_messages", "chat_report"]
        .into_iter()
        .enumerate()
    {
        page = maren.press(&page, "report", &[("report", report)]).await;
        assert_eq!(page.open_pane(), ["details"]);
        let takes_days = !matches!(report, "agents" | "groups");
        assert_eq!(
            page.each("[data-menu-field=days]:not([hidden])", |_| ())
                .len(),
            usize::from(takes_days),
            "{report}"
        );
        assert!(page.text.contains("A run today pulls"));
        page = maren
            .press(
                &page,
                "details",
                &[
                    ("start_days", "14"),
                    ("end_days", "7"),
                    ("time_zone", "Europe/Oslo"),
                ],
            )
            .await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::OK, vec!["scheduling".to_owned()])
        );
        page = maren
            .press(&page, "schedule", &[("every", "day"), ("at", "9:00")])
            .await;
        assert_eq!(page.open_pane(), ["name"]);
        assert_eq!(
            page.summary("scheduling"),
            "Every day at 09:00, Europe/Oslo, Replace"
        );
        assert!(
            page.form().0["name"].ends_with(", Support Oslo"),
            "{:?}",
            page.form()
        );
        page = maren
            .press(
                &page,
                "save_new",
                &[("description", "Line one\r\nLine two")],
            )
            .await;
        assert_eq!(page.action(), "/connect/livechat");
        assert!(
            page.toast()
                .contains("is saved. The first run has started."),
            "{}",
            page.toast()
        );
        let all = ctx.app.datasets.list(&maren.actor).await.unwrap();
        let dataset = all.iter().find(|d| d.report.id == report).unwrap();
        assert_eq!(all.len(), made + 1);
        assert_eq!(
            (dataset.menus.start_days, dataset.menus.end_days),
            if takes_days {
                (Some(14), Some(7))
            } else {
                (None, None)
            }
        );
        assert_eq!(
            (dataset.schedule.as_deref(), dataset.time_zone.as_str()),
            (Some("0 9 * * *"), "Europe/Oslo")
        );
        assert_eq!(dataset.description, "Line one\nLine two");
        // Tomorrow at 09:00 in Oslo, which is 08:00 UTC: today's has just passed.
        assert_eq!(dataset.next_run_at, Some(BEFORE_SPRING + 24 * 3_600_000));
        page = maren.press(&page, "connect", &[]).await;
    }
    assert_eq!(first_runs(&ctx).await, 5);
    assert_eq!(ctx.app.accounts.list(&maren.actor).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_resolved_days_are_shown_next_to_the_numbers() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren
        .press(
            &page,
            "report",
            &[
                ("report", "chat"),
                ("start_days", "14"),
                ("end_days", "7"),
                ("time_zone", "Europe/Oslo"),
            ],
        )
        .await;
    assert_eq!(
        page.words("[data-days-words]"),
        "A run today pulls Wed 10 Mar to Wed 17 Mar 2027 , 8 whole days in Europe/Oslo. The date range moves each day."
    );
    assert_eq!(
        (page.all(".day.is-in").len(), page.all(".day").len()),
        (8, 15)
    );
    // Nothing is known of the browser's zone without a script: UTC, until somebody chooses.
    let fresh = maren.get("/connect/livechat").await;
    assert!(fresh.words("[data-days-words]").contains("in UTC"));
    assert_eq!(fresh.form().0["time_zone"], "");
    assert_eq!(fresh.each("select[data-browser-zone]", |_| ()).len(), 1);
}

#[tokio::test]
async fn wrong_credentials_are_reported_next_to_their_field_without_the_secret() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/livechat").await;
    assert_eq!(page.open_pane(), ["credentials"]);
    let typed = [
        ("account_name", "Returns desk"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", "canary-4711"),
        ("api_url", ctx.vendor.as_str()),
    ];
    let page = maren.press(&page, "connect", &typed).await;
    assert_eq!(
        (page.status, page.open_pane()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["credentials".to_owned()]
        )
    );
    assert!(
        page.wrong("api_key")
            .contains("LiveChat rejected these credentials"),
        "{}",
        page.wrong("api_key")
    );
    assert!(!page.text.contains("canary-4711"));
    let form = page.form().0;
    assert_eq!(
        (
            form["account_name"].as_str(),
            form["credentials.username"].as_str()
        ),
        ("Returns desk", "agent@sandbox.test")
    );
    assert_eq!(form["credentials.api_key"], "");

    let page = maren
        .press(
            &page,
            "connect",
            &[
                ("account_name", " "),
                ("requests_per_minute", "many"),
                ("account_zone", "Mars"),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        [
            "account_name",
            "api_key",
            "requests_per_minute",
            "account_zone"
        ]
        .iter()
        .all(|field| !page.wrong(field).is_empty()),
        "{}",
        page.text
    );
    assert_eq!(page.form().0["requests_per_minute"], "many");
    assert!(
        ctx.app
            .accounts
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_account_id_as_email_address_is_reported_next_to_the_username() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/livechat").await;
    let typed = [
        ("account_name", "Returns desk"),
        (
            "credentials.username",
            "5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3",
        ),
        ("credentials.api_key", "dal:canary-4711"),
        ("api_url", ctx.vendor.as_str()),
    ];
    let page = maren.press(&page, "connect", &typed).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.wrong("username").contains("This is an account ID"),
        "{}",
        page.text
    );
    assert!(page.wrong("api_key").is_empty() && !page.text.contains("canary-4711"));
}

#[tokio::test]
async fn an_editor_may_not_send_a_secret_to_an_address_of_their_own() {
    let ctx = before_spring().await;
    let elif = PaneSession::new(&ctx, "elif", Role::Editor).await;
    let page = elif.get("/connect/livechat").await;
    let typed = [
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", KEY),
        ("api_url", ctx.vendor.as_str()),
    ];
    let page = elif.press(&page, "connect", &typed).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.words(".band.is-bad").contains("Only an admin"),
        "{}",
        page.text
    );
    assert_eq!(ctx.sandbox.calls_total(), 0);
}

#[tokio::test]
async fn a_reversed_date_range_is_refused_next_to_the_field() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    for step in ["details", "preview"] {
        ctx.sandbox.forget_calls();
        let page = maren
            .press(&page, step, &[("start_days", "3"), ("end_days", "14")])
            .await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec!["details".to_owned()])
        );
        assert_eq!(
            page.wrong("end_days"),
            "End Days must be 3 or less (Start Days is 3)."
        );
        assert_eq!(
            (
                page.form().0["start_days"].as_str(),
                page.form().0["end_days"].as_str()
            ),
            ("3", "14")
        );
        assert!(!ctx.sandbox.calls().iter().any(|call| call.path == "/chats"));
    }
    for odd in ["", "-1", "1.5", "a week", "99999999999999999999"] {
        let page = maren.press(&page, "details", &[("start_days", odd)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!page.wrong("start_days").is_empty(), "{odd:?}");
        assert_eq!(page.form().0["start_days"], odd);
    }
}

#[tokio::test]
async fn the_last_pane_alone_saves_nothing() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let wrong = [
        ("credentials", ("account_id", "")),
        ("details", ("report", "no_such_report")),
        ("details", ("end_days", "9000")),
        ("details", ("group", "4711")),
        ("scheduling", ("at", "25:00")),
        ("scheduling", ("every", "keep")),
        ("scheduling", ("time_zone", "Mars/Base")),
        ("scheduling", ("update_mode", "upsert")),
        ("name", ("name", " ")),
        ("name", ("description", "a\0b")),
    ];
    for (pane, value) in wrong {
        let page = maren
            .press(&page, "save", &[("name", "Chats"), value])
            .await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec![pane.to_owned()]),
            "{value:?}"
        );
        assert!(
            page.all(".wrong").iter().any(|text| !text.is_empty()),
            "{value:?}"
        );
    }
    assert!(
        ctx.app
            .datasets
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(first_runs(&ctx).await, 0);
}

#[tokio::test]
async fn a_saved_account_needs_no_connect_again_unless_nobody_knows_that_it_is_good() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let good = page.form().0["account_id"].clone();
    let untried = ctx.account(&maren.actor, "Webshop").await.id.to_string();
    let wrong = ChangeAccount {
        credentials: BTreeMap::from([("api_key".to_owned(), Secret::new("a wrong key"))]),
        ..ChangeAccount::default()
    };
    let broken = ctx.account(&maren.actor, "Returns").await.id;
    ctx.app
        .accounts
        .update(&maren.actor, &broken, &wrong)
        .await
        .unwrap();
    let save = async |account: &str| {
        ctx.sandbox.forget_calls();
        let page = maren
            .press(
                &page,
                "save",
                &[
                    ("account_id", account),
                    ("name", "Agents"),
                    ("report", "agents"),
                ],
            )
            .await;
        (
            page,
            ctx.sandbox.calls_total(),
            ctx.app.datasets.list(&maren.actor).await.unwrap().len(),
        )
    };
    let (_, calls, made) = save(&good).await;
    assert_eq!((calls, made), (0, 1), "it was good a moment ago");
    let (_, calls, made) = save(&untried).await;
    assert_eq!((calls, made), (1, 2), "it is asked about first");
    let (page, _, made) = save(broken.as_str()).await;
    assert_eq!(
        (page.status, page.open_pane(), made),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["credentials".to_owned()],
            2
        )
    );
    assert!(
        page.wrong("account_id")
            .contains("rejected the credentials"),
        "{}",
        page.text
    );
    assert_eq!(page.form().0["name"], "Agents");
}

#[tokio::test]
async fn a_pane_that_is_edited_keeps_what_the_others_hold() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren
        .press(&page, "details", &[("start_days", "5"), ("end_days", "2")])
        .await;
    let page = maren
        .press(
            &page,
            "schedule",
            &[
                ("every", "week"),
                ("on_fri", "on"),
                ("at", "17:45"),
                ("time_zone", "Asia/Tokyo"),
            ],
        )
        .await;
    let page = maren
        .press(
            &page,
            "edit_details",
            &[("name", "Chats <b>of</b> mine"), ("description", "😀")],
        )
        .await;
    assert_eq!(page.open_pane(), ["details"]);
    let page = maren
        .press(&page, "details", &[("report", "chat_messages")])
        .await;
    assert_eq!(page.open_pane(), ["name"]);
    assert_eq!(
        page.summary("details"),
        "Chat Messages, 5 to 2 days ago, all groups, all logins"
    );
    assert_eq!(
        page.summary("scheduling"),
        "Every Monday and Friday at 17:45, Asia/Tokyo, Replace"
    );
    assert_eq!(
        (
            page.form().0["name"].as_str(),
            page.form().0["description"].as_str()
        ),
        ("Chats <b>of</b> mine", "😀")
    );
    // A pane that was never reached does not open.
    let fresh = maren.get("/connect/livechat").await;
    assert_eq!(
        maren.press(&fresh, "edit_name", &[]).await.open_pane(),
        ["credentials"]
    );
}

#[tokio::test]
async fn a_proposed_name_follows_the_report_until_somebody_writes_one() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren.press(&page, "details", &[("report", "chat")]).await;
    let page = maren.press(&page, "schedule", &[]).await;
    assert_eq!(page.form().0["name"], "Chat, Support Oslo");
    let page = maren.press(&page, "edit_details", &[]).await;
    let page = maren.press(&page, "details", &[("report", "agents")]).await;
    assert_eq!(page.form().0["name"], "Agents, Support Oslo");
}

#[tokio::test]
async fn a_preview_shows_rows_and_saves_nothing() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let typed = [
        ("report", "chat"),
        ("start_days", "10"),
        ("end_days", "0"),
        ("time_zone", "Europe/Oslo"),
    ];
    let shown = maren.press(&page, "preview", &typed).await;
    assert_eq!(
        (shown.status, shown.open_pane()),
        (StatusCode::OK, vec!["details".to_owned()])
    );
    let rows = shown.all("#preview tbody tr").len();
    assert_eq!(rows, 50, "the first page has 25, so a second one is read");
    let words = shown.words("#preview .preview-head p");
    assert!(
        words.starts_with("Newest 50 of ")
            && words.contains(" 2 API calls, ")
            && words.ends_with("Nothing was saved."),
        "{words}"
    );
    assert!(
        shown.words("#preview thead").starts_with("text id"),
        "{}",
        shown.words("#preview thead")
    );
    assert!(!shown.text.contains("<script>alert"));
    let moments = shown.each("#preview td.is-timestamp", |e| {
        e.attr("data-value").unwrap().to_owned()
    });
    assert!(
        moments
            .iter()
            .all(|text| text.is_empty() || text.parse::<jiff::Timestamp>().is_ok()),
        "{moments:?}"
    );

    let mut form = page.form();
    form.0.extend(
        typed
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned())),
    );
    form.0.insert("step".to_owned(), "preview".to_owned());
    let alone = maren
        .post("/connect/livechat", &form, Some("preview"))
        .await;
    assert_eq!(
        (
            alone.status,
            alone.headers["x-chatlake-fragment"].to_str().unwrap()
        ),
        (StatusCode::OK, "preview")
    );
    assert!(alone.text.contains("<table") && !alone.text.contains("<html"));

    ctx.sandbox
        .faults()
        .add(Fault::new(FaultKind::Html).on("/chats"));
    let broken = maren
        .post("/connect/livechat", &form, Some("preview"))
        .await;
    assert_eq!(broken.status, StatusCode::OK);
    assert!(
        broken
            .all(".band.is-bad")
            .iter()
            .any(|text| text.contains("LiveChat returned a web page")),
        "{}",
        broken.text
    );
    assert!(
        ctx.app
            .datasets
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_preview_says_how_much_of_all_it_shows() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let preview = async |report: &str, start: &str, end: &str, group_by: &str| {
        let typed = [
            ("report", report),
            ("start_days", start),
            ("end_days", end),
            ("group_by", group_by),
            ("time_zone", "UTC"),
        ];
        let page = maren.press(&page, "preview", &typed).await;
        (
            page.all("#preview tbody tr").len(),
            page.words("#preview .preview-head p"),
        )
    };
    // A chat has many messages: fifty of them come from a few of the newest chats.
    let (rows, words) = preview("chat_messages", "10", "0", "").await;
    assert_eq!(rows, 50);
    assert!(
        words.starts_with("50 rows from the newest ")
            && words.contains(" chats, ")
            && words.contains(" 1 API call, "),
        "{words}"
    );
    // Nothing is as old as that.
    let (rows, words) = preview("chat", "90", "80", "").await;
    assert!(
        rows == 0 && words.starts_with("No rows in these days, "),
        "{words}"
    );
    let (rows, words) = preview("chat_report", "7", "1", "day").await;
    assert!(rows == 7 && words.starts_with("All 7 rows, "), "{words}");
    // By hour only the last day is read, which is not all that a run brings.
    let (rows, words) = preview("chat_report", "7", "1", "hour").await;
    assert!(
        rows == 24 && words.starts_with("Newest 24 rows, "),
        "{words}"
    );
    let (rows, words) = preview("chat_report", "90", "1", "day").await;
    assert!(
        rows == 50 && words.starts_with("Newest 50 rows, "),
        "{words}"
    );
    let (rows, words) = preview("agents", "7", "1", "").await;
    assert!(words.starts_with(&format!("All {rows} rows, ")), "{words}");
}

#[tokio::test]
async fn a_menu_that_cannot_be_read_says_so_and_keeps_all() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let names = page.all("select[name=group] option");
    assert!(names.len() > 2 && names[0] == "All groups", "{names:?}");
    assert!(page.text.contains("loaded from LiveChat"));
    ctx.sandbox
        .faults()
        .add(Fault::new(FaultKind::Status { status: 403 }).on("/groups"));
    let page = maren.press(&page, "choices", &[]).await;
    assert_eq!(
        (page.status, page.open_pane()),
        (StatusCode::OK, vec!["details".to_owned()])
    );
    assert_eq!(page.all("select[name=group] option"), ["All groups"]);
    assert!(
        page.wrong("group")
            .starts_with("The list could not be loaded."),
        "{}",
        page.wrong("group")
    );
    assert!(page.all("select[name=login] option").len() > 2);
    let page = maren.press(&page, "details", &[]).await;
    assert_eq!(page.open_pane(), ["scheduling"]);
}

#[tokio::test]
async fn a_vendor_rate_limit_is_shown_at_once_with_the_wait() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let account = page.form().0["account_id"].clone();
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(45),
        })]);
    let page = maren.press(&page, "choices", &[]).await;
    assert_eq!(
        (page.status, page.open_pane()),
        (StatusCode::OK, vec!["details".to_owned()])
    );
    for menu in ["group", "login"] {
        let said = page.wrong(menu);
        assert!(
            said.starts_with(
                "The list could not be loaded. LiveChat limits calls and asked Chatlake to wait 4"
            ),
            "{said}"
        );
        assert!(said.contains(". Try again in 4"), "{said}");
    }
    let preview = maren
        .press(&page, "preview", &[("start_days", "2"), ("end_days", "1")])
        .await;
    let said = preview.words("#preview .band");
    assert!(
        said.starts_with("LiveChat limits calls and asked Chatlake to wait 4")
            && said.contains("Try again in 4"),
        "{said}"
    );
    let list = maren.get("/accounts").await;
    assert!(
        list.words("table.accounts").contains("Waiting until")
            && list.words("table.accounts").contains("Valid"),
        "{}",
        list.words("table.accounts")
    );
    maren
        .post(
            &format!("/accounts/{account}/check"),
            &Form::default(),
            None,
        )
        .await;
    let tested = maren.get("/accounts").await;
    assert!(
        tested
            .toast()
            .starts_with("Support Oslo: LiveChat limits calls and asked Chatlake to wait 4"),
        "{}",
        tested.toast()
    );
    // Somebody who adds an account is told the same, in place of the vendor's silence.
    let new = maren.get("/connect/livechat").await;
    let typed = [
        ("account_id", "new"),
        ("account_name", "Returns"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", KEY),
        ("api_url", ctx.vendor.as_str()),
    ];
    let refused = maren.press(&new, "connect", &typed).await;
    assert!(
        refused
            .words(".band.is-bad")
            .starts_with("LiveChat limits calls and asked Chatlake to wait 45 seconds."),
        "{}",
        refused.words(".band")
    );
    assert!(
        refused
            .words(".band.is-bad")
            .contains("Try again in 45 seconds.")
    );
}

#[tokio::test]
async fn an_unreachable_address_is_reported_next_to_the_address() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("http://{free}");
    let typed = |url| {
        [
            ("account_id", "new"),
            ("account_name", "Support Oslo"),
            ("credentials.username", "agent@sandbox.test"),
            ("credentials.api_key", KEY),
            ("api_url", url),
        ]
    };
    let page = maren
        .press(
            &maren.get("/connect/livechat").await,
            "connect",
            &typed(&nobody),
        )
        .await;
    assert_eq!(
        page.wrong("api_url"),
        "Could not reach LiveChat: the connection was refused. Check the API URL."
    );
    assert!(
        !page.text.contains(KEY) && page.has("details.more[open] #api_url"),
        "the field is open to be seen"
    );
    ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Shape {
        body: "[1, 2]".to_owned(),
    })]);
    let page = maren.press(&page, "connect", &typed(&ctx.vendor)).await;
    let said = page.wrong("api_url");
    assert!(
        said.starts_with("LiveChat returned unreadable data (/agents): ")
            && said.ends_with(" Check the API URL."),
        "{said}"
    );
    assert!(
        ctx.app
            .accounts
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_form_sent_by_script_gets_a_redirect_target_and_no_secret() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/livechat").await;
    assert_eq!(
        page.each("form[data-keeps-secret=connect] input[data-secret]", |_| ())
            .len(),
        1
    );
    let mut form = page.form();
    let typed = [
        ("step", "connect"),
        ("account_id", "new"),
        ("account_name", "Support Oslo"),
        ("credentials.username", "agent@sandbox.test"),
        ("api_url", ctx.vendor.as_str()),
        ("credentials.api_key", "canary-4711"),
    ];
    form.0
        .extend(typed.map(|(field, value)| (field.to_owned(), value.to_owned())));
    let refused = maren.post("/connect/livechat", &form, Some("form")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.has("form[data-keeps-secret] [data-again=problem]")
            && refused.has("form[data-keeps-secret] [data-again=credentials] #api_key-wrong")
    );
    assert!(!refused.text.contains("canary-4711"));
    form.0
        .insert("credentials.api_key".to_owned(), KEY.to_owned());
    let done = maren.post("/connect/livechat", &form, Some("form")).await;
    assert_eq!(
        (done.status, done.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    let to = done.headers["x-chatlake-go"].to_str().unwrap().to_owned();
    assert_eq!(maren.get(&to).await.open_pane(), ["details"]);
    // From then on a step may lead anywhere, so the browser sends the form itself.
    assert!(!maren.get(&to).await.has("form[data-keeps-secret]"));
}

#[tokio::test]
async fn a_clock_change_is_shown_next_to_the_run() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let page = maren.press(&page, "details", &[]).await;
    let page = maren
        .press(
            &page,
            "next_runs",
            &[
                ("every", "day"),
                ("at", "02:30"),
                ("time_zone", "Europe/Oslo"),
            ],
        )
        .await;
    assert_eq!(page.open_pane(), ["scheduling"]);
    assert_eq!(
        page.words(".schedule-words"),
        "Runs every day at 02:30, Europe/Oslo (adjusts for daylight saving). Next run: tomorrow 02:30."
    );
    let runs = page.all("#next-runs li");
    assert_eq!(runs.len(), 10);
    assert_eq!(runs[2], "Sat 27 Mar 02:30 +01:00");
    assert_eq!(
        runs[3],
        "Sun 28 Mar 03:00 +02:00 Clocks go forward: 02:30 does not exist that night, so the run starts at 03:00."
    );
    assert_eq!(runs[4], "Mon 29 Mar 02:30 +02:00");

    let mut form = page.form();
    form.0.extend([
        ("step".to_owned(), "next_runs".to_owned()),
        ("at".to_owned(), "half past two".to_owned()),
    ]);
    let alone = maren
        .post("/connect/livechat", &form, Some("next_runs"))
        .await;
    assert_eq!(
        (
            alone.status,
            alone.headers["x-chatlake-fragment"].to_str().unwrap()
        ),
        (StatusCode::OK, "next_runs")
    );
    assert!(alone.text.contains("Enter a time such as 09:00.") && !alone.text.contains("<form"));
}

#[tokio::test]
async fn viewers_may_not_connect_anything() {
    let ctx = before_spring().await;
    let vera = PaneSession::new(&ctx, "vera", Role::Viewer).await;
    for path in [
        "/connect",
        "/connect/livechat",
        "/connect/livechat?report=chat",
    ] {
        assert_eq!(vera.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    for step in ["connect", "preview", "save", "choices"] {
        let form = Form(BTreeMap::from([
            ("step".to_owned(), step.to_owned()),
            ("account_id".to_owned(), "new".to_owned()),
        ]));
        assert_eq!(
            vera.post("/connect/livechat", &form, None).await.status,
            StatusCode::FORBIDDEN,
            "{step}"
        );
    }
    assert_eq!(ctx.sandbox.calls_total(), 0);
}

#[tokio::test]
async fn a_strangers_account_looks_missing_and_the_vendor_is_not_called() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let form = maren.connect().await.form();
    let stranger = PaneSession::new(&ctx, "sten", Role::Editor).await;
    ctx.sandbox.forget_calls();
    for account in [form.0["account_id"].as_str(), "acc_0", "../x", "0"] {
        for step in [
            "connect",
            "preview",
            "details",
            "choices",
            "schedule",
            "save",
            "save_new",
            "edit_details",
        ] {
            let mut form = form.clone();
            form.0.extend([
                ("step".to_owned(), step.to_owned()),
                ("account_id".to_owned(), account.to_owned()),
                ("name".to_owned(), "Mine".to_owned()),
            ]);
            let page = stranger.post("/connect/livechat", &form, None).await;
            assert_eq!(
                (page.status, page.open_pane()),
                (StatusCode::NOT_FOUND, vec!["credentials".to_owned()]),
                "{step}"
            );
            assert!(
                page.wrong("account_id")
                    .contains("This account does not exist"),
                "{}",
                page.text
            );
            assert_eq!(page.form().0["name"], "Mine");
            assert!(
                !page.text.contains("Support Oslo") && !page.text.contains("agent@sandbox.test")
            );
        }
        let address = format!(
            "/connect/livechat?{}",
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("account", account)
                .finish()
        );
        assert_eq!(stranger.get(&address).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(ctx.sandbox.calls_total(), 0);
    assert!(
        ctx.app
            .datasets
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        stranger.get("/connect/nothing").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_settings_of_a_dataset_are_the_same_panes() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren
        .make(&[
            ("report", "chat"),
            ("start_days", "14"),
            ("end_days", "7"),
            ("time_zone", "Europe/Oslo"),
            ("name", "Chats"),
        ])
        .await;
    let address = format!("/datasets/{}/settings", dataset.id);
    let page = maren.get(&address).await;
    assert_eq!(
        (page.status, page.open_pane().len(), page.action()),
        (StatusCode::OK, 0, address.clone())
    );
    assert!(
        page.summary("credentials")
            .starts_with("Support Oslo, connected")
    );
    assert_eq!(
        page.summary("details"),
        "Chat, 14 to 7 days ago, all groups, all logins"
    );
    assert_eq!(
        page.summary("scheduling"),
        "Every day at 06:00, Europe/Oslo, Replace"
    );
    assert_eq!(page.summary("name"), "Chats");

    let page = maren.press(&page, "edit_scheduling", &[]).await;
    assert_eq!(page.open_pane(), ["scheduling"]);
    let wrong = maren
        .press(&page, "schedule", &[("every", "hours"), ("hours", "5")])
        .await;
    assert_eq!(
        (wrong.status, wrong.open_pane()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["scheduling".to_owned()]
        )
    );
    let page = maren
        .press(
            &page,
            "schedule",
            &[
                ("every", "hours"),
                ("hours", "6"),
                ("minute", "15"),
                ("start_days", "3"),
                ("end_days", "3"),
            ],
        )
        .await;
    assert_eq!(page.toast(), "Saved. The next run uses these settings.");
    let changed = only_dataset(&maren).await;
    assert_eq!(
        (
            changed.schedule.as_deref(),
            changed.menus.start_days,
            changed.menus.end_days
        ),
        (Some("15 */6 * * *"), Some(3), Some(3))
    );
    assert_eq!(
        page.summary("details"),
        "Chat, 3 days ago, all groups, all logins"
    );
    assert_eq!(first_runs(&ctx).await, 1);

    let page = maren.press(&page, "save", &[("every", "manual")]).await;
    let changed = only_dataset(&maren).await;
    assert_eq!((changed.schedule, changed.next_run_at), (None, None));
    assert_eq!(page.summary("scheduling"), "Manually, Replace");

    let colleague = PaneSession::new(&ctx, "kacper", Role::Editor).await;
    assert_eq!(colleague.get(&address).await.status, StatusCode::NOT_FOUND);
    ctx.app
        .datasets
        .share(&maren.actor, &dataset.id, true)
        .await
        .unwrap();
    assert_eq!(colleague.get(&address).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        colleague.post(&address, &page.form(), None).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_schedule_that_the_form_cannot_show_is_preserved_unless_changed() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren.make(&[("report", "agents")]).await;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET schedule = '0 9 1 * 1' WHERE id = $1")
        .bind(&dataset.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let page = maren
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    let form = page.form().0;
    assert_eq!(
        (
            form["tab"].as_str(),
            form["a_how"].as_str(),
            form["cron"].as_str()
        ),
        ("advanced", "cron", "0 9 1 * 1")
    );
    let page = maren
        .press(&page, "save", &[("name", "Once a month")])
        .await;
    assert_eq!(
        (
            only_dataset(&maren).await.schedule.as_deref(),
            page.summary("name").as_str()
        ),
        (Some("0 9 1 * 1"), "Once a month")
    );
    maren
        .press(
            &page,
            "schedule",
            &[("tab", "basic"), ("every", "weekday"), ("at", "07:30")],
        )
        .await;
    assert_eq!(
        only_dataset(&maren).await.schedule.as_deref(),
        Some("30 7 * * 1-5")
    );
}

#[tokio::test]
async fn a_dataset_without_its_account_opens_at_credentials_with_the_reason() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let dataset = maren.make(&[("report", "chat"), ("name", "Chats")]).await;
    ctx.app
        .accounts
        .delete(&maren.actor, dataset.account_id.as_ref().unwrap())
        .await
        .unwrap();
    let page = maren
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    assert_eq!(
        (page.status, page.open_pane()),
        (StatusCode::OK, vec!["credentials".to_owned()])
    );
    assert!(
        page.text
            .contains("The account of this DataSet was deleted"),
        "{}",
        page.text
    );
    assert_eq!(
        maren.press(&page, "save", &[]).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let typed = [
        ("account_id", "new"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", KEY),
        ("api_url", ctx.vendor.as_str()),
        ("requests_per_minute", "60000"),
    ];
    let page = maren.press(&page, "connect", &typed).await;
    assert_eq!(
        (page.status, page.open_pane().len()),
        (StatusCode::OK, 0),
        "{}",
        page.text
    );
    let healed = only_dataset(&maren).await;
    assert!(healed.account_id.is_some() && healed.next_run_at.is_some());
}

#[tokio::test]
async fn the_gallery_finds_connectors_and_reports() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect").await;
    assert_eq!(
        (
            page.all(".connector").len(),
            page.all("#reports tbody tr").len()
        ),
        (2, 48 + 3)
    );
    assert!(page.words(".connector").contains("Username, API Key"));
    let found = maren.get("/connect?q=MESSAGES").await;
    assert!(
        found
            .all("#reports tbody .name")
            .contains(&"Chat Messages".to_owned())
    );
    assert!(
        found.all("#reports tbody tr").len() < 48
            && found
                .all("#reports tbody .name")
                .iter()
                .filter(|name| *name == "Chat Messages")
                .count()
                == 2
    );
    // The very title first, then those that begin so, then those that hold the word.
    let chat = maren
        .get("/connect?q=chat")
        .await
        .all("#reports tbody .name");
    assert_eq!(
        (chat[0].as_str(), chat[1].as_str()),
        ("Chat", "Chat Agents")
    );
    let first_without = chat
        .iter()
        .position(|name| !name.to_lowercase().contains("chat"))
        .unwrap();
    assert!(
        chat[first_without..]
            .iter()
            .all(|name| !name.to_lowercase().contains("chat")),
        "{chat:?}"
    );
    let none = maren
        .get("/connect?q=%3Cscript%3Ealert(1)%3C/script%3E")
        .await;
    assert!(none.text.contains("No report matches") && !none.text.contains("<script>alert"));
    assert!(
        !none.has("#reports")
            && none.attribute(".empty a.button", "href").as_deref() == Some("/connect")
            && none.words(".empty a") == "Clear search"
    );
    let page = maren.get("/connect/livechat?report=groups").await;
    assert_eq!(page.form().0["report"], "groups");
}
