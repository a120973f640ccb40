//! A fast parser for tags with a few plain attributes. Almost all tags are like this, and the
//! general parser takes several times as long.

use super::WHITE;

/// The maximum number of attributes, and the maximum length of each name and value.
const MAX_PLAIN: usize = 4;
const MAX_PLAIN_BYTES: usize = 256;

/// A few attributes, all of the form `name="value"` without references.
pub(super) struct PlainAttributes<'t> {
    all: [(&'t str, &'t str); MAX_PLAIN],
    count: usize,
}

impl<'t> PlainAttributes<'t> {
    /// Parses the part of a tag after its name. `None` if it contains anything else, valid or not.
    pub fn of(tag: &'t str) -> Option<Self> {
        let mut plain = Self {
            all: [("", ""); MAX_PLAIN],
            count: 0,
        };
        let mut rest = tag.trim_start_matches(WHITE);
        while !rest.is_empty() {
            let (name, after) = split_before(rest, |byte| {
                matches!(byte, b'=' | b' ' | b'\t' | b'\n' | b'\r')
            })?;
            let quote = after
                .as_bytes()
                .get(1)
                .copied()
                .filter(|byte| matches!(byte, b'"' | b'\''))?;
            let (value, after) = split_before(after.strip_prefix('=')?.get(1..)?, |byte| {
                byte == quote || matches!(byte, b'&' | b'\t' | b'\n' | b'\r')
            })?;
            rest = after
                .strip_prefix(char::from(quote))?
                .trim_start_matches(WHITE);
            if name.is_empty() || plain.iter().any(|(other, _)| other == name) {
                return None;
            }
            *plain.all.get_mut(plain.count)? = (name, value);
            plain.count += 1;
        }
        Some(plain)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.all.into_iter().take(self.count)
    }
}

/// Splits the text before the first matching byte.
fn split_before(text: &str, end: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let near = &text.as_bytes()[..text.len().min(MAX_PLAIN_BYTES)];
    text.split_at_checked(near.iter().position(|byte| end(*byte))?)
}
