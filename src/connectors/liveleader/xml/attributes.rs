//! Stores the attributes of a tag. A fast parser reads tags with a few plain attributes: almost all
//! tags are like this, and the general parser takes several times as long.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::BytesStart;
use quick_xml::events::attributes::AttrError;

use super::chat::ExportedChat;
use super::document_error::DocumentError;
use super::open_elements::ElementKind;
use super::reference;
use super::white_space::WHITE;
use super::{MAX_ATTRIBUTES, MAX_NAME_BYTES, MAX_TEXT_BYTES};

/// The maximum number of attributes, and the maximum length of each name and value.
const MAX_PLAIN: usize = 4;
const MAX_PLAIN_BYTES: usize = 256;

/// A few attributes, all of the form `name="value"` without references.
struct PlainAttributes<'t> {
    all: [(&'t str, &'t str); MAX_PLAIN],
    count: usize,
}

impl<'t> PlainAttributes<'t> {
    /// Parses the part of a tag after its name. `None` if it contains anything else, valid or not.
    fn of(tag: &'t str) -> Option<Self> {
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

    fn iter(&self) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.all.into_iter().take(self.count)
    }
}

/// Splits the text before the first matching byte.
fn split_before(text: &str, end: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let near = &text.as_bytes()[..text.len().min(MAX_PLAIN_BYTES)];
    text.split_at_checked(near.iter().position(|byte| end(*byte))?)
}

/// Makes a column name: the colons of prefixes are replaced, because other programs cannot handle
/// them.
pub(super) fn plain_name(name: &str, into: &mut String) {
    if name.contains(':') {
        into.extend(name.chars().map(|c| if c == ':' { '_' } else { c }));
    } else {
        into.push_str(name);
    }
}

/// Stores the attributes of a tag. `path` is the path of its element.
pub(super) fn store_attributes(
    chat: &mut ExportedChat,
    tag: &BytesStart<'_>,
    kind: ElementKind,
    path: &str,
) -> Result<(), DocumentError> {
    if let Some(plain) = PlainAttributes::of(tag.attributes_raw()) {
        return plain
            .iter()
            .try_for_each(|(name, value)| attribute(chat, kind, path, name, value));
    }
    count_attributes(tag)?;
    for raw_attribute in tag.attributes() {
        let raw_attribute = raw_attribute.map_err(|error| broken_attribute(&error))?;
        let name = raw_attribute.key.as_ref();
        if name.len() > MAX_NAME_BYTES {
            return Err(DocumentError::LongName);
        }
        // A value with invalid references is decoded leniently.
        let (value, repaired) = match raw_attribute.normalized_value_with(
            XmlVersion::Implicit1_0,
            1,
            resolve_xml_entity,
        ) {
            Ok(value) => (value, 0),
            Err(_) => {
                let (value, repaired) = reference::attribute(&raw_attribute.value);
                (value.into(), repaired)
            }
        };
        chat.repaired += repaired;
        if value.len() > MAX_TEXT_BYTES {
            return Err(DocumentError::LongText);
        }
        attribute(chat, kind, path, name, &value)?;
    }
    Ok(())
}

fn attribute(
    chat: &mut ExportedChat,
    kind: ElementKind,
    path: &str,
    name: &str,
    value: &str,
) -> Result<(), DocumentError> {
    let mut column_name = String::new();
    match (kind, name) {
        (ElementKind::Message, "from" | "time") => {
            let span = chat.store(value)?;
            if let Some(message) = chat.messages.last_mut() {
                *(if name == "from" {
                    &mut message.from
                } else {
                    &mut message.time
                }) = Some(span);
            }
            return Ok(());
        }
        (ElementKind::Chat | ElementKind::Message, _) => {}
        _ => {
            column_name.push_str(path);
            column_name.push('_');
        }
    }
    plain_name(name, &mut column_name);
    chat.store_extra(
        matches!(
            kind,
            ElementKind::Message | ElementKind::Unknown { message: true }
        ),
        &column_name,
        value,
    )
}

/// Fails if a tag has too many attributes.
pub(super) fn count_attributes(tag: &BytesStart<'_>) -> Result<(), DocumentError> {
    // Counted before parsing, because the duplicate check of very many attributes is slow.
    let equal_signs = tag.attributes_raw().bytes().filter(|b| *b == b'=').count();
    if equal_signs <= MAX_ATTRIBUTES {
        return Ok(());
    }
    let mut attributes = tag.attributes();
    attributes.with_checks(false);
    if attributes.take(MAX_ATTRIBUTES + 1).count() > MAX_ATTRIBUTES {
        Err(DocumentError::TooManyAttributes)
    } else {
        Ok(())
    }
}

fn broken_attribute(_: &AttrError) -> DocumentError {
    DocumentError::Broken { at: 0 }
}
