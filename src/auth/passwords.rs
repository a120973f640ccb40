//! Password rules and password hashing. Hashing costs 19 MiB and a core for tens of milliseconds by
//! design. It runs on a few dedicated threads, because memory would otherwise grow with the number
//! of threads that ever hashed, and has a short queue; when the queue is full, people are asked to
//! try again.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

pub const MIN_LENGTH: usize = 8;
pub const MAX_LENGTH: usize = 128;
/// The password rules in one sentence, shown below the field.
pub const HELP: &str = "At least 8 characters; 15 or more are better, for example a few words.";

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The maximum number of queued jobs.
const MAX_QUEUED: usize = 64;
/// The maximum number of hashing threads, whatever the number of cores. Together they use less than
/// 64 MiB.
const MAX_THREADS: usize = 3;

/// Common passwords: common words with usual endings, dates and keyboard runs. Lower case, one per
/// line, 8 characters or more.
const COMMON_PASSWORDS: &str = include_str!("common_passwords.txt");

/// Checks the rules for this person's password. Returns the sentence for the field if it is
/// rejected.
pub fn check(password: &Secret, email: &str, name: &str) -> std::result::Result<(), String> {
    let text = password.reveal();
    let length = text.chars().count();
    if length < MIN_LENGTH {
        return Err(format!(
            "Use at least {MIN_LENGTH} characters; 15 or more are better."
        ));
    }
    if length > MAX_LENGTH {
        return Err(format!("Use at most {MAX_LENGTH} characters."));
    }
    let lower = zeroize::Zeroizing::new(text.to_lowercase());
    let one_letter = lower
        .chars()
        .next()
        .is_some_and(|first| lower.chars().all(|c| c == first));
    if one_letter
        || COMMON_PASSWORDS
            .lines()
            .any(|common| common == lower.as_str())
    {
        return Err("This password is too common. Choose another one.".to_owned());
    }
    if super::export_passwords::well_formed(text) {
        return Err(
            "This is an export password. Choose another password for signing in.".to_owned(),
        );
    }
    if is_own(&lower, email, name) {
        return Err("The password must not be your name or email.".to_owned());
    }
    Ok(())
}

/// Whether the password is the person's own email, its local part or the name, possibly surrounded
/// by digits or signs.
fn is_own(lower: &str, email: &str, name: &str) -> bool {
    let letters = |text: &str| {
        text.to_lowercase()
            .chars()
            .filter(|c| c.is_alphabetic())
            .collect::<String>()
    };
    let bare = letters(lower);
    let local = email.split('@').next().unwrap_or_default();
    lower == email.to_lowercase()
        || (!bare.is_empty() && [email, local, name].iter().any(|own| letters(own) == bare))
}

/// Hashes and verifies. Cheap to clone; all clones share the same few permits.
#[derive(Clone, Debug)]
pub struct Hasher {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// The channel to the threads, which end with the last clone.
    jobs: mpsc::Sender<Job>,
    /// The hash of an unknown password. It is verified for unknown emails, so that the response
    /// takes the same time.
    dummy: Arc<str>,
}

/// A unit of work for a hashing thread.
type Job = Box<dyn FnOnce() + Send>;

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub matches: bool,
    /// The password matches, but its hash uses weaker parameters than today's and should be
    /// replaced.
    pub outdated: bool,
}

/// Counts a queued job and leaves the queue on drop, also if the caller goes away.
struct QueueGuard(Arc<AtomicUsize>);

impl Drop for QueueGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hasher {
    /// `threads` is the number of cores. Starts as many threads, up to 3.
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, MAX_THREADS);
        let jobs = start_threads(threads);
        // The salt and tag of the dummy are fixed. No password matches it.
        let dummy = format!(
            "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$Y2hhdGxha2UtZHVtbXk$bm9ib2R5LWhhcy10aGlzLXBhc3N3b3JkLWhhc2gtMzI"
        );
        Self {
            permits: Arc::new(Semaphore::new(threads)),
            waiting: Arc::new(AtomicUsize::new(0)),
            jobs,
            dummy: dummy.into(),
        }
    }

    /// Hashes a password to a PHC string. Does not check the rules: see `check`.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        let password = password.clone();
        self.run(move || {
            argon2()?
                .hash_password(password.reveal().as_bytes())
                .map(|hash| hash.to_string())
                .map_err(Error::internal)
        })
        .await
    }

    /// Whether `password` matches `stored_hash`. Without `stored_hash` it takes the same time and
    /// never matches.
    pub async fn verify(&self, stored_hash: Option<&str>, password: &Secret) -> Result<Verified> {
        let password = password.clone();
        let known = stored_hash.is_some();
        let stored_hash: Box<str> = stored_hash.unwrap_or(&self.dummy).into();
        let verify = move || {
            let Ok(hash) = PasswordHash::new(&stored_hash) else {
                return Err(Error::internal("a stored password hash cannot be read"));
            };
            let matches = argon2()?
                .verify_password(password.reveal().as_bytes(), &hash)
                .is_ok();
            Ok(Verified {
                matches: matches && known,
                outdated: matches && known && is_outdated(&hash),
            })
        };
        self.run(verify).await
    }

    /// Runs `work` on a hashing thread after the queued jobs.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.acquire().await?;
        let (to, from) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _permit = permit;
            // The caller may have gone away.
            drop(to.send(work()));
        });
        self.jobs
            .send(job)
            .map_err(|_| Error::internal("no thread hashes passwords"))?;
        from.await
            .map_err(|_| Error::internal("a password could not be hashed"))?
    }

    async fn acquire(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _queue_guard = QueueGuard(Arc::clone(&self.waiting));
        if ahead >= MAX_QUEUED {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "busy",
                "Too many people are signing in right now.",
            )
            .action("Try again in a few seconds."));
        }
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(Error::internal)
    }
}

