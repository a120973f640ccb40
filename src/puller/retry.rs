//! Decides what happens after a pull stopped: one exhaustive match, with the sentences that people
//! read.

use std::time::Duration;

use super::run::Failure;
use crate::connectors::pull_error::{Cause, MissingAccess};
use crate::connectors::upstream::{MAX_AUTH_FAILURES, MAX_PAUSE};
use crate::connectors::{self, PullError};
use crate::error::{DATA_DAMAGED, Error};

/// What happens to a run whose pull stopped.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It ends as failed.
    Fail(Failure),
    /// It waits this long, without using up an attempt.
    Wait(Duration),
    /// It ends as cancelled, or goes back into the queue when the server is stopping.
    Stop,
}

/// Whether a run with this error code is retried. Errors that a person must fix are not: rejected
/// credentials, a refused request, a forbidden address, suspicious data.
pub fn may_retry(code: &str) -> bool {
    matches!(
        code,
        "unavailable"
            | "malformed"
            | "incomplete"
            | UNEXPECTED_RECORDS
            | NO_PROGRESS
            | RUN_TOO_LONG
            | "internal"
            | "busy"
            | "storage_full"
            | "storage_failed"
            | "version_changed"
            | "rows_missing"
    )
}

/// The sentence for a failed run without a retry. `on_run_end::record_retry` replaces it with the
/// time of the retry.
pub const NEXT_RUN: &str = "The next run tries again.";

/// The code of a run that was stopped because it made no progress for too long.
pub const NO_PROGRESS: &str = "no_progress";

/// The code of a run that failed because too many records were rejected.
pub const UNEXPECTED_RECORDS: &str = "unexpected_records";

/// The failure of a run in which too many records were rejected.
pub fn unexpected_records(rejected: u64, of: u64, vendor: &str, had_rows: bool) -> Failure {
    let sentence = PullError::UnexpectedRecords { rejected, of }.sentence(vendor);
    Failure {
        code: UNEXPECTED_RECORDS.to_owned(),
        message: format!("{sentence} A run fails if more than 1 percent of its rows are rejected."),
        who: vendor_changed(vendor),
        action: format!("{NEXT_RUN} {}", existing_rows_note(had_rows)),
    }
}

/// The failure of a run that was stopped because no data arrived for `minutes` minutes.
pub fn no_progress(minutes: i64, vendor: &str, had_rows: bool) -> Failure {
    Failure {
        code: NO_PROGRESS.to_owned(),
        message: format!("The run made no progress for {minutes} minutes, so Chatlake stopped it: no data came from {vendor}."),
        who: "No action needed now. If it happens again, a server administrator can find the cause in the log under this run's ID.".to_owned(),
        action: format!("{NEXT_RUN} {}", existing_rows_note(had_rows)),
    }
}

/// The code of a run that was stopped because it took too long.
pub const RUN_TOO_LONG: &str = "run_too_long";

/// The failure of a run that was stopped after `hours` hours.
pub fn run_too_long(hours: i64, had_rows: bool) -> Failure {
    Failure {
        code: RUN_TOO_LONG.to_owned(),
        message: format!("The run took longer than {hours} {}, so Chatlake stopped it.", if hours == 1 { "hour" } else { "hours" }),
        who: "No action needed now. If it happens again, the owner of the DataSet must choose fewer days, \
              or a server administrator must raise --max-run-hours."
            .to_owned(),
        action: format!("{NEXT_RUN} {}", existing_rows_note(had_rows)),
    }
}

/// Like `no_progress`, for a run that had read all rows and was saving them.
pub fn no_progress_saving(minutes: i64, had_rows: bool) -> Failure {
    Failure {
        code: NO_PROGRESS.to_owned(),
        message: format!("Saving the rows made no progress for {minutes} minutes, so Chatlake stopped the run: the server's disk did not respond."),
        who: "No action needed now. If it happens again, a server administrator must check the disk and the log under this run's ID.".to_owned(),
        action: format!("{NEXT_RUN} {}", existing_rows_note(had_rows)),
    }
}

