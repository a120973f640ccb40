//! Finds the probable mistake in credentials that LiveChat rejected, by their form. The hint
//! contains no part of a secret.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::connectors::Hint;
use crate::secret::Secret;

/// Padding is optional, because people copy the text with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, FORGIVING);
const FORGIVING: GeneralPurposeConfig =
    NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The most likely mistake in these credentials. Based on LiveChat's documentation of personal
/// access tokens: https://platform.text.com/docs/authorization/personal-access-tokens
pub(super) fn hint(fields: &BTreeMap<String, String>, secrets: &BTreeMap<String, Secret>) -> Hint {
    let username = fields.get("username").map_or("", |text| text.trim());
    let secret = secrets
        .get("api_key")
        .map_or("", |secret| secret.reveal().trim());
    if is_account_id(username) {
        return Hint {
            field: "username",
            text: "This is an account ID, which works only with version 3 of LiveChat's API. \
                   Chatlake uses version 2. Enter the email of the agent who created the token.",
        };
    }
    if holds_account_id(secret) {
        return Hint {
            field: "api_key",
            text: "This is the account ID and the token together, for example the Base64 string from \
                   LiveChat's Developer Console. Enter only the token. It starts with a region \
                   and a colon, such as dal: or fra:.",
        };
    }
    if !username.contains('@') {
        return Hint {
            field: "username",
            text: "Username must be the email address of a LiveChat agent.",
        };
    }
    Hint {
        field: "api_key",
        text: "The key or token must belong to the agent with this email. It may be revoked, or the \
               token may lack the scope agents--all:ro.",
    }
}

/// An account ID is a UUID with hyphens; 32 hexadecimal digits without them can be an API key.
fn is_account_id(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Whether a text is `ACCOUNT_ID:TOKEN`, plain or in Base64.
fn holds_account_id(text: &str) -> bool {
    let of_pair = |text: &str| {
        text.split_once(':')
            .is_some_and(|(account, _)| is_account_id(account))
    };
    let decoded = BASE64.decode(text).map(Zeroizing::new).ok();
    of_pair(text)
        || decoded
            .and_then(|bytes| std::str::from_utf8(&bytes).ok().map(of_pair))
            .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3";

    fn hinted(username: &str, secret: &str) -> Hint {
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        hint(
            &BTreeMap::from([pair("username", username)]),
            &BTreeMap::from([("api_key".to_owned(), Secret::new(secret))]),
        )
    }

    #[test]
    fn each_common_mistake_has_a_hint_without_the_secret() {
        let base64 =
            base64::engine::general_purpose::STANDARD.encode(format!("{ACCOUNT}:dal:canary"));
        assert!(
            base64.ends_with('='),
            "so that the padding is tried both ways"
        );
        for (username, secret, field, hint_text) in [
            (ACCOUNT, "dal:canary", "username", "version 3"),
            (ACCOUNT, base64.as_str(), "username", "version 3"),
            ("agent@house.test", base64.as_str(), "api_key", "Base64"),
            (
                "agent@house.test",
                base64.trim_end_matches('='),
                "api_key",
                "Base64",
            ),
            (
                "agent@house.test",
                &format!("{ACCOUNT}:dal:canary"),
                "api_key",
                "Base64",
            ),
            ("agent", "canary", "username", "email address"),
            (
                "agent@house.test",
                "dal:canary",
                "api_key",
                "agents--all:ro",
            ),
            // 32 hexadecimal digits are an API key, although they could be a UUID without hyphens.
            (
                "agent@house.test",
                "5a9b0c1d2e3f4a5b8c6d7e8f90a1b2c3",
                "api_key",
                "revoked",
            ),
        ] {
            let hint = hinted(username, secret);
            assert!(
                hint.field == field
                    && hint.text.contains(hint_text)
                    && !hint.text.contains("canary"),
                "{username} {secret}: {hint:?}"
            );
        }
    }
}
