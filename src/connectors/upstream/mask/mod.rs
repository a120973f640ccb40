//! Makes messages of other machines safe to show: masks secrets in all their encodings, escapes
//! control characters and cuts the text. Used for vendors and the mail server. `unescape` decodes
//! escapes, and `secret_search` finds the secrets.

mod secret_search;
mod unescape;

use super::Auth;
use secret_search::{find, find_base64, find_hex};
use unescape::{html, json, percent, percent_or_plus, view};

/// The maximum length of a message that is shown.
const MAX_SHOWN: usize = 200;
/// The text around the mask would reveal a shorter secret, so a message with one is not shown at
/// all.
const MIN_MASKABLE: usize = 8;
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
mod tests;
