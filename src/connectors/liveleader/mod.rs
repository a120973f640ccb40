//! LiveLeader over its data export: one XML document for a period, of any size. `reports` says what there is; `pull` reads `windows`,
//! each of which is a `document` that comes in pieces, read by `xml` and `times` and put into `rows`; they wait in a `spool` until the
//! document is known to be whole. `client` asks.

mod client;
mod document;
mod ids;
mod reports;
mod rows;
mod sample;
mod spool;
pub mod times;
mod windows;
pub mod xml;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pull_error::Cause;
use super::report::Report;
use super::{CredentialField, Menus, PullError, PullRequest, Pulled, Sample, Source, Window};
use client::{Client, Period};
use document::Document;
pub use reports::REPORTS;

pub const FIELDS: &[CredentialField] = &[
    CredentialField { id: "email", label: "Email", secret: false, help: "The email of a LiveLeader operator who has the account permission." },
    CredentialField { id: "password", label: "Password", secret: true, help: "The LiveLeader password of this operator." },
];

/// What LiveLeader's way of asking means for a password, for whoever enters one.
pub const PASSWORD_IN_ADDRESS: &str = "LiveLeader requires the password in the URL of each request. Chatlake sends it over https only, \
    follows no redirects, and keeps the URL out of logs, errors and pages. A proxy that decrypts https can read it. \
    Use a password that the operator uses nowhere else.";

/// Asks for the last minute: a call that every good credential may make and that costs next to nothing.
pub(super) async fn check(source: &Source) -> Result<String, PullError> {
    let client = Client::new(source, CancellationToken::new());
    let parsers = client.parsers();
    let begin = move || Document::new(parsers.clone(), |pieces, label: Option<String>| xml::read(pieces, label.as_deref(), |_| true).map_err(Into::into));
    match client.export(&Period::minute_until(client.now()), begin).await {
        Ok(()) => Ok("data export works".to_owned()),
        Err(PullError::Malformed { at, why }) => Err(PullError::Malformed { at, why: format!("{why}. {UNCLEAR}") }),
        // Whoever tests an account has to know what else it may be.
        Err(PullError::Unavailable(Cause::WebPage(200))) => Err(document::malformed(format!("a web page (status 200) instead of XML. {UNCLEAR}"))),
        Err(PullError::Unavailable(Cause::Denied(status))) => Err(document::malformed(format!("the request was denied (status {status}). {UNCLEAR}"))),
        Err(error) => Err(error),
    }
}

const UNCLEAR: &str = "Possible causes: wrong email or password, no account permission for the operator, or no data export in the plan";

/// Pulls the reports, reading each document once.
pub(super) async fn pull(source: &Source, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    windows::pull(Client::new(source, request.cancel.clone()), request, out).await
}

/// The first rows of a report, of the newest days that have any.
pub(super) async fn sample(
    source: &Source,
    report: &'static Report,
    menus: &Menus,
    zone: &TimeZone,
    range: Option<Window>,
    most: usize,
) -> Result<Sample, PullError> {
    let range = range.ok_or_else(|| PullError::Refused { status: 0, said: "this report needs a date range".to_owned() })?;
    sample::newest(&Client::new(source, CancellationToken::new()), report, menus, zone, range, most).await
}
