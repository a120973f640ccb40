//! What a server does periodically besides its runs: it deletes expired data of `auth`, and updates
//! the commit file.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::auth::audit::{self, AuditRetention};
use crate::clock::Clock;
use crate::db::Db;

/// The interval at which ended sessions are deleted.
const AUTH_SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The interval at which the commit file is updated.
const COMMIT_FILE_EVERY: Duration = Duration::from_secs(1);

/// Periodically deletes expired data: sessions, links, unused remembered browsers and old entries
/// of the audit log.
pub(super) async fn sweep_auth_until_stopped(
    db: Db,
    clock: Clock,
    retention: AuditRetention,
    stop: CancellationToken,
) {
    loop {
        if let Err(error) = audit::sweep(&db, &clock, retention).await {
            tracing::error!(
                cause = ?error.log_cause(),
                "old entries of the audit log could not be deleted: {error}"
            );
        }
        if let Err(error) = crate::auth::sweep(&db, &clock).await {
            tracing::error!(
                cause = ?error.log_cause(),
                "expired sessions could not be deleted: {error}"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.wait(AUTH_SWEEP_EVERY) => {}
        }
    }
}

/// Keeps the commit file up to date; see `db/commits.rs`.
pub(super) async fn update_commit_file_until_stopped(
    db: Db,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        db.update_commit_file().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.wait(COMMIT_FILE_EVERY) => {}
        }
    }
}
