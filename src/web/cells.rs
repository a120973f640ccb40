//! Formats a cell for a page: the displayed text, and the exact text of the CSV as `data-value`.

use askama::filters::HtmlSafe;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::connectors::report::ColumnKind;
use crate::datasets::preview;
use crate::web::humanize::group_digits;

/// A text longer than about two lines is collapsed.
const LONG_CHARS: usize = 110;
/// The maximum number of characters shown of a cell; the download has the rest.
const MAX_SHOWN_CHARS: usize = 8_000;

/// A cell of a table of rows, for `templates/panes/cell.html`.
pub struct CellView {
    pub kind: String,
    pub csv: ExactText,
    pub null: bool,
    /// The displayed text, split at line breaks.
    pub lines: Vec<String>,
    pub long: bool,
}

/// Text for an attribute that a browser reads back unchanged. A parser turns raw carriage returns
/// into line feeds, so control characters are written as numeric references.
pub struct ExactText(pub String);

impl std::fmt::Display for ExactText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut plain = 0;
        for (at, c) in self.0.char_indices() {
            let special =
                matches!(c, '&' | '<' | '>' | '"' | '\'') || (c.is_ascii_control() && c != '\0');
            if special {
                write!(f, "{}&#{};", &self.0[plain..at], u32::from(c))?;
                plain = at + c.len_utf8();
            }
        }
        f.write_str(&self.0[plain..])
    }
}

impl askama::FastWritable for ExactText {
    fn write_into(
        &self,
        dest: &mut dyn core::fmt::Write,
        _: &dyn askama::Values,
    ) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

impl HtmlSafe for ExactText {}

impl CellView {
    /// `zone`: the time zone for times.
    pub fn new(cell: preview::PreviewCell, zone: &TimeZone) -> Self {
        let kind = cell.kind.word().to_owned();
        let Some(csv) = cell.csv else {
            return Self {
                kind,
                csv: ExactText(String::new()),
                null: true,
                lines: Vec::new(),
                long: false,
            };
        };
        let shown = shown(&csv, cell.kind, zone);
        let lines: Vec<String> = shown
            .replace("\r\n", "\n")
            .split(['\n', '\r'])
            .map(str::to_owned)
            .collect();
        let long = lines.len() > 2 || shown.chars().count() > LONG_CHARS;
        Self {
            kind,
            csv: ExactText(csv),
            null: false,
            lines,
            long,
        }
    }
}

fn shown(csv: &str, kind: ColumnKind, zone: &TimeZone) -> String {
    match kind {
        ColumnKind::Integer | ColumnKind::Number => grouped(csv),
        ColumnKind::Timestamp => csv.parse::<jiff::Timestamp>().map_or_else(
            |_| csv.to_owned(),
            |at| {
                at.to_zoned(zone.clone())
                    .strftime("%-d %b %Y %H:%M:%S")
                    .to_string()
            },
        ),
        ColumnKind::Date => csv.parse::<Date>().map_or_else(
            |_| csv.to_owned(),
            |day| day.strftime("%-d %b %Y").to_string(),
        ),
        ColumnKind::Boolean => csv.to_owned(),
        ColumnKind::Text | ColumnKind::Json => {
            let Some((end, _)) = csv.char_indices().nth(MAX_SHOWN_CHARS) else {
                return csv.to_owned();
            };
            format!(
                "{}… and {} more characters. The download contains all of them.",
                &csv[..end],
                csv[end..].chars().count()
            )
        }
    }
}

/// Groups digits: 1234567.25 becomes 1,234,567.25. Other text is unchanged.
fn grouped(number: &str) -> String {
    let (sign, rest) = number
        .strip_prefix('-')
        .map_or(("", number), |rest| ("−", rest));
    let (whole, part) = rest
        .split_once('.')
        .map_or((rest, None), |(whole, part)| (whole, Some(part)));
    if whole.is_empty()
        || !whole.bytes().all(|b| b.is_ascii_digit())
        || part.is_some_and(|p| !p.bytes().all(|b| b.is_ascii_digit()))
    {
        return number.to_owned();
    }
    let part = part.map_or_else(String::new, |part| format!(".{part}"));
    format!("{sign}{}{part}", group_digits(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(csv: Option<&str>, kind: ColumnKind) -> CellView {
        CellView::new(
            preview::PreviewCell {
                csv: csv.map(str::to_owned),
                kind,
            },
            &TimeZone::get("Europe/Oslo").unwrap(),
        )
    }

    #[test]
    fn values_are_formatted_for_people_with_the_exact_value_as_attribute() {
        for (csv, kind, shown) in [
            ("1234567", ColumnKind::Integer, "1,234,567"),
            ("-1234.50", ColumnKind::Number, "−1,234.50"),
            ("1e300", ColumnKind::Number, "1e300"),
            (
                "2026-11-20T08:15:30Z",
                ColumnKind::Timestamp,
                "20 Nov 2026 09:15:30",
            ),
            ("2026-11-20", ColumnKind::Date, "20 Nov 2026"),
            ("true", ColumnKind::Boolean, "true"),
        ] {
            let cell = cell(Some(csv), kind);
            assert_eq!(
                (cell.csv.0.as_str(), cell.lines.join("\n").as_str()),
                (csv, shown)
            );
        }
    }

    #[test]
    fn null_and_empty_text_are_two_things() {
        assert!(cell(None, ColumnKind::Text).null);
        let empty = cell(Some(""), ColumnKind::Text);
        assert!(!empty.null && empty.lines == [""]);
    }

    #[test]
    fn every_kind_of_line_break_is_one() {
        let cell = cell(Some("a\r\nb\rc\nd"), ColumnKind::Text);
        assert_eq!(cell.lines, ["a", "b", "c", "d"]);
        assert_eq!(cell.csv.to_string(), "a&#13;&#10;b&#13;c&#10;d");
        assert_eq!(
            ExactText("<a href=\"x\">'&'".to_owned()).to_string(),
            "&#60;a href=&#34;x&#34;&#62;&#39;&#38;&#39;"
        );
    }
}
