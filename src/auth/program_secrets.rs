//! What API tokens and export passwords have in common: the format of their text, the rules for a
//! new one, and who may revoke one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Actor, random_text};
use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;
use crate::text;

/// The time of last use is written at most this often.
pub(super) const LAST_USED_EVERY: Millis = 60 * 1_000;
/// The number of characters of 256 random bits, and of the checksum after them.
const RANDOM_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;

/// A new text: `prefix`, 256 random bits and a checksum.
pub(super) fn new_text(prefix: &str) -> Secret {
    let random = random_text();
    Secret::new(format!(
        "{prefix}{}{}",
        random.reveal(),
        checksum(random.reveal())
    ))
}

/// Whether `text` has the format of `new_text`. Needs no database access.
pub(super) fn has_format(prefix: &str, text: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix) else {
        return false;
    };
    if rest.len() != RANDOM_LEN + CHECKSUM_LEN || !rest.is_ascii() {
        return false;
    }
    let (random, check) = rest.split_at(RANDOM_LEN);
    checksum(random).as_bytes().ct_eq(check.as_bytes()).into()
}

/// A checksum that detects mistyped or truncated text. It is not a secret and proves nothing.
fn checksum(random: &str) -> String {
    let digest = Sha256::digest(random.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.get(..4).unwrap_or_default())
}

/// Validates the name and the number of days until the expiry. Returns the name without spaces
/// around it. Errors: one for each invalid field.
pub(super) fn validate(name: &str, days: u32, max_days: u32) -> Result<&str> {
    let name = name.trim();
    let mut wrong = Vec::new();
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(text::is_allowed_in_name)
    {
        wrong.push((
            "name".to_owned(),
            "Enter a name (1 to 100 characters, none of them invisible).".to_owned(),
        ));
    }
    if !(1..=max_days).contains(&days) {
        wrong.push((
            "days".to_owned(),
            format!("The number of days must be from 1 to {max_days}."),
        ));
    }
    if wrong.is_empty() {
        Ok(name)
    } else {
        Err(Error::fields(wrong))
    }
}

/// Whether this person may revoke a token or export password of `owner`. `None` is the command
/// line.
pub(super) fn may_revoke(by: Option<&Actor>, owner: &UserId) -> bool {
    by.is_none_or(|actor| actor.scope.is_none() && (actor.is_admin() || actor.user == *owner))
}