/// The wait after a rate limit response that names no time.
const DEFAULT_RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);

/// Decides what happens to the run. `vendor`: the connector's title. `account`: the account's name.
/// `had_rows`: the DataSet has rows.
pub fn decide(error: &PullError, vendor: &str, account: &str, had_rows: bool) -> Decision {
    let rows_note = existing_rows_note(had_rows);
    let fail = |code: &str, message: String, who: String, action: String| {
        Decision::Fail(Failure {
            code: code.to_owned(),
            message,
            who,
            action,
        })
    };
    match error {
        PullError::Cancelled => Decision::Stop,
        PullError::RateLimited { wait } => Decision::Wait(wait.unwrap_or(DEFAULT_RATE_LIMIT_WAIT).clamp(Duration::from_secs(1), MAX_PAUSE)),
        PullError::Unauthorized => fail(
            "unauthorized",
            format!("{vendor} rejected the credentials of “{account}”."),
            format!("The owner of the account “{account}” must enter new credentials under Accounts."),
            format!("The next run uses the new credentials. {rows_note}"),
        ),
        PullError::CredentialsStopped => fail(
            "credentials_stopped",
            format!("{vendor} rejected the credentials of “{account}” {MAX_AUTH_FAILURES} times in a row. Chatlake stopped using them."),
            format!("The owner of the account “{account}” must enter new credentials under Accounts, or press Test there once they work."),
            format!("No request was sent. {rows_note}"),
        ),
        PullError::Unavailable(cause) => fail(
            "unavailable",
            format!(
                "{}{}",
                cause.sentence(vendor),
                match cause {
                    // The call is not repeated: the certificate would be the same.
                    Cause::Certificate => "",
                    // The number of calls depends on their duration, so the sentence names none.
                    Cause::BelowMinRate { .. } => " Repeated calls were also too slow.",
                    Cause::Unconfirmed(_) | Cause::NoData(_) => " Repeated calls had the same result.",
                    cause if cause.is_block() => " Repeated calls had the same result.",
                    _ => " Chatlake repeated the call for up to two minutes.",
                }
            ),
            match cause {
                cause if cause.is_block() => format!(
                    "No action needed now. If it happens again, a server administrator must check the firewall or proxy \
                     between this server and {vendor}."
                ),
                Cause::NameNotFound | Cause::ConnectionRefused | Cause::ConnectTimeout | Cause::Certificate => {
                    "No action needed now. If it happens again, an admin must check the API URL of the account and the network of the server.".to_owned()
                }
                _ => format!("No action needed if {vendor} is available again soon."),
            },
            format!("{NEXT_RUN} {rows_note}"),
        ),
        PullError::Refused { status, vendor_message: said } => {
            let (who, action) = match status {
                403 => {
                    (format!("A person who can change roles and scopes in {vendor} must give the credentials of “{account}” access to this report."), NEXT_RUN)
                }
                _ if connectors::is_about_time_zones(said) => (
                    format!("The owner of the DataSet must choose another time zone under Settings: {vendor} does not know this one."),
                    "Change the time zone, then press Run now.",
                ),
                _ => ("The owner of the DataSet must check Report, Group and Login under Settings.".to_owned(), "Change the settings, then press Run now."),
            };
            fail("refused", error.sentence(vendor), who, format!("{action} {rows_note}"))
        }
        PullError::Malformed { .. } => fail("malformed", error.sentence(vendor), vendor_changed(vendor), format!("{NEXT_RUN} {rows_note}")),
        PullError::Incomplete { .. } => fail(
            "incomplete",
            error.sentence(vendor),
            "No action needed now. If it happens again, the owner of the DataSet can choose a Group or a Login, so that each day has fewer rows.".to_owned(),
            format!("{NEXT_RUN} Incomplete data is not saved. {rows_note}"),
        ),
        PullError::UnexpectedRecords { rejected, of } => Decision::Fail(unexpected_records(*rejected, *of, vendor, had_rows)),
        PullError::NotAllowed(lack) => fail(
            "not_allowed",
            match lack {
                MissingAccess::Permission => {
                    format!("{vendor} accepted the credentials of “{account}”, but the operator does not have the account permission.")
                }
                MissingAccess::Plan => format!("{vendor} accepted the credentials of “{account}”, but the plan does not include data export."),
            },
            match lack {
                MissingAccess::Plan => format!("A person who can change the plan in {vendor} must add data export."),
                _ => format!(
                    "A person who can change operators in {vendor} must give this operator the account permission. \
                     Or enter another operator under Accounts."
                ),
            },
            format!("{NEXT_RUN} {rows_note}"),
        ),
        PullError::StorageFull => {
            fail("storage_full", error.sentence(vendor), "A server administrator must free disk space.".to_owned(), format!("{NEXT_RUN} {rows_note}"))
        }
        PullError::AddressRefused { why } => fail(
            "forbidden_address",
            format!("The API URL of “{account}” is not allowed. {why}"),
            "An admin must correct the API URL of the account, or a server administrator must allow the host with --allow-upstream.".to_owned(),
            format!("Then press Run now. No request was sent. {rows_note}"),
        ),
    }
}

