//! Tests of unusual cells: what the writer produces and what an XML reader reads from it.

mod documents;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

use super::*;
use crate::connectors::Connector;
use crate::datasets::columns::{MORE, to_schema};

fn text(value: Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn integer(value: Option<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

/// A timestamp column with `value` in milliseconds.
fn moment_of(value: Option<i64>) -> ArrayRef {
    Arc::new(
        TimestampMicrosecondArray::from(vec![value.map(|millis| millis * 1_000)])
            .with_timezone("UTC"),
    )
}

fn report() -> &'static Report {
    Connector::LiveLeader.report("chats").unwrap()
}

/// A document of one chat with these cells; all other cells are null.
fn document(cells: Vec<(&str, ArrayRef)>) -> (String, XmlStats) {
    document_of(vec![cells])
}

/// A document of several chats with the same columns.
fn document_of(chats: Vec<Vec<(&str, ArrayRef)>>) -> (String, XmlStats) {
    let Some(cells) = chats.first() else {
        let mut bytes = Vec::new();
        let stats = Writer::begin(&mut bytes, std::iter::empty())
            .unwrap()
            .end()
            .unwrap();
        return (String::from_utf8(bytes).unwrap(), stats);
    };
    let of = |name: &str, array: &ArrayRef| {
        let kind = match array.data_type() {
            arrow::datatypes::DataType::Int64 => ColumnKind::Integer,
            arrow::datatypes::DataType::Utf8 => ColumnKind::Text,
            _ => ColumnKind::Timestamp,
        };
        ColumnInfo {
            name: name.to_owned(),
            kind,
            declared: report().column(name).is_some(),
        }
    };
    let all: Vec<ColumnInfo> = cells.iter().map(|(name, array)| of(name, array)).collect();
    let chosen = columns(report(), &all);
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, [chosen.as_slice()].into_iter()).unwrap();
    for cells in &chats {
        let arrays = chosen
            .iter()
            .map(|column| {
                cells
                    .iter()
                    .find(|(name, _)| *name == column.name)
                    .unwrap()
                    .1
                    .clone()
            })
            .collect();
        let batch = RecordBatch::try_new(to_schema(&chosen), arrays).unwrap();
        writer.chat(0, &batch, 0).unwrap();
    }
    let stats = writer.end().unwrap();
    (String::from_utf8(bytes).unwrap(), stats)
}

fn chat(cells: Vec<(&str, ArrayRef)>) -> String {
    let (text, _) = document(cells);
    let inner = text
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<chats>\n<chat>\n")
        .unwrap();
    inner
        .strip_suffix("</chat>\n</chats>\n")
        .unwrap()
        .to_owned()
}

#[test]
fn elements_follow_the_vendors_order_and_not_the_order_of_the_columns() {
    let transcript = concat!(
        r#"[{"from":"visitor","time":"2026-11-20T08:15:30.000+00:00","text":"Hi"},"#,
        r#"{"text":"23-10-2008T12:49:1231","zone":"x","from":"a@b.test","n":1},{}]"#,
    );
    let written = chat(vec![
        ("city", text(Some("Oslo"))),
        ("transcript", text(Some(transcript))),
        ("url", text(Some("https://x.test/?a=1&b=2"))),
        ("duration", integer(Some(125))),
        ("stop", moment_of(Some(1_795_162_530_000))),
        ("start", moment_of(Some(1_795_162_530_120))),
        ("visitor_ip", text(Some("192.0.2.1"))),
        ("operator_count", integer(Some(2))),
        ("operators", text(Some("a@b.test, c@d.test"))),
        ("keywords", text(Some(""))),
        ("referrer", text(None)),
        ("id", text(Some("1"))),
        ("message_count", integer(Some(3))),
    ]);
    let wanted = "<id>1</id>\n<keywords></keywords>\n\
        <operator>a@b.test</operator>\n<operator>c@d.test</operator>\n\
        <visitorip>192.0.2.1</visitorip>\n<start>2026-11-20T08:15:30.120+00:00</start>\n\
        <stop>2026-11-20T08:15:30.000+00:00</stop>\n<duration>125</duration>\n\
        <url>https://x.test/?a=1&amp;b=2</url>\n<city>Oslo</city>\n\
        <msg from=\"visitor\" time=\"2026-11-20T08:15:30.000+00:00\">Hi</msg>\n\
        <msg from=\"a@b.test\" zone=\"x\">23-10-2008T12:49:1231</msg>\n<msg></msg>\n";
    assert_eq!(written, wanted);
}

#[test]
fn misfits_are_written_as_the_vendor_sent_them() {
    let misfit = r#"{"stop":"23-10-2008T12:49:1231","duration":"2 <min>","start":7}"#;
    let written = chat(vec![
        ("start", moment_of(None)),
        ("stop", moment_of(None)),
        ("duration", integer(None)),
        (MISFIT, text(Some(misfit))),
    ]);
    assert_eq!(
        written,
        "<start>7</start>\n<stop>23-10-2008T12:49:1231</stop>\n<duration>2 &lt;min&gt;</duration>\n"
    );
}