#[cfg(test)]
impl Hasher {
    /// Occupies all threads and the whole queue until the returned value is dropped.
    pub(super) async fn occupy(
        &self,
    ) -> Vec<tokio::task::JoinHandle<Result<OwnedSemaphorePermit>>> {
        let mut held = Vec::new();
        while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            held.push(tokio::spawn(async { Ok(permit) }));
        }
        for _ in 0..MAX_QUEUED {
            let hasher = self.clone();
            held.push(tokio::spawn(async move { hasher.acquire().await }));
        }
        while self.waiting.load(Ordering::Acquire) < MAX_QUEUED {
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
                // The panic hook of the process logs the location; the thread must survive for
                // later jobs.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
            }
        };
        if let Err(why) = std::thread::Builder::new()
            .name("passwords".to_owned())
            .spawn(work)
        {
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
    let Ok(params) = Params::try_from(hash) else {
        return true;
    };
    hash.algorithm.as_str() != "argon2id"
        || params.m_cost() < MEMORY_KIB
        || params.t_cost() < PASSES
}

#[cfg(test)]
pub(crate) fn weak_hash(password: &str) -> String {
    let weak = Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(1_024, 1, 1, None).unwrap(),
    );
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
        for good in [
            "correct horse battery",
            &"ж1".repeat(64),
            "   spaces   too  ",
            "emoji🙂are🙂fine",
        ] {
            assert!(accepted(good), "{good}");
        }
    }

    #[test]
    fn the_help_says_the_shortest_length() {
        assert!(HELP.contains(&format!("At least {MIN_LENGTH} characters")));
    }

    #[test]
    fn the_common_list_is_long_enough_and_in_lower_case() {
        assert!(COMMON_PASSWORDS.lines().count() >= 3_000);
        assert!(
            COMMON_PASSWORDS
                .lines()
                .all(|line| line.len() >= MIN_LENGTH && line.to_lowercase() == line)
        );
    }

    #[tokio::test]
    async fn long_passwords_are_not_cut() {
        let hasher = Hasher::new(1);
        let long = "ж1".repeat(64);
        let stored_hash = hasher.hash(&Secret::new(long.clone())).await.unwrap();
        assert!(
            stored_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored_hash}"
        );
        assert_eq!(
            hasher
                .verify(Some(&stored_hash), &Secret::new(long.clone()))
                .await
                .unwrap(),
            Verified {
                matches: true,
                outdated: false
            }
        );
        let first: String = long.chars().take(72).collect();
        assert!(
            !hasher
                .verify(Some(&stored_hash), &Secret::new(first))
                .await
                .unwrap()
                .matches
        );
        assert!(
            !hasher
                .verify(None, &Secret::new(long))
                .await
                .unwrap()
                .matches
        );
    }

    #[tokio::test]
    async fn weaker_parameters_ask_for_a_new_hash() {
        let hasher = Hasher::new(1);
        let stored_hash = weak_hash("correct horse battery");
        assert_eq!(
            hasher
                .verify(Some(&stored_hash), &Secret::new("correct horse battery"))
                .await
                .unwrap(),
            Verified {
                matches: true,
                outdated: true
            }
        );
        assert_eq!(
            hasher
                .verify(Some(&stored_hash), &Secret::new("wrong horse battery"))
                .await
                .unwrap(),
            Verified {
                matches: false,
                outdated: false
            }
        );
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_further_requests_get_an_error() {
        let hasher = Hasher::new(1);
        let held = hasher.acquire().await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let hasher = hasher.clone();
            waiting.spawn(async move { hasher.acquire().await.map(drop) });
        }
        let mut refused = 0;
        while refused < 500 - MAX_QUEUED {
            let error = waiting.join_next().await.unwrap().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            refused += 1;
        }
        drop(held);
        while let Some(done) = waiting.join_next().await {
            assert!(done.unwrap().is_ok());
        }
        assert_eq!(hasher.waiting.load(Ordering::Acquire), 0);
    }
}
