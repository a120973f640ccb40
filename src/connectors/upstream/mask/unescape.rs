//! Decodes the escapes of a text, and maps each decoded byte to its place in the text.

/// A decoded byte and the range of the text that encodes it.
pub(super) struct Unit {
    pub byte: u8,
    pub from: usize,
    pub to: usize,
}

/// The decoded value of an escape.
pub(super) enum Unescaped {
    Byte(u8),
    Char(char),
}

/// Decodes the escape at the start of a text. Returns its value and length, or `None` if there is
/// no escape.
pub(super) type Unescape = fn(&str) -> Option<(Unescaped, usize)>;

/// Decodes all escapes of one kind in a text.
pub(super) fn view(text: &str, unescape: Unescape) -> Vec<Unit> {
    let (mut units, mut at, mut buffer) = (Vec::with_capacity(text.len()), 0, [0; 4]);
    while let Some(c) = text[at..].chars().next() {
        let (unescaped, length) =
            unescape(&text[at..]).unwrap_or((Unescaped::Char(c), c.len_utf8()));
        let unit = |byte| Unit {
            byte,
            from: at,
            to: at + length,
        };
        match unescaped {
            Unescaped::Byte(byte) => units.push(unit(byte)),
            Unescaped::Char(c) => units.extend(c.encode_utf8(&mut buffer).bytes().map(unit)),
        }
        at += length;
    }
    units
}

/// `%3A`
pub(super) fn percent(text: &str) -> Option<(Unescaped, usize)> {
    let digits = text.strip_prefix('%')?.get(..2)?;
    Some((Unescaped::Byte(u8::from_str_radix(digits, 16).ok()?), 3))
}

/// `%3A`, and `+` for a space.
pub(super) fn percent_or_plus(text: &str) -> Option<(Unescaped, usize)> {
    if text.starts_with('+') {
        Some((Unescaped::Char(' '), 1))
    } else {
        percent(text)
    }
}

/// `\"` and `\u003a`
pub(super) fn json(text: &str) -> Option<(Unescaped, usize)> {
    let rest = text.strip_prefix('\\')?;
    let (c, length) = match rest.chars().next()? {
        'u' => (
            char::from_u32(u32::from_str_radix(rest.get(1..5)?, 16).ok()?)?,
            6,
        ),
        'n' => ('\n', 2),
        'r' => ('\r', 2),
        't' => ('\t', 2),
        c @ ('"' | '\\' | '/') => (c, 2),
        _ => return None,
    };
    Some((Unescaped::Char(c), length))
}

/// `&amp;`, `&#58;` and `&#x3a;`
pub(super) fn html(text: &str) -> Option<(Unescaped, usize)> {
    let (name, _) = text.strip_prefix('&')?.split_once(';')?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "colon" => ':',
        _ => {
            let number = name.strip_prefix('#')?;
            let hex = number
                .strip_prefix(['x', 'X'])
                .map(|digits| u32::from_str_radix(digits, 16));
            char::from_u32(hex.unwrap_or_else(|| number.parse()).ok()?)?
        }
    };
    Some((Unescaped::Char(c), name.len() + 2))
}
