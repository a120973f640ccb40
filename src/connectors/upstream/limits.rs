//! How long a vendor is waited for, how much it may send and how often it is asked again.

use std::time::Duration;

/// How long and how much. The defaults are for real vendors; tests pass shorter ones.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Name, connection and TLS together.
    pub connect: Duration,
    /// From sending to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub no_progress: Duration,
    /// One try, from sending to the last byte.
    pub whole: Duration,
    /// Each full window of this length must bring `min_bytes` of the answer; time in which it is not read does not count.
    pub rate_window: Duration,
    /// As they come, before unpacking; 0 for no minimum.
    pub min_bytes: u64,
    /// Of one answer, after decoding.
    pub most_bytes: usize,
    /// Of one answer that is handed on while it comes.
    pub most_streamed: usize,
    /// Tries of one request.
    pub tries: u32,
    /// No new try begins after this; waits that the vendor asked for are not counted.
    pub try_within: Duration,
    /// The first pause between tries is a random part of this; it triples each time.
    pub first_delay: Duration,
    /// Tries of a page that comes whole and cannot be read.
    pub malformed_tries: u32,
    /// After a rejection of the credentials, or an answer that says that there is nothing: so long until it is asked again whether that is so.
    pub confirm_after: Duration,
    /// The least wait after an answer that asks to wait, whatever it says; doubled with each such answer up to five seconds.
    pub least_wait: Duration,
    /// A wait the vendor asks for is waited out up to this; a longer one is the run's affair.
    pub patience: Duration,
    /// Of all such waits of one request together.
    pub patience_in_all: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(60),
            no_progress: Duration::from_secs(60),
            whole: Duration::from_secs(600),
            rate_window: Duration::from_secs(60),
            min_bytes: 1_024,
            most_bytes: 64 << 20,
            most_streamed: 4 << 30,
            tries: 5,
            try_within: Duration::from_secs(120),
            first_delay: Duration::from_millis(500),
            malformed_tries: 3,
            confirm_after: Duration::from_secs(2),
            least_wait: Duration::from_secs(1),
            patience: Duration::from_secs(60),
            patience_in_all: Duration::from_secs(300),
        }
    }
}
