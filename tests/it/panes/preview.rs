//! The preview of rows, and menus that cannot be read.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::panes::{PaneSession, before_spring};

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
    // No chat is that old.
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
