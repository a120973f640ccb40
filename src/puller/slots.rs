//! Worker slots limit how many runs process or save rows at a time, and how many are in flight. A
//! run holds a slot while it works and releases it while it only waits for its vendor, so that a
//! silent vendor blocks no worker.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

/// The maximum number of claimed runs, with and without a slot; runs that share a read count as
/// one. It bounds memory.
pub const MAX_IN_FLIGHT: usize = 256;
/// The maximum number of claimed runs that have not called their vendor yet. Without it, many due
/// runs would all be claimed before the first responses show how many of them need a slot.
pub const MAX_STARTING: usize = 16;

/// The worker slots of a server. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    /// Slots that runs of one account may hold: all but one, so that no account holds the last one.
    max_per_account: usize,
    state: Mutex<SlotState>,
    /// Notified of each change of the state.
    changed: watch::Sender<()>,
}

struct SlotState {
    free: usize,
    /// Held slots by account.
    held: HashMap<String, usize>,
    /// Waiting requests, oldest first.
    requests: VecDeque<SlotRequest>,
    next_request: u64,
    in_flight: usize,
    starting: usize,
}

struct SlotRequest {
    id: u64,
    account: String,
    granted: oneshot::Sender<()>,
}

impl Slots {
    /// `workers`: the number of slots, at least 1.
    pub fn new(workers: usize) -> Self {
        let state = SlotState {
            free: workers,
            held: HashMap::new(),
            requests: VecDeque::new(),
            next_request: 0,
            in_flight: 0,
            starting: 0,
        };
        Self(Arc::new(Shared {
            max_per_account: workers.saturating_sub(1).max(1),
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }))
    }

    /// Waits until another run may be claimed: a slot is free, and not too many runs are in flight
    /// or starting.
    pub async fn admit(&self) -> InFlight {
        let mut changed = self.0.changed.subscribe();
        loop {
            {
                let mut state = self.state();
                if state.free > 0
                    && state.in_flight < MAX_IN_FLIGHT
                    && state.starting < MAX_STARTING
                {
                    state.in_flight += 1;
                    state.starting += 1;
                    return InFlight {
                        slots: self.clone(),
                        starting: true,
                    };
                }
            }
            // It cannot fail: the sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// The slot of a run of this account; not held yet.
    pub fn slot(&self, account: &str) -> WorkerSlot {
        WorkerSlot {
            slots: self.clone(),
            account: account.to_owned(),
            held: false,
        }
    }

    /// Requests a slot. Returns `None` if it was granted at once, otherwise the request's id and
    /// the receiver of the grant.
    fn request(&self, account: &str) -> Option<(u64, oneshot::Receiver<()>)> {
        let (granted, granted_signal) = oneshot::channel();
        let mut state = self.state();
        let id = state.next_request;
        state.next_request += 1;
        state.requests.push_back(SlotRequest {
            id,
            account: account.to_owned(),
            granted,
        });
        state.grant(self.0.max_per_account);
        let waits = state.requests.iter().any(|request| request.id == id);
        drop(state);
        self.notify_changed();
        waits.then_some((id, granted_signal))
    }

    fn release(&self, account: &str) {
        let mut state = self.state();
        state.release(account);
        state.grant(self.0.max_per_account);
        drop(state);
        self.notify_changed();
    }

    /// Whether a waiting run would get the slot if a run of this account released one.
    fn is_wanted(&self, account: &str) -> bool {
        let state = self.state();
        state.requests.iter().any(|request| {
            request.account == account || state.held(&request.account) < self.0.max_per_account
        })
    }

    fn notify_changed(&self) {
        self.0.changed.send_replace(());
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    fn held(&self, account: &str) -> usize {
        self.held.get(account).copied().unwrap_or(0)
    }

    /// Grants free slots in the order of the requests. Requests of an account that holds its
    /// maximum are skipped.
    fn grant(&mut self, max_per_account: usize) {
        while self.free > 0
            && let Some(at) = self
                .requests
                .iter()
                .position(|request| self.held(&request.account) < max_per_account)
            && let Some(request) = self.requests.remove(at)
        {
            self.free -= 1;
            *self.held.entry(request.account).or_default() += 1;
            // This fails only if `acquire` was just cancelled; `PendingRequest` then releases the
            // slot.
            let _ = request.granted.send(());
        }
    }

    fn release(&mut self, account: &str) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(account) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(account);
            }
        }
    }
}

/// A run's slot, held or not. Released when dropped.
pub struct WorkerSlot {
    slots: Slots,
    account: String,
    held: bool,
}

