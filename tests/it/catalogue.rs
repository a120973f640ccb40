//! The catalogue of reports: whole, sound, and the same in the snapshot and on the pages that
//! people read.

use std::fmt::Write;
use std::path::Path;

use chatlake::connectors::livechat::REPORTS;
use chatlake::connectors::report::{Calls, Menu, Report, Shape};
use chatlake::connectors::{Connector, Menus};

/// The reports of the original, then those that the API has and the original never offered.
const TITLES: [&str; 48] = [
    "Agents",
    "Agent Dashboard Report",
    "Availability Report",
    "Canned Responses",
    "Chat",
    "Chat Agents",
    "Chat Custom Variables",
    "Chat Events",
    "Chat Goals",
    "Chat Messages",
    "Chat Postchat Survey",
    "Chat Report",
    "Chat Supervisors",
    "Chat Tags",
    "Chat Tickets",
    "Chatting Time Report",
    "Dashboard Report",
    "Goals",
    "Goals Report",
    "Greetings",
    "Greetings Report",
    "Groups",
    "Group Dashboard Report",
    "New Tickets Report",
    "Queue Waiting Times Report",
    "Queued Visitor Report",
    "Ranking Report",
    "Ratings Report",
    "Solved Ticket Report",
    "Status Report",
    "Tickets First Response Report",
    "Ticket Resolution Time Report",
    "Tickets",
    "Ticket Sources Report",
    "Visitors",
    "Visitors Operators",
    "Visitors Prechat Survey",
    "Visitors Visit Path",
    "Chat Engagement Report",
    "Missed Chats Report",
    "First Response Time Report",
    "Response Time Report",
    "Simultaneous Chats Report",
    "Ticket Ratings Report",
    "Ticket Ranking Report",
    "Tags",
    "Chat Prechat Survey",
    "Chat Integration Variables",
];

#[test]
fn every_report_of_the_original_is_there_and_ten_more() {
    let mut titles: Vec<&str> = REPORTS.iter().map(|report| report.title).collect();
    let mut wanted = TITLES.to_vec();
    titles.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(titles, wanted);
}

#[test]
fn one_path_has_one_way_of_asking() {
    for report in REPORTS {
        for other in REPORTS
            .iter()
            .filter(|other| other.request.path == report.request.path)
        {
            assert_eq!(
                (other.request, other.menus),
                (report.request, report.menus),
                "{} and {}",
                report.id,
                other.id
            );
            assert_eq!(
                std::mem::discriminant(&other.shape),
                std::mem::discriminant(&report.shape)
            );
        }
        assert!(
            !report.request.path.contains('{') || matches!(report.request.calls, Calls::Each(_)),
            "{}",
            report.id
        );
        assert_eq!(report.takes(Menu::StartDays), report.takes(Menu::EndDays));
        assert_eq!(
            matches!(report.shape, Shape::Archive { .. } | Shape::Periods(_)),
            report.takes(Menu::StartDays) && !report.id.ends_with("ranking_report")
        );
        assert!(
            report.menus.iter().all(|m| !m.extra || !m.required),
            "{}: what must be chosen is not hidden",
            report.id
        );
    }
    let shared: Vec<&str> = REPORTS
        .iter()
        .filter(|report| Connector::LiveChat.can_share_request(report))
        .map(|report| report.id)
        .collect();
    assert_eq!(shared.len(), 12 + 4, "{shared:?}");
}

