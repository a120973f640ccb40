//! The attributes of a tag that has only a few plain ones, which is nearly every tag: the parser for all of them takes several times
//! as long.

use super::WHITE;

/// As many are looked for, each with a name and a value of less than so many bytes.
const FEW: usize = 4;
const SHORT: usize = 256;

/// A few attributes, all of them `name="value"` without anything to unpack.
pub(super) struct Plain<'t> {
    all: [(&'t str, &'t str); FEW],
    count: usize,
}

impl<'t> Plain<'t> {
    /// Of the part of a tag after its name. None when there is more to it, right or wrong.
    pub fn of(tag: &'t str) -> Option<Self> {
        let mut plain = Self { all: [("", ""); FEW], count: 0 };
        let mut rest = tag.trim_start_matches(WHITE);
        while !rest.is_empty() {
            let (name, after) = before(rest, |byte| matches!(byte, b'=' | b' ' | b'\t' | b'\n' | b'\r'))?;
            let quote = after.as_bytes().get(1).copied().filter(|byte| matches!(byte, b'"' | b'\''))?;
            let (value, after) = before(after.strip_prefix('=')?.get(1..)?, |byte| byte == quote || matches!(byte, b'&' | b'\t' | b'\n' | b'\r'))?;
            rest = after.strip_prefix(char::from(quote))?.trim_start_matches(WHITE);
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

/// What stands before the first such byte, and the rest from there.
fn before(text: &str, end: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let near = &text.as_bytes()[..text.len().min(SHORT)];
    text.split_at_checked(near.iter().position(|byte| end(*byte))?)
}
