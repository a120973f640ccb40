//! The failure of a run for each reason: an error code, and sentences that say what happened, who must
//! act, and what happens next.

use super::{NEXT_RUN, NO_PROGRESS, RUN_TOO_LONG, UNEXPECTED_RECORDS};
use crate::connectors::pull_error::{Cause, MissingAccess};
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::connectors::{self, PullError, Window};
use crate::error::{DATA_DAMAGED, Error};
use crate::puller::run::Failure;

/// A pull that stopped with an error of the vendor or its account.
#[derive(Clone, Copy)]
pub(super) struct StoppedPull<'a> {
    pub error: &'a PullError,
    /// The connector's title.
    pub vendor: &'a str,
    /// The account's name.
    pub account: &'a str,
    /// The vendor's noun for the records of the report, in the plural.
    pub records: &'a str,
    /// The DataSet has rows.
    pub had_rows: bool,
}

impl StoppedPull<'_> {
    /// `action` is followed by what happens to the existing rows.
    fn failure(self, code: &str, message: String, who: String, action: &str) -> Failure {
        Failure {
            code: code.to_owned(),
            message,
            who,
            action: format!("{action} {}", existing_rows_note(self.had_rows)),
        }
    }

    pub fn unauthorized(self) -> Failure {
        let (vendor, account) = (self.vendor, self.account);
        self.failure(
            "unauthorized",
            format!("{vendor} rejected the credentials of “{account}”."),
            format!(
                "The owner of the account “{account}” must enter new credentials under Accounts."
            ),
            "The next run uses the new credentials.",
        )
    }

    pub fn credentials_stopped(self) -> Failure {
        let (vendor, account) = (self.vendor, self.account);
        self.failure(
            "credentials_stopped",
            format!(
                "{vendor} rejected the credentials of “{account}” {MAX_AUTH_FAILURES} times in a \
                 row. Chatlake stopped using them."
            ),
            format!(
                "The owner of the account “{account}” must enter new credentials under Accounts, \
                 or press Test there once they work."
            ),
            "No request was sent.",
        )
    }

    pub fn unavailable(self, cause: &Cause) -> Failure {
        let vendor = self.vendor;
        let repeated = match cause {
            // The call is not repeated: the certificate would be the same.
            Cause::Certificate => "",
            // The number of calls depends on their duration, so the sentence names none.
            Cause::BelowMinRate { .. } => " Repeated calls were also too slow.",
            Cause::Unconfirmed(_) | Cause::NoData(_) => " Repeated calls had the same result.",
            cause if cause.is_block() => " Repeated calls had the same result.",
            _ => " Repeated calls also failed.",
        };
        let who = match cause {
            cause if cause.is_block() => format!(
                "No action needed now. If it happens again, a server administrator must check the \
                 firewall or proxy between this server and {vendor}."
            ),
            Cause::NameNotFound
            | Cause::ConnectionRefused
            | Cause::ConnectTimeout
            | Cause::Certificate => {
                "No action needed now. If it happens again, an admin must check \
                                     the API URL of the account and the network of the server."
                    .to_owned()
            }
            _ => format!("No action needed if {vendor} is available again soon."),
        };
        self.failure(
            "unavailable",
            format!("{}{repeated}", cause.sentence(vendor)),
            who,
            NEXT_RUN,
        )
    }

    pub fn refused(self, status: u16, vendor_message: &str) -> Failure {
        let (vendor, account) = (self.vendor, self.account);
        let (who, action) = match status {
            403 => (
                format!(
                    "A person who can change roles and scopes in {vendor} must give the \
                     credentials of “{account}” access to this report."
                ),
                NEXT_RUN,
            ),
            _ if connectors::is_about_time_zones(vendor_message) => (
                format!(
                    "The owner of the DataSet must choose another time zone under Settings: \
                     {vendor} does not know this one."
                ),
                "Change the time zone, then press Run now.",
            ),
            _ => (
                "The owner of the DataSet must check Report, Group and Login under Settings."
                    .to_owned(),
                "Change the settings, then press Run now.",
            ),
        };
        self.failure("refused", self.error.sentence(vendor), who, action)
    }

    pub fn malformed(self) -> Failure {
        self.failure(
            "malformed",
            self.error.sentence(self.vendor),
            vendor_changed(self.vendor),
            NEXT_RUN,
        )
    }

    pub fn incomplete(self) -> Failure {
        let (vendor, records) = (self.vendor, self.records);
        let message = match self.error {
            PullError::Incomplete { window, have, of } if have < of => {
                let days = days_in_words(*window);
                format!("{vendor} reported {of} {records} for {days} but returned {have}.")
            }
            error => error.sentence(vendor),
        };
        self.failure(
            "incomplete",
            message,
            format!(
                "No action needed now. If it happens again, the owner of the DataSet can choose a \
                 Group or a Login, so that each day has fewer {records}."
            ),
            &format!("{NEXT_RUN} Incomplete data is not saved."),
        )
    }

    pub fn not_allowed(self, lack: &MissingAccess) -> Failure {
        let (vendor, account) = (self.vendor, self.account);
        let (message, who) = match lack {
            MissingAccess::Permission => (
                format!(
                    "{vendor} accepted the credentials of “{account}”, but the operator does not \
                     have the account permission."
                ),
                format!(
                    "A person who can change operators in {vendor} must give this operator the \
                     account permission. Or enter another operator under Accounts."
                ),
            ),
            MissingAccess::Plan => (
                format!(
                    "{vendor} accepted the credentials of “{account}”, but the plan does not \
                     include data export."
                ),
                format!("A person who can change the plan in {vendor} must add data export."),
            ),
        };
        self.failure("not_allowed", message, who, NEXT_RUN)
    }

    pub fn storage_full(self) -> Failure {
        self.failure(
            "storage_full",
            self.error.sentence(self.vendor),
            "A server administrator must free disk space.".to_owned(),
            NEXT_RUN,
        )
    }

    pub fn address_refused(self, why: &str) -> Failure {
        self.failure(
            "forbidden_address",
            format!("The API URL of “{}” is not allowed. {why}", self.account),
            "An admin must correct the API URL of the account, or a server administrator must \
             allow the host with --allow-upstream."
                .to_owned(),
            "Then press Run now. No request was sent.",
        )
    }
}

