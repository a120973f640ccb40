//! Exports a version as a file: one row source, and a writer for each format. Start reading at
//! `csv`.

/// Reads the rows of several versions ordered by start.
pub mod by_start;
/// Formats values as text.
pub(super) mod cell_text;
/// CSV, exact or safe for spreadsheets.
pub mod csv;
/// Counts the cells that are marked for spreadsheets.
pub mod guarded_cells;
/// Streams encoded parts to a client.
pub mod pipe;

use std::fmt::Write;

pub use csv::{CsvOptions, csv, unguard};

/// A file name made from the name of a DataSet, safe on all systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Letters, digits, spaces and `-_.()` only.
    pub ascii: String,
    /// The DataSet's name with only unsafe characters replaced.
    pub utf8: String,
}

/// The maximum length of a name without its extension, in bytes.
const MAX_NAME_BYTES: usize = 150;

/// Makes a file name of `name`: no control character, quote, slash or direction mark, no leading or
/// trailing dot or space, no name that a system reserves, at most 150 bytes. `extension` is
/// trusted, and has no dot.
pub fn file_name(name: &str, extension: &str) -> FileName {
    let utf8 = tidy(
        name.chars()
            .filter(|c| !is_hidden(*c))
            .map(|c| if is_risky(c) { '_' } else { c }),
    );
    let ascii = tidy(name.chars().filter(|c| !is_hidden(*c)).map(|c| {
        if c.is_ascii_alphanumeric() || " -_.()".contains(c) {
            c
        } else {
            '_'
        }
    }));
    FileName {
        ascii: format!("{ascii}.{extension}"),
        utf8: format!("{utf8}.{extension}"),
    }
}

/// Whether a character is a control character, or is invisible and changes the direction or look of
/// text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
}

fn is_risky(c: char) -> bool {
    "\"'`/\\:*?<>|%;$~".contains(c)
}

fn tidy(chars: impl Iterator<Item = char>) -> String {
    let mut name: String = chars.collect();
    if name.len() > MAX_NAME_BYTES {
        let end = (0..=MAX_NAME_BYTES)
            .rev()
            .find(|at| name.is_char_boundary(*at))
            .unwrap_or(0);
        name.truncate(end);
    }
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if name.is_empty() || name.chars().all(|c| c == '_') {
        return "dataset".to_owned();
    }
    // Windows reserves these names with any extension, and compares only the part before the first
    // dot.
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|n| {
            n.chars().count() == 1 && n.chars().all(|c| c.is_ascii_digit() || "¹²³".contains(c))
        })
    };
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) || numbered("COM")
        || numbered("LPT")
    {
        return format!("_{name}");
    }
    name.to_owned()
}

impl FileName {
    /// The value of a `Content-Disposition` header that saves the body under this name (RFC 6266).
    /// It is plain ASCII.
    pub fn content_disposition(&self) -> String {
        let mut value = format!("attachment; filename=\"{}\"; filename*=UTF-8''", self.ascii);
        for byte in self.utf8.bytes() {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                value.push(char::from(byte));
            } else {
                let _ = write!(value, "%{byte:02X}");
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_safe_ones() {
        for (name, ascii) in [
            ("Chats 2026", "Chats 2026.csv"),
            ("a\"\r\nX-Evil: 1", "a_X-Evil_ 1.csv"),
            ("../../x", "_.._x.csv"),
            ("CON", "_CON.csv"),
            ("nul.txt", "_nul.txt.csv"),
            ("Com7", "_Com7.csv"),
            ("command", "command.csv"),
            ("abc\u{202e}gpj", "abcgpj.csv"),
            ("", "dataset.csv"),
            ("...", "dataset.csv"),
            ("Übersicht", "_bersicht.csv"),
            ("\u{1f600}", "dataset.csv"),
        ] {
            assert_eq!(file_name(name, "csv").ascii, ascii, "{name:?}");
        }
        assert_eq!(file_name("Übersicht", "csv").utf8, "Übersicht.csv");
        assert_eq!(
            file_name("Übersicht \"1\"", "csv").content_disposition(),
            "attachment; filename=\"_bersicht _1_.csv\"; filename*=UTF-8''%C3%9Cbersicht%20_1_.csv"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_name_makes_one_header_of_plain_ascii(name in ".*", long in "\\PC{0,400}") {
            for name in [name, long] {
                let file = file_name(&name, "csv");
                let header = file.content_disposition();
                proptest::prop_assert!(header.bytes().all(|b| (0x20..0x7f).contains(&b)));
                proptest::prop_assert_eq!(header.matches('"').count(), 2);
                proptest::prop_assert!(file.utf8.len() <= MAX_NAME_BYTES + 5);
                proptest::prop_assert!(!file.utf8.contains(['/', '\\', '"']));
                proptest::prop_assert!(!file.utf8.starts_with('.'));
            }
        }
    }
}
