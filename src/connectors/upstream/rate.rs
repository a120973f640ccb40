//! How fast an answer comes: it must not stop for long, and each full minute must bring a minimum of bytes.

use std::time::Duration;

use super::Limits;
use crate::connectors::pull_error::Cause;

/// What came of an answer, and how long it was waited for. Only time in which the vendor was waited for counts.
pub(super) struct Arrival {
    no_progress: Duration,
    window: Duration,
    /// Bytes that each full window must bring; 0 for no minimum.
    min_bytes: u64,
    /// Since the last piece.
    silent: Duration,
    /// Of the present window: time and bytes.
    waited: Duration,
    came: u64,
}

impl Arrival {
    pub fn new(limits: &Limits) -> Self {
        let (no_progress, window, min_bytes) = (limits.no_progress, limits.rate_window, limits.min_bytes);
        Self { no_progress, window, min_bytes, silent: Duration::ZERO, waited: Duration::ZERO, came: 0 }
    }

    /// How long the next piece is waited for before it must be looked at again.
    pub fn patience(&self) -> Duration {
        let left = self.no_progress.saturating_sub(self.silent);
        if self.min_bytes == 0 { left } else { left.min(self.window.saturating_sub(self.waited)) }
    }

    /// A piece came after so long.
    pub fn piece(&mut self, waited: Duration, bytes: usize) -> Result<(), Cause> {
        self.silent = Duration::ZERO;
        self.came = self.came.saturating_add(bytes as u64);
        self.wait(waited)
    }

    /// Nothing came for so long.
    pub fn silence(&mut self, waited: Duration) -> Result<(), Cause> {
        self.silent += waited;
        if self.silent >= self.no_progress { Err(Cause::NoProgress) } else { self.wait(waited) }
    }

    fn wait(&mut self, waited: Duration) -> Result<(), Cause> {
        self.waited += waited;
        if self.min_bytes == 0 || self.waited < self.window {
            return Ok(());
        }
        let came = std::mem::take(&mut self.came);
        self.waited = Duration::ZERO;
        if came < self.min_bytes { Err(Cause::BelowMinRate { came, min: self.min_bytes }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn arrival(min_bytes: u64) -> Arrival {
        Arrival::new(&Limits { min_bytes, ..Limits::default() })
    }

    #[test]
    fn a_byte_now_and_then_is_cut_after_a_minute() {
        let mut drip = arrival(1_024);
        assert_eq!((drip.piece(20 * SECOND, 1), drip.piece(20 * SECOND, 1)), (Ok(()), Ok(())));
        assert_eq!(drip.piece(20 * SECOND, 1), Err(Cause::BelowMinRate { came: 3, min: 1_024 }));
        // The end of the minute is noticed although no piece comes.
        let mut drip = arrival(1_024);
        assert_eq!((drip.piece(SECOND, 500), drip.patience()), (Ok(()), 59 * SECOND));
        assert_eq!(drip.silence(59 * SECOND), Err(Cause::BelowMinRate { came: 500, min: 1_024 }));
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
        assert_eq!(slow.silence(30 * SECOND), Err(Cause::BelowMinRate { came: 1, min: 1_024 }));
    }

    #[test]
    fn silence_is_told_as_silence() {
        let mut silent = arrival(1_024);
        assert_eq!(silent.patience(), 60 * SECOND);
        assert_eq!(silent.silence(60 * SECOND), Err(Cause::NoProgress));
        // A minute that was good before the silence.
        let mut silent = arrival(1_024);
        assert_eq!((silent.piece(10 * SECOND, 4_096), silent.patience()), (Ok(()), 50 * SECOND));
        assert_eq!((silent.silence(50 * SECOND), silent.patience()), (Ok(()), 10 * SECOND));
        assert_eq!(silent.silence(10 * SECOND), Err(Cause::NoProgress));
    }
}