/// The failure of a run in which too many records were rejected.
pub fn unexpected_records(rejected: u64, of: u64, vendor: &str, had_rows: bool) -> Failure {
    let sentence = PullError::UnexpectedRecords { rejected, of }.sentence(vendor);
    Failure {
        code: UNEXPECTED_RECORDS.to_owned(),
        message: format!("{sentence} A run fails if more than 1 percent of its rows are rejected."),
        who: vendor_changed(vendor),
        action: next_run(had_rows),
    }
}

/// The failure of a run that was stopped because no data arrived for `minutes` minutes.
pub fn no_progress(minutes: i64, vendor: &str, had_rows: bool) -> Failure {
    Failure {
        code: NO_PROGRESS.to_owned(),
        message: format!(
            "The run made no progress for {minutes} minutes, so Chatlake stopped it: \
             no data came from {vendor}."
        ),
        who: "No action needed now. If it happens again, a server administrator can find the \
              cause in the log under this run's ID."
            .to_owned(),
        action: next_run(had_rows),
    }
}

/// The failure of a run that was stopped after `hours` hours.
pub fn run_too_long(hours: i64, had_rows: bool) -> Failure {
    Failure {
        code: RUN_TOO_LONG.to_owned(),
        message: format!(
            "The run took longer than {hours} {}, so Chatlake stopped it.",
            if hours == 1 { "hour" } else { "hours" }
        ),
        who: "No action needed now. If it happens again, the owner of the DataSet must choose \
              fewer days, or a server administrator must raise --max-run-hours."
            .to_owned(),
        action: next_run(had_rows),
    }
}

/// Like `no_progress`, for a run that had read all rows and was saving them.
pub fn no_progress_saving(minutes: i64, had_rows: bool) -> Failure {
    Failure {
        code: NO_PROGRESS.to_owned(),
        message: format!(
            "Saving the rows made no progress for {minutes} minutes, so Chatlake stopped the run: \
             the server's disk did not respond."
        ),
        who: "No action needed now. If it happens again, a server administrator must check the \
              disk and the log under this run's ID."
            .to_owned(),
        action: next_run(had_rows),
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

/// "Tue 24 Nov 2026", "Mon 23 Nov 2026 to Tue 24 Nov 2026"
fn days_in_words(window: Window) -> String {
    let day = |day: jiff::civil::Date| day.strftime("%a %-d %b %Y").to_string();
    if window.from == window.to {
        day(window.from)
    } else {
        format!("{} to {}", day(window.from), day(window.to))
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

/// What happens next after a failure that nobody must fix.
fn next_run(had_rows: bool) -> String {
    format!("{NEXT_RUN} {}", existing_rows_note(had_rows))
}