#[test]
fn menus_are_taken_only_where_they_mean_something() {
    for report in REPORTS {
        for menu in Menu::ALL {
            let text = match menu.kind() {
                "days" => "1",
                "switch" => "true",
                "options" => &format!("\"{}\"", menu.options()[1].0),
                _ => "\"1\"",
            };
            let menus: Menus =
                serde_json::from_str(&format!("{{\"{}\":{text}}}", menu.id())).unwrap();
            assert_eq!(
                menus.check(report).is_ok(),
                report.takes(menu),
                "{} {}",
                report.id,
                menu.id()
            );
        }
        let filled = Menus::default().check(report).unwrap();
        assert_eq!(
            filled.weekday.map(|day| day.word()),
            report.takes(Menu::Weekday).then_some("mon")
        );
    }
    assert!(serde_json::from_str::<Menus>(r#"{"weekday":"someday"}"#).is_err());
}

/// The catalogue of a connector as a page.
fn page(of: Connector) -> String {
    let (name, path) = (of.title(), of.id());
    let mut page = format!(
        "# {name} reports\n\nMade from the catalogue by a test; see `tests/it/catalogue.rs`. The same is at \
        `GET /api/v1/connectors/{path}`.\n\n\
         Fields that {name} sends and that are not listed become columns at the end, as they came. A value \
         that does not fit its column's type \
         is in the column `_misfit`.\n",
    );
    for Report {
        id,
        title,
        about,
        source,
        request,
        menus,
        columns,
        key,
        day,
        mode,
        ..
    } in of.reports()
    {
        writeln!(page, "\n## {title}\n\n{about}\n").unwrap();
        writeln!(page, "- Id: `{id}`").unwrap();
        let named = |extra: bool| {
            menus
                .iter()
                .filter(|m| m.extra == extra)
                .map(|m| m.menu.label())
                .collect::<Vec<_>>()
                .join(", ")
        };
        let or_none = |text: String| {
            if text.is_empty() {
                "none".to_owned()
            } else {
                text
            }
        };
        writeln!(
            page,
            "- Menus: {}; extra: {}",
            or_none(named(false)),
            or_none(named(true))
        )
        .unwrap();
        writeln!(page, "- One row for each: `{}`", key.join("`, `")).unwrap();
        if let Some(day) = day {
            writeln!(page, "- Its day: `{day}`").unwrap();
        }
        writeln!(page, "- Update mode: {}", mode.word()).unwrap();
        writeln!(page, "- Asks: `GET {}`, see <{source}>\n", request.path).unwrap();
        writeln!(page, "| column | type | meaning |\n| --- | --- | --- |").unwrap();
        for column in *columns {
            writeln!(
                page,
                "| `{}` | {} | {} |",
                column.name,
                column.kind.word(),
                column.meaning
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_pages_in_the_docs_are_the_catalogue() {
    for connector in Connector::ALL {
        let name = format!("{}-reports.md", connector.id());
        let place = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs/reference")
            .join(&name);
        let expected = page(connector);
        if std::fs::read_to_string(&place).unwrap_or_default() != expected {
            let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
            std::fs::write(&made, expected).unwrap();
            panic!(
                "docs/reference/{name} is not what the catalogue says. Copy the new page over it:\ncp {} {}",
                made.display(),
                place.display()
            );
        }
    }
}

#[test]
fn every_report_of_liveleader_is_there_and_they_share_one_reading() {
    let reports = Connector::LiveLeader.reports();
    assert_eq!(
        reports
            .iter()
            .map(|report| report.title)
            .collect::<Vec<_>>(),
        ["Chats", "Chat Messages", "Chat Operators"]
    );
    for report in reports {
        assert!(
            Connector::LiveLeader.can_share_request(report)
                && report.is_free_text(Menu::Login)
                && !Connector::LiveLeader.fills_menu(Menu::Login)
        );
        assert!(Menus::default().check(report).is_ok() && matches!(report.shape, Shape::Export(_)));
        assert_eq!(report.id, report.title.to_lowercase().replace(' ', "_"));
        assert!(
            report.key.iter().all(|key| report.column(key).is_some())
                && report.day.is_none_or(|day| report.column(day).is_some())
        );
    }
}

#[test]
fn the_catalogue_changes_only_on_purpose() {
    let mut text = String::new();
    for report in Connector::ALL
        .iter()
        .flat_map(|connector| connector.reports())
    {
        writeln!(
            text,
            "{} {:?} {:?} key {:?} day {:?} {}",
            report.id,
            report.request,
            report.shape,
            report.key,
            report.day,
            report.mode.word()
        )
        .unwrap();
        for m in report.menus {
            writeln!(
                text,
                "  menu {} {}{}{} as {:?}",
                m.menu.id(),
                m.kind(),
                if m.required { " required" } else { "" },
                if m.extra { " extra" } else { "" },
                m.sent
            )
            .unwrap();
        }
        for column in report.columns {
            writeln!(
                text,
                "  {} {} {:?}",
                column.name,
                column.kind.word(),
                column.from
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!("catalogue", text);
}
