//! Reads the parameters and credentials of a request to `/a/Srv`. Each parameter may occur once.
//! Error messages name a parameter and never repeat a value, which may be a password in the wrong
//! place.

use std::net::IpAddr;
use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::period;
use crate::auth::Transport;
use crate::auth::export_passwords::ExportLogin;
use crate::clock::Millis;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The error code of a body that is not a form.
pub const NOT_A_FORM: &str = "not_a_form";

/// The parameters and credentials of a request, decoded but not validated.
#[derive(Default)]
pub struct ExportRequest {
    action: Option<String>,
    email: Option<String>,
    password: Option<Secret>,
    start: Option<String>,
    stop: Option<String>,
    auth_header: Option<AuthHeader>,
}

/// The content of the Authorization header.
enum AuthHeader {
    Basic(String, Secret),
    Bearer(Secret),
}

impl ExportRequest {
    /// Reads a GET: all parameters are in the query string; credentials may be in the Authorization
    /// header.
    pub fn of_query(headers: &HeaderMap, query: &str) -> Result<Self> {
        Self::read(headers, query.as_bytes())
    }

    /// Reads a POST: all parameters are in the body; credentials may be in the Authorization
    /// header.
    pub fn of_form(headers: &HeaderMap, body: &[u8]) -> Result<Self> {
        let kind = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .unwrap_or_default();
        let is_form = kind
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let is_nothing = kind.is_empty() && body.is_empty();
        if !is_form && !is_nothing {
            return Err(Error::new(
                ErrorKind::BadRequest,
                NOT_A_FORM,
                "The body must be a form, with Content-Type: application/x-www-form-urlencoded.",
            ));
        }
        Self::read(headers, body)
    }

    fn read(headers: &HeaderMap, fields: &[u8]) -> Result<Self> {
        let mut request = Self {
            auth_header: auth_header(headers)?,
            ..Self::default()
        };
        for field in fields
            .split(|byte| *byte == b'&')
            .filter(|field| !field.is_empty())
        {
            let (name, value) = field
                .iter()
                .position(|byte| *byte == b'=')
                .map_or((field, &b""[..]), |at| (&field[..at], &field[at + 1..]));
            let name = percent_decode(name).ok_or_else(|| unreadable("The name of a parameter"))?;
            let (slot, name) = match name.as_str() {
                "a" => (&mut request.action, "a"),
                "email" => (&mut request.email, "email"),
                "start" => (&mut request.start, "start"),
                "stop" => (&mut request.stop, "stop"),
                "password" => {
                    let value = percent_decode(value).ok_or_else(|| unreadable("password"))?;
                    if request.password.replace(Secret::new(value)).is_some() {
                        return Err(given_twice("password"));
                    }
                    continue;
                }
                // Other parameters are not known to this server and are ignored.
                _ => continue,
            };
            if slot
                .replace(percent_decode(value).ok_or_else(|| unreadable(name))?)
                .is_some()
            {
                return Err(given_twice(name));
            }
        }
        request.email = request.email.filter(|email| !email.trim().is_empty());
        request.password = request.password.filter(|password| !password.is_empty());
        Ok(request)
    }

