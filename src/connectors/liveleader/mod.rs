//! The connector for LiveLeader's data export: one XML document of any size for each period.
//! `reports` declares the reports. `export_windows` pulls them: each answer is a streamed
//! `document`, which `xml` and `times` parse and `rows` converts. The rows wait in a `spool` until
//! the document is known to be complete. `client` sends the requests.

mod client;
mod document;
mod export_windows;
mod id_set;
mod reports;
mod rows;
mod sample;
mod spool;
pub mod times;
pub mod xml;

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pull_error::Cause;
use super::report::Report;
use super::{CredentialField, Menus, PullError, PullEvent, PullRequest, Sample, Source, Window};
use client::{ExportPeriod, LiveLeaderClient};
use document::DocumentReader;
pub use reports::REPORTS;

pub const FIELDS: &[CredentialField] = &[
    CredentialField {
        id: "email",
        label: "Email",
        secret: false,
        help: "The email of a LiveLeader operator who has the account permission.",
    },
    CredentialField {
        id: "password",
        label: "Password",
        secret: true,
        help: "The LiveLeader password of this operator.",
    },
];

/// The note about the password for the person who enters it.
pub const PASSWORD_IN_ADDRESS: &str = "LiveLeader requires the password in the URL of each request. Chatlake sends it over https only, \
    follows no redirects, and keeps the URL out of logs, errors and pages. A proxy that decrypts https can read it. \
    Use a password that the operator uses nowhere else.";

/// Tests the credentials by requesting the last minute: all valid credentials have access to it,
/// and the answer is small.
pub(super) async fn check(source: &Source) -> Result<String, PullError> {
    let client = LiveLeaderClient::new(source, CancellationToken::new());
    let parser_slots = client.parser_slots();
    let begin = move || {
        DocumentReader::new(parser_slots.clone(), |pieces, label: Option<String>| {
            xml::read(pieces, label.as_deref(), |_| true).map_err(Into::into)
        })
    };
    match client
        .export(&ExportPeriod::minute_until(client.now()), begin)
        .await
    {
        Ok(()) => Ok("the data export works".to_owned()),
        Err(PullError::Malformed { at, why }) => Err(PullError::Malformed {
            at,
            why: format!("{why}. {UNCLEAR}"),
        }),
        // The person who tests an account needs to know the possible causes.
        Err(PullError::Unavailable(Cause::WebPage(200))) => Err(document::malformed(format!(
            "a web page (status 200) instead of XML. {UNCLEAR}"
        ))),
        Err(PullError::Unavailable(Cause::Denied(status))) => Err(document::malformed(format!(
            "the request was denied (status {status}). {UNCLEAR}"
        ))),
        Err(error) => Err(error),
    }
}

const UNCLEAR: &str = "Possible causes: wrong email or password, no account permission for the operator, or no data export in the plan";

/// Pulls the reports. Each document is read once.
pub(super) async fn pull(
    source: &Source,
    request: &PullRequest,
    out: &mpsc::Sender<PullEvent>,
) -> Result<(), PullError> {
    export_windows::pull(
        LiveLeaderClient::new(source, request.cancel.clone()),
        request,
        out,
    )
    .await
}

/// The first rows of a report, from the newest days with rows.
pub(super) async fn sample(
    source: &Source,
    report: &'static Report,
    menus: &Menus,
    zone: &TimeZone,
    range: Option<Window>,
    limit: usize,
) -> Result<Sample, PullError> {
    let range = range.ok_or_else(|| PullError::Refused {
        status: 0,
        vendor_message: "this report needs a date range".to_owned(),
    })?;
    sample::newest(
        &LiveLeaderClient::new(source, CancellationToken::new()),
        report,
        menus,
        zone,
        range,
        limit,
    )
    .await
}
