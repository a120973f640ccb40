//! Passwords: what is accepted as one, and how it is kept. Hashing costs 19 MiB and a core for tens of milliseconds by design, so it
//! runs on a few threads of its own, which keep the memory from growing with the number of threads that ever hashed, with a short queue;
//! past that people are asked to try again.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

pub const SHORTEST: usize = 8;
pub const LONGEST: usize = 128;
/// The rules in a sentence, for below the field.
pub const HELP: &str = "At least 8 characters; 15 or more are better, for example a few words.";

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many may wait for their turn.
const QUEUE: usize = 64;
/// So many threads hash at most, whatever the number of cores: together they take less than 64 MiB.
const MAX_THREADS: usize = 3;

/// What people choose most: common words with the endings they add, dates and runs along the keyboard. In lower case, one a line, of 8
/// characters or more.
const COMMON: &str = include_str!("common_passwords.txt");

/// Whether `password` is accepted for this person; the sentence for the field when it is not.
pub fn check(password: &Secret, email: &str, name: &str) -> std::result::Result<(), String> {
    let text = password.reveal();
    let length = text.chars().count();
    if length < SHORTEST {
        return Err(format!("Use at least {SHORTEST} characters; 15 or more are better."));
    }
    if length > LONGEST {
        return Err(format!("Use at most {LONGEST} characters."));
    }
    let lower = zeroize::Zeroizing::new(text.to_lowercase());
    let one_letter = lower.chars().next().is_some_and(|first| lower.chars().all(|c| c == first));
    if one_letter || COMMON.lines().any(|common| common == lower.as_str()) {
        return Err("This password is too common. Choose another one.".to_owned());
    }
    if super::export_passwords::well_formed(text) {
        return Err("This is an export password. Choose another password for signing in.".to_owned());
    }
    if is_own(&lower, email, name) {
        return Err("The password must not be your name or email.".to_owned());
    }
    Ok(())
}

/// The person's own email, its first half or the name, with digits or signs around it or not.
fn is_own(lower: &str, email: &str, name: &str) -> bool {
    let letters = |text: &str| text.to_lowercase().chars().filter(|c| c.is_alphabetic()).collect::<String>();
    let bare = letters(lower);
    let local = email.split('@').next().unwrap_or_default();
    lower == email.to_lowercase() || (!bare.is_empty() && [email, local, name].iter().any(|own| letters(own) == bare))
}

/// Hashes and verifies. Cheap to clone; all clones share the same few places.
#[derive(Clone, Debug)]
pub struct Hasher {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// To the threads, which end with the last clone.
    jobs: mpsc::Sender<Job>,
    /// Of a password that nobody has: verified for people who do not exist, so that the answer takes the same time.
    dummy: Arc<str>,
}

/// A password to hash.
type Job = Box<dyn FnOnce() + Send>;

/// What came of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub fits: bool,
    /// The password fits and is kept with weaker parameters than today's: hash it again.
    pub outdated: bool,
}

/// Takes itself out of the queue, also when the one who waits goes away.
struct InQueue(Arc<AtomicUsize>);

impl Drop for InQueue {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hasher {
    /// `at_once` is the number of cores. Starts as many threads, up to 3.
    pub fn new(at_once: usize) -> Self {
        let at_once = at_once.clamp(1, MAX_THREADS);
        let jobs = start_threads(at_once);
        // The salt and tag of the dummy are fixed: nobody can give the password it belongs to, since there is none.
        let dummy = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$Y2hhdGxha2UtZHVtbXk$bm9ib2R5LWhhcy10aGlzLXBhc3N3b3JkLWhhc2gtMzI");
        Self { places: Arc::new(Semaphore::new(at_once)), waiting: Arc::new(AtomicUsize::new(0)), jobs, dummy: dummy.into() }
    }

    /// The PHC string to keep. Does not check the rules: see `check`.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        let password = password.clone();
        self.run(move || argon2()?.hash_password(password.reveal().as_bytes()).map(|hash| hash.to_string()).map_err(Error::internal)).await
    }

    /// Whether `password` is the one that `kept` was made of. Without `kept` it takes as long and never fits.
    pub async fn verify(&self, kept: Option<&str>, password: &Secret) -> Result<Verified> {
        let password = password.clone();
        let known = kept.is_some();
        let kept: Box<str> = kept.unwrap_or(&self.dummy).into();
        let verify = move || {
            let Ok(hash) = PasswordHash::new(&kept) else {
                return Err(Error::internal("a stored password hash cannot be read"));
            };
            let fits = argon2()?.verify_password(password.reveal().as_bytes(), &hash).is_ok();
            Ok(Verified { fits: fits && known, outdated: fits && known && is_outdated(&hash) })
        };
        self.run(verify).await
    }

