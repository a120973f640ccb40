//! Options are checked against the report and the update mode, and stored with their defaults.

use super::*;
use crate::connectors::report::{GroupBy, UpdateMode};
use crate::connectors::{Connector, Menus};

fn setup<'a>(report: &str, mode: UpdateMode, menus: &'a Menus) -> ReportSetup<'a> {
    ReportSetup {
        report: Connector::LiveChat.report(report).unwrap(),
        mode,
        menus,
    }
}

#[test]
fn every_choice_that_does_not_fit_is_told_beside_its_field() {
    let menus = Menus {
        start_days: Some(7),
        end_days: Some(1),
        ..Menus::default()
    };
    let months = Menus {
        group_by: Some(GroupBy::Month),
        ..menus.clone()
    };
    let with = |change: fn(&mut DatasetOptions)| {
        let mut options = DatasetOptions::default();
        change(&mut options);
        options
    };
    let fields = |options: DatasetOptions, setup: &ReportSetup<'_>| -> Vec<String> {
        options
            .check(setup, &[])
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|(field, _)| field)
            .collect()
    };
    use UpdateMode::{Append, Merge, Partition, Replace};
    for mode in UpdateMode::ALL {
        assert!(
            fields(DatasetOptions::default(), &setup("chat", mode, &menus)).is_empty(),
            "{mode:?}"
        );
    }
    for (options, setup, field) in [
        (
            DatasetOptions::default(),
            setup("agents", Partition, &menus),
            "update_mode",
        ),
        (
            DatasetOptions::default(),
            setup("chat_report", Partition, &months),
            "update_mode",
        ),
        (
            with(|o| o.key = vec!["nobody".to_owned()]),
            setup("chat", Merge, &menus),
            "key",
        ),
        (
            with(|o| o.key = vec!["_batch_id".to_owned()]),
            setup("chat", Merge, &menus),
            "key",
        ),
        (
            with(|o| o.key = vec!["id".to_owned(), "rate".to_owned(), "id".to_owned()]),
            setup("chat", Merge, &menus),
            "key",
        ),
        (
            with(|o| o.look_back = 2),
            setup("chat", Replace, &menus),
            "look_back",
        ),
        (
            with(|o| o.look_back = 2),
            setup("chat", Append, &menus),
            "look_back",
        ),
        (
            with(|o| o.look_back = 2),
            setup("agents", Merge, &menus),
            "look_back",
        ),
        (
            with(|o| o.look_back = 2),
            setup("chat_report", Merge, &menus),
            "look_back",
        ),
        (
            with(|o| o.look_back = 4_000),
            setup("chat", Merge, &menus),
            "look_back",
        ),
        (
            with(|o| o.hold_drop = 100),
            setup("chat", Replace, &menus),
            "hold_drop",
        ),
        (
            with(|o| o.hold_drop = 50),
            setup("chat", Append, &menus),
            "hold_drop",
        ),
    ] {
        assert_eq!(
            fields(options.clone(), &setup),
            [field],
            "{options:?} {:?}",
            setup.mode
        );
    }
    let own = with(|o| o.key = vec!["id".to_owned()])
        .check(&setup("chat", Merge, &menus), &[])
        .unwrap();
    assert!(
        own.key.is_empty(),
        "the report's own key is not a chosen one"
    );
}

#[test]
fn what_does_not_fit_well_is_told_and_what_does_is_not() {
    let week = Menus {
        start_days: Some(7),
        end_days: Some(1),
        ..Menus::default()
    };
    let (day, none) = (
        Menus {
            start_days: Some(1),
            ..week.clone()
        },
        Menus::default(),
    );
    let warning = |options: &DatasetOptions, report: &str, mode, menus: &Menus| {
        options.warnings(&setup(report, mode, menus)).join(" ")
    };
    let own = DatasetOptions::default();
    assert!(warning(&own, "chat", UpdateMode::Append, &week).contains("Every run pulls 7 days"));
    assert!(warning(&own, "chat", UpdateMode::Append, &day).contains("second run on the same day"));
    assert!(warning(&own, "agents", UpdateMode::Append, &none).contains("snapshot"));
    assert!(warning(&own, "dashboard_report", UpdateMode::Merge, &none).contains("as with Append"));
    let chosen = DatasetOptions {
        key: vec!["text".to_owned()],
        ..DatasetOptions::default()
    };
    assert!(warning(&chosen, "chat_messages", UpdateMode::Merge, &week).contains("chat_id"));
    for mode in [
        UpdateMode::Replace,
        UpdateMode::Merge,
        UpdateMode::Partition,
    ] {
        assert_eq!(warning(&own, "chat", mode, &week), "", "{mode:?}");
    }
}

#[test]
fn what_is_stored_without_options_has_the_usual_ones() {
    assert_eq!(
        serde_json::from_str::<DatasetOptions>("{}").unwrap(),
        DatasetOptions::default()
    );
    let text = serde_json::to_string(&DatasetOptions {
        look_back: 3,
        on_added: SchemaRule::Stop,
        ..DatasetOptions::default()
    })
    .unwrap();
    assert_eq!(
        serde_json::from_str::<DatasetOptions>(&text)
            .unwrap()
            .on_added,
        SchemaRule::Stop
    );
}
