//! Tests of rows from records, including old and malformed ones.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::connectors::Connector;

fn rows(report: &str, records: &[&str]) -> JsonRows {
    let mut rows = JsonRows::new(Connector::LiveChat.report(report).unwrap());
    let mut row = rows.scratch();
    for record in records {
        rows.record(record, &mut row).unwrap();
    }
    rows
}

fn text(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let Some(array) = batch.column_by_name(name) else {
        return vec![None; batch.num_rows()];
    };
    array
        .as_string::<i32>()
        .iter()
        .map(|value| value.map(str::to_owned))
        .collect()
}

fn some(values: &[Option<&str>]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| value.map(str::to_owned))
        .collect()
}

#[test]
fn a_visitor_in_either_shape_fills_the_same_columns() {
    let mut rows = rows(
        "chat",
        &[
            r#"{"id":"A","visitor":{"name":"Ann","country_code":"NO","phone":"47"},"queue":{"duration":9}}"#,
            r#"{"id":"B","visitor_name":"Bob","visitor":null,"queue":null}"#,
            r#"{"visitor_name":"Cyd","visitor":{"name":"Cyd"},"id":"C"}"#,
            r#"{"id":"D","visitor":"a text","queue":[]}"#,
        ],
    );
    let batch = rows.batch().unwrap();
    assert_eq!(
        text(&batch, "visitor_name"),
        some(&[Some("Ann"), Some("Bob"), Some("Cyd"), None])
    );
    assert_eq!(
        text(&batch, "visitor_country_code"),
        some(&[Some("NO"), None, None, None])
    );
    assert_eq!(
        text(&batch, "visitor_phone"),
        some(&[Some("47"), None, None, None])
    );
    assert_eq!(
        text(&batch, "visitor"),
        some(&[None, None, None, Some("a text")])
    );
    assert_eq!(text(&batch, "queue"), some(&[None, None, None, Some("[]")]));
    assert_eq!(
        batch
            .column_by_name("queue_duration")
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        9
    );
    assert_eq!(rows.misfits(), 0);
    assert!(batch.column_by_name("_misfit").is_none());
}

