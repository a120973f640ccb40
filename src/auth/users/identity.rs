//! Validates and normalizes the email address and the name of a person.

use crate::text;

/// Validates and normalizes email and name. Returns the errors by field.
pub fn identity(
    email: &str,
    name: &str,
) -> std::result::Result<(String, String), Vec<(String, String)>> {
    let email = email.trim().to_lowercase();
    let name = person_name(name);
    let mut wrong = Vec::new();
    if !is_email(&email) {
        let said = if email.is_ascii() {
            "Enter an email address, for example ada@example.com."
        } else {
            "Email must contain only the letters a to z, digits and symbols. \
             Letters of other alphabets can look the same."
        };
        wrong.push(("email".to_owned(), said.to_owned()));
    }
    match name {
        Ok(name) if wrong.is_empty() => Ok((email, name)),
        Ok(_) => Err(wrong),
        Err(why) => {
            wrong.push(("name".to_owned(), why));
            Err(wrong)
        }
    }
}

/// Validates and normalizes the name of a person.
pub(super) fn person_name(name: &str) -> std::result::Result<String, String> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > 100 {
        return Err("Enter a name (1 to 100 characters).".to_owned());
    }
    if !name.chars().all(text::is_allowed_in_person_name) {
        return Err(
            "Name must not contain control characters, invisible characters or text direction \
             marks."
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}

/// Whether the email address cannot be mistaken for another one: ASCII, and a host of letters,
/// digits, hyphens and dots between them.
fn is_email(email: &str) -> bool {
    let Some((local, host)) = email.rsplit_once('@') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_plain = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'<' | b'>' | b'"' | b',' | b';' | b'(' | b')' | b'[' | b']' | b':' | b'\\' | b'@'
            )
    };
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    email.len() <= 254
        && !local.is_empty()
        && !dots
        && local.bytes().all(is_plain)
        && host.split('.').all(is_label)
}
