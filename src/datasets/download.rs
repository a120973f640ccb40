//! Downloads: limits how many run at the same time, computes the ETag of a file, and stops a
//! download when the reader loses access. A slow client occupies no database connection and no
//! thread.

use std::future::Future;
use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use prometheus_client::metrics::counter::Counter;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::export::pipe::{Encode, EncoderPool, pipe};
use super::export::{self, CsvOptions};
use super::versions::Version;
use super::{Dataset, Datasets};
use crate::actor::Actor;
use crate::auth;
use crate::clock::{Clock, millis};
use crate::connection::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{DatasetId, UserId, VersionId};
use crate::quota::{Quota, Slot};

/// The maximum time that a download waits for a slot.
const SLOT_WAIT: Duration = Duration::from_secs(60);
/// The error code of a download that got no slot in time.
pub const TOO_MANY_DOWNLOADS: &str = "too_many_downloads";
/// After this time, a client without a slot should try again.
const RETRY_IN: Duration = Duration::from_secs(30);

/// The `ETag` of a version as CSV with these options. It depends on rows, columns and options, not
/// on the version's id: equal tags mean equal bytes.
pub fn etag(version: &Version, options: &CsvOptions) -> String {
    let mut hash = Sha256::new();
    // The number 2 is the revision of the CSV format: it must change when the same rows are written
    // differently.
    hash.update(format!(
        "csv 2 {} {:?} {} {}",
        version.content(),
        options.columns,
        options.bom,
        options.guard
    ));
    let hex: String = hash
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{hex}\"")
}

/// Whether an `If-None-Match` header names this tag. Proxies that compress mark tags as weak; the
/// rows are the same.
pub fn etag_matches(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

/// The downloads of a server. Cheap to clone.
#[derive(Clone)]
pub struct Downloads {
    clock: Clock,
    pub quota: Quota,
    per_person: usize,
    total: usize,
    pool: EncoderPool,
    /// The number of NUL characters that CSV files contain as U+FFFD.
    pub replaced_nul: Counter<u64, AtomicU64>,
}

/// A request for a CSV download.
pub struct CsvRequest<'a> {
    pub id: &'a DatasetId,
    /// The version to download; `None` for the current version.
    pub version: Option<&'a str>,
    pub options: CsvOptions,
    /// The `If-None-Match` header of the request; empty if there is none.
    pub if_none_match: &'a str,
}

/// A version as a CSV file.
pub struct CsvDownload {
    pub dataset: Dataset,
    pub version: VersionId,
    pub rows: u64,
    /// The number of cells that are marked for spreadsheets. `None` if marking was not requested or
    /// the version is too large to count them.
    pub guarded_cells: Option<u64>,
    pub etag: String,
    /// `None` if the client already has these bytes. An error item means that the file is
    /// incomplete.
    pub body: Option<BoxStream<'static, io::Result<Bytes>>>,
}

impl Downloads {
    /// Limits downloads to `per_person` and to `total` of all people; each limit is at least 1.
    pub fn new(clock: Clock, per_person: usize, total: usize) -> Self {
        Self {
            clock,
            quota: Quota::new(per_person, total),
            per_person,
            total,
            pool: EncoderPool::default(),
            replaced_nul: Counter::default(),
        }
    }

    /// Waits for a slot. Errors: `too_many_downloads` (TooMany) if none becomes free within a
    /// minute.
    pub async fn slot(&self, user: &UserId) -> Result<Slot> {
        tokio::select! {
            biased;
            slot = self.quota.acquire(user) => slot,
            () = self.clock.wait(SLOT_WAIT) => Err(self.too_many()),
        }
    }

    fn too_many(&self) -> Error {
        let (until, seconds) = (self.clock.now() + millis(RETRY_IN), SLOT_WAIT.as_secs());
        let message = format!(
            "Nothing was downloaded. For {seconds} seconds, you had {} downloads in progress or \
             the server had {}.",
            self.per_person, self.total
        );
        Error::new(ErrorKind::TooMany { until }, TOO_MANY_DOWNLOADS, message)
            .action("Wait until a download ends, then try again.")
    }

