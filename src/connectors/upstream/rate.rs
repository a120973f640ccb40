//! Watches the transfer rate of an answer: fails when no data arrives for too long, or when a full
//! minute has fewer bytes than the minimum.

use std::time::Duration;

use super::Limits;
use crate::connectors::pull_error::Cause;

/// The received bytes and the waiting time of an answer. Only time in which Chatlake waited for the
/// vendor counts.
pub(super) struct Arrival {
    no_progress: Duration,
    window: Duration,
    /// The minimum number of bytes in each full window; 0 for no minimum.
    min_bytes: u64,
    /// Time since the last piece.
    silent: Duration,
    /// Waiting time and bytes of the current window.
    waited: Duration,
    received: u64,
}

impl Arrival {
    pub fn new(limits: &Limits) -> Self {
        let (no_progress, window, min_bytes) =
            (limits.no_progress, limits.rate_window, limits.min_bytes);
        Self {
            no_progress,
            window,
            min_bytes,
            silent: Duration::ZERO,
            waited: Duration::ZERO,
            received: 0,
        }
    }

    /// How long to wait for the next piece before calling `silence`.
    pub fn poll_timeout(&self) -> Duration {
        let left = self.no_progress.saturating_sub(self.silent);
        if self.min_bytes == 0 {
            left
        } else {
            left.min(self.window.saturating_sub(self.waited))
        }
    }

    /// Records a piece that arrived after `waited`.
    pub fn piece(&mut self, waited: Duration, bytes: usize) -> Result<(), Cause> {
        self.silent = Duration::ZERO;
        self.received = self.received.saturating_add(bytes as u64);
        self.wait(waited)
    }

    /// Records that nothing arrived for `waited`.
    pub fn silence(&mut self, waited: Duration) -> Result<(), Cause> {
        self.silent += waited;
        if self.silent >= self.no_progress {
            Err(Cause::NoProgress)
        } else {
            self.wait(waited)
        }
    }

    fn wait(&mut self, waited: Duration) -> Result<(), Cause> {
        self.waited += waited;
        if self.min_bytes == 0 || self.waited < self.window {
            return Ok(());
        }
        let received = std::mem::take(&mut self.received);
        self.waited = Duration::ZERO;
        if received < self.min_bytes {
            Err(Cause::BelowMinRate {
                received,
                min: self.min_bytes,
            })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn arrival(min_bytes: u64) -> Arrival {
        Arrival::new(&Limits {
            min_bytes,
            ..Limits::default()
        })
    }

    #[test]
    fn a_byte_now_and_then_is_cut_after_a_minute() {
        let mut drip = arrival(1_024);
        assert_eq!(
            (drip.piece(20 * SECOND, 1), drip.piece(20 * SECOND, 1)),
            (Ok(()), Ok(()))
        );
        assert_eq!(
            drip.piece(20 * SECOND, 1),
            Err(Cause::BelowMinRate {
                received: 3,
                min: 1_024
            })
        );
        // The end of the minute is detected even if no piece arrives.
        let mut drip = arrival(1_024);
        assert_eq!(
            (drip.piece(SECOND, 500), drip.poll_timeout()),
            (Ok(()), 59 * SECOND)
        );
        assert_eq!(
            drip.silence(59 * SECOND),
            Err(Cause::BelowMinRate {
                received: 500,
                min: 1_024
            })
        );
        let mut off = arrival(0);
        assert!((0..100).all(|_| off.piece(20 * SECOND, 1).is_ok()));
    }

    #[test]
    fn a_slow_answer_goes_on_and_each_minute_counts_for_itself() {
        let mut slow = arrival(1_024);
        assert!((0..600).all(|_| slow.piece(SECOND, 18).is_ok()));
        assert_eq!(slow.piece(59 * SECOND, 1 << 20), Ok(()));
        assert_eq!(slow.piece(SECOND, 1), Ok(()));
        assert_eq!(slow.piece(30 * SECOND, 1), Ok(()));
        assert_eq!(
            slow.silence(30 * SECOND),
            Err(Cause::BelowMinRate {
                received: 1,
                min: 1_024
            })
        );
    }

    #[test]
    fn silence_is_reported_as_silence() {
        let mut silent = arrival(1_024);
        assert_eq!(silent.poll_timeout(), 60 * SECOND);
        assert_eq!(silent.silence(60 * SECOND), Err(Cause::NoProgress));
        // This minute had enough data before the silence.
        let mut silent = arrival(1_024);
        assert_eq!(
            (silent.piece(10 * SECOND, 4_096), silent.poll_timeout()),
            (Ok(()), 50 * SECOND)
        );
        assert_eq!(
            (silent.silence(50 * SECOND), silent.poll_timeout()),
            (Ok(()), 10 * SECOND)
        );
        assert_eq!(silent.silence(10 * SECOND), Err(Cause::NoProgress));
    }
}
