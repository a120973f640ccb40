//! What references stand for, those that XML does not know among them: vendors write HTML's entities, bare ampersands, and numbers of
//! characters that there are not.

use html_escape::NAMED_ENTITIES;
use quick_xml::escape::resolve_xml_entity;

/// What stands for what cannot be a character.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// What a reference stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// One of XML's own.
    Char(char),
    Text(&'static str),
    /// Not XML, and clear all the same; or a number that is no character's.
    Repaired(&'static str),
    RepairedChar(char),
    /// No reference: an ampersand that was not written as one.
    Bare,
}

/// What a reference stands for, by what is between `&` and `;`.
pub(super) fn meant(name: &str) -> Meant {
    if let Some(number) = name.strip_prefix('#') {
        return number_meant(number);
    }
    if let Some(text) = resolve_xml_entity(name) {
        return Meant::Text(text);
    }
    // The table is sorted by name.
    match NAMED_ENTITIES.binary_search_by(|(known, _)| (*known).cmp(name.as_bytes())) {
        Ok(at) => Meant::Repaired(NAMED_ENTITIES[at].1),
        Err(_) => Meant::Bare,
    }
}

fn number_meant(number: &str) -> Meant {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Meant::Bare;
    }
    // More digits than a number holds are no character either.
    let known = u32::from_str_radix(digits, radix).ok().filter(|code| *code > 0).and_then(char::from_u32);
    match known {
        Some(c) if number.starts_with('X') => Meant::RepairedChar(c),
        Some(c) => Meant::Char(c),
        None => Meant::RepairedChar(REPLACEMENT),
    }
}

/// The value of an attribute whose references are not all XML, as `normalized_value` makes it of others, and how many are not.
pub(super) fn attribute(raw: &str) -> (String, u64) {
    let (mut value, mut repaired, mut rest) = (String::with_capacity(raw.len()), 0, raw);
    while let Some(at) = rest.find('&') {
        plain(&rest[..at], &mut value);
        let after = &rest[at + 1..];
        let reference = after.split_once([';', '&']).filter(|(name, _)| after[name.len()..].starts_with(';'));
        let known = reference.map(|(name, after)| (meant(name), after)).filter(|(meant, _)| *meant != Meant::Bare);
        let Some((meant, after)) = known else {
            repaired += 1;
            value.push('&');
            rest = after;
            continue;
        };
        repaired += u64::from(matches!(meant, Meant::Repaired(_) | Meant::RepairedChar(_)));
        match meant {
            Meant::Char(c) | Meant::RepairedChar(c) => value.push(c),
            Meant::Text(text) | Meant::Repaired(text) => value.push_str(text),
            Meant::Bare => {}
        }
        rest = after;
    }
    plain(rest, &mut value);
    (value, repaired)
}

/// Every line break and tab is a blank, and CR LF is one line break.
fn plain(text: &str, into: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        into.push(if matches!(c, '\t' | '\n' | '\r') { ' ' } else { c });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_stands_for_something() {
        for (name, is) in [
            ("amp", Meant::Text("&")),
            ("#65", Meant::Char('A')),
            ("#x1F600", Meant::Char('😀')),
            ("#8", Meant::Char('\u{8}')),
            ("nbsp", Meant::Repaired("\u{a0}")),
            ("eacute", Meant::Repaired("é")),
            ("hellip", Meant::Repaired("…")),
            ("alpha", Meant::Repaired("α")),
            ("Omega", Meant::Repaired("Ω")),
            ("scaron", Meant::Repaired("š")),
            ("OElig", Meant::Repaired("Œ")),
            ("tilde", Meant::Repaired("˜")),
            ("NotEqualTilde", Meant::Repaired("≂\u{338}")),
            ("#0", Meant::RepairedChar(REPLACEMENT)),
            ("#x0", Meant::RepairedChar(REPLACEMENT)),
            ("#xD83D", Meant::RepairedChar(REPLACEMENT)),
            ("#x110000", Meant::RepairedChar(REPLACEMENT)),
            ("#99999999999999999999", Meant::RepairedChar(REPLACEMENT)),
            ("#X41", Meant::RepairedChar('A')),
            ("#", Meant::Bare),
            ("#x", Meant::Bare),
            ("#+5", Meant::Bare),
            ("#12 34", Meant::Bare),
            ("laugh", Meant::Bare),
            ("T, and", Meant::Bare),
            ("", Meant::Bare),
        ] {
            assert_eq!(meant(name), is, "{name}");
        }
    }

    /// Of all names together, as the HTML standard has them: a table with one wrong digit has another sum.
    #[test]
    fn every_name_of_html_is_known_and_stands_for_what_the_standard_says() {
        use sha2::Digest;
        let mut all = sha2::Sha256::new();
        for (name, text) in &NAMED_ENTITIES {
            let name = std::str::from_utf8(name).unwrap();
            assert!(matches!(meant(name), Meant::Repaired(is) | Meant::Text(is) if is == *text), "{name}");
            all.update(format!("{name}\t{text}\n"));
        }
        assert_eq!(NAMED_ENTITIES.len(), 2_125);
        let hex: String = all.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "49a133fa892a5973968b00aaf134ab9d786e11ab59e56dd02ef96b541d11225d");
    }

    #[test]
    fn an_attribute_is_read_as_others_are_but_for_what_is_no_xml() {
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
