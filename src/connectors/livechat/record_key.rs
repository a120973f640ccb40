//! Which of the vendor's records a report accepts. A record without a value in the report's key cannot be told from others: every merge
//! would add it again. Such a record, and one that is no object, is rejected and counted.

use super::values::{Cell, Take};
use super::walk::field_of;
use crate::connectors::report::{Column, From, RecordRows, Report, Shape};

/// The fields of a record that tell it from others.
pub(super) struct RecordKey(Vec<(&'static str, Take)>);

impl RecordKey {
    /// None of a report whose key does not come from the record: a dashboard or a period.
    pub fn of(report: &'static Report) -> Self {
        let take = |column: &Column| Take::of(column, report.key);
        let fields = match report.shape {
            // All rows of a record have its id.
            Shape::Archive { rows: RecordRows::Items { .. }, .. } | Shape::List { rows: RecordRows::Items { .. }, .. } => {
                report.columns.iter().filter(|column| column.from == From::ParentId).map(|column| ("id", take(column))).collect()
            }
            Shape::Archive { .. } | Shape::List { .. } => {
                report.key.iter().filter_map(|name| report.column(name)).map(|column| (column.name, take(column))).collect()
            }
            Shape::Periods(_) | Shape::Single | Shape::Export(_) => Vec::new(),
        };
        Self(fields)
    }

    /// Whether a record has a value in the first field of the key. Another field may be empty, such as the group of a tag.
    pub fn accepts(&self, record: &str) -> bool {
        record.starts_with('{') && self.0.first().is_none_or(|field| value(record, field).is_some())
    }

    /// The values of all fields; none if one has no value, or if the report has no key.
    pub fn values(&self, record: &str) -> Option<Vec<String>> {
        if self.0.is_empty() { None } else { self.0.iter().map(|field| value(record, field)).collect() }
    }
}

/// A field's value as text; none if it is missing, null, blank, or no value of the column's type.
fn value(record: &str, (name, take): &(&str, Take)) -> Option<String> {
    let json = field_of(record, name)?;
    // True and false tell no records apart.
    if !json.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let converted = take.convert(json);
    match converted.cell {
        Cell::Text(text) => (!text.trim().is_empty()).then(|| text.into_owned()),
        // The nearest value of another one would be the id of another record.
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
        for (report, field) in
            [("chat", "id"), ("chat_messages", "id"), ("tickets", "id"), ("agents", "login"), ("visitors_visit_path", "id"), ("tags", "name")]
        {
            let key = key(report);
            for good in ["\"A\"", "\"0\"", "\" x \"", "7", "70000.0", "-1", "0", "\"a\\ud83d\""] {
                assert!(key.accepts(&format!("{{\"other\":[{{}}],\"{field}\":{good}}}")), "{report} {good}");
            }
            for bad in ["null", "\"\"", "\" \\t\\n\"", "true", "[]", "[1]", "{}", "{\"id\":1}"] {
                assert!(!key.accepts(&format!("{{\"other\":1,\"{field}\":{bad}}}")), "{report} {bad}");
            }
            for bad in ["{}", "{\"foo\":1}", "null", "7", "\"x\"", "[]", "[{\"id\":1}]", "true"] {
                assert!(!key.accepts(bad), "{report} {bad}");
            }
            // A name that nothing can be made of is no reason.
            assert!(key.accepts(&format!("{{\"\\ud800\":1,\"{field}\":\"A\"}}")), "{report}");
        }
    }

    #[test]
    fn a_key_of_whole_numbers_takes_no_other_value() {
        for good in ["7", "\"7\"", "7.0"] {
            assert_eq!(key("groups").values(&format!("{{\"id\":{good}}}")), Some(vec!["7".to_owned()]), "{good}");
        }
        for bad in ["7.5", "\"seven\"", "\"\"", "9223372036854775808"] {
            assert!(!key("groups").accepts(&format!("{{\"id\":{bad}}}")), "{bad}");
        }
    }

    #[test]
    fn further_fields_of_a_key_may_be_empty_and_then_tell_nothing() {
        assert_eq!(key("tags").values(r#"{"name":"sale","group":3}"#), Some(vec!["sale".to_owned(), "3".to_owned()]));
        assert_eq!(key("tags").values(r#"{"name":"sale"}"#), None);
        assert!(key("tags").accepts(r#"{"name":"sale","group":null}"#));
    }

    #[test]
    fn what_has_no_key_of_its_own_must_only_be_an_object() {
        for report in ["dashboard_report", "status_report", "chat_report"] {
            assert!(key(report).accepts("{}") && !key(report).accepts("7"), "{report}");
            assert_eq!(key(report).values("{\"id\":1}"), None, "{report}");
        }
    }
}
