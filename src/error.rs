//! What can go wrong, without HTTP in it. An error has an outside (what people and programs read) and an inside (the cause,
//! for the log alone). The inside has no `Display`, so it cannot leak by accident.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Millis;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The code of what is written down and cannot be read.
const DAMAGED: &str = "damaged";

/// The code of stored rows that cannot be read.
pub const DATA_DAMAGED: &str = "data_damaged";
const STORAGE_FULL: &str = "storage_full";
const STORAGE_FAILED: &str = "storage_failed";

/// When a request was last logged that failed because of the disk.
static LAST_OF_STORAGE: Mutex<Option<Instant>> = Mutex::new(None);
const LOG_STORAGE_EVERY: Duration = Duration::from_secs(60);

/// Whether this is the code of an error of the disk.
pub fn is_of_storage(code: &str) -> bool {
    matches!(code, STORAGE_FULL | STORAGE_FAILED)
}

/// What kind of trouble it is, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody is signed in, or the token is not good.
    Unauthenticated,
    /// Signed in, but not allowed.
    Forbidden,
    /// No such thing, or none that this person may see.
    NotFound,
    /// The request cannot be read at all.
    BadRequest,
    /// More was sent than is read.
    TooLarge,
    /// What was sent is of a kind that is not read here.
    WrongKind,
    /// What was given is understood and wrong.
    Unprocessable,
    /// It does not fit the present state.
    Conflict,
    /// Too often; try again at the moment that is told.
    TooMany { until: Millis },
    /// Not now; it may work later.
    Unavailable,
    /// Our own fault.
    Internal,
}

/// The cause, for the log. Deliberately without `Display`.
#[derive(Debug, Default)]
pub struct Inside(pub Option<String>);

/// One thing that went wrong.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    code: &'static str,
    message: String,
    action: Option<String>,
    fields: Vec<(String, String)>,
    inside: Inside,
}

