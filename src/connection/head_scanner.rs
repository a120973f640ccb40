//! Detects request heads with a line that ends in a line feed without carriage return. The HTTP
//! server accepts such a line, but a proxy in front of it may not; then the two would disagree on
//! where a request ends (request smuggling).

/// Scans what a client sends: each request head from its first byte to the empty line. Bytes after
/// it are the body, until the response.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    state: ScanState,
    last: u8,
    /// The current line has no characters yet, except a carriage return.
    is_empty: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ScanState {
    /// Between requests.
    #[default]
    Idle,
    Head,
    Body,
}

impl HeadScanner {
    /// Scans received bytes. Returns true if a line ended in a line feed alone.
    pub fn on_read(&mut self, bytes: &[u8]) -> bool {
        let mut bare = false;
        for byte in bytes {
            match (self.state, byte) {
                (ScanState::Body, _) => break,
                (ScanState::Idle, b'\r' | b'\n') => {}
                // A request head begins with the upper-case letter of a method.
                (ScanState::Idle, byte) if !byte.is_ascii_uppercase() => {
                    self.state = ScanState::Body
                }
                (ScanState::Idle, _) => (self.state, self.is_empty) = (ScanState::Head, false),
                (ScanState::Head, b'\n') => {
                    bare |= self.last != b'\r';
                    if self.is_empty {
                        self.state = ScanState::Body;
                    }
                    self.is_empty = true;
                }
                (ScanState::Head, b'\r') => {}
                (ScanState::Head, _) => self.is_empty = false,
            }
            self.last = *byte;
        }
        bare
    }

    /// The server sends a response, after which another request may follow.
    pub fn on_write(&mut self, bytes: &[u8]) {
        let asks_for_body = bytes.starts_with(b"HTTP/1.1 100");
        if self.state == ScanState::Body && !asks_for_body {
            self.state = ScanState::Idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans requests that are each answered before the next one, in pieces of this length.
    fn found(requests: &[&str], length: usize) -> Vec<bool> {
        let mut scanner = HeadScanner::default();
        let of_one = |request: &&str| {
            let bare = request
                .as_bytes()
                .chunks(length)
                .fold(false, |bare, piece| bare | scanner.on_read(piece));
            scanner.on_write(b"HTTP/1.1 100 Continue\r\n\r\n");
            let more = scanner.on_read(b"{\n}\n");
            scanner.on_write(b"HTTP/1.1 200 OK\r\n\r\n");
            bare | more
        };
        requests.iter().map(of_one).collect()
    }

    #[test]
    fn a_line_feed_alone_is_found_in_heads_and_not_in_bodies() {
        let good = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{\n\n\"a\":1}";
        let cases = [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\r\nGET / HTTP/1.1\r\nHost:\r\na\n\r\n",
        ];
        for length in [1, 2, 7, 1_000] {
            for bad in cases {
                assert_eq!(
                    found(
                        &[good, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", bad],
                        length
                    ),
                    [false, false, true],
                    "{bad:?} by {length}"
                );
            }
        }
    }
}
