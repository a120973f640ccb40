//! How the export is asked for: its five parameters, who may ask, and the refusal of both in one plain sentence.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::{EMAIL, GUEST, PASSWORD, STARTER};
use crate::clock::Millis;

/// An answer that is not 200, as `text/plain`.
pub struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn wrong(why: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, why.into())
}

/// From `start` to `stop`, which is not included.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    pub start: Millis,
    pub stop: Millis,
}

impl Period {
    /// What is asked for, by somebody who may.
    pub fn of(request: &Request) -> Result<Self, Refusal> {
        let mut given: Vec<(String, String)> = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        let mut take = |name: &str| {
            let at = given.iter().position(|(other, _)| other == name).ok_or_else(|| wrong(format!("The parameter {name} is missing.")))?;
            Ok::<String, Refusal>(given.remove(at).1)
        };
        if take("a")? != "export" {
            return Err(wrong("The parameter a must be export."));
        }
        let (email, password) = (take("email")?, take("password")?);
        let period = Self { start: moment("start", &take("start")?)?, stop: moment("stop", &take("stop")?)? };
        // So that a typing mistake in a connector shows.
        if let Some((name, _)) = given.first() {
            return Err(wrong(format!("The parameter {name} is unknown or repeated.")));
        }
        if period.stop < period.start {
            return Err(wrong("The parameter stop is before start."));
        }
        let refused = match (email.as_str(), password.as_str()) {
            (EMAIL, PASSWORD) => return Ok(period),
            (GUEST, PASSWORD) => (StatusCode::FORBIDDEN, "The operator does not have the account permission."),
            (STARTER, PASSWORD) => (StatusCode::FORBIDDEN, "The plan does not include data export."),
            _ => (StatusCode::UNAUTHORIZED, "Wrong e-mail or password"),
        };
        Err(Refusal(refused.0, refused.1.to_owned()))
    }
}

/// A moment in exactly the sample's form.
fn moment(name: &str, text: &str) -> Result<Millis, Refusal> {
    const FORM: &[u8; 29] = b"0000-00-00T00:00:00.000+00:00";
    let fits = text.len() == FORM.len()
        && text.bytes().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b'+' => matches!(byte, b'+' | b'-'),
            _ => byte == *form,
        });
    if !fits && text.as_bytes().get(23) == Some(&b' ') {
        return Err(wrong(format!("The parameter {name} has a space where its offset begins: a + is written %2B.")));
    }
    let parsed = fits.then(|| text.parse::<Timestamp>().ok()).flatten();
    parsed.map(Timestamp::as_millisecond).ok_or_else(|| wrong(format!("The parameter {name} must be like 2008-08-18T19:24:18.884+02:00.")))
}
