//! Tests of the masking of secrets in all their encodings.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

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
            let plain = format!("wrong: {spelling} it was");
            let in_json = serde_json::json!({ "error": { "message": plain } }).to_string();
            for body in [plain, in_json] {
                let shown = vendor_message(body.as_bytes(), &auth);
                assert!(
                    shown.starts_with("wrong: ")
                        && shown.contains("***")
                        && shown.ends_with(" it was"),
                    "{spelling}: {shown}"
                );
                let rest = shown
                    .replace("***", "")
                    .replace("wrong: ", "")
                    .replace(" it was", "")
                    .replace(&format!("{user}:"), "");
                assert!(
                    rest.chars().all(|c| "\"\\%:x0".contains(c)),
                    "{spelling}: {shown}"
                );
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
