//! Decides which records a report accepts. A record without a value in the report's key cannot be
//! identified, so each merge would add it again. Such a record, and one that is no object, is
//! rejected and counted.

use super::raw_fields::field_of;
use super::values::{Cell, Converter};
use crate::connectors::report::{Column, ColumnSource, RecordRows, Report, Shape};

/// The fields of a record that identify it.
pub(super) struct RecordKey(Vec<(&'static str, Converter)>);

impl RecordKey {
    /// Returns an empty key for a report whose key is not in the record: a dashboard or a period
    /// report.
    pub fn of(report: &'static Report) -> Self {
        let converter = |column: &Column| Converter::of(column, report.key);
        let fields = match report.shape {
            // All rows of a record contain its id.
            Shape::Archive {
                rows: RecordRows::Items { .. },
                ..
            }
            | Shape::List {
                rows: RecordRows::Items { .. },
                ..
            } => report
                .columns
                .iter()
                .filter(|column| column.from == ColumnSource::ParentId)
                .map(|column| ("id", converter(column)))
                .collect(),
            Shape::Archive { .. } | Shape::List { .. } => report
                .key
                .iter()
                .filter_map(|name| report.column(name))
                .map(|column| (column.name, converter(column)))
                .collect(),
            Shape::Periods(_) | Shape::Single | Shape::Export(_) => Vec::new(),
        };
        Self(fields)
    }

    /// Whether a record has a value in the first field of the key. Other fields may be empty, such
    /// as the group of a tag.
    pub fn accepts(&self, record: &str) -> bool {
        record.starts_with('{')
            && self
                .0
                .first()
                .is_none_or(|field| value(record, field).is_some())
    }

    /// The values of all key fields; `None` if one has no value, or if the report has no key.
    pub fn values(&self, record: &str) -> Option<Vec<String>> {
        if self.0.is_empty() {
            None
        } else {
            self.0.iter().map(|field| value(record, field)).collect()
        }
    }
}

/// The value of a field as text; `None` if it is missing, null, blank or not of the column's type.
fn value(record: &str, (name, converter): &(&str, Converter)) -> Option<String> {
    let json = field_of(record, name)?;
    // Booleans do not identify a record.
    if !json.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let converted = converter.convert(json);
    match converted.cell {
        Cell::Text(text) => (!text.trim().is_empty()).then(|| text.into_owned()),
        // A rounded value would be the id of another record.
        Cell::Integer(value) if converted.fits => Some(value.to_string()),
        Cell::Number(value) if converted.fits => Some(value.to_string()),
        Cell::Timestamp(value) if converted.fits => Some(value.to_string()),
        Cell::Date(value) if converted.fits => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::Connector;

    fn key(report: &str) -> RecordKey {
        RecordKey::of(Connector::LiveChat.report(report).unwrap())
    }

    #[test]
    fn a_record_needs_a_value_in_its_key() {
        for (report, field) in [
            ("chat", "id"),
            ("chat_messages", "id"),
            ("tickets", "id"),
            ("agents", "login"),
            ("visitors_visit_path", "id"),
            ("tags", "name"),
        ] {
            let key = key(report);
            for good in [
                "\"A\"",
                "\"0\"",
                "\" x \"",
                "7",
                "70000.0",
                "-1",
                "0",
                "\"a\\ud83d\"",
            ] {
                assert!(
                    key.accepts(&format!("{{\"other\":[{{}}],\"{field}\":{good}}}")),
                    "{report} {good}"
                );
            }
            for bad in [
                "null",
                "\"\"",
                "\" \\t\\n\"",
                "true",
                "[]",
                "[1]",
                "{}",
                "{\"id\":1}",
            ] {
                assert!(
                    !key.accepts(&format!("{{\"other\":1,\"{field}\":{bad}}}")),
                    "{report} {bad}"
                );
            }
            for bad in [
                "{}",
                "{\"foo\":1}",
                "null",
                "7",
                "\"x\"",
                "[]",
                "[{\"id\":1}]",
                "true",
            ] {
                assert!(!key.accepts(bad), "{report} {bad}");
            }
            // A field name that cannot be decoded is no reason to reject the record.
            assert!(
                key.accepts(&format!("{{\"\\ud800\":1,\"{field}\":\"A\"}}")),
                "{report}"
            );
        }
    }

    #[test]
    fn a_key_of_whole_numbers_takes_no_other_value() {
        for good in ["7", "\"7\"", "7.0"] {
            assert_eq!(
                key("groups").values(&format!("{{\"id\":{good}}}")),
                Some(vec!["7".to_owned()]),
                "{good}"
            );
        }
        for bad in ["7.5", "\"seven\"", "\"\"", "9223372036854775808"] {
            assert!(
                !key("groups").accepts(&format!("{{\"id\":{bad}}}")),
                "{bad}"
            );
        }
    }

    #[test]
    fn optional_key_fields_may_be_empty() {
        assert_eq!(
            key("tags").values(r#"{"name":"sale","group":3}"#),
            Some(vec!["sale".to_owned(), "3".to_owned()])
        );
        assert_eq!(key("tags").values(r#"{"name":"sale"}"#), None);
        assert!(key("tags").accepts(r#"{"name":"sale","group":null}"#));
    }

    #[test]
    fn a_record_without_key_must_be_an_object() {
        for report in ["dashboard_report", "status_report", "chat_report"] {
            assert!(
                key(report).accepts("{}") && !key(report).accepts("7"),
                "{report}"
            );
            assert_eq!(key(report).values("{\"id\":1}"), None, "{report}");
        }
    }
}
