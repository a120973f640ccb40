//! The error type and its HTTP status. An error has a public part, which people and programs read,
//! and a log cause. The log cause has no `Display`, so that it cannot be shown by accident.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;

use crate::clock::Millis;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The code for stored data that cannot be read.
const DAMAGED: &str = "damaged";

/// The code for stored rows that cannot be read.
pub const DATA_DAMAGED: &str = "data_damaged";
const STORAGE_FULL: &str = "storage_full";
const STORAGE_FAILED: &str = "storage_failed";

/// When a request that failed because of the disk was last logged.
static LAST_STORAGE_LOG: Mutex<Option<Instant>> = Mutex::new(None);
const LOG_STORAGE_EVERY: Duration = Duration::from_secs(60);

/// Whether `code` is one of the two disk errors.
pub fn is_storage_error(code: &str) -> bool {
    matches!(code, STORAGE_FULL | STORAGE_FAILED)
}

/// The kind of an error, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not signed in, or the token is invalid.
    Unauthenticated,
    /// Signed in, but not allowed.
    Forbidden,
    /// The object does not exist, or this person may not see it.
    NotFound,
    /// The request cannot be parsed.
    BadRequest,
    /// The body is too large.
    TooLarge,
    /// The content type is not supported.
    UnsupportedMediaType,
    /// The request was parsed, but a value is invalid.
    Unprocessable,
    /// The request conflicts with the current state.
    Conflict,
    /// Too many requests; try again at `until`.
    TooMany { until: Millis },
    /// Temporarily unavailable.
    Unavailable,
    /// An internal error.
    Internal,
}

/// The HTTP status of a response with this error.
pub fn http_status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::BadRequest => StatusCode::BAD_REQUEST,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The cause for the log. Deliberately without `Display`.
#[derive(Debug, Default)]
pub struct LogCause(pub Option<String>);

/// An error.
#[derive(Debug)]
pub struct Error(Box<ErrorInner>);

#[derive(Debug)]
struct ErrorInner {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    action: Option<String>,
    fields: Vec<(String, String)>,
    log_cause: LogCause,
}

