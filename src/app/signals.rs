//! The signals that end a process.

use tokio_util::sync::CancellationToken;

/// What a process does on SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The process continues: a server outlives the terminal it was started in, and
    /// `systemctl reload` does no harm.
    Ignored,
    /// The process ends as on SIGTERM.
    Ends,
}

/// Returns a token that fires on the first SIGTERM or SIGINT; the second signal ends the process at
/// once. SIGHUP is handled as `hangup` says.
pub fn shutdown_signal(hangup: Hangup) -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        tracing::error!("signals cannot be handled: a signal ends the process at once");
        return token;
    };
    let fired = token.clone();
    tokio::spawn(async move {
        let mut round = 0;
        while round < 2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {
                    if hangup == Hangup::Ignored {
                        tracing::info!("SIGHUP is ignored");
                        continue;
                    }
                }
            }
            round += 1;
            fired.cancel();
        }
        #[expect(clippy::disallowed_methods, reason = "a second signal means: now")]
        std::process::exit(130);
    });
    token
}