#[test]
fn operators_are_taken_apart_as_they_were_joined() {
    for (joined, count, wanted) in [
        ("a", Some(1), vec!["a"]),
        ("Berg, Ada", Some(1), vec!["Berg, Ada"]),
        ("a, b", Some(2), vec!["a", "b"]),
        ("a, b", None, vec!["a", "b"]),
        ("", Some(1), vec![""]),
    ] {
        let wanted: String = wanted
            .into_iter()
            .map(|one| format!("<operator>{one}</operator>\n"))
            .collect();
        assert_eq!(
            chat(vec![
                ("operators", text(Some(joined))),
                ("operator_count", integer(count))
            ]),
            wanted
        );
    }
    assert_eq!(
        chat(vec![
            ("operators", text(None)),
            ("operator_count", integer(Some(0)))
        ]),
        ""
    );
}

#[test]
fn only_names_that_can_be_elements_are() {
    let written = chat(
        [
            "city",
            "straße",
            "_more",
            "_batch_id",
            "a b",
            "1st",
            "ns:x",
            "a<b",
            "",
            "msg",
            "operator",
            "visitorip",
            "x\u{301}",
            "имя",
            "a-b.c_1",
        ]
        .into_iter()
        .map(|name| (name, text(Some("x"))))
        .collect(),
    );
    assert_eq!(
        written,
        "<city>x</city>\n<straße>x</straße>\n<имя>x</имя>\n<a-b.c_1>x</a-b.c_1>\n"
    );
    let kept = columns(
        report(),
        &[ColumnInfo {
            name: MORE.to_owned(),
            kind: ColumnKind::Json,
            declared: false,
        }],
    );
    assert!(kept.is_empty());
}

#[test]
fn text_is_exact_for_a_reader_that_trims_indentation_and_turns_line_ends() {
    for (value, wanted) in [
        ("a\r\nb\rc\nd\te", "a&#13;\nb&#13;c\nd\te"),
        ("\n a \t", "&#10;&#32;a&#32;&#9;"),
        (" \n ", "&#32;&#10;&#32;"),
        ("\u{a0}a\u{2028}", "&#160;a&#8232;"),
        ("]]> <&>\"'", "]]&gt; &lt;&amp;&gt;\"'"),
        (
            "a\0b\u{b}\u{ffff}\u{fffe}\u{1f}c",
            "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\u{fffd}c",
        ),
        ("\u{c}a\u{b}", "\u{fffd}a\u{fffd}"),
        ("\u{85}\u{7f}\u{1ffff}", "&#133;\u{7f}\u{1ffff}"),
        ("", ""),
    ] {
        assert_eq!(
            chat(vec![("url", text(Some(value)))]),
            format!("<url>{wanted}</url>\n"),
            "{value:?}"
        );
    }
    let message = serde_json::json!([{"from": " a\r\n\t\"<&>\u{1}", "text": "x"}]).to_string();
    assert_eq!(
        chat(vec![("transcript", text(Some(&message)))]),
        "<msg from=\" a&#13;&#10;&#9;&quot;&lt;&amp;&gt;\u{fffd}\">x</msg>\n"
    );
}

#[test]
fn what_was_replaced_and_what_could_not_be_read_is_counted() {
    let (_, stats) = document(vec![
        ("id", text(Some("\0\u{1}"))),
        ("url", text(Some("\u{b}\u{b}"))),
        ("transcript", text(Some("{\"no\": \"list\"}"))),
    ]);
    assert_eq!(
        stats,
        XmlStats {
            replaced: 4,
            unreadable: 1
        }
    );
    let (text, stats) = document(vec![("transcript", text(Some(r#"[{"text":"\ud800"}]"#)))]);
    assert_eq!((text.contains("<msg"), stats.unreadable), (false, 1));
}

/// The text that an XML reader gets for the text of an element.
fn read_back(written: &str) -> String {
    let literal = written.replace("\r\n", "\n").replace('\r', "\n");
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n');
    let (start, end) = (
        literal.len() - literal.trim_start_matches(blank).len(),
        literal.trim_end_matches(blank).len(),
    );
    let start = if literal[..start].contains('\n') {
        start
    } else {
        0
    };
    let end = if end < literal.len() && literal[end..].contains('\n') {
        end.max(start)
    } else {
        literal.len()
    };
    quick_xml::escape::unescape(&literal[start..end])
        .unwrap()
        .into_owned()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]
    #[test]
    fn any_text_comes_back_but_for_what_is_forbidden(
        value in "[ \t\r\n<>&;\"#\\]\0\u{b}\u{85}\u{a0}a-cé\u{1f600}\u{ffff}]{0,12}",
    ) {
        let mut stats = XmlStats::default();
        let mut written = String::new();
        write_text(&mut written, &value, &mut stats);
        let wanted: String = value
            .chars()
            .map(|c| if is_forbidden(c) { '\u{fffd}' } else { c })
            .collect();
        proptest::prop_assert_eq!(read_back(&written), wanted);
        let forbidden = value.chars().filter(|c| is_forbidden(*c)).count() as u64;
        proptest::prop_assert_eq!(stats.replaced, forbidden);
    }
}