/// Turns an error of Chatlake itself into the failure of a run. `had_rows`: rows exist, or may
/// exist.
pub fn failure_of_error(error: &Error, had_rows: bool) -> Failure {
    if error.code() == DATA_DAMAGED {
        return Failure {
            code: DATA_DAMAGED.to_owned(),
            message: "The run could not add its rows: a stored file of this DataSet is damaged or missing.".to_owned(),
            who: "The owner of the DataSet must repair it.".to_owned(),
            action: "Nothing was changed. Under History, revert to a version that is not damaged. \
                     Or choose Replace under Settings and press Run now: that pulls all rows again."
                .to_owned(),
        };
    }
    let (who, action) = match error.code() {
        "credentials_stopped" => (
            "The owner of the account must enter new credentials under Accounts.",
            "No request was sent. The next run uses the new credentials.",
        ),
        "address_refused" => (
            "An admin must correct the API URL of the account.",
            "No request was sent. The next run tries again.",
        ),
        "credential_damaged" => (
            "The owner of the account must enter the credentials again.",
            "Then press Run now. No request was sent.",
        ),
        "account_missing" => (
            "The owner of the DataSet must choose another account under Settings.",
            "Then press Run now. No request was sent.",
        ),
        "version_changed" => ("No action needed.", NEXT_RUN),
        "storage_full" => ("A server administrator must free disk space.", NEXT_RUN),
        "storage_failed" => (
            "If it happens again, a server administrator must check the disk.",
            NEXT_RUN,
        ),
        _ => (
            "A server administrator can find the cause in the log under this run's ID.",
            NEXT_RUN,
        ),
    };
    Failure {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        who: error
            .suggested_action()
            .map_or_else(|| who.to_owned(), str::to_owned),
        action: format!("{action} {}", existing_rows_note(had_rows)),
    }
}

fn existing_rows_note(had_rows: bool) -> &'static str {
    if had_rows {
        "The existing rows are unchanged."
    } else {
        "No data yet."
    }
}

