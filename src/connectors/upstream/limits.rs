//! Timeouts, size limits and retry limits of requests to vendors.

use std::time::Duration;

/// The limits of requests. The defaults are for real vendors; tests use shorter ones.
#[derive(Clone, Debug)]
pub struct Limits {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// From sending the request to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub no_progress: Duration,
    /// One attempt, from sending to the last byte.
    pub attempt_timeout: Duration,
    /// In each full window of this length at least `min_bytes` of the answer must be received. Time
    /// in which the answer is not read does not count.
    pub rate_window: Duration,
    /// Before decompression; 0 for no minimum.
    pub min_bytes: u64,
    /// The maximum size of one answer, after decompression.
    pub max_bytes: usize,
    /// The maximum size of one streamed answer.
    pub max_streamed_bytes: usize,
    /// Attempts of one request.
    pub tries: u32,
    /// No new attempt starts after this time. Waits that the vendor asked for do not count.
    pub try_within: Duration,
    /// The first delay between attempts is a random part of this; it triples each time.
    pub first_delay: Duration,
    /// Attempts of a page that is complete but cannot be parsed.
    pub malformed_tries: u32,
    /// The delay before a rejection of the credentials, or an answer without data, is checked by a
    /// second request.
    pub confirm_after: Duration,
    /// The minimum wait after a rate limit answer, whatever it says; it doubles with each such
    /// answer, up to five seconds.
    pub min_wait: Duration,
    /// The longest wait within a request when the vendor asks for one. A longer wait ends the pull,
    /// and the run becomes `waiting`.
    pub max_wait: Duration,
    /// The maximum sum of such waits of one request.
    pub max_total_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(60),
            no_progress: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(600),
            rate_window: Duration::from_secs(60),
            min_bytes: 1_024,
            max_bytes: 64 << 20,
            max_streamed_bytes: 4 << 30,
            tries: 5,
            try_within: Duration::from_secs(120),
            first_delay: Duration::from_millis(500),
            malformed_tries: 3,
            confirm_after: Duration::from_secs(2),
            min_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(60),
            max_total_wait: Duration::from_secs(300),
        }
    }
}