    /// Prepares a version as CSV. Nothing is pinned while the download waits for its slot, so the
    /// version is looked up again afterwards. Must be called within a runtime.
    pub async fn csv(
        &self,
        datasets: &Datasets,
        actor: &Actor,
        request: CsvRequest<'_>,
        connection: Connection,
    ) -> Result<CsvDownload> {
        let (mut dataset, mut version) = find(datasets, actor, request.id, request.version).await?;
        let mut current_etag = etag(&version, &request.options);
        let mut slot = None;
        if !etag_matches(request.if_none_match, &current_etag) {
            let taken = self.slot(&actor.user).await?;
            if taken.waited {
                if !auth::is_still_authorized(&datasets.db, &datasets.clock, actor).await {
                    return Err(Error::not_found("DataSet"));
                }
                (dataset, version) = find(datasets, actor, request.id, request.version).await?;
                current_etag = etag(&version, &request.options);
            }
            slot = Some(taken);
        }
        let (rows, id) = (version.rows, version.id.clone());
        let mut guarded_cells = None;
        let body = match slot {
            Some(slot) if !etag_matches(request.if_none_match, &current_etag) => {
                datasets.segments.check(&version.segments).await?;
                if request.options.guard {
                    guarded_cells = export::guarded_cells::count(
                        &datasets.segments,
                        datasets.versions.pin(&version),
                        request.options.columns.clone(),
                    )
                    .await?;
                }
                let mut encoder = export::csv(
                    &datasets.segments,
                    datasets.versions.pin(&version),
                    request.options,
                )?;
                encoder.replaced_nul = self.replaced_nul.clone();
                let of = id.clone();
                let on_error = move |why: &Error| {
                    tracing::error!(
                        version = %of,
                        cause = ?why.log_cause(),
                        "a CSV download stopped early: {why}"
                    );
                };
                Some(
                    self.body(
                        slot,
                        connection,
                        encoder,
                        on_error,
                        still_allowed(datasets, actor, request.id),
                    )
                    .boxed(),
                )
            }
            _ => None,
        };
        Ok(CsvDownload {
            dataset,
            version: id,
            rows,
            guarded_cells,
            etag: current_etag,
            body,
        })
    }

    /// Streams the output of `encoder`. Calls `is_still_allowed` at intervals; once it returns
    /// false, the stream ends with an error and `connection` is closed, which also ends downloads
    /// whose client reads nothing. `on_error` is called if the encoder fails. The slot is in use
    /// until the stream is dropped. Must be called within a runtime.
    pub fn body<E, B, F, A>(
        &self,
        slot: Slot,
        connection: Connection,
        encoder: E,
        on_error: B,
        is_still_allowed: F,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<E, B, F, A>
    where
        E: Encode,
        B: FnOnce(&Error) + Send + 'static,
        F: Fn() -> A + Send + 'static,
        A: Future<Output = bool> + Send + 'static,
    {
        let parts = pipe(&self.clock, &self.pool, encoder, on_error);
        while_allowed(parts, self.clock.clone(), connection, is_still_allowed).map(move |part| {
            let _in_use = &slot;
            part
        })
    }
}

/// Looks up the DataSet, if this person may see it, and the given version or the current one.
pub async fn find(
    datasets: &Datasets,
    actor: &Actor,
    id: &DatasetId,
    version: Option<&str>,
) -> Result<(Dataset, Version)> {
    let dataset = datasets.get(actor, id).await?;
    let Some(text) = version else {
        let none = || {
            Error::conflict("no_data_yet", "This DataSet has no data yet.")
                .action("Run it, or wait for its first run to succeed.")
        };
        return Ok((
            dataset,
            datasets.versions.current(id).await?.ok_or_else(none)?,
        ));
    };
    let missing = || Error::not_found("version");
    let wanted = VersionId::parse(text).ok_or_else(missing)?;
    let version = datasets
        .versions
        .get(&wanted)
        .await?
        .filter(|version| version.dataset == *id)
        .ok_or_else(missing)?;
    Ok((dataset, version))
}

/// Whether this person is still authorized and may see the DataSet.
fn still_allowed(
    datasets: &Datasets,
    actor: &Actor,
    id: &DatasetId,
) -> impl Fn() -> BoxFuture<'static, bool> + Send + use<> {
    let (datasets, actor, id) = (datasets.clone(), actor.clone(), id.clone());
    move || {
        let (datasets, actor, id) = (datasets.clone(), actor.clone(), id.clone());
        async move {
            auth::is_still_authorized(&datasets.db, &datasets.clock, &actor).await
                && datasets.get(&actor, &id).await.is_ok()
        }
        .boxed()
    }
}

