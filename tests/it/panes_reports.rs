//! Every report through the panes without scripts: each can be configured with the menus it takes
//! and no other, and one of each shape is previewed, saved and pulled to its end.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::connectors::Completeness;
use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::report::{GroupBy, Menu, Weekday};
use chatlake::datasets::Dataset;
use chatlake::puller::queue;
use chatlake::puller::run::RunState;

use crate::support::context::TestContext;
use crate::support::http::Page;
use crate::support::panes::{PaneSession, before_spring};

/// What is chosen in every menu, also in those that the report does not take.
const ALL_CHOSEN: [(&str, &str); 11] = [
    ("start_days", "3"),
    ("end_days", "2"),
    ("group", "1"),
    ("login", ""),
    ("report_weekday", "wed"),
    ("group_by", "day"),
    ("tag", ""),
    ("include_pending", "true"),
    ("agent_details", "true"),
    ("time_zone", "Europe/Oslo"),
    ("every", "manual"),
];

/// The menus that can be seen, by the ids in `data-menu-field`. What is folded away can be
/// unfolded.
fn shown(page: &Page) -> Vec<String> {
    let mut shown = page.each("[data-menu-field]:not([hidden])", |e| {
        e.attr("data-menu-field").unwrap().to_owned()
    });
    shown.retain(|names| !names.contains(' '));
    shown
}

async fn dataset_of(session: &PaneSession<'_>, report: &str) -> Dataset {
    let all = session.ctx.app.datasets.list(&session.actor).await.unwrap();
    all.into_iter()
        .find(|dataset| dataset.report.id == report)
        .unwrap_or_else(|| panic!("{report} was not saved"))
}

#[tokio::test]
async fn each_of_the_48_reports_is_configured_with_what_it_takes_and_nothing_else() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let fresh = maren.connect().await;
    let groups = fresh.each("select[name=group] option", |e| {
        e.attr("value").unwrap().to_owned()
    });
    assert!(groups.contains(&"1".to_owned()), "{groups:?}");
    assert_eq!(REPORTS.len(), 48);
    for report in REPORTS {
        let page = maren
            .press(&fresh, "report", &[("report", report.id)])
            .await;
        let takes = |menu: Menu| report.takes(menu);
        let mut wanted: Vec<&str> = Menu::ALL
            .into_iter()
            .filter(|m| *m != Menu::EndDays && takes(*m))
            .map(Menu::id)
            .collect();
        wanted
            .iter_mut()
            .filter(|id| **id == "start_days")
            .for_each(|id| *id = "days");
        let mut seen = shown(&page);
        let menus = page
            .each("#report option[selected]", |e| {
                e.attr("data-menus").unwrap().to_owned()
            })
            .remove(0);
        assert_eq!(
            menus.split_whitespace().collect::<Vec<_>>(),
            wanted,
            "{}",
            report.id
        );
        seen.sort();
        wanted.sort_unstable();
        assert_eq!(seen, wanted, "{}", report.id);
        let has_more = page.has("details.more[data-menu-field]:not([hidden])");
        assert_eq!(
            has_more,
            report.menus.iter().any(|m| m.extra),
            "{}",
            report.id
        );
        assert!(
            !page.has("details.more[data-menu-field][open]"),
            "{}: nothing is chosen in it yet",
            report.id
        );

        let page = maren.press(&page, "details", &ALL_CHOSEN).await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::OK, vec!["scheduling".to_owned()]),
            "{}: {}",
            report.id,
            page.text
        );
        assert!(
            page.summary("details").starts_with(report.title),
            "{}",
            page.summary("details")
        );
        let page = maren.press(&page, "schedule", &[("every", "manual")]).await;
        let page = maren.press(&page, "save_new", &[]).await;
        assert!(
            page.toast().contains("is saved."),
            "{}: {}",
            report.id,
            page.toast()
        );
        let menus = dataset_of(&maren, report.id).await.menus;
        assert_eq!(
            (menus.start_days, menus.end_days),
            if takes(Menu::StartDays) {
                (Some(3), Some(2))
            } else {
                (None, None)
            },
            "{}",
            report.id
        );
        assert_eq!(
            menus.group.as_deref(),
            takes(Menu::Group).then_some("1"),
            "{}",
            report.id
        );
        assert_eq!((menus.login, menus.tag), (None, None), "{}", report.id);
        assert_eq!(
            menus.weekday,
            takes(Menu::Weekday).then_some(Weekday::Wed),
            "{}",
            report.id
        );
        assert_eq!(
            menus.group_by,
            takes(Menu::GroupBy).then_some(GroupBy::Day),
            "{}",
            report.id
        );
        assert_eq!(
            menus.include_pending,
            takes(Menu::IncludePending).then_some(true),
            "{}",
            report.id
        );
        assert_eq!(
            menus.agent_details,
            takes(Menu::AgentDetails).then_some(true),
            "{}",
            report.id
        );
    }
}

