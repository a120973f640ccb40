//! From why a pull stopped to what happens next: one exhaustive match, in the words people read.

use std::time::Duration;

use super::run::Failure;
use crate::connectors::pull_error::{Cause, Lack};
use crate::connectors::upstream::LONGEST_PAUSE;
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

/// Whether a run that failed with this code may go better by itself. What a person has to mend may not: wrong credentials, a request that
/// the vendor refuses, an address that may not be asked, data that somebody has to look at.
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

/// The code of a run that was stopped because nothing came for too long.
pub const NO_PROGRESS: &str = "no_progress";

/// The code of a run that failed because too many records were rejected.
pub const UNEXPECTED_RECORDS: &str = "unexpected_records";

/// The failure of a run of whose records too many were rejected.
pub fn unexpected_records(rejected: u64, of: u64, vendor: &str, had_rows: bool) -> Failure {
    let records = if of == 1 { "record" } else { "records" };
    Failure {
        code: UNEXPECTED_RECORDS.to_owned(),
        message: format!(
            "{rejected} of {of} {records} from {vendor} were rejected: they are not of the expected shape, or have no value in the report's key. \
             A run fails if more than 1 percent of its records are rejected."
        ),
        who: format!("Nobody yet. If it happens again, {vendor} has changed something and Chatlake must learn it."),
        action: format!("The next run tries again. Nothing of this run was kept. {}", kept(had_rows)),
    }
}

/// The failure of a run that was stopped because nothing came for so long.
pub fn no_progress(minutes: i64, vendor: &str, had_rows: bool) -> Failure {
    Failure {
        code: NO_PROGRESS.to_owned(),
        message: format!("The run made no progress for {minutes} minutes, so it was stopped: nothing came from {vendor}, and nothing was written."),
        who: "Nobody yet. If it happens again, the person who runs the server: the log tells more under this run's id.".to_owned(),
        action: format!("The next run tries again. {}", kept(had_rows)),
    }
}

/// The code of a run that took longer than a run may take.
pub const RUN_TOO_LONG: &str = "run_too_long";

/// The failure of a run that was stopped after so many hours.
pub fn run_too_long(hours: i64, had_rows: bool) -> Failure {
    Failure {
        code: RUN_TOO_LONG.to_owned(),
        message: format!("The run took longer than {hours} {}, the longest that a run may take, so it was stopped.", if hours == 1 { "hour" } else { "hours" }),
        who: "Nobody, if the vendor was slow for once. If it happens again, the owner of the DataSet must choose fewer days, or the person who runs the server must raise --max-run-hours."
            .to_owned(),
        action: format!("The next run tries again. {}", kept(had_rows)),
    }
}

/// As `no_progress`, of a run whose rows had come and were being put together with those from before.
pub fn no_progress_saving(minutes: i64, had_rows: bool) -> Failure {
    Failure {
        code: NO_PROGRESS.to_owned(),
        message: format!(
            "The rows came, and putting them away made no progress for {minutes} minutes, so it was stopped: nothing was read from this server's disk or written to it."
        ),
        who: "Nobody yet. If it happens again, the person who runs the server: look at the disk; the log tells more under this run's id.".to_owned(),
        action: format!("The next run tries again. {}", kept(had_rows)),
    }
}

/// How long to wait when a vendor says "too many" without saying how long.
const UNSAID_WAIT: Duration = Duration::from_secs(60);