    /// The credentials of the request. They must be in exactly one place.
    pub fn login(&self, address: IpAddr, transport: Transport) -> Result<ExportLogin<'_>> {
        let login = |email, password| {
            Ok(ExportLogin {
                email,
                password,
                address,
                transport,
            })
        };
        match (&self.auth_header, self.email.as_deref(), &self.password) {
            (Some(_), _, Some(_)) => Err(Error::field(
                "password",
                "password is given twice, as a parameter and in the Authorization header.",
            )),
            (Some(AuthHeader::Basic(..)), Some(_), None) => Err(Error::field(
                "email",
                "email is given twice, as a parameter and in the Authorization header.",
            )),
            (Some(AuthHeader::Basic(email, password)), None, None) => login(Some(email), password),
            (Some(AuthHeader::Bearer(password)), email, None) => login(email, password),
            (None, Some(email), Some(password)) => login(Some(email), password),
            (None, Some(_), None) => Err(Error::field(
                "password",
                "password is missing. Use an export password.",
            )),
            (None, None, Some(_)) => Err(Error::field(
                "email",
                "email is missing. Use the email of the export password's owner.",
            )),
            (None, None, None) => Err(Error::new(
                ErrorKind::Unauthenticated,
                "unauthenticated",
                "This address needs an email and an export password.",
            )),
        }
    }

    /// The requested period in whole milliseconds, without its end.
    pub fn period(&self, now: Millis) -> Result<Range<Millis>> {
        if self.action.as_deref() != Some("export") {
            return Err(Error::field("a", "a must be export."));
        }
        period::parse(
            self.start.as_deref().unwrap_or_default(),
            self.stop.as_deref().unwrap_or_default(),
            now,
        )
    }
}

fn unreadable(name: &str) -> Error {
    Error::new(
        ErrorKind::BadRequest,
        "unreadable",
        format!(
            "{name} is not well-formed: it must be percent-encoded UTF-8 without null characters."
        ),
    )
}

fn given_twice(name: &str) -> Error {
    Error::field(name, format!("{name} is given twice."))
}

/// Decodes percent-encoded text: `+` is a space, `%` and two digits a byte. `None` if it is not
/// UTF-8 or contains a null character.
fn percent_decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    rest.next()
                        .and_then(|digit| char::from(*digit).to_digit(16))
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                digit()? << 4 | digit()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// Reads the Authorization header. `None` without one.
fn auth_header(headers: &HeaderMap) -> Result<Option<AuthHeader>> {
    let wrong = || {
        Error::new(
            ErrorKind::Unauthenticated,
            "unauthenticated",
            "The Authorization header must be Basic with email and export password, or Bearer.",
        )
    };
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (all.next(), all.next()) else {
        return if headers.contains_key(AUTHORIZATION) {
            Err(wrong())
        } else {
            Ok(None)
        };
    };
    let (scheme, rest) = header
        .to_str()
        .ok()
        .and_then(|text| text.trim().split_once(' '))
        .ok_or_else(wrong)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(AuthHeader::Bearer(Secret::new(rest))));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let plain = STANDARD
        .decode(rest)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(wrong)?;
    let (email, password) = plain.split_once(':').ok_or_else(wrong)?;
    Ok(Some(AuthHeader::Basic(
        email.to_owned(),
        Secret::new(password),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_once_and_strictly() {
        for (text, wanted) in [
            ("a+b%20c%2Bd", Some("a b c+d")),
            ("%C3%A9", Some("é")),
            ("%2541", Some("%41")),
            ("é", Some("é")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%FF", None),
            ("%00", None),
            ("", Some("")),
        ] {
            assert_eq!(percent_decode(text.as_bytes()).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_sentence_never_repeats_a_value() {
        let canary = "kanarie4711";
        let queries = [
            format!("a=export&password={canary}&password={canary}"),
            format!("{canary}=%FF"),
            format!("%FF{canary}"),
            format!("a={canary}"),
            format!("a=export&email={canary}"),
            format!("a=export&password={canary}"),
            format!("a=export&start={canary}&stop={canary}"),
            format!("a=export;password={canary};start={canary}"),
        ];
        for query in queries {
            let request = ExportRequest::of_query(&HeaderMap::new(), &query);
            let request = match request {
                Ok(request) => request,
                Err(why) => {
                    assert!(!format!("{why:?}").contains(canary), "{why:?}");
                    continue;
                }
            };
            let login = request
                .login(IpAddr::from([127, 0, 0, 1]), Transport::Secure)
                .map(|_| ())
                .unwrap_err();
            let period = request.period(0).unwrap_err();
            assert!(
                !format!("{login:?} {period:?}").contains(canary),
                "{login:?} {period:?}"
            );
        }
    }
}
