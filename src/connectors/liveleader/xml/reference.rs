//! Decodes references, including those that are not valid XML: vendors write HTML entities, bare
//! ampersands, and numbers of characters that do not exist.

use html_escape::NAMED_ENTITIES;
use quick_xml::escape::resolve_xml_entity;

/// Replaces a number that is no character.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The decoded form of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// A valid reference of XML.
    Char(char),
    Text(&'static str),
    /// Not valid XML but unambiguous, or a number that is no character.
    Repaired(&'static str),
    RepairedChar(char),
    /// No reference: a bare ampersand.
    Bare,
}

/// Decodes a reference from the text between `&` and `;`.
pub(super) fn resolve(name: &str) -> Resolved {
    if let Some(number) = name.strip_prefix('#') {
        return resolve_number(number);
    }
    if let Some(text) = resolve_xml_entity(name) {
        return Resolved::Text(text);
    }
    // The table is sorted by name.
    match NAMED_ENTITIES.binary_search_by(|(known, _)| (*known).cmp(name.as_bytes())) {
        Ok(at) => Resolved::Repaired(NAMED_ENTITIES[at].1),
        Err(_) => Resolved::Bare,
    }
}

fn resolve_number(number: &str) -> Resolved {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Resolved::Bare;
    }
    // A number with too many digits is no character either.
    let known = u32::from_str_radix(digits, radix)
        .ok()
        .filter(|code| *code > 0)
        .and_then(char::from_u32);
    match known {
        Some(c) if number.starts_with('X') => Resolved::RepairedChar(c),
        Some(c) => Resolved::Char(c),
        None => Resolved::RepairedChar(REPLACEMENT),
    }
}

/// Decodes an attribute value with invalid references like `normalized_value`, and returns the
/// number of invalid ones.
pub(super) fn attribute(raw: &str) -> (String, u64) {
    let (mut value, mut repaired, mut rest) = (String::with_capacity(raw.len()), 0, raw);
    while let Some(at) = rest.find('&') {
        plain(&rest[..at], &mut value);
        let after = &rest[at + 1..];
        let reference = after
            .split_once([';', '&'])
            .filter(|(name, _)| after[name.len()..].starts_with(';'));
        let known = reference
            .map(|(name, after)| (resolve(name), after))
            .filter(|(resolved, _)| *resolved != Resolved::Bare);
        let Some((resolved, after)) = known else {
            repaired += 1;
            value.push('&');
            rest = after;
            continue;
        };
        repaired += u64::from(matches!(
            resolved,
            Resolved::Repaired(_) | Resolved::RepairedChar(_)
        ));
        match resolved {
            Resolved::Char(c) | Resolved::RepairedChar(c) => value.push(c),
            Resolved::Text(text) | Resolved::Repaired(text) => value.push_str(text),
            Resolved::Bare => {}
        }
        rest = after;
    }
    plain(rest, &mut value);
    (value, repaired)
}

/// Each line break and tab becomes a space; CR LF is one line break.
fn plain(text: &str, into: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        into.push(if matches!(c, '\t' | '\n' | '\r') {
            ' '
        } else {
            c
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reference_is_decoded_or_left_as_text() {
        for (name, is) in [
            ("amp", Resolved::Text("&")),
            ("#65", Resolved::Char('A')),
            ("#x1F600", Resolved::Char('😀')),
            ("#8", Resolved::Char('\u{8}')),
            ("nbsp", Resolved::Repaired("\u{a0}")),
            ("eacute", Resolved::Repaired("é")),
            ("hellip", Resolved::Repaired("…")),
            ("alpha", Resolved::Repaired("α")),
            ("Omega", Resolved::Repaired("Ω")),
            ("scaron", Resolved::Repaired("š")),
            ("OElig", Resolved::Repaired("Œ")),
            ("tilde", Resolved::Repaired("˜")),
            ("NotEqualTilde", Resolved::Repaired("≂\u{338}")),
            ("#0", Resolved::RepairedChar(REPLACEMENT)),
            ("#x0", Resolved::RepairedChar(REPLACEMENT)),
            ("#xD83D", Resolved::RepairedChar(REPLACEMENT)),
            ("#x110000", Resolved::RepairedChar(REPLACEMENT)),
            ("#99999999999999999999", Resolved::RepairedChar(REPLACEMENT)),
            ("#X41", Resolved::RepairedChar('A')),
            ("#", Resolved::Bare),
            ("#x", Resolved::Bare),
            ("#+5", Resolved::Bare),
            ("#12 34", Resolved::Bare),
            ("laugh", Resolved::Bare),
            ("T, and", Resolved::Bare),
            ("", Resolved::Bare),
        ] {
            assert_eq!(resolve(name), is, "{name}");
        }
    }

    /// A checksum over all names of the HTML standard: one wrong digit in the table changes it.
    #[test]
    fn every_html_entity_resolves_as_in_the_standard() {
        use sha2::Digest;
        let mut all = sha2::Sha256::new();
        for (name, text) in &NAMED_ENTITIES {
            let name = std::str::from_utf8(name).unwrap();
            assert!(
                matches!(resolve(name), Resolved::Repaired(is) | Resolved::Text(is) if is == *text),
                "{name}"
            );
            all.update(format!("{name}\t{text}\n"));
        }
        assert_eq!(NAMED_ENTITIES.len(), 2_125);
        let hex: String = all
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "49a133fa892a5973968b00aaf134ab9d786e11ab59e56dd02ef96b541d11225d"
        );
    }

    #[test]
    fn an_attribute_with_invalid_references_is_decoded_and_counted() {
        for (raw, value, repaired) in [
            ("AT&T", "AT&T", 1),
            ("a & b & c;", "a & b & c;", 2),
            ("&nbsp;&amp;&#0;", "\u{a0}&\u{fffd}", 2),
            ("?a=1&b=2&amp;c=3", "?a=1&b=2&c=3", 1),
            ("a\r\nb\tc&#10;&laugh;", "a b c\n&laugh;", 1),
            ("&", "&", 1),
            ("&&lt;", "&<", 1),
        ] {
            assert_eq!(attribute(raw), (value.to_owned(), repaired), "{raw:?}");
        }
    }
}