/// What happens next. `vendor` is the connector's title, `account` the account's name, `had_rows` whether there are rows from before.
pub fn decide(error: &PullError, vendor: &str, account: &str, had_rows: bool) -> Decision {
    let kept = kept(had_rows);
    let fail = |code: &str, message: String, who: String, action: String| Decision::Fail(Failure { code: code.to_owned(), message, who, action });
    match error {
        PullError::Cancelled => Decision::Stop,
        PullError::RateLimited { wait } => Decision::Wait(wait.unwrap_or(UNSAID_WAIT).clamp(Duration::from_secs(1), LONGEST_PAUSE)),
        PullError::Unauthorized => fail(
            "unauthorized",
            format!("{vendor} did not accept the credentials of “{account}”."),
            format!("The owner of the account “{account}” must enter new ones under Accounts."),
            format!("The next run, by schedule or by Run now, uses the new ones. {kept}"),
        ),
        PullError::Withheld => fail(
            "credentials_stopped",
            format!("{vendor} refused the credentials of “{account}” again and again, so it was not asked."),
            format!("The owner of the account “{account}” must enter new ones under Accounts, or press Test there once they work again."),
            format!("Nothing was sent to the vendor. {kept}"),
        ),
        PullError::Unavailable(cause) => fail(
            "unavailable",
            // A certificate does not get better by trying.
            format!(
                "{vendor} could not be read: {cause}.{}",
                match cause {
                    Cause::Certificate => "",
                    // How often depends on how long each answer came.
                    Cause::BelowMinRate { .. } => " It was asked again, and its answers stayed that slow.",
                    Cause::Unconfirmed(_) | Cause::NoData(_) => " It was asked again, and stayed so.",
                    cause if cause.is_block() => " It was asked again, and stayed so.",
                    _ => " Chatlake asked again for up to two minutes.",
                }
            ),
            match cause {
                cause if cause.is_block() => format!(
                    "Nobody, if it passes. If it stays so, the person who runs the server: a firewall or a proxy between this server and {vendor} blocks the requests."
                ),
                _ => format!("Nobody, if {vendor} is only down for a while."),
            },
            format!("The next run on the schedule, or Run now, tries again. {kept}"),
        ),
        PullError::Refused { status, said } => {
            let said = if said.is_empty() { String::new() } else { format!(" It said: {said}") };
            let (who, action) = match status {
                403 => (
                    format!("Somebody who may change roles and scopes at {vendor}: the credentials of “{account}” do not reach this report."),
                    "The next run, by schedule or by Run now, tries again.",
                ),
                _ if connectors::is_about_time_zones(&said) => (
                    format!("The owner of the DataSet: {vendor} does not know its time zone. Choose another one under Settings."),
                    "Change the time zone, then Run now.",
                ),
                _ => ("The owner of the DataSet: look at Report, Group and Login under Settings.".to_owned(), "Change the settings, then Run now."),
            };
            fail("refused", format!("{vendor} refused the request with status {status}.{said}"), who, format!("{action} {kept}"))
        }
        PullError::Malformed { at, why } => fail(
            "malformed",
            format!("The answer of {vendor} at {at} could not be read: {why}."),
            format!("Nobody yet; if it stays so, {vendor} has changed something and Chatlake must learn it."),
            format!("The next run tries again. Nothing of this run was kept. {kept}"),
        ),
        PullError::Incomplete { window, have, of } => fail(
            "incomplete",
            if have < of {
                format!("{vendor} tells of {of} records for {window} and gave {have}.")
            } else {
                format!("The records of {vendor} for {window} kept changing while they were read, so it is not certain that all {of} came.")
            },
            "Nobody, if it was a passing trouble. If it stays so, choose a Group or a Login, so that each day holds less.".to_owned(),
            format!("The next run tries again. A part is never kept as the whole. {kept}"),
        ),
        PullError::UnexpectedRecords { rejected, of } => Decision::Fail(unexpected_records(*rejected, *of, vendor, had_rows)),
        PullError::NotAllowed(lack) => fail(
            "not_allowed",
            match lack {
                Lack::Permission => format!("{vendor} accepted the credentials of “{account}”, and their owner lacks the account permission."),
                Lack::Plan => format!("{vendor} accepted the credentials of “{account}”, and the plan does not include data export."),
            },
            match lack {
                Lack::Plan => format!("Somebody who may change the plan at {vendor}."),
                _ => format!("Somebody who may change operators at {vendor}: give this one the account permission, or enter another one under Accounts."),
            },
            format!("The next run, by schedule or by Run now, tries again. {kept}"),
        ),
        PullError::NoRoom => fail(
            "storage_full",
            "This server's disk has no room for what comes.".to_owned(),
            "The person who runs the server must free some space.".to_owned(),
            format!("The next run tries again. {kept}"),
        ),
        PullError::Forbidden { why } => fail(
            "forbidden_address",
            format!("The address of “{account}” may not be asked: {why}."),
            "An admin: correct the account's API address, or name the host with --allow-upstream.".to_owned(),
            format!("Then Run now. Nothing was sent. {kept}"),
        ),
    }
}

