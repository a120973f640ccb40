//! What a download of a version needs besides its bytes: a tag that tells one body from another, and an early, visible end when whoever
//! began it may no longer have it.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use super::Datasets;
use super::export::Options;
use super::versions::Version;
use crate::actor::Actor;
use crate::clock::Clock;
use crate::ids::{DatasetId, UserId};

/// The `ETag` of a version as CSV with these options. It depends on rows, columns and options, not on the version's id: equal tags,
/// equal bytes.
pub fn tag(version: &Version, options: &Options) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("csv {} {:?} {} {}", version.content(), options.columns, options.bom, options.guard));
    let hex: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether an `If-None-Match` header names this tag. Proxies that compress mark tags as weak; the rows are the same.
pub fn is_known(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// So many downloads of a kind run at once, for one person and for all.
pub const MOST_OF_A_PERSON: usize = 4;
pub const MOST: usize = 64;

/// Places for downloads that run at once. Cheap to clone.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<UserId, usize>>>);

/// Taken until it is dropped.
pub struct Place {
    user: UserId,
    places: Places,
}

impl Places {
    /// A place for this person; none when the person, or everybody together, has as many as there may be.
    pub fn take(&self, user: &UserId) -> Option<Place> {
        let mut taken = self.taken();
        let own = taken.get(user).copied().unwrap_or(0);
        if own >= MOST_OF_A_PERSON || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(user.clone(), own + 1);
        Some(Place { user: user.clone(), places: self.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(own) = taken.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

/// How often a running download is asked about.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// The stream, for as long as this person may see the DataSet and `still_good` answers that they are still let in; then an error, so
/// that the connection breaks and no short file looks whole.
pub fn while_allowed<S, F, A>(stream: S, datasets: Datasets, actor: Actor, id: DatasetId, still_good: F) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send,
    F: Fn() -> A + Send + 'static,
    A: Future<Output = bool> + Send,
{
    let clock = datasets.clock.clone();
    while_good(stream, clock, move || {
        let (good, datasets, actor, id) = (still_good(), datasets.clone(), actor.clone(), id.clone());
        async move { good.await && datasets.get(&actor, &id).await.is_ok() }
    })
}

/// The stream, for as long as `still_good` says so when it is asked now and then; then an error.
pub fn while_good<S, F, A>(stream: S, clock: Clock, still_good: F) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send,
    F: Fn() -> A + Send + 'static,
    A: Future<Output = bool> + Send,
{
    let revoked = async move {
        loop {
            clock.wait(ASK_EVERY).await;
            if !still_good().await {
                return io::Error::other("the right to this download has ended");
            }
        }
    };
    let mut revoked = Box::pin(revoked);
    let mut stream = Box::pin(stream);
    let mut over = false;
    futures_util::stream::poll_fn(move |context| {
        if over {
            return std::task::Poll::Ready(None);
        }
        if let std::task::Poll::Ready(why) = revoked.as_mut().poll(context) {
            over = true;
            return std::task::Poll::Ready(Some(Err(why)));
        }
        stream.poll_next_unpin(context)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;
    use crate::actor::Role;

    #[test]
    fn a_known_tag_is_known_however_it_is_written() {
        for known in ["\"a\"", "W/\"a\"", "\"b\", W/\"a\"", "*"] {
            assert!(is_known(known, "\"a\""), "{known}");
        }
        assert!(!is_known("\"b\", a", "\"a\"") && !is_known("", "\"a\""));
    }

    #[test]
    fn a_person_and_all_together_have_so_many_places() {
        let places = Places::default();
        let owner = UserId::new();
        let mut held: Vec<Place> = (0..4).map(|_| places.take(&owner).unwrap()).collect();
        assert!(places.take(&owner).is_none());
        held.pop();
        held.push(places.take(&owner).unwrap());
        while let Some(place) = places.take(&UserId::new()) {
            held.push(place);
        }
        assert_eq!(held.len(), MOST);
        drop(held);
        assert!(places.taken().is_empty());
    }

    #[tokio::test]
    async fn a_download_breaks_off_once_its_reader_may_no_longer_have_it() {
        for (shared, still_good) in [(false, true), (true, false)] {
            let world = World::new().await;
            let (db, clock) = (world.db.clone(), world.clock.clone());
            let datasets = Datasets { db, clock, segments: world.segments.clone(), versions: world.versions.clone() };
            let reader =
                Actor { user: UserId::new(), name: "Carl".to_owned(), email: "carl@house.test".to_owned(), role: Role::Viewer, scope: None, token: None };
            let keeper = Actor { role: Role::Admin, ..reader.clone() };
            datasets.share(&keeper, &world.dataset, true).await.unwrap();
            let rows = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"id\r\n"))]).chain(futures_util::stream::pending());
            let let_in = move || std::future::ready(still_good);
            let mut download = Box::pin(while_allowed(rows, datasets.clone(), reader, world.dataset.clone(), let_in));
            assert_eq!(download.next().await.unwrap().unwrap(), "id\r\n");
            datasets.share(&keeper, &world.dataset, shared).await.unwrap();
            world.clock.advance(10_000);
            let end = tokio::time::timeout(Duration::from_secs(10), download.next()).await.expect("it goes on");
            assert!(end.unwrap().is_err(), "shared {shared}, let in {still_good}");
            assert!(download.next().await.is_none());
        }
    }
}
