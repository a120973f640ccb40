//! Chats that are added, deleted and moved while they are read: no chat that stays is lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use chatlake::connectors::{Completeness, PullError};
use serde_json::{Value, json};

use super::serve_pages;
use super::source_at;
use crate::support::pulls::{TODAY, WEEK, pull, request};
use crate::support::rounds;

const PER_PAGE: usize = 5;

/// A vendor whose chats change while they are read, newest first, five per page. The same seed
/// causes the same changes.
#[derive(Default)]
struct ChangingChats {
    chats: Vec<u64>,
    /// Chats that were in the list from the start, perhaps at another position.
    unchanged: HashSet<u64>,
    next: u64,
    state: u64,
    /// The number of answers after which nothing changes.
    changes_left: u64,
    inserts: bool,
    deletes: bool,
    moves: bool,
    repeats: bool,
}

impl ChangingChats {
    fn new(seed: u64, settled: bool) -> Self {
        let count = seed % 61;
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let kinds = seed % 16;
        Self {
            chats: (0..count).rev().collect(),
            unchanged: (0..count).collect(),
            next: count,
            state,
            changes_left: seed % 23,
            inserts: kinds & 1 == 0 && !settled,
            deletes: kinds & 2 == 0,
            moves: kinds & 4 == 0,
            repeats: kinds & 8 == 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % below.max(1)
    }

    /// Most changes are at the two ends of the list.
    fn place(&mut self, len: usize) -> usize {
        match self.random(4) {
            0 => 0,
            1 => len,
            _ => self.random(len as u64 + 1) as usize,
        }
    }

    fn page(&mut self, list: &str, mut page: usize) -> Value {
        if self.changes_left > 0 && self.repeats && page > 1 && self.random(8) == 0 {
            page -= 1;
        }
        let mut found: Vec<u64> = self
            .chats
            .iter()
            .skip((page - 1) * PER_PAGE)
            .take(PER_PAGE)
            .copied()
            .collect();
        if self.changes_left > 0 && self.repeats && self.random(4) == 0 {
            found.extend(found.first().copied());
        }
        let found: Vec<Value> = found
            .into_iter()
            .map(|id| json!({"id": id.to_string()}))
            .collect();
        let response = json!({list: found, "total": self.chats.len(), "pages": self.chats.len().div_ceil(PER_PAGE)});
        if self.changes_left > 0 {
            self.changes_left -= 1;
            for _ in 0..self.random(4) {
                self.change();
            }
        }
        response
    }

    fn change(&mut self) {
        match self.random(3) {
            0 if self.inserts => {
                let at = self.place(self.chats.len());
                self.chats.insert(at, self.next);
                self.next += 1;
            }
            1 if self.deletes && !self.chats.is_empty() => {
                let at = self.place(self.chats.len() - 1);
                let gone = self.chats.remove(at);
                self.unchanged.remove(&gone);
            }
            2 if self.moves && !self.chats.is_empty() => {
                let from = self.place(self.chats.len() - 1);
                let chat = self.chats.remove(from);
                let to = self.place(self.chats.len());
                self.chats.insert(to, chat);
            }
            _ => {}
        }
    }
}

/// Pulls from a vendor that changes by each of these seeds, and returns the number of pulls that
/// ended. Every second pull is of a settled day, to which nothing is added.
async fn pull_changing_chats(seeds: impl Iterator<Item = u64>) -> u64 {
    let world = Arc::new(Mutex::new(ChangingChats::default()));
    let held = world.clone();
    let source =
        source_at(&serve_pages(move |list, page, _| held.lock().unwrap().page(list, page)).await);
    let mut whole = 0;
    for seed in seeds {
        let settled = seed % 2 == 1;
        *world.lock().unwrap() = ChangingChats::new(seed / 2, settled);
        let window = if settled { WEEK } else { TODAY };
        let (got, done) = pull(
            &source,
            &request(&[if seed % 3 == 0 { "tickets" } else { "chat" }], &[window]),
        )
        .await;
        let pulled: Vec<u64> = got
            .column(0, "id")
            .into_iter()
            .flatten()
            .map(|id| id.parse().unwrap())
            .collect();
        let distinct: HashSet<u64> = pulled.iter().copied().collect();
        assert_eq!(
            pulled.len(),
            distinct.len(),
            "seed {seed}: a chat came twice"
        );
        match done {
            Ok(()) => {
                whole += 1;
                let counts = got.window_counts[0];
                let world = world.lock().unwrap();
                assert!(
                    world.unchanged.is_subset(&distinct),
                    "seed {seed}: a chat is missing, {counts:?}"
                );
                let proven = counts.completeness.unwrap();
                let possible = if settled {
                    [Completeness::Verified, Completeness::Corrected]
                } else {
                    [Completeness::Reread, Completeness::Corrected]
                };
                assert!(possible.contains(&proven), "seed {seed}: {counts:?}");
                assert_eq!(
                    counts.read,
                    counts.kept + counts.duplicates,
                    "seed {seed}: {counts:?}"
                );
                assert_eq!(
                    counts.kept,
                    distinct.len() as u64,
                    "seed {seed}: {counts:?}"
                );
            }
            Err(PullError::Incomplete { .. }) => {}
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_stays_is_stored_once_while_others_are_added_deleted_and_moved() {
    let seeds = rounds(1_000, 4_000, 40_000);
    let lanes = (0..4).map(|lane| {
        tokio::spawn(pull_changing_chats(
            (0..seeds).filter(move |seed| seed % 4 == lane),
        ))
    });
    let mut whole = 0;
    for lane in lanes.collect::<Vec<_>>() {
        whole += lane.await.unwrap();
    }
    assert!(
        whole * 10 > seeds * 9,
        "only {whole} of {seeds} pulls came to an end"
    );
}
