//! The white space of XML, and how indentation is removed from a text.

/// The white space characters of XML.
pub(super) const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

pub(super) fn is_white(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// Removes line breaks that are only indentation: literal white space with a line break at the
/// start or end.
pub(super) fn trimmed(text: &str, exact: Option<(usize, usize)>) -> &str {
    let (first, last) = exact.unwrap_or((text.len(), 0));
    let lead = text[..first].len() - text[..first].trim_start_matches(WHITE).len();
    let from = if text[..lead].contains('\n') { lead } else { 0 };
    let last = last.max(from);
    let rest = &text[last..];
    let trimmed_length = rest.trim_end_matches(WHITE).len();
    let to = if rest[trimmed_length..].contains('\n') {
        last + trimmed_length
    } else {
        text.len()
    };
    &text[from..to]
}
