//! Detects answers that do not come from the vendor, such as web pages of firewalls, proxies and
//! sign-in forms, and answers without data.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

/// The maximum number of bytes of an answer that are inspected.
const HEAD: usize = 2_048;
/// Starts of a page without an html or doctype tag.
const BEGINNINGS: [&str; 15] = [
    "<head", "<body", "<title", "<meta", "<script", "<center", "<h1", "<p>", "<div", "<form",
    "<table", "<span", "<br", "<b>", "<style",
];
/// Headers with which two common firewalls mark their own answers.
const CHALLENGES: [&str; 2] = ["cf-mitigated", "x-amzn-waf-action"];

/// Whether an error answer is a web page or a challenge, by its headers and first bytes.
pub(super) fn is_web_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_html = kind.starts_with("text/html") || kind.starts_with("application/xhtml");
    // A plain sentence of the vendor may be labelled as HTML.
    let has_markup = body.contains(&b'<') || body.iter().all(u8::is_ascii_whitespace);
    CHALLENGES.iter().any(|name| headers.contains_key(*name))
        || looks_like_web_page(body)
        || (is_html && has_markup)
}

/// Whether a body is a web page, by its first bytes.
pub(in crate::connectors) fn looks_like_web_page(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body = body.trim_ascii_start();
    let head = String::from_utf8_lossy(&body[..body.len().min(HEAD)]).to_ascii_lowercase();
    let has_html_tag = head.contains("<html") || head.contains("<!doctype html");
    head.starts_with('<')
        && (has_html_tag || BEGINNINGS.iter().any(|begins| head.starts_with(begins)))
}

/// Whether a body is empty, or JSON that is null or an empty list or object.
pub(super) fn is_empty_body(body: &[u8]) -> bool {
    let body = body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii();
    // Longer empty JSON would be white space within brackets, which no vendor sends.
    body.is_empty()
        || (body.len() <= 64 && serde_json::from_slice(body).is_ok_and(|value| is_empty(&value)))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether a body says that there are no records: an object with a total of 0 and empty lists.
pub(super) fn is_empty_list(body: &[u8]) -> bool {
    let Ok(Value::Object(frame)) = serde_json::from_slice(body) else {
        return false;
    };
    let is_none = frame
        .get("total")
        .is_some_and(|total| total.as_u64() == Some(0) || total.as_str() == Some("0"));
    is_none
        && frame
            .values()
            .all(|value| !(value.is_array() || value.is_object()) || is_empty(value))
}

/// The error type in the JSON of an answer, in lower case; empty if it has none. `None` if the
/// answer is no JSON object.
pub(super) fn error_type(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value
        .as_object()?
        .get("error")
        .filter(|error| error.is_object())
        .unwrap_or(&value);
    Some(
        error
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_ascii_lowercase(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            reqwest::header::HeaderName::from_static(name),
            reqwest::header::HeaderValue::from_static(value),
        )])
    }

    #[test]
    fn a_web_page_is_distinguished_from_a_vendor_answer() {
        for page in [
            "<!DOCTYPE html><p>Sign in",
            "\u{feff}\n <HTML>",
            "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0\">",
            "<head><title>Attention Required!</title>",
            "<script>challenge()</script>",
            "<div>Please log in</div>",
            "<form><input name=password></form>",
        ] {
            assert!(
                looks_like_web_page(page.as_bytes())
                    && is_web_page(&HeaderMap::new(), page.as_bytes()),
                "{page}"
            );
        }
        for body in [
            "",
            "Wrong password",
            "{\"error\":\"<html>\"}",
            "<error>Unknown login</error>",
            "<chats></chats>",
            "not a <html> page",
        ] {
            assert!(
                !looks_like_web_page(body.as_bytes())
                    && !is_web_page(&HeaderMap::new(), body.as_bytes()),
                "{body}"
            );
        }
        let html = head("content-type", "Text/HTML; charset=utf-8");
        assert!(
            is_web_page(&html, b"")
                && is_web_page(&html, b"blocked<br>")
                && !is_web_page(&html, b"Wrong password")
        );
        assert!(
            is_web_page(&head("cf-mitigated", "challenge"), b"{}")
                && is_web_page(&head("x-amzn-waf-action", "captcha"), b"")
        );
    }

    #[test]
    fn an_empty_body_is_recognized() {
        for body in ["", " \r\n", "null", "{}", "[ ]", "\u{feff}null"] {
            assert!(is_empty_body(body.as_bytes()), "{body:?}");
        }
        for body in [
            "0",
            "\"\"",
            "[null]",
            "{\"error\":null}",
            "nothing",
            "<chats/>",
            "{",
        ] {
            assert!(!is_empty_body(body.as_bytes()), "{body:?}");
        }
    }

    #[test]
    fn a_list_is_empty_when_its_total_says_so() {
        for body in [
            r#"{"chats":[],"total":0,"pages":1}"#,
            r#"{"chats":null,"total":"0"}"#,
            r#"{"total":0}"#,
        ] {
            assert!(is_empty_list(body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "{}",
            "[]",
            r#"{"chats":[]}"#,
            r#"{"chats":[{}],"total":0}"#,
            r#"{"chats":[],"total":1}"#,
        ] {
            assert!(!is_empty_list(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn the_type_of_an_error_is_where_the_vendor_puts_it() {
        for (body, is) in [
            (
                r#"{"error":{"type":"Authentication","message":"no"}}"#,
                Some("authentication"),
            ),
            (r#"{"type":"authorization"}"#, Some("authorization")),
            (r#"{"error":"Wrong key","errors":["Wrong key"]}"#, Some("")),
            (r#"["authentication"]"#, None),
            ("authentication", None),
            ("", None),
        ] {
            assert_eq!(error_type(body.as_bytes()).as_deref(), is, "{body}");
        }
    }
}
