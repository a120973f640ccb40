//! What happened to the world beyond its closed form: chats that ended on demand, chats that were deleted, and marks that remember what
//! there was. Only these are kept in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// The first number of chats that ended on demand; all of the closed form's are below.
pub const EXTRA: u64 = 1 << 39;

#[derive(Default)]
pub struct Changes(RwLock<State>);

#[derive(Default)]
struct State {
    /// Start times, in unix seconds; they never decrease.
    extras: Arc<Vec<i64>>,
    removed: Arc<BTreeSet<u64>>,
    marks: Vec<Mark>,
    mutations: u64,
}

/// A moment: chats that were there then.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Unix seconds.
    pub at: i64,
    /// How many extras there were.
    pub extras: u64,
}

/// The changes as they were at one moment; cheap.
#[derive(Clone)]
pub struct Seen {
    pub extras: Arc<Vec<i64>>,
    pub removed: Arc<BTreeSet<u64>>,
}

impl Changes {
    pub fn seen(&self) -> Seen {
        let state = self.read();
        Seen { extras: state.extras.clone(), removed: state.removed.clone() }
    }

    /// When the extra with that number began.
    pub fn starts(&self, number: u64) -> Option<i64> {
        self.read().extras.get(number.checked_sub(EXTRA)? as usize).copied()
    }

    /// `count` more chats that began at `at`, or with the newest extra when that is later.
    pub fn add(&self, count: u64, at: i64) {
        let mut state = self.write();
        let at = state.extras.last().copied().unwrap_or(at).max(at);
        Arc::make_mut(&mut state.extras).extend((0..count).map(|_| at));
    }

    /// True when it was there until now.
    pub fn remove(&self, number: u64) -> bool {
        Arc::make_mut(&mut self.write().removed).insert(number)
    }

    /// The id of a new mark.
    pub fn mark(&self, at: i64) -> u64 {
        let mut state = self.write();
        let mark = Mark { at, extras: state.extras.len() as u64 };
        state.marks.push(mark);
        state.marks.len() as u64
    }

    pub fn marked(&self, id: u64) -> Option<Mark> {
        self.read().marks.get(id.checked_sub(1)? as usize).copied()
    }

    /// How often this was asked before.
    pub fn next_mutation(&self) -> u64 {
        let mut state = self.write();
        state.mutations += 1;
        state.mutations - 1
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