#[tokio::test]
async fn report_menus_are_stored_in_the_settings_and_shown_in_the_summary() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let tags = page.each("select[name=tag] option", |e| {
        e.attr("value").unwrap().to_owned()
    });
    assert!(tags.len() > 1, "{tags:?}");
    let wrong = maren
        .press(
            &page,
            "details",
            &[("report", "chat"), ("tag", "no such tag")],
        )
        .await;
    assert_eq!(
        (wrong.status, wrong.open_pane()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["details".to_owned()])
    );
    assert!(
        wrong.wrong("tag").contains("has no tag “no such tag”"),
        "{}",
        wrong.wrong("tag")
    );
    assert!(wrong.has("details.more[open]"));
    let wrong = maren
        .press(
            &page,
            "details",
            &[("report", "chat_report"), ("group_by", "week")],
        )
        .await;
    assert!(
        wrong
            .wrong("group_by")
            .contains("must be an option from the list"),
        "{}",
        wrong.wrong("group_by")
    );
    let wrong = maren
        .press(
            &page,
            "details",
            &[
                ("report", "simultaneous_chats_report"),
                ("report_weekday", "noday"),
            ],
        )
        .await;
    assert!(
        wrong
            .wrong("report_weekday")
            .contains("must be an option from the list"),
        "{}",
        wrong.wrong("report_weekday")
    );

    let typed = [
        ("report", "chat"),
        ("tag", tags[1].as_str()),
        ("include_pending", "true"),
    ];
    let dataset = maren.make(&typed).await;
    let page = maren
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    assert_eq!(
        page.summary("details"),
        format!(
            "Chat, 7 days ago to yesterday, all groups, all logins, tag {}, with pending chats",
            tags[1]
        )
    );
    let page = maren.press(&page, "edit_details", &[]).await;
    assert!(page.has("details.more[open]"));
    assert_eq!(
        (
            page.form().0["tag"].as_str(),
            page.form().0.contains_key("include_pending")
        ),
        (tags[1].as_str(), true)
    );
    maren
        .press(
            &page,
            "details",
            &[
                ("report", "simultaneous_chats_report"),
                ("weekday", "friday"),
                ("every", "week"),
            ],
        )
        .await;
    let menus = dataset_of(&maren, "simultaneous_chats_report").await.menus;
    assert_eq!(
        (menus.weekday, menus.tag, menus.include_pending),
        (Some(Weekday::Mon), None, None)
    );
    let page = maren
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    assert_eq!(
        page.summary("details"),
        "Simultaneous Chats Report, 7 days ago to yesterday, Monday"
    );
}

#[tokio::test]
async fn a_tag_can_be_written_where_tags_cannot_be_read() {
    use chatlake::sandbox::faults::{Fault, FaultKind};
    let ctx = before_spring().await;
    ctx.sandbox
        .faults()
        .add(Fault::new(FaultKind::Status { status: 403 }).on("/tags"));
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    assert!(page.has("input[name=tag]") && !page.has("select[name=tag]"));
    assert!(
        page.words("#tag-help")
            .starts_with("The list of tags could not be loaded"),
        "{}",
        page.words("#tag-help")
    );
    let page = maren
        .press(
            &page,
            "details",
            &[("report", "chat"), ("tag", " sale <b> ")],
        )
        .await;
    assert_eq!(page.open_pane(), ["scheduling"], "{}", page.text);
    assert!(
        page.summary("details").ends_with("tag sale <b>"),
        "{}",
        page.summary("details")
    );
}

/// One report of each shape, and of each way of asking.
const OF_EACH_SHAPE: [(&str, &[(&str, &str)]); 13] = [
    ("chat", &[("include_pending", "true")]),
    ("chat_messages", &[]),
    ("tickets", &[]),
    ("agents", &[("agent_details", "true")]),
    ("canned_responses", &[]),
    ("ranking_report", &[]),
    ("visitors_visit_path", &[]),
    ("chat_report", &[("group_by", "hour")]),
    ("availability_report", &[]),
    ("goals_report", &[]),
    ("dashboard_report", &[]),
    ("agent_dashboard_report", &[]),
    ("simultaneous_chats_report", &[("report_weekday", "wed")]),
];

#[tokio::test]
async fn one_of_each_shape_is_previewed_saved_and_pulled() {
    let ctx = TestContext::with_workers().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let fresh = maren.connect().await;
    for (report, chosen) in OF_EACH_SHAPE {
        let mut typed = vec![
            ("report", report),
            ("start_days", "7"),
            ("end_days", "1"),
            ("time_zone", "Europe/Oslo"),
            ("every", "manual"),
        ];
        typed.extend_from_slice(chosen);
        let page = maren.press(&fresh, "preview", &typed).await;
        assert_eq!(
            (page.status, page.open_pane()),
            (StatusCode::OK, vec!["details".to_owned()]),
            "{report}: {}",
            page.text
        );
        let words = page.words("#preview .preview-head p");
        assert!(
            words.ends_with("Nothing was saved.") && !page.has("#preview .band"),
            "{report}: {words}"
        );
        let rows = page.all("#preview tbody tr").len();
        assert!((1..=50).contains(&rows), "{report}: {rows} rows, {words}");
        let page = maren.press(&page, "details", &typed).await;
        let page = maren.press(&page, "schedule", &typed).await;
        let page = maren.press(&page, "save_new", &typed).await;
        assert!(
            page.toast().contains("The first run has started."),
            "{report}: {}",
            page.toast()
        );
    }
    for (report, _) in OF_EACH_SHAPE {
        let dataset = dataset_of(&maren, report).await;
        let mut run = queue::of_dataset(&ctx.app.db, &dataset.id, 0, 1)
            .await
            .unwrap()
            .remove(0);
        for _ in 0..1_200 {
            if run.state.is_final() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            run = ctx.app.puller.get(&maren.actor, &run.id).await.unwrap();
        }
        assert_eq!(
            run.state,
            RunState::Succeeded,
            "{report}: {:?}",
            run.failure
        );
        assert!(run.rows > 0, "{report}");
        let is_counted = matches!(report, "chat" | "chat_messages" | "tickets");
        let proven = if is_counted {
            Completeness::Reread
        } else {
            Completeness::Complete
        };
        assert_eq!(run.completeness, Some(proven), "{report}");
        let page = maren.get(&format!("/runs/{}", run.id)).await;
        assert_eq!(
            page.text
                .contains("Pulled twice: two pulls of the newest days agree. LiveChat reports"),
            is_counted,
            "{report}"
        );
    }
}