    /// Does it on one of the threads, in its turn.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let place = self.place().await?;
        let (to, from) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _place = place;
            // Whoever asked may have gone away.
            drop(to.send(work()));
        });
        self.jobs.send(job).map_err(|_| Error::internal("no thread hashes passwords"))?;
        from.await.map_err(|_| Error::internal("a password could not be hashed"))?
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _in_queue = InQueue(Arc::clone(&self.waiting));
        if ahead >= QUEUE {
            return Err(Error::new(Kind::Unavailable, "busy", "Too many people are signing in right now.").action("Try again in a few seconds."));
        }
        Arc::clone(&self.places).acquire_owned().await.map_err(Error::internal)
    }
}

#[cfg(test)]
impl Hasher {
    /// Takes every place and every place in the queue, until what is answered is dropped.
    pub(super) async fn occupy(&self) -> Vec<tokio::task::JoinHandle<Result<OwnedSemaphorePermit>>> {
        let mut held = Vec::new();
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            held.push(tokio::spawn(async { Ok(place) }));
        }
        for _ in 0..QUEUE {
            let hasher = self.clone();
            held.push(tokio::spawn(async move { hasher.place().await }));
        }
        while self.waiting.load(Ordering::Acquire) < QUEUE {
            tokio::task::yield_now().await;
        }
        held
    }
}

fn start_threads(number: usize) -> mpsc::Sender<Job> {
    let (to, from) = mpsc::channel::<Job>();
    let from = Arc::new(Mutex::new(from));
    for _ in 0..number {
        let from = from.clone();
        let next = move || from.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let work = move || {
            while let Ok(job) = next() {
                // The hook of the process logs the place; the thread is needed for others.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
            }
        };
        if let Err(why) = std::thread::Builder::new().name("passwords".to_owned()).spawn(work) {
            tracing::error!(%why, "a thread that hashes passwords could not be started");
        }
    }
    to
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn is_outdated(hash: &PasswordHash) -> bool {
    let Ok(params) = Params::try_from(hash) else { return true };
    hash.algorithm.as_str() != "argon2id" || params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES
}

#[cfg(test)]
pub(crate) fn weak_hash(password: &str) -> String {
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(1_024, 1, 1, None).unwrap());
    weak.hash_password(password.as_bytes()).unwrap().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> bool {
        check(&Secret::new(text), "olga.owner@house.test", "Olga Owner").is_ok()
    }

    #[test]
    fn the_rules_for_a_password() {
        for refused in [
            "short",
            "1234567",
            "password1",
            "PassWord1",
            "aaaaaaaaaaaa",
            "qwertyuiop",
            "iloveyou1",
            "letmein123",
            "12345678",
            "chatlake2026",
            "Olga Owner",
            "olgaowner2026!",
            "olga.owner@house.test",
            &"x1".repeat(65),
        ] {
            assert!(!accepted(refused), "{refused}");
        }
        for good in ["correct horse battery", &"ж1".repeat(64), "   spaces   too  ", "emoji🙂are🙂fine"] {
            assert!(accepted(good), "{good}");
        }
    }

    #[test]
    fn the_help_says_the_shortest_length() {
        assert!(HELP.contains(&format!("At least {SHORTEST} characters")));
    }

    #[test]
    fn the_common_list_is_long_enough_and_in_lower_case() {
        assert!(COMMON.lines().count() >= 3_000);
        assert!(COMMON.lines().all(|line| line.len() >= SHORTEST && line.to_lowercase() == line));
    }

    #[tokio::test]
    async fn long_passwords_are_not_cut() {
        let hasher = Hasher::new(1);
        let long = "ж1".repeat(64);
        let kept = hasher.hash(&Secret::new(long.clone())).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_eq!(hasher.verify(Some(&kept), &Secret::new(long.clone())).await.unwrap(), Verified { fits: true, outdated: false });
        let first: String = long.chars().take(72).collect();
        assert!(!hasher.verify(Some(&kept), &Secret::new(first)).await.unwrap().fits);
        assert!(!hasher.verify(None, &Secret::new(long)).await.unwrap().fits);
    }

    #[tokio::test]
    async fn weaker_parameters_ask_for_a_new_hash() {
        let hasher = Hasher::new(1);
        let kept = weak_hash("correct horse battery");
        assert_eq!(hasher.verify(Some(&kept), &Secret::new("correct horse battery")).await.unwrap(), Verified { fits: true, outdated: true });
        assert_eq!(hasher.verify(Some(&kept), &Secret::new("wrong horse battery")).await.unwrap(), Verified { fits: false, outdated: false });
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_those_beyond_it_are_told() {
        let hasher = Hasher::new(1);
        let held = hasher.place().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let hasher = hasher.clone();
            waiting.spawn(async move { hasher.place().await.map(drop) });
        }
        let mut refused = 0;
        while refused < 500 - QUEUE {
            let error = waiting.join_next().await.unwrap().unwrap().unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable);
            refused += 1;
        }
        drop(held);
        while let Some(done) = waiting.join_next().await {
            assert!(done.unwrap().is_ok());
        }
        assert_eq!(hasher.waiting.load(Ordering::Acquire), 0);
    }
}
