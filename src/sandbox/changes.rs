//! Changes to the world that the closed formula does not contain: chats that ended on request,
//! deleted chats, and marks that remember the chats of a moment. Only these are kept in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// The first number of chats that ended on request; all numbers of the closed formula are lower.
pub const EXTRA: u64 = 1 << 39;

#[derive(Default)]
pub struct Changes(RwLock<ChangeLog>);

#[derive(Default)]
struct ChangeLog {
    /// Start times in unix seconds; they never decrease.
    extras: Arc<Vec<i64>>,
    removed: Arc<BTreeSet<u64>>,
    marks: Vec<ArchiveMark>,
    mutations: u64,
}

/// A moment in the history of the archive, to find the chats that existed then.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveMark {
    /// Unix seconds.
    pub at: i64,
    /// The number of extra chats at that moment.
    pub extras: u64,
}

/// A snapshot of the changes; cheap to create.
#[derive(Clone)]
pub struct ChangesSnapshot {
    pub extras: Arc<Vec<i64>>,
    pub removed: Arc<BTreeSet<u64>>,
}

impl Changes {
    pub fn snapshot(&self) -> ChangesSnapshot {
        let state = self.read();
        ChangesSnapshot {
            extras: state.extras.clone(),
            removed: state.removed.clone(),
        }
    }

    /// The start of the extra chat with that number.
    pub fn starts(&self, number: u64) -> Option<i64> {
        self.read()
            .extras
            .get(number.checked_sub(EXTRA)? as usize)
            .copied()
    }

    /// Adds `count` chats that started at `at`, or with the newest extra chat if that is later.
    pub fn add(&self, count: u64, at: i64) {
        let mut state = self.write();
        let at = state.extras.last().copied().unwrap_or(at).max(at);
        Arc::make_mut(&mut state.extras).extend((0..count).map(|_| at));
    }

    /// Returns true if the chat existed until now.
    pub fn remove(&self, number: u64) -> bool {
        Arc::make_mut(&mut self.write().removed).insert(number)
    }

    /// The id of a new mark.
    pub fn mark(&self, at: i64) -> u64 {
        let mut state = self.write();
        let mark = ArchiveMark {
            at,
            extras: state.extras.len() as u64,
        };
        state.marks.push(mark);
        state.marks.len() as u64
    }

    pub fn mark_by_id(&self, id: u64) -> Option<ArchiveMark> {
        self.read().marks.get(id.checked_sub(1)? as usize).copied()
    }

    /// The number of earlier calls of this function.
    pub fn next_mutation(&self) -> u64 {
        let mut state = self.write();
        state.mutations += 1;
        state.mutations - 1
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, ChangeLog> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, ChangeLog> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
