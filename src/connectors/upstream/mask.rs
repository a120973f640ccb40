//! Makes messages of other machines safe to show: masks secrets in all their encodings, escapes
//! control characters and cuts the text. Used for vendors and the mail server.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::Auth;

/// The maximum length of a message that is shown.
const MAX_SHOWN: usize = 200;
/// The text around the mask would reveal a shorter secret, so a message with one is not shown at
/// all.
const MIN_MASKABLE: usize = 8;
/// Fewer characters of Base64 or hex occur in any text by chance.
const MIN_ENCODED: usize = 4;
/// A part of a secret is masked if it has at least this many characters and at least half of the
/// secret.
const MIN_PART: usize = 8;
/// The same for a part in Base64.
const MIN_ENCODED_PART: usize = 11;
/// The maximum number of bytes of a message that are inspected.
const MAX_READ: usize = 4_096;

/// Extracts the vendor's message from the body of an error, masked, escaped and at most 200
/// characters long. Empty if there is none or if the body is a web page.
pub(super) fn vendor_message(body: &[u8], auth: &Auth<'_>) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') {
        return String::new();
    }
    let words = sentence(text).unwrap_or_else(|| text.to_owned());
    let (user, secret) = match auth {
        Auth::None => return sanitize(&words, &[]).unwrap_or_default(),
        Auth::Basic { user, secret } => (*user, *secret),
        Auth::Arguments { user, secret } => (user.1, secret.1),
    };
    let pair = zeroize::Zeroizing::new(format!("{user}:{}", secret.reveal()));
    sanitize_with_pairs(&words, &[&pair], &[secret.reveal()]).unwrap_or_default()
}

/// Looks for the message in the usual fields: `error`, `errors`, `message`, `error.message`.
fn sentence(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut at = &value;
    for _ in 0..4 {
        if let Some(words) = at.as_str() {
            return Some(words.to_owned());
        }
        at = match at {
            serde_json::Value::Object(map) => ["error", "errors", "message", "type"]
                .iter()
                .find_map(|key| map.get(*key).filter(|v| !v.is_null()))?,
            serde_json::Value::Array(list) => list.first()?,
            _ => return None,
        };
    }
    None
}

/// Returns the message as one line of at most 200 characters with the secrets masked: as plain
/// text, percent-encoded, escaped as in JSON or HTML, in Base64 at any alignment, and in hex. A
/// long part of a secret is masked as well. `None` if the message contains a short secret, which a
/// mask would not hide.
pub fn sanitize(text: &str, secrets: &[&str]) -> Option<String> {
    sanitize_with_pairs(text, &[], secrets)
}

/// Like `sanitize`. `pairs` are texts that contain more than a secret, such as a user name with a
/// password, so their parts are not masked.
fn sanitize_with_pairs(text: &str, pairs: &[&str], secrets: &[&str]) -> Option<String> {
    let text = inspected_part(text);
    let mut found = Vec::new();
    let views = [
        view(text, |_| None),
        view(text, percent),
        view(text, percent_or_plus),
        view(text, json),
        view(text, html),
    ];
    let all = pairs
        .iter()
        .map(|secret| (*secret, false))
        .chain(secrets.iter().map(|secret| (*secret, true)));
    for (secret, in_parts) in all.filter(|(secret, _)| !secret.is_empty()) {
        let before = found.len();
        let part_length = |length: usize, min: usize| {
            if in_parts {
                min.max(length / 2).min(length)
            } else {
                length
            }
        };
        for view in &views {
            for part in secret
                .as_bytes()
                .windows(part_length(secret.len(), MIN_PART))
            {
                find(view, part, u8::eq_ignore_ascii_case, &mut found);
            }
        }
        find_base64(
            text,
            secret,
            |length| part_length(length, MIN_ENCODED_PART),
            &mut found,
        );
        find_hex(
            text,
            secret,
            |length| part_length(length, 2 * MIN_PART),
            &mut found,
        );
        if found.len() > before && secret.len() < MIN_MASKABLE {
            return None;
        }
    }
    Some(escape_and_cut(&masked(text, found)))
}

/// The part of a text that is inspected; the rest is never shown.
fn inspected_part(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_READ))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

/// A decoded byte and the range of the text that encodes it.
struct Unit {
    byte: u8,
    from: usize,
    to: usize,
}

/// The decoded value of an escape.
enum Unescaped {
    Byte(u8),
    Char(char),
}

/// Decodes the escape at the start of a text. Returns its value and length, or `None` if there is
/// no escape.
type Unescape = fn(&str) -> Option<(Unescaped, usize)>;