impl WorkerSlot {
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Waits for the slot, behind earlier requests. Cancel safe: a cancelled request loses its
    /// place.
    pub async fn acquire(&mut self) {
        if self.held {
            return;
        }
        if let Some((id, granted)) = self.slots.request(&self.account) {
            let mut pending = PendingRequest {
                slots: &self.slots,
                account: &self.account,
                id,
                settled: false,
            };
            // It cannot fail: the request stays in the list until it is granted.
            let _ = granted.await;
            pending.settled = true;
        }
        self.held = true;
    }

    /// Releases the slot, if it is held.
    pub fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.slots.release(&self.account);
        }
    }

    /// Returns when a waiting run would get this slot.
    pub async fn wanted(&self) {
        let mut changed = self.slots.0.changed.subscribe();
        while !self.slots.is_wanted(&self.account) {
            let _ = changed.changed().await;
        }
    }
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.release();
    }
}

/// Withdraws a cancelled request, or releases the slot if it was granted meanwhile.
struct PendingRequest<'s> {
    slots: &'s Slots,
    account: &'s str,
    id: u64,
    settled: bool,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.slots.state();
        let before = state.requests.len();
        state.requests.retain(|request| request.id != self.id);
        let withdrawn = state.requests.len() < before;
        drop(state);
        if !withdrawn {
            self.slots.release(self.account);
        }
    }
}

/// Counts a run, or several that share a read, as in flight until dropped.
pub struct InFlight {
    slots: Slots,
    starting: bool,
}

impl InFlight {
    /// Records that the run has called its vendor.
    pub fn started(&mut self) {
        if std::mem::take(&mut self.starting) {
            self.slots.state().starting -= 1;
            self.slots.notify_changed();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.started();
        self.slots.state().in_flight -= 1;
        self.slots.notify_changed();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// The result of a future that is ready at once.
    fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[test]
    fn one_account_never_holds_the_last_slot() {
        let slots = Slots::new(3);
        let mut of_a: Vec<WorkerSlot> = (0..3).map(|_| slots.slot("a")).collect();
        assert!(at_once(of_a[0].acquire()).is_some() && at_once(of_a[1].acquire()).is_some());
        assert!(
            at_once(of_a[2].acquire()).is_none(),
            "one account gets at most two of three slots"
        );
        let mut of_b = slots.slot("b");
        assert!(at_once(of_b.acquire()).is_some());
        of_a[0].release();
        assert!(at_once(of_a[2].acquire()).is_some());
        drop((of_a, of_b));
        assert_eq!(slots.state().free, 3);
        assert!(slots.state().held.is_empty() && slots.state().requests.is_empty());
    }

    #[test]
    fn with_one_worker_the_accounts_take_turns_in_request_order() {
        let slots = Slots::new(1);
        let (mut a, mut b, mut c) = (slots.slot("a"), slots.slot("b"), slots.slot("c"));
        assert!(at_once(a.acquire()).is_some());
        let (mut waits_b, mut waits_c) = (Box::pin(b.acquire()), Box::pin(c.acquire()));
        assert!(at_once(&mut waits_b).is_none() && at_once(&mut waits_c).is_none());
        assert!(at_once(a.wanted()).is_some());
        a.release();
        assert!(at_once(&mut waits_c).is_none() && at_once(&mut waits_b).is_some());
        drop((waits_b, waits_c));
        assert!(
            at_once(b.wanted()).is_none(),
            "the third run has cancelled its request"
        );
        drop(b);
        assert_eq!(slots.state().free, 1);
    }

    #[test]
    fn a_request_that_is_cancelled_after_its_grant_releases_the_slot() {
        let slots = Slots::new(1);
        let (mut a, mut b) = (slots.slot("a"), slots.slot("b"));
        assert!(at_once(a.acquire()).is_some());
        {
            let mut waits = Box::pin(b.acquire());
            assert!(at_once(&mut waits).is_none());
            a.release();
            assert_eq!(slots.state().free, 0, "it is granted");
        }
        assert!(!b.is_held() && at_once(a.acquire()).is_some());
    }

    #[test]
    fn runs_are_claimed_only_while_a_slot_is_free_and_few_are_starting() {
        let slots = Slots::new(1);
        let mut slot = slots.slot("a");
        assert!(at_once(slot.acquire()).is_some());
        assert!(at_once(slots.admit()).is_none(), "the only worker is busy");
        slot.release();
        let mut starting: Vec<InFlight> = (0..MAX_STARTING)
            .map(|_| at_once(slots.admit()).unwrap())
            .collect();
        assert!(at_once(slots.admit()).is_none());
        starting.iter_mut().for_each(InFlight::started);
        while starting.len() < MAX_IN_FLIGHT {
            let mut run = at_once(slots.admit()).unwrap();
            run.started();
            starting.push(run);
        }
        assert!(
            at_once(slots.admit()).is_none(),
            "no more are in flight at a time"
        );
        starting.pop();
        assert!(at_once(slots.admit()).is_some());
    }
}
