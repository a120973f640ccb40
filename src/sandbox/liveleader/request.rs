//! Parses an export request and checks its credentials. A wrong parameter or wrong credentials are
//! refused with a plain sentence.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::{EMAIL, GUEST, PASSWORD, STARTER};
use crate::clock::Millis;

/// A `text/plain` response with another status than 200.
pub struct TextErrorResponse(StatusCode, String);

impl IntoResponse for TextErrorResponse {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn bad_request(why: impl Into<String>) -> TextErrorResponse {
    TextErrorResponse(StatusCode::BAD_REQUEST, why.into())
}

/// A half-open period from `start` to `stop`.
#[derive(Clone, Copy, Debug)]
pub struct RequestedPeriod {
    pub start: Millis,
    pub stop: Millis,
}

impl RequestedPeriod {
    /// Parses a request and checks its credentials.
    pub fn of(request: &Request) -> Result<Self, TextErrorResponse> {
        let mut parameters: Vec<(String, String)> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let mut take = |name: &str| {
            let at = parameters
                .iter()
                .position(|(other, _)| other == name)
                .ok_or_else(|| bad_request(format!("The parameter {name} is missing.")))?;
            Ok::<String, TextErrorResponse>(parameters.remove(at).1)
        };
        if take("a")? != "export" {
            return Err(bad_request("The parameter a must be export."));
        }
        let (email, password) = (take("email")?, take("password")?);
        let period = Self {
            start: moment("start", &take("start")?)?,
            stop: moment("stop", &take("stop")?)?,
        };
        // Unknown parameters are refused, so that a typing mistake in a connector is found.
        if let Some((name, _)) = parameters.first() {
            return Err(bad_request(format!(
                "The parameter {name} is unknown or repeated."
            )));
        }
        if period.stop < period.start {
            return Err(bad_request("The parameter stop is before start."));
        }
        let refused = match (email.as_str(), password.as_str()) {
            (EMAIL, PASSWORD) => return Ok(period),
            (GUEST, PASSWORD) => (
                StatusCode::FORBIDDEN,
                "The operator does not have the account permission.",
            ),
            (STARTER, PASSWORD) => (
                StatusCode::FORBIDDEN,
                "The plan does not include data export.",
            ),
            _ => (StatusCode::UNAUTHORIZED, "Wrong e-mail or password"),
        };
        Err(TextErrorResponse(refused.0, refused.1.to_owned()))
    }
}

/// Parses a time in exactly the sample's format.
fn moment(name: &str, text: &str) -> Result<Millis, TextErrorResponse> {
    const FORM: &[u8; 29] = b"0000-00-00T00:00:00.000+00:00";
    let fits = text.len() == FORM.len()
        && text.bytes().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b'+' => matches!(byte, b'+' | b'-'),
            _ => byte == *form,
        });
    if !fits && text.as_bytes().get(23) == Some(&b' ') {
        return Err(bad_request(format!(
            "The parameter {name} has a space where its offset begins: a + is written %2B."
        )));
    }
    let parsed = fits.then(|| text.parse::<Timestamp>().ok()).flatten();
    parsed.map(Timestamp::as_millisecond).ok_or_else(|| {
        bad_request(format!(
            "The parameter {name} must be like 2008-08-18T19:24:18.884+02:00."
        ))
    })
}