/// Who must act when a response could not be read.
fn vendor_changed(vendor: &str) -> String {
    format!(
        "No action needed now. If it happens again, {vendor} has changed its data and Chatlake needs an update."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_happened_who_must_act_and_what_is_next() {
        for error in [
            PullError::Unauthorized,
            PullError::CredentialsStopped,
            PullError::Unavailable(Cause::NoProgress),
            PullError::Refused {
                status: 400,
                vendor_message: String::new(),
            },
            PullError::UnexpectedRecords {
                rejected: 20,
                of: 20,
            },
            PullError::AddressRefused { why: "x".into() },
        ] {
            let Decision::Fail(failure) = decide(&error, "LiveChat", "Support", true) else {
                panic!("{error:?} must end the run")
            };
            assert!(
                !failure.message.is_empty()
                    && !failure.who.is_empty()
                    && failure.action.contains("unchanged"),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn temporary_failures_are_retried_and_those_that_a_person_must_fix_are_not() {
        for code in [
            "unavailable",
            "malformed",
            "incomplete",
            "unexpected_records",
            "no_progress",
            "run_too_long",
            "internal",
            "busy",
            "storage_full",
            "storage_failed",
            "version_changed",
            "rows_missing",
        ] {
            assert!(may_retry(code), "{code}");
        }
        for code in [
            "unauthorized",
            "credentials_stopped",
            "refused",
            "not_allowed",
            "forbidden_address",
            "address_refused",
            "credential_damaged",
            "account_missing",
            "data_damaged",
            "empty_answer",
            "held",
            "schema_changed",
            "",
        ] {
            assert!(!may_retry(code), "{code}");
        }
        // All errors that end a run: a new one needs a decision here.
        let window = connectors::Window {
            from: jiff::civil::date(2026, 11, 1),
            to: jiff::civil::date(2026, 11, 1),
        };
        let place = connectors::pull_error::ResponseLocation {
            path: "/chats".to_owned(),
            page: 1,
        };
        for (error, again) in [
            (PullError::Unauthorized, false),
            (PullError::CredentialsStopped, false),
            (
                PullError::Refused {
                    status: 403,
                    vendor_message: String::new(),
                },
                false,
            ),
            (PullError::NotAllowed(MissingAccess::Permission), false),
            (PullError::NotAllowed(MissingAccess::Plan), false),
            (
                PullError::AddressRefused {
                    why: "x".to_owned(),
                },
                false,
            ),
            (PullError::Unavailable(Cause::WebPage(403)), true),
            (PullError::Unavailable(Cause::Denied(403)), true),
            (PullError::Unavailable(Cause::ProxyCredentials), true),
            (PullError::Unavailable(Cause::Unconfirmed(401)), true),
            (PullError::Unavailable(Cause::NoData(404)), true),
            (
                PullError::Malformed {
                    at: place,
                    why: "x".to_owned(),
                },
                true,
            ),
            (
                PullError::Incomplete {
                    window,
                    have: 1,
                    of: 2,
                },
                true,
            ),
            (
                PullError::UnexpectedRecords {
                    rejected: 20,
                    of: 20,
                },
                true,
            ),
            (PullError::StorageFull, true),
        ] {
            let Decision::Fail(failure) = decide(&error, "LiveChat", "Support", true) else {
                panic!("{error:?} must end the run")
            };
            assert_eq!(may_retry(&failure.code), again, "{error:?}");
        }
    }

    #[test]
    fn a_refused_request_says_who_can_fix_it() {
        let refusal = |status, said: &str| {
            let Decision::Fail(failure) = decide(
                &PullError::Refused {
                    status,
                    vendor_message: said.to_owned(),
                },
                "LiveChat",
                "Support",
                true,
            ) else {
                panic!()
            };
            failure
        };
        let scope = refusal(403, "Missing scope: tags--all:ro");
        assert!(
            scope.message.contains("Missing scope: tags--all:ro")
                && scope.who.contains("roles and scopes in LiveChat"),
            "{scope:?}"
        );
        let zone = refusal(400, "timezone must be one of the names of the tz database");
        assert!(
            zone.who.contains("time zone") && zone.action.contains("time zone"),
            "{zone:?}"
        );
        assert!(refusal(400, "group is unknown").who.contains("Group"));
    }

    #[test]
    fn a_wait_has_a_minimum_and_a_maximum() {
        for (asked, waits) in [
            (None, 60),
            (Some(0), 1),
            (Some(30), 30),
            (Some(315_360_000), 86_400),
        ] {
            let Decision::Wait(wait) = decide(
                &PullError::RateLimited {
                    wait: asked.map(Duration::from_secs),
                },
                "LiveChat",
                "Support",
                true,
            ) else {
                panic!()
            };
            assert_eq!(wait.as_secs(), waits);
        }
    }
}