/// The failure that an error of our own makes of a run. `had_rows`: there are, or may be, rows from before.
pub fn own_failure(error: &Error, had_rows: bool) -> Failure {
    if error.code() == DATA_DAMAGED {
        return Failure {
            code: DATA_DAMAGED.to_owned(),
            message: "The run would have added to rows that cannot be read: a stored file of this DataSet is damaged or missing.".to_owned(),
            who: "The owner of the DataSet.".to_owned(),
            action: "Nothing was changed. In History, revert to a version that is not damaged, or choose Replace in Settings and run the DataSet: that pulls all rows again.".to_owned(),
        };
    }
    let (who, action) = match error.code() {
        "credentials_stopped" => {
            ("The owner of the account must enter new credentials under Accounts.", "Nothing was sent to the vendor. The next run uses the new credentials.")
        }
        "address_refused" => ("An admin: correct the account's API address.", "Nothing was sent to the vendor. The next run tries again."),
        "credential_damaged" => ("The owner of the account must enter the credentials again.", "Then Run now. Nothing was sent to the vendor."),
        "account_missing" => ("The owner of the DataSet must choose another account under Settings.", "Then Run now. Nothing was sent to any vendor."),
        "version_changed" => ("Nobody.", "The next run, by schedule or by Run now, goes by the version that is current now."),
        "storage_full" => ("The person who runs the server must free some space.", "The next run tries again."),
        "storage_failed" => ("The person who runs the server: when it happens again, look at the disk.", "The next run tries again."),
        _ => ("The person who runs the server: the log tells more under this run's id.", "The next run tries again."),
    };
    Failure {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        who: error.next_step().map_or_else(|| who.to_owned(), str::to_owned),
        action: format!("{action} {}", kept(had_rows)),
    }
}

fn kept(had_rows: bool) -> &'static str {
    if had_rows { "The rows from before are untouched." } else { "There are no rows from before." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_happened_who_must_act_and_what_is_next() {
        for error in [
            PullError::Unauthorized,
            PullError::Withheld,
            PullError::Unavailable(Cause::NoProgress),
            PullError::Refused { status: 400, said: String::new() },
            PullError::UnexpectedRecords { rejected: 20, of: 20 },
            PullError::Forbidden { why: "x".into() },
        ] {
            let Decision::Fail(failure) = decide(&error, "LiveChat", "Support", true) else { panic!("{error:?} must end the run") };
            assert!(!failure.message.is_empty() && !failure.who.is_empty() && failure.action.contains("untouched"), "{failure:?}");
        }
    }

    #[test]
    fn what_may_go_better_by_itself_is_tried_again_and_what_a_person_has_to_mend_is_not() {
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
        // Every end of a pull by its error, so that a new one is decided on.
        let window = connectors::Window { from: jiff::civil::date(2026, 11, 1), to: jiff::civil::date(2026, 11, 1) };
        let place = connectors::pull_error::Place { path: "/chats".to_owned(), page: 1 };
        for (error, again) in [
            (PullError::Unauthorized, false),
            (PullError::Withheld, false),
            (PullError::Refused { status: 403, said: String::new() }, false),
            (PullError::NotAllowed(Lack::Permission), false),
            (PullError::NotAllowed(Lack::Plan), false),
            (PullError::Forbidden { why: "x".to_owned() }, false),
            (PullError::Unavailable(Cause::WebPage(403)), true),
            (PullError::Unavailable(Cause::Denied(403)), true),
            (PullError::Unavailable(Cause::ProxyCredentials), true),
            (PullError::Unavailable(Cause::Unconfirmed(401)), true),
            (PullError::Unavailable(Cause::NoData(404)), true),
            (PullError::Malformed { at: place, why: "x".to_owned() }, true),
            (PullError::Incomplete { window, have: 1, of: 2 }, true),
            (PullError::UnexpectedRecords { rejected: 20, of: 20 }, true),
            (PullError::NoRoom, true),
        ] {
            let Decision::Fail(failure) = decide(&error, "LiveChat", "Support", true) else { panic!("{error:?} must end the run") };
            assert_eq!(may_retry(&failure.code), again, "{error:?}");
        }
    }

    #[test]
    fn a_refusal_says_who_can_mend_it() {
        let refusal = |status, said: &str| {
            let Decision::Fail(failure) = decide(&PullError::Refused { status, said: said.to_owned() }, "LiveChat", "Support", true) else { panic!() };
            failure
        };
        let scope = refusal(403, "Missing scope: tags--all:ro");
        assert!(scope.message.contains("Missing scope: tags--all:ro") && scope.who.contains("roles and scopes at LiveChat"), "{scope:?}");
        let zone = refusal(400, "timezone must be one of the names of the tz database");
        assert!(zone.who.contains("time zone") && zone.action.contains("time zone"), "{zone:?}");
        assert!(refusal(400, "group is unknown").who.contains("Group"));
    }

    #[test]
    fn a_wait_is_neither_nothing_nor_for_ever() {
        for (asked, waits) in [(None, 60), (Some(0), 1), (Some(30), 30), (Some(315_360_000), 86_400)] {
            let Decision::Wait(wait) = decide(&PullError::RateLimited { wait: asked.map(Duration::from_secs) }, "LiveChat", "Support", true) else { panic!() };
            assert_eq!(wait.as_secs(), waits);
        }
    }
}
