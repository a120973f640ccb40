//! Parses the `Retry-After` header of an answer.

use std::time::Duration;

use super::MAX_PAUSE;

/// Parses `Retry-After`: seconds, or an HTTP date. `None` for anything else, such as a negative
/// number.
pub(super) fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than an integer holds mean a long time, not zero.
        return Some(
            text.parse()
                .map_or(MAX_PAUSE, Duration::from_secs)
                .min(MAX_PAUSE),
        );
    }
    let at = httpdate::parse_http_date(text)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let now = Duration::from_millis(u64::try_from(now.as_millisecond()).ok()?);
    Some(at.saturating_sub(now).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_as_seconds_as_a_date_and_as_nonsense() {
        let now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
        let read = |text: &str| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(read("7"), Some(7));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("315360000"), Some(86_400));
        assert_eq!(read("99999999999999999999999999"), Some(86_400));
        assert_eq!(read("-5"), None);
        assert_eq!(read("soon"), None);
        assert_eq!(read(""), None);
        assert_eq!(read("Sun, 09 Sep 2001 01:47:10 GMT"), Some(30));
        assert_eq!(read("Sun, 09 Sep 2001 01:40:00 GMT"), Some(0));
    }
}