/// Forwards the stream while `is_still_allowed` returns true; then yields one error and closes the
/// connection. The checks run in a separate task: a body is polled only while its client reads, so
/// a check inside the body would occupy a database connection until the client reads again.
fn while_allowed<S, F, A>(
    stream: S,
    clock: Clock,
    connection: Connection,
    is_still_allowed: F,
) -> impl Stream<Item = io::Result<Bytes>> + Send
where
    S: Stream<Item = io::Result<Bytes>> + Send,
    F: Fn() -> A + Send + 'static,
    A: Future<Output = bool> + Send + 'static,
{
    let ended = CancellationToken::new();
    let checks = tokio::spawn({
        let ended = ended.clone();
        async move {
            loop {
                clock.wait(auth::CHECK_EVERY).await;
                if !is_still_allowed().await {
                    ended.cancel();
                    return connection.abort();
                }
            }
        }
    });
    let body = (Box::pin(stream), ended, AbortOnDropHandle::new(checks));
    futures_util::stream::unfold(Some(body), |body| async move {
        let (mut stream, ended, checks) = body?;
        tokio::select! {
            biased;
            () = ended.cancelled() => {
                Some((Err(io::Error::other("the right to this download has ended")), None))
            }
            part = stream.next() => part.map(|part| (part, Some((stream, ended, checks)))),
        }
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
            assert!(etag_matches(known, "\"a\""), "{known}");
        }
        assert!(!etag_matches("\"b\", a", "\"a\"") && !etag_matches("", "\"a\""));
    }

    #[tokio::test]
    async fn a_download_breaks_off_once_its_reader_may_no_longer_have_it() {
        for (shared, is_still_allowed) in [(false, true), (true, false)] {
            let world = World::new().await;
            let (db, clock) = (world.db.clone(), world.clock.clone());
            let datasets = Datasets {
                db,
                clock,
                segments: world.segments.clone(),
                versions: world.versions.clone(),
            };
            let reader = Actor {
                user: UserId::new(),
                name: "Carl".to_owned(),
                email: "carl@house.test".to_owned(),
                role: Role::Viewer,
                scope: None,
                token: None,
                session: None,
            };
            let admin = Actor {
                role: Role::Admin,
                ..reader.clone()
            };
            datasets.share(&admin, &world.dataset, true).await.unwrap();
            let rows =
                futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"id\r\n"))])
                    .chain(futures_util::stream::pending());
            let (seen_by, id) = (datasets.clone(), world.dataset.clone());
            let still_allowed = move || {
                let (datasets, reader, id) = (seen_by.clone(), reader.clone(), id.clone());
                async move { is_still_allowed && datasets.get(&reader, &id).await.is_ok() }
            };
            let mut download = Box::pin(while_allowed(
                rows,
                world.clock.clone(),
                Connection::default(),
                still_allowed,
            ));
            assert_eq!(download.next().await.unwrap().unwrap(), "id\r\n");
            datasets
                .share(&admin, &world.dataset, shared)
                .await
                .unwrap();
            world.clock.advance(10_000);
            let end = tokio::time::timeout(Duration::from_secs(10), download.next())
                .await
                .expect("it goes on");
            assert!(
                end.unwrap().is_err(),
                "shared {shared}, let in {is_still_allowed}"
            );
            assert!(download.next().await.is_none());
        }
    }
}