impl Error {
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, code, message: message.into(), action: None, fields: Vec::new(), inside: Inside::default() }))
    }

    /// `what` as in "This DataSet does not exist"; the same words for a thing that is missing and for one that is not shared.
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, "not_found", format!("This {what} does not exist or is not shared with you."))
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, "forbidden", message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }

    /// One field is wrong: say what is wrong and what would be right.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![(field.into(), message.into())])
    }

    /// Several fields are wrong; `fields` must not be empty. The first one is the one that programs are told.
    pub fn fields(fields: Vec<(String, String)>) -> Self {
        let message = fields.first().map(|(_, message)| message.clone()).unwrap_or_default();
        let mut error = Self::new(Kind::Unprocessable, "wrong_value", message);
        error.0.fields = fields;
        error
    }

    /// Our own fault: people read a plain sentence, the log gets the cause.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let mut error = Self::new(Kind::Internal, "internal", "Something went wrong. The server log contains the details under this request id.");
        error.0.inside = Inside(Some(cause.to_string()));
        error
    }

    /// As `internal`: what is written down cannot be read, so that trying again does not help.
    pub fn damaged(cause: impl std::fmt::Display) -> Self {
        let message = "A record in the catalogue is damaged and cannot be read. The server log names it under this request id.";
        Self::new(Kind::Internal, DAMAGED, message).action("Ask your server administrator to run `chatlake verify`.").because(cause)
    }

    /// Stored rows cannot be read: a file of them is damaged or missing. The same words everywhere; `cause` names the file, for the log.
    pub fn data_damaged(cause: impl std::fmt::Display) -> Self {
        Self::new(Kind::Internal, DATA_DAMAGED, "Rows of this DataSet cannot be read: a stored file is damaged or missing.")
            .action(
                "In History, revert to a version that is not damaged, or run the DataSet with Replace. \
                 Your server administrator can run `chatlake verify --deep`.",
            )
            .because(cause)
    }

    /// There is no space on the disk for what was to be written.
    pub fn storage_full() -> Self {
        Self::new(Kind::Unavailable, STORAGE_FULL, "The server disk is full. Nothing was saved. The existing data is unchanged.")
            .action("Ask your server administrator to free disk space, then try again. No restart is needed.")
    }

    /// The disk reported an error while something was read or written.
    pub fn storage_failed() -> Self {
        Self::new(Kind::Unavailable, STORAGE_FAILED, "The server disk reported an error. Nothing was saved. The existing data is unchanged.")
            .action("Try again. If the error repeats, ask your server administrator to check the disk.")
    }

    /// The file of the catalogue cannot be read: not one record, but the pages below.
    pub fn catalogue_damaged(cause: impl std::fmt::Display) -> Self {
        Self::new(Kind::Internal, "catalogue_damaged", "The catalogue (chatlake.db) is damaged. Nothing was changed.")
            .action(
                "The server administrator must restore chatlake.db together with its chatlake.db-wal from a backup. \
                 `chatlake verify` lists the damage.",
            )
            .because(cause)
    }

    /// Whether it is one of the two of the disk.
    pub fn is_of_storage(&self) -> bool {
        is_of_storage(self.code())
    }

    /// Logs the cause of a request's failure. While the disk does not take what is written, every request that writes fails: one a minute
    /// is logged.
    pub fn log_failed_request(&self) {
        let Some(cause) = &self.inside().0 else { return };
        if self.is_of_storage() {
            let mut last = LAST_OF_STORAGE.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < LOG_STORAGE_EVERY) {
                return;
            }
            *last = Some(Instant::now());
        }
        tracing::error!(code = self.code(), cause, "the request failed");
    }

    pub fn is_damaged(&self) -> bool {
        self.code() == DAMAGED
    }

    /// What the reader can do next.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.0.action = Some(action.into());
        self
    }

    /// Adds the cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.0.inside = Inside(Some(cause.to_string()));
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn code(&self) -> &'static str {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn next_step(&self) -> Option<&str> {
        self.0.action.as_deref()
    }

    /// What is wrong with which field, in the order of the form.
    pub fn field_errors(&self) -> &[(String, String)] {
        &self.0.fields
    }

    pub fn inside(&self) -> &Inside {
        &self.0.inside
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<sqlx::Error> for Error {
    fn from(cause: sqlx::Error) -> Self {
        let code: Option<i32> = cause.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse().ok());
        match code.map(|code| (code & 0xff, code)) {
            // SQLITE_FULL, and SQLITE_IOERR_SHMSIZE: there is no space for the index of the log.
            Some((13, _) | (_, 4874)) => return Self::storage_full().because(cause),
            // SQLITE_IOERR
            Some((10, _)) => return Self::storage_failed().because(cause),
            // SQLITE_CORRUPT and SQLITE_NOTADB
            Some((11 | 26, _)) => return Self::catalogue_damaged(cause),
            // SQLITE_CONSTRAINT_FOREIGNKEY: what the row refers to was there when it was looked up, and is not any more.
            Some((_, 787)) => {
                return Self::new(Kind::NotFound, "not_found", "A required object was deleted at the same time. Nothing was changed.").because(cause);
            }
            _ => {}
        }
        if matches!(code, Some(5 | 517)) || matches!(cause, sqlx::Error::PoolTimedOut) {
            return Self::new(Kind::Unavailable, "busy", "The server is busy.").action("Try again in a moment.").because(cause);
        }
        if matches!(cause, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            return Self::damaged(cause);
        }
        Self::internal(cause)
    }
}

impl From<tokio::task::JoinError> for Error {
    /// What a panic says may hold rows and secrets, so it is left out: the hook of panics logs the place.
    fn from(cause: tokio::task::JoinError) -> Self {
        Self::internal(if cause.is_panic() { "a task panicked" } else { "a task was stopped" })
    }
}

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::storage_full().because(cause),
            _ if cause.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Self::storage_failed().because(cause),
            _ => Self::internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_task_said_when_it_panicked_is_nowhere_in_the_error() {
        let broken = tokio::spawn(async { panic!("kanarie") }).await.unwrap_err();
        assert!(broken.to_string().contains("kanarie"), "which is why it must not be told");
        let error = Error::from(broken);
        assert!(!format!("{error:?} {error}").contains("kanarie"));
        let stopped = tokio::spawn(std::future::pending::<()>());
        stopped.abort();
        assert_eq!(Error::from(stopped.await.unwrap_err()).inside().0.as_deref(), Some("a task was stopped"));
    }
}
