//! Finds a secret in a text: in a decoded view, in Base64 and in hex.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::unescape::Unit;

/// Fewer characters of Base64 or hex occur in any text by chance.
const MIN_ENCODED: usize = 4;

/// Appends the ranges of the text in which `wanted` occurs.
pub(super) fn find(
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
pub(super) fn find_base64(
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
pub(super) fn find_hex(
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
