//! Faults on request: errors that vendors, or the network, are known to make. Tests set them in the
//! process (`sandbox.faults().add(Fault::new(FaultKind::Html).on("/chats").page(3).times(1))`) or
//! over HTTP (`PUT /__faults`, see `mod.rs`):
//!
//! ```json
//! [{"fault": "too_many_requests", "retry_after": {"seconds": 2}, "path": "/chats", "page": 3, "times": 1},
//!  {"fault": "cut", "after": 900, "how": "length"}]
//! ```
//!
//! `fault_kind` lists the faults, and `fault_variants` the variants of some of them.
//!
//! Faults of XML have no effect on LiveChat's routes, and faults of records and pages none on
//! LiveLeader's. All faults that match a request are applied. The first one that replaces the
//! answer does so (`replacement`); the others change the data or the answer of the endpoint
//! (`changed_answer`), in the order in which they were set. `broken_bodies` builds the broken bodies.

mod broken_bodies;
mod changed_answer;
mod fault_kind;
mod fault_variants;
mod replacement;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::call_log::Call;
pub use super::liveleader::encoding::Label;
pub use fault_kind::FaultKind;
pub use fault_variants::{Cut, Doctype, Frame, Odd, RetryAfter};
pub use replacement::Vendor;

/// One fault and the requests that it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests whose path starts with this.
    #[serde(default)]
    pub path: Option<String>,
    /// Only this page; a request without a page is for page 1.
    #[serde(default)]
    pub page: Option<u64>,
    /// The first matching requests to skip.
    #[serde(default)]
    pub skip: u64,
    /// The number of matching requests to apply the fault to; without a number, all of them.
    #[serde(default)]
    pub times: Option<u64>,
    /// Only requests for more days than this.
    #[serde(default)]
    pub longer_than: Option<u64>,
}

impl Fault {
    /// Applies to every request to a vendor's route until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            path: None,
            page: None,
            skip: 0,
            times: None,
            longer_than: None,
        }
    }

    #[must_use]
    pub fn on(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    #[must_use]
    pub fn page(mut self, page: u64) -> Self {
        self.page = Some(page);
        self
    }

    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    #[must_use]
    pub fn times(mut self, requests: u64) -> Self {
        self.times = Some(requests);
        self
    }

    #[must_use]
    pub fn longer_than(mut self, days: u64) -> Self {
        self.longer_than = Some(days);
        self
    }

    fn matches(&self, call: &Call) -> bool {
        self.path
            .as_ref()
            .is_none_or(|prefix| call.path.starts_with(prefix.as_str()))
            && self.page.is_none_or(|only| only == call.page())
            && self.longer_than.is_none_or(|days| call.days() > days)
    }
}

/// The set of active faults. Cheap to clone; all clones share the set.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    pub fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    pub fn set(&self, faults: Vec<Fault>) {
        *self.lock() = faults;
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The remaining faults.
    pub fn list(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// The faults that apply to this request; also decrements their counters.
    pub(super) fn take_matching(&self, call: &Call) -> Vec<FaultKind> {
        let mut faults = self.lock();
        let mut active = Vec::new();
        for fault in faults.iter_mut() {
            if !fault.matches(call) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            match &mut fault.times {
                Some(0) => continue,
                Some(left) => *left -= 1,
                None => {}
            }
            active.push(fault.kind.clone());
        }
        faults.retain(|fault| fault.times != Some(0));
        active
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Faults of an endpoint's pages, passed to it in the request's extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageFaults {
    pub total_by: i64,
    pub repeat_page: bool,
}

impl PageFaults {
    pub fn of(active: &[FaultKind]) -> Self {
        let mut page_faults = Self::default();
        for kind in active {
            match kind {
                FaultKind::LyingTotal { by } => page_faults.total_by += by,
                FaultKind::RepeatPage => page_faults.repeat_page = true,
                _ => {}
            }
        }
        page_faults
    }
}

/// The delay of the answer.
pub fn lateness(active: &[FaultKind]) -> Duration {
    active
        .iter()
        .map(|kind| {
            if let FaultKind::Late { ms } = kind {
                Duration::from_millis(*ms)
            } else {
                Duration::ZERO
            }
        })
        .sum()
}

/// The number of chats that end after this answer.
pub fn shift(active: &[FaultKind]) -> u64 {
    active
        .iter()
        .map(|kind| {
            if let FaultKind::Shift { chats } = kind {
                *chats
            } else {
                0
            }
        })
        .sum()
}

/// The seeds of the changes to the archive after this answer.
pub fn mutations(active: &[FaultKind]) -> impl Iterator<Item = u64> {
    active.iter().filter_map(|kind| {
        if let FaultKind::Mutate { seed } = kind {
            Some(*seed)
        } else {
            None
        }
    })
}

/// Marks a response that must not be sent: `Sandbox::serve` drops the connection instead.
#[derive(Clone, Copy, Debug)]
pub struct HangUp;

/// Adds a header, if there is a value and a header can contain it.
fn set_header(answer: &mut Response, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
        answer.headers_mut().insert(name, value);
    }
}