impl Error {
    pub fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorInner {
            kind,
            code,
            message: message.into(),
            action: None,
            fields: Vec::new(),
            log_cause: LogCause::default(),
        }))
    }

    /// `what` as in "This DataSet does not exist". The message is the same for a missing object and
    /// for one that is not shared.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            ErrorKind::NotFound,
            "not_found",
            format!("This {what} does not exist or is not shared with you."),
        )
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Forbidden, "forbidden", message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, message)
    }

    /// An invalid field. `message` says what is wrong and what would be valid.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![(field.into(), message.into())])
    }

    /// Several invalid fields; `fields` must not be empty. Programs get the first one.
    pub fn fields(fields: Vec<(String, String)>) -> Self {
        let message = fields
            .first()
            .map(|(_, message)| message.clone())
            .unwrap_or_default();
        let mut error = Self::new(ErrorKind::Unprocessable, "wrong_value", message);
        error.0.fields = fields;
        error
    }

    /// An internal error: people read a general sentence, and `cause` is logged.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let mut error = Self::new(
            ErrorKind::Internal,
            "internal",
            "Something went wrong. The server log contains the details under this request id.",
        );
        error.0.log_cause = LogCause(Some(cause.to_string()));
        error
    }

    /// Like `internal`, for stored data that cannot be read, where trying again does not help.
    pub fn damaged(cause: impl std::fmt::Display) -> Self {
        let message = "A record in the catalogue is damaged and cannot be read. \
                       The server log names it under this request id.";
        Self::new(ErrorKind::Internal, DAMAGED, message)
            .action("Ask your server administrator to run `chatlake verify`.")
            .with_log_cause(cause)
    }

    /// Stored rows cannot be read because their file is damaged or missing. The message is the same
    /// everywhere; `cause` names the file in the log.
    pub fn data_damaged(cause: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::Internal,
            DATA_DAMAGED,
            "Rows of this DataSet cannot be read: a stored file is damaged or missing.",
        )
        .action(
            "In History, revert to a version that is not damaged, or run the DataSet with Replace. \
             Your server administrator can run `chatlake verify --deep`.",
        )
        .with_log_cause(cause)
    }

    /// The disk is full.
    pub fn storage_full() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            STORAGE_FULL,
            "The server disk is full. Nothing was saved. The existing data is unchanged.",
        )
        .action(
            "Ask your server administrator to free disk space, then try again. \
             No restart is needed.",
        )
    }

    /// The disk reported an error on a read or write.
    pub fn storage_failed() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            STORAGE_FAILED,
            "The server disk reported an error. Nothing was saved. The existing data is unchanged.",
        )
        .action("Try again. If the error repeats, ask your server administrator to check the disk.")
    }

    /// The catalogue file cannot be read: not a single row, but the database pages.
    pub fn catalogue_damaged(cause: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::Internal,
            "catalogue_damaged",
            "The catalogue (chatlake.db) is damaged. Nothing was changed.",
        )
        .action(
            "The server administrator must restore chatlake.db together with its chatlake.db-wal \
             from a backup. `chatlake verify` lists the damage.",
        )
        .with_log_cause(cause)
    }

    /// Whether it is one of the two disk errors.
    pub fn is_storage_error(&self) -> bool {
        is_storage_error(self.code())
    }

    /// Logs the cause of a failed request. While the disk cannot be written, every writing request
    /// fails, so only one such error per minute is logged.
    pub fn log_failed_request(&self) {
        let Some(cause) = &self.log_cause().0 else {
            return;
        };
        if self.is_storage_error() {
            let mut last = LAST_STORAGE_LOG
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
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

    /// Sets what the reader can do next.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.0.action = Some(action.into());
        self
    }

    /// Sets the cause for the log.
    #[must_use]
    pub fn with_log_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.0.log_cause = LogCause(Some(cause.to_string()));
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn code(&self) -> &'static str {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn suggested_action(&self) -> Option<&str> {
        self.0.action.as_deref()
    }

    /// The invalid fields with their messages, in the order of the form.
    pub fn field_errors(&self) -> &[(String, String)] {
        &self.0.fields
    }

    pub fn log_cause(&self) -> &LogCause {
        &self.0.log_cause
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
        let code: Option<i32> = cause
            .as_database_error()
            .and_then(|error| error.code())
            .and_then(|code| code.parse().ok());
        match code.map(|code| (code & 0xff, code)) {
            // SQLITE_FULL, and SQLITE_IOERR_SHMSIZE: no space for the WAL index.
            Some((13, _) | (_, 4874)) => return Self::storage_full().with_log_cause(cause),
            // SQLITE_IOERR
            Some((10, _)) => return Self::storage_failed().with_log_cause(cause),
            // SQLITE_CORRUPT and SQLITE_NOTADB
            Some((11 | 26, _)) => return Self::catalogue_damaged(cause),
            // SQLITE_CONSTRAINT_FOREIGNKEY: the referenced row was deleted after it was looked up.
            Some((_, 787)) => {
                return Self::new(
                    ErrorKind::NotFound,
                    "not_found",
                    "A required object was deleted at the same time. Nothing was changed.",
                )
                .with_log_cause(cause);
            }
            _ => {}
        }
        if matches!(code, Some(5 | 517)) || matches!(cause, sqlx::Error::PoolTimedOut) {
            return Self::new(ErrorKind::Unavailable, "busy", "The server is busy.")
                .action("Try again in a moment.")
                .with_log_cause(cause);
        }
        if matches!(
            cause,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)
        ) {
            return Self::damaged(cause);
        }
        Self::internal(cause)
    }
}

impl From<tokio::task::JoinError> for Error {
    /// The panic message may contain rows or secrets, so it is omitted. The panic hook logs the
    /// location.
    fn from(cause: tokio::task::JoinError) -> Self {
        Self::internal(if cause.is_panic() {
            "a task panicked"
        } else {
            "a task was stopped"
        })
    }
}

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::storage_full().with_log_cause(cause)
            }
            _ if cause.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                Self::storage_failed().with_log_cause(cause)
            }
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
        assert!(
            broken.to_string().contains("kanarie"),
            "so it must not be shown"
        );
        let error = Error::from(broken);
        assert!(!format!("{error:?} {error}").contains("kanarie"));
        let stopped = tokio::spawn(std::future::pending::<()>());
        stopped.abort();
        assert_eq!(
            Error::from(stopped.await.unwrap_err())
                .log_cause()
                .0
                .as_deref(),
            Some("a task was stopped")
        );
    }
}