/// Decodes all escapes of one kind in a text.
fn view(text: &str, unescape: Unescape) -> Vec<Unit> {
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
fn percent(text: &str) -> Option<(Unescaped, usize)> {
    let digits = text.strip_prefix('%')?.get(..2)?;
    Some((Unescaped::Byte(u8::from_str_radix(digits, 16).ok()?), 3))
}

/// `%3A`, and `+` for a space.
fn percent_or_plus(text: &str) -> Option<(Unescaped, usize)> {
    if text.starts_with('+') {
        Some((Unescaped::Char(' '), 1))
    } else {
        percent(text)
    }
}

/// `\"` and `\u003a`
fn json(text: &str) -> Option<(Unescaped, usize)> {
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
fn html(text: &str) -> Option<(Unescaped, usize)> {
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

/// Appends the ranges of the text in which `wanted` occurs.
fn find(
    view: &[Unit],
    wanted: &[u8],
    equal: fn(&u8, &u8) -> bool,
    found: &mut Vec<(usize, usize)>,
) {
    if wanted.is_empty() {
        return;
    }
    for part in view.windows(wanted.len()) {
        if part
            .iter()
            .zip(wanted)
            .all(|(unit, byte)| equal(&unit.byte, byte))
        {
            found.extend(
                part.first()
                    .zip(part.last())
                    .map(|(first, last)| (first.from, last.to)),
            );
        }
    }
}

/// The bytes of the text that match `fits`, each with its range.
fn units_of(text: &str, fits: fn(u8) -> bool) -> Vec<Unit> {
    text.bytes()
        .enumerate()
        .filter(|(_, byte)| fits(*byte))
        .map(|(at, byte)| Unit {
            byte,
            from: at,
            to: at + 1,
        })
        .collect()
}

/// Finds a secret inside Base64, whatever is encoded before and after it. The range covers the
/// whole run of Base64 characters, because its ends contain bits of the secret.
fn find_base64(
    text: &str,
    secret: &str,
    part_length: impl Fn(usize) -> usize,
    found: &mut Vec<(usize, usize)>,
) {
    let compact = units_of(text, |byte| !byte.is_ascii_whitespace());
    let of_base64 = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
    };
    let mut cores = Vec::new();
    for before in 0..3_usize {
        let mut bytes = zeroize::Zeroizing::new(vec![0; before]);
        bytes.extend_from_slice(secret.as_bytes());
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let all = zeroize::Zeroizing::new(alphabet.encode(bytes.as_slice()));
            // The characters that only bytes of the secret determine.
            let core = all
                .get((before * 8).div_ceil(6)..bytes.len() * 8 / 6)
                .unwrap_or_default();
            if core.len() >= MIN_ENCODED {
                for part in core.as_bytes().windows(part_length(core.len())) {
                    find(&compact, part, u8::eq, &mut cores);
                }
            }
        }
    }
    let bytes = text.as_bytes();
    found.extend(cores.into_iter().map(|(from, to)| {
        let from = from
            - bytes[..from]
                .iter()
                .rev()
                .take_while(|byte| of_base64(byte))
                .count();
        (
            from,
            to + bytes[to..]
                .iter()
                .take_while(|byte| of_base64(byte))
                .count(),
        )
    }));
}

/// Finds a secret in hex, in either case and with separators, such as `66:72`, `\x66\x72` and
/// `0x66 0x72`.
fn find_hex(
    text: &str,
    secret: &str,
    part_length: impl Fn(usize) -> usize,
    found: &mut Vec<(usize, usize)>,
) {
    let digits = zeroize::Zeroizing::new(
        secret
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    );
    if digits.len() < MIN_ENCODED {
        return;
    }
    let bytes = text.as_bytes();
    let all = units_of(text, |byte| byte.is_ascii_hexdigit());
    // The 0 of `0x` is no digit of the secret.
    let without_prefix: Vec<Unit> = units_of(text, |byte| byte.is_ascii_hexdigit())
        .into_iter()
        .filter(|unit| !(unit.byte == b'0' && matches!(bytes.get(unit.to), Some(b'x' | b'X'))))
        .collect();
    for part in digits.as_bytes().windows(part_length(digits.len())) {
        for view in [&all, &without_prefix] {
            find(view, part, u8::eq_ignore_ascii_case, found);
        }
    }
}

/// Replaces the found ranges by `***`.
fn masked(text: &str, mut found: Vec<(usize, usize)>) -> String {
    found.sort_unstable();
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for (from, to) in found {
        if from >= at {
            shown.push_str(&text[at..from]);
            shown.push_str("***");
        }
        at = at.max(to);
    }
    shown.push_str(&text[at..]);
    shown
}

/// Escapes characters that break a line, hide text or change its direction, and cuts the text.
fn escape_and_cut(text: &str) -> String {
    let mut shown = String::new();
    for (at, c) in text.trim().chars().enumerate() {
        if at == MAX_SHOWN || shown.len() > 4 * MAX_SHOWN {
            break;
        }
        let odd = c.is_control() || crate::text::is_deceptive(c);
        if odd {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
    }
    shown.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;
    use crate::secret::Secret;

    const KEY: &str = "fra:ca/na+ry=4711 é";

    /// All encodings in which a key may be echoed.
    fn spellings(user: &str) -> Vec<String> {
        let hex = |join: &str| {
            KEY.bytes()
                .map(|byte| format!("{join}{byte:02x}"))
                .collect::<String>()
        };
        let mut all = vec![
            KEY.to_owned(),
            KEY.to_ascii_uppercase(),
            url::form_urlencoded::byte_serialize(KEY.as_bytes()).collect(),
            super::super::encoded(KEY),
            super::super::encoded(KEY).to_lowercase(),
            KEY.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            serde_json::Value::from(KEY).to_string(),
            KEY.chars()
                .map(|c| format!("\\u{:04x}", u32::from(c)))
                .collect(),
            KEY.chars()
                .map(|c| format!("&#{};", u32::from(c)))
                .collect(),
            KEY.chars()
                .map(|c| format!("&#x{:X};", u32::from(c)))
                .collect(),
            hex(""),
            hex("").to_uppercase(),
            hex(":"),
            hex("\\x"),
            hex(" 0x").trim_start().to_owned(),
        ];
        for before in ["", "a", "ab", "abc", "\0u\0", &format!("{user}:")] {
            for behind in ["", "x", "xy", "\0"] {
                let whole = format!("{before}{KEY}{behind}");
                all.extend([
                    STANDARD.encode(&whole),
                    STANDARD_NO_PAD.encode(&whole),
                    URL_SAFE.encode(&whole),
                    URL_SAFE_NO_PAD.encode(&whole),
                ]);
            }
        }
        let wrapped = STANDARD.encode(format!("a{KEY}"));
        all.push(format!("{}\r\n {}", &wrapped[..10], &wrapped[10..]));
        all
    }

    #[test]
    fn no_spelling_of_the_secret_survives_however_it_was_sent() {
        let secret = Secret::new(KEY);
        let user = "ann@chat.test";
        for auth in [
            Auth::Basic {
                user,
                secret: &secret,
            },
            Auth::Arguments {
                user: ("user", user),
                secret: ("password", &secret),
            },
        ] {
            for spelling in spellings(user) {
                for body in
                    [format!("wrong: {spelling} it was"), serde_json::json!({ "error": { "message": format!("wrong: {spelling} it was") } }).to_string()]
                {
                    let shown = vendor_message(body.as_bytes(), &auth);
                    assert!(shown.starts_with("wrong: ") && shown.contains("***") && shown.ends_with(" it was"), "{spelling}: {shown}");
                    let rest = shown.replace("***", "").replace("wrong: ", "").replace(" it was", "").replace(&format!("{user}:"), "");
                    assert!(rest.chars().all(|c| "\"\\%:x0".contains(c)), "{spelling}: {shown}");
                }
            }
        }
    }

    #[test]
    fn a_long_part_of_a_secret_is_masked_as_all_of_it_is() {
        let secret = "Canary pass+wd/4711=zz";
        let base64 = STANDARD_NO_PAD.encode(format!("\0mailer\0{secret}"));
        let hex: String = secret.bytes().map(|byte| format!("{byte:02X}")).collect();
        for (echo, shown) in [
            (secret[..secret.len() - 1].to_owned(), "535 ***"),
            (secret[2..].to_owned(), "535 ***"),
            (
                format!("{} | {}", &secret[..12], &secret[11..]),
                "535 *** | ***",
            ),
            (base64[..base64.len() - 6].to_owned(), "535 ***"),
            (hex[..hex.len() - 4].to_owned(), "535 ***"),
        ] {
            assert_eq!(
                sanitize(&format!("535 {echo}"), &[secret]).unwrap(),
                shown,
                "{echo}"
            );
        }
        assert_eq!(
            sanitize("535 pass it on, Canary", &[secret]).unwrap(),
            "535 pass it on, Canary"
        );
        let long = format!("{}{secret}", "x".repeat(MAX_READ - 12));
        assert!(!sanitize(&long, &[secret]).unwrap().contains("Canary"));
    }

    #[test]
    fn other_text_stays_and_a_short_secret_is_not_masked() {
        assert_eq!(
            sanitize("550 no such user: QUxMIE9L deadbeef", &["correct horse"]).unwrap(),
            "550 no such user: QUxMIE9L deadbeef"
        );
        assert_eq!(sanitize("535 wrong\r\n", &[""]).unwrap(), "535 wrong");
        assert_eq!(
            sanitize("No compatible authentication mechanism was found.", &["p"]),
            None
        );
        assert_eq!(
            sanitize(
                &format!("535 {}", STANDARD.encode("\0ann\0hunter2")),
                &["hunter2"]
            ),
            None
        );
        assert_eq!(sanitize("550 no", &["zzz"]).unwrap(), "550 no");
    }

    #[test]
    fn words_are_short_and_cannot_break_a_line() {
        let shown = vendor_message(
            format!(
                "{{\"error\":\"a\\r\\n\\u001b[31m\\u202e{}\"}}",
                "x".repeat(900)
            )
            .as_bytes(),
            &Auth::None,
        );
        assert_eq!(shown.chars().count(), 200);
        assert!(shown.starts_with("a\\r\\n\\u{1b}[31m\\u{202e}x"), "{shown}");
        assert_eq!(
            vendor_message(b"<!doctype html><p>Sign in</p>", &Auth::None),
            ""
        );
        assert_eq!(vendor_message(b"", &Auth::None), "");
    }
}
