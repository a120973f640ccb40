//! The log of API calls to the sandbox, so that a test can verify their number or that nothing was
//! sent. It contains no headers and no passwords.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::Request;
use axum::response::Response;
use serde::Serialize;

use super::faults::HangUp;
use crate::clock::Millis;

const MAX_RECORDED_CALLS: usize = 10_000;

/// One call to a vendor's route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    pub at: Millis,
    pub method: String,
    pub path: String,
    /// The query as it was sent, without the value of `password`; empty if there was none.
    pub query: String,
    /// 0 if the call was not answered: the connection was dropped, or the client disconnected.
    pub status: u16,
}

impl Call {
    pub(super) fn of(request: &Request, at: Millis) -> Self {
        let uri = request.uri();
        Self {
            at,
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: without_password(uri.query().unwrap_or_default()),
            status: 0,
        }
    }

    /// The requested page; 1 by default.
    pub fn page(&self) -> u64 {
        self.argument("page")
            .and_then(|page| page.parse().ok())
            .unwrap_or(1)
    }

    /// The number of requested days; 0 if the query has no days.
    pub fn days(&self) -> u64 {
        let date = |name: &str| {
            self.argument(name)
                .and_then(|day| day.parse::<jiff::civil::Date>().ok())
        };
        let moment = |name: &str| {
            self.argument(name)
                .and_then(|at| at.parse::<jiff::Timestamp>().ok())
        };
        let days = match (
            date("date_from"),
            date("date_to"),
            moment("start"),
            moment("stop"),
        ) {
            (Some(from), Some(to), ..) => i64::from((to - from).get_days()) + 1,
            // A day has 25 hours when clocks are set back.
            (.., Some(start), Some(stop)) => {
                (stop.as_second() - start.as_second() - 3_601).div_euclid(86_400) + 1
            }
            _ => 0,
        };
        u64::try_from(days).unwrap_or(0)
    }

    /// The first query parameter with that name.
    pub fn argument(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(name_in_query, _)| name_in_query == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// Removes the password; the rest stays unchanged, so that a test sees its encoding.
fn without_password(query: &str) -> String {
    let hidden = query.split('&').map(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let is_password = url::form_urlencoded::parse(name.as_bytes())
            .any(|(name, _)| name.eq_ignore_ascii_case("password"));
        if is_password {
            format!("{name}=***")
        } else {
            pair.to_owned()
        }
    });
    hidden.collect::<Vec<_>>().join("&")
}

/// A call in progress. It is logged when this is dropped, so a call that the client cancelled is
/// logged too.
pub struct PendingCall<'a> {
    calls: &'a CallLog,
    call: Call,
}

impl PendingCall<'_> {
    pub fn answered(mut self, answer: &Response) {
        self.call.status = if answer.extensions().get::<HangUp>().is_some() {
            0
        } else {
            answer.status().as_u16()
        };
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.calls.record(self.call.clone());
    }
}

#[derive(Default)]
pub struct CallLog(Mutex<CallLogState>);

#[derive(Default)]
struct CallLogState {
    newest: VecDeque<Call>,
    total: u64,
}

impl CallLog {
    pub fn open(&self, call: Call) -> PendingCall<'_> {
        PendingCall { calls: self, call }
    }

    fn record(&self, call: Call) {
        let mut log = self.lock();
        if log.newest.len() == MAX_RECORDED_CALLS {
            log.newest.pop_front();
        }
        log.newest.push_back(call);
        log.total += 1;
    }

    pub fn list(&self) -> Vec<Call> {
        self.lock().newest.iter().cloned().collect()
    }

    pub fn total(&self) -> u64 {
        self.lock().total
    }

    pub fn forget(&self) {
        *self.lock() = CallLogState::default();
    }

    fn lock(&self) -> MutexGuard<'_, CallLogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