#[test]
fn lists_are_stored_counted_and_joined() {
    let mut rows = rows(
        "chat",
        &[
            r#"{"id":"A","agents":[{"display_name":"Ann, B.","email":"a@x"},{"display_name":"Cyd"}],"messages":[{},1,null],"events":[]}"#,
            r#"{"id":"B","agents":"odd","messages":"odd","group":[1e999],"tags":null}"#,
        ],
    );
    let batch = rows.batch().unwrap();
    assert_eq!(
        text(&batch, "agent_names"),
        some(&[Some("Ann, B., Cyd"), None])
    );
    assert_eq!(text(&batch, "agent_emails"), some(&[Some("a@x"), None]));
    assert_eq!(text(&batch, "agents")[1].as_deref(), Some("\"odd\""));
    assert_eq!(text(&batch, "group")[1].as_deref(), Some("[1e999]"));
    let counts = batch
        .column_by_name("messages_count")
        .unwrap()
        .as_primitive::<Int64Type>();
    assert!(counts.value(0) == 3 && counts.is_null(1));
    assert_eq!(
        text(&batch, "_misfit"),
        some(&[None, Some(r#"{"messages_count":"odd"}"#)])
    );
    assert_eq!(rows.misfits(), 1);
}

#[test]
fn undeclared_fields_are_stored_and_columns_only_grow() {
    let mut rows = rows(
        "groups",
        &[
            r#"{"id":1,"name":"A"}"#,
            r#"{"id":2,"new":{"a":1e999},"plain":"x\ny","none":null}"#,
        ],
    );
    let first = rows.batch().unwrap();
    assert_eq!(text(&first, "new"), some(&[None, Some(r#"{"a":1e999}"#)]));
    assert_eq!(text(&first, "plain"), some(&[None, Some("x\ny")]));
    assert_eq!(text(&first, "none"), some(&[None, None]));
    let mut row = rows.scratch();
    rows.record(
        r#"{"id":3,"later":true,"_batch_id":"spoof","messages_count":1}"#,
        &mut row,
    )
    .unwrap();
    let second = rows.batch().unwrap();
    let names: Vec<String> = second
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "id",
            "name",
            "language",
            "agents",
            "status",
            "new",
            "plain",
            "none",
            "later",
            "messages_count",
            "_more"
        ]
    );
    assert_eq!(
        text(&second, "_more"),
        some(&[Some(r#"{"_batch_id":"spoof"}"#)])
    );
    let field = second.schema().field_with_name("later").unwrap().clone();
    assert_eq!(
        (
            field.metadata()["kind"].as_str(),
            field.metadata()["declared"].as_str()
        ),
        ("text", "false")
    );
}

#[test]
fn at_most_200_columns_are_added_and_the_rest_is_not_lost() {
    let fields: Vec<String> = (0..500).map(|n| format!("\"f{n}\":{n}")).collect();
    let record = format!(
        "{{\"id\":1,{},\"{}\":7,\"\":8}}",
        fields.join(","),
        "n".repeat(500)
    );
    let batch = rows("groups", &[&record]).batch().unwrap();
    assert_eq!(batch.num_columns(), 5 + 200 + 1);
    let more: serde_json::Value =
        serde_json::from_str(text(&batch, "_more")[0].as_deref().unwrap()).unwrap();
    assert_eq!(
        (more.as_object().unwrap().len(), &more["f499"], &more[""]),
        (302, &499.into(), &8.into())
    );
}

#[test]
fn a_record_that_is_no_object_becomes_a_misfit_row() {
    for report in ["groups", "chat", "chat_messages"] {
        for odd in ["null", "7", "\"x\"", "[]"] {
            let mut rows = rows(report, &[odd]);
            let batch = rows.batch().unwrap();
            assert_eq!((batch.num_rows(), rows.misfits()), (1, 1), "{report} {odd}");
            assert_eq!(
                text(&batch, "_misfit"),
                some(&[Some(&format!("{{\"_record\":{odd}}}"))])
            );
        }
    }
}

#[test]
fn a_name_with_half_of_a_surrogate_pair_costs_no_other_field() {
    let odd = r#"{"id":7,"\ud800":1,"name":"A"}"#;
    let mut rows = rows("groups", &[odd]);
    let batch = rows.batch().unwrap();
    assert_eq!(
        (text(&batch, "name"), text(&batch, "\u{fffd}")),
        (some(&[Some("A")]), some(&[Some("1")]))
    );
    assert_eq!(
        (text(&batch, "_misfit"), rows.misfits()),
        (some(&[Some(&format!("{{\"_record\":{odd}}}"))]), 1)
    );
}

#[test]
fn half_of_a_surrogate_pair_costs_one_character_in_any_field() {
    let mut rows = rows(
        "chat",
        &[
            r#"{"id":"A","visitor":{"name":"Ann \ud83d"},"brand_new":"x\ude00","tags":["\ud83d"]}"#,
            r#"{"id":"B","agents":[{"display_name":"Cyd"},{"display_name":"Dee \ud83d"}]}"#,
        ],
    );
    let batch = rows.batch().unwrap();
    assert_eq!(
        text(&batch, "visitor_name"),
        some(&[Some("Ann \u{fffd}"), None])
    );
    assert_eq!(text(&batch, "brand_new"), some(&[Some("x\u{fffd}"), None]));
    assert_eq!(
        text(&batch, "agent_names"),
        some(&[None, Some("Cyd, Dee \u{fffd}")])
    );
    assert_eq!(
        text(&batch, "tags"),
        some(&[Some(r#"["\ud83d"]"#), None]),
        "JSON is unchanged"
    );
    let first = r#"{"visitor_name":"Ann \ud83d","brand_new":"x\ude00"}"#;
    let second = r#"{"agent_names":[{"display_name":"Cyd"},{"display_name":"Dee \ud83d"}]}"#;
    assert_eq!(
        (text(&batch, "_misfit"), rows.misfits()),
        (some(&[Some(first), Some(second)]), 3)
    );
}

#[test]
fn numbers_are_read_whatever_they_are_sent_as() {
    let mut rows = rows(
        "chat",
        &[
            r#"{"id":70000,"duration":"125","pending":"true","visitor":{"id":7},"started_timestamp":"1358937653"}"#,
            r#"{"id":"70001","duration":125.5,"pending":"perhaps","visitor":{"name":[7]}}"#,
        ],
    );
    let batch = rows.batch().unwrap();
    assert_eq!(text(&batch, "id"), some(&[Some("70000"), Some("70001")]));
    assert_eq!(text(&batch, "visitor_id"), some(&[Some("7"), None]));
    assert_eq!(
        batch
            .column_by_name("duration")
            .unwrap()
            .as_primitive::<Int64Type>()
            .values()
            .to_vec(),
        [125, 126]
    );
    assert_eq!(text(&batch, "_misfit")[0], None);
    assert_eq!(
        text(&batch, "_misfit")[1].as_deref(),
        Some(r#"{"duration":125.5,"pending":"perhaps","visitor_name":[7]}"#)
    );
}

#[test]
fn numeric_ids_are_the_same_on_all_rows_of_a_record() {
    for id in ["70000", "7e4", "70000.0", "\"70000\""] {
        let mut rows = rows(
            "chat_messages",
            &[
                &format!(r#"{{"id":{id},"messages":[{{"text":"a"}}]}}"#),
                &format!(r#"{{"id":{id},"messages":[]}}"#),
            ],
        );
        assert_eq!(
            text(&rows.batch().unwrap(), "chat_id"),
            some(&[Some("70000")]),
            "{id}"
        );
        assert_eq!(
            (rows.empty_parents.as_slice(), rows.misfits()),
            (&["70000".to_owned()][..], 0),
            "{id}"
        );
    }
}

#[test]
fn items_carry_their_record_in_any_field_order() {
    let mut rows = rows(
        "chat_messages",
        &[
            r#"{"messages":[{"text":"a"},{"text":{"b":1}},null],"started_timestamp":1358937653,"id":"A"}"#,
            r#"{"id":"B","messages":[]}"#,
            r#"{"id":"C"}"#,
            r#"{"id":"D","messages":{"0":{}},"started_timestamp":"soon"}"#,
        ],
    );
    let batch = rows.batch().unwrap();
    assert_eq!(
        text(&batch, "chat_id"),
        some(&[Some("A"), Some("A"), Some("A"), Some("D")])
    );
    assert_eq!(text(&batch, "text"), some(&[Some("a"), None, None, None]));
    let position = batch
        .column_by_name("position")
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    assert_eq!(position, [1, 2, 3, 1]);
    assert_eq!(
        text(&batch, "_misfit")[1].as_deref(),
        Some(r#"{"text":{"b":1}}"#)
    );
    assert_eq!(
        text(&batch, "_misfit")[3].as_deref(),
        Some(r#"{"chat_started_timestamp":"soon","messages":{"0":{}}}"#)
    );
}

#[test]
fn batches_are_small_in_rows_and_in_bytes() {
    let mut many = JsonRows::new(Connector::LiveChat.report("groups").unwrap());
    let mut row = many.scratch();
    for _ in 0..20_000 {
        many.record(r#"{"id":1}"#, &mut row).unwrap();
    }
    many.flush().unwrap();
    let sizes: Vec<usize> = many
        .take_batches()
        .iter()
        .map(RecordBatch::num_rows)
        .collect();
    assert_eq!(sizes, [8_192, 8_192, 3_616]);
    let long = format!("{{\"id\":1,\"name\":\"{}\"}}", "x".repeat(300_000));
    let mut wide = rows("groups", &[long.as_str(); 20]);
    wide.flush().unwrap();
    let sizes: Vec<usize> = wide
        .take_batches()
        .iter()
        .map(RecordBatch::num_rows)
        .collect();
    assert_eq!(sizes, [4, 4, 4, 4, 4]);
}

#[test]
fn the_catalogue_is_sound() {
    for report in Connector::LiveChat.reports() {
        assert_eq!(report.id, report.title.to_lowercase().replace(' ', "_"));
        assert!(
            report.about.ends_with('.')
                && report
                    .columns
                    .iter()
                    .all(|column| !column.meaning.is_empty()),
            "{}",
            report.id
        );
        let names: std::collections::HashSet<_> =
            report.columns.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), report.columns.len(), "{}", report.id);
        assert!(
            report
                .key
                .iter()
                .chain(&report.day)
                .all(|name| names.contains(name)),
            "{}",
            report.id
        );
        assert!(
            report
                .columns
                .iter()
                .all(|column| !column.name.starts_with('_')),
            "{}",
            report.id
        );
    }
}
