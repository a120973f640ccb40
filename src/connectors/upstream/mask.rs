//! What a vendor said, made fit to show: secrets masked in every spelling they travel in, control characters escaped, cut short.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::Auth;

/// Characters of a vendor's words that are kept.
const MOST: usize = 200;

/// The vendor's own sentence from the body of an error, masked, escaped and at most 200 characters; empty when there is none, or
/// when the body is a page for people.
pub(super) fn said(body: &[u8], auth: &Auth<'_>) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') {
        return String::new();
    }
    let words = sentence(text).unwrap_or_else(|| text.to_owned());
    clean(&mask(&words, auth))
}

/// Looks for the sentence where vendors put it: `error`, `errors`, `message`, `error.message`.
fn sentence(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut at = &value;
    for _ in 0..4 {
        if let Some(words) = at.as_str() {
            return Some(words.to_owned());
        }
        at = match at {
            serde_json::Value::Object(map) => ["error", "errors", "message", "type"].iter().find_map(|key| map.get(*key).filter(|v| !v.is_null()))?,
            serde_json::Value::Array(list) => list.first()?,
            _ => return None,
        };
    }
    None
}

fn mask(text: &str, auth: &Auth<'_>) -> String {
    let (user, secret) = match auth {
        Auth::None => return text.to_owned(),
        Auth::Basic { user, secret } => (*user, *secret),
        Auth::Arguments { user, secret } => (user.1, secret.1),
    };
    let plain = secret.reveal();
    let pair = format!("{user}:{plain}");
    let mut spellings = Vec::new();
    for known in [pair.as_str(), plain] {
        spellings.push(known.to_owned());
        spellings.push(url::form_urlencoded::byte_serialize(known.as_bytes()).collect());
        spellings.push(super::encoded(known));
        spellings.push(serde_json::Value::from(known).to_string().trim_matches('"').to_owned());
        spellings.push(known.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"));
        for alphabet in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            spellings.push(alphabet.encode(known));
        }
    }
    // Longest first: a short spelling inside a long one would leave the rest of it readable.
    spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
    let mut text = text.to_owned();
    for spelling in spellings.iter().filter(|spelling| !spelling.is_empty()) {
        text = text.replace(spelling.as_str(), "***");
    }
    text
}

/// Escapes what could break a line, hide text or turn its direction, and cuts.
fn clean(text: &str) -> String {
    let mut shown = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == MOST || shown.len() > 4 * MOST {
            break;
        }
        let odd = c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
        if odd { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn no_spelling_of_the_secret_survives() {
        let secret = Secret::new("fra:ca/na+ry=4711");
        let basic = Auth::Basic { user: "ann@chat.test", secret: &secret };
        let arguments = Auth::Arguments { user: ("email", "ann@chat.test"), secret: ("password", &secret) };
        let pair = STANDARD.encode("ann@chat.test:fra:ca/na+ry=4711");
        let bodies = [
            format!("Authorization: Basic {pair} is wrong"),
            r#"{"error":"key fra:ca/na+ry=4711 is unknown"}"#.to_owned(),
            r#"{"errors":[{"message":"?key=fra%3Aca%2Fna%2Bry%3D4711"}]}"#.to_owned(),
            format!("{{\"error\":\"{}\"}}", STANDARD_NO_PAD.encode("fra:ca/na+ry=4711")),
            "no such period: start=1&stop=2&email=ann%40chat.test&password=fra%3Aca%2Fna%2Bry%3D4711".to_owned(),
        ];
        for (auth, body) in [basic, arguments].iter().flat_map(|auth| bodies.iter().map(move |body| (auth, body))) {
            let shown = said(body.as_bytes(), auth);
            assert!(shown.contains("***"), "{auth:?} {shown}");
            for bad in ["4711", "na+ry", &pair, "Y2Ev", "na%2Bry"] {
                assert!(!shown.contains(bad), "{shown}");
            }
        }
    }

    #[test]
    fn words_are_short_and_cannot_break_a_line() {
        let shown = said(format!("{{\"error\":\"a\\r\\n\\u001b[31m\\u202e{}\"}}", "x".repeat(900)).as_bytes(), &Auth::None);
        assert_eq!(shown.chars().count(), 200);
        assert!(shown.starts_with("a\\r\\n\\u{1b}[31m\\u{202e}x"), "{shown}");
        assert_eq!(said(b"<!doctype html><p>Sign in</p>", &Auth::None), "");
        assert_eq!(said(b"", &Auth::None), "");
    }
}
