//! Limits concurrent work per person and in total. When all slots are in use, requests wait in a
//! first-in-first-out queue, which holds no thread, no database connection and no buffer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::ids::UserId;

/// Slots for one kind of work. Cheap to clone.
#[derive(Clone)]
pub struct Quota(Arc<Inner>);

struct Inner {
    per_person: usize,
    total: usize,
    free: Arc<Semaphore>,
    /// The semaphores of everyone who has a slot or waits for one.
    people: Mutex<HashMap<UserId, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

/// A slot. It is in use until it is dropped.
pub struct Slot {
    /// Whether the request had to wait for the slot.
    pub waited: bool,
    _of_person: OwnedSemaphorePermit,
    _of_total: OwnedSemaphorePermit,
}

/// Counts a waiting request until it is dropped.
struct WaitingGuard<'a>(&'a AtomicUsize);

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Quota {
    /// Both limits are at least 1.
    pub fn new(per_person: usize, total: usize) -> Self {
        let (per_person, total) = (per_person.max(1), total.max(1));
        let free = Arc::new(Semaphore::new(total));
        Self(Arc::new(Inner {
            per_person,
            total,
            free,
            people: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Takes a slot if one is free for this person.
    pub fn try_acquire(&self, user: &UserId) -> Option<Slot> {
        let of_person = self.semaphore_of(user).try_acquire_owned().ok()?;
        let of_total = self.0.free.clone().try_acquire_owned().ok()?;
        Some(Slot {
            waited: false,
            _of_person: of_person,
            _of_total: of_total,
        })
    }

    /// Waits for a slot. The slot of the person is taken first, so that one person cannot fill the
    /// queue for the total slots.
    pub async fn acquire(&self, user: &UserId) -> Result<Slot> {
        if let Some(slot) = self.try_acquire(user) {
            return Ok(slot);
        }
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingGuard(&self.0.waiting);
        let of_person = self
            .semaphore_of(user)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        let of_total = self
            .0
            .free
            .clone()
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        Ok(Slot {
            waited: true,
            _of_person: of_person,
            _of_total: of_total,
        })
    }

    /// The number of slots in use.
    pub fn in_use(&self) -> usize {
        self.0.total - self.0.free.available_permits()
    }

    /// The number of waiting requests.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    fn semaphore_of(&self, user: &UserId) -> Arc<Semaphore> {
        let mut people = self.0.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = people.get(user).and_then(Weak::upgrade) {
            return own;
        }
        people.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.0.per_person));
        people.insert(user.clone(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn slots_are_limited_per_person_and_in_total() {
        let quota = Quota::new(2, 3);
        let (one, other) = (UserId::new(), UserId::new());
        let mut held = vec![
            quota.acquire(&one).await.unwrap(),
            quota.acquire(&one).await.unwrap(),
        ];
        assert!(
            quota.try_acquire(&one).is_none(),
            "more than the number of a person"
        );
        held.push(quota.try_acquire(&other).unwrap());
        assert!(
            quota.try_acquire(&UserId::new()).is_none(),
            "more than the number of all"
        );
        assert_eq!((quota.in_use(), quota.waiting()), (3, 0));
        drop(held);
        assert_eq!(quota.in_use(), 0);
        assert!(quota.try_acquire(&one).is_some_and(|slot| !slot.waited));
        assert!(
            quota.0.people.lock().unwrap().len() <= 1,
            "who has no slot is forgotten"
        );
    }

    #[tokio::test]
    async fn who_waits_is_served_in_order_and_who_goes_away_keeps_no_place() {
        let quota = Quota::new(1, 1);
        let user = UserId::new();
        let held = quota.acquire(&user).await.unwrap();
        let (mut first, mut second) = (
            Box::pin(quota.acquire(&user)),
            Box::pin(quota.acquire(&user)),
        );
        assert!(
            first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none()
        );
        assert_eq!(quota.waiting(), 2);
        drop(held);
        assert!(
            second.as_mut().now_or_never().is_none(),
            "the first one is next"
        );
        drop(first);
        assert!(second.await.unwrap().waited);
        assert_eq!((quota.in_use(), quota.waiting()), (0, 0));
    }
}
