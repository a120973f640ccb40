//! Notices a request whose head has a line that ends in a line feed alone. The HTTP server takes such a line, a proxy in front of it may not,
//! and then the two would not agree on where a request ends.

/// Looks at what a client sends: the head of a request, from its first byte to its empty line. What follows is a body until the request is
/// answered.
#[derive(Debug, Default)]
pub(super) struct Lines {
    place: Place,
    last: u8,
    /// Nothing but a carriage return has come of this line.
    is_empty: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before a request.
    #[default]
    Start,
    Head,
    Behind,
}

impl Lines {
    /// True when one of the lines ended in a line feed alone.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        let mut bare = false;
        for byte in bytes {
            match (self.place, byte) {
                (Place::Behind, _) => break,
                (Place::Start, b'\r' | b'\n') => {}
                // A method begins so; anything else is no head.
                (Place::Start, byte) if !byte.is_ascii_uppercase() => self.place = Place::Behind,
                (Place::Start, _) => (self.place, self.is_empty) = (Place::Head, false),
                (Place::Head, b'\n') => {
                    bare |= self.last != b'\r';
                    if self.is_empty {
                        self.place = Place::Behind;
                    }
                    self.is_empty = true;
                }
                (Place::Head, b'\r') => {}
                (Place::Head, _) => self.is_empty = false,
            }
            self.last = *byte;
        }
        bare
    }

    /// The server sends this: an answer, after which another request may come.
    pub fn written(&mut self, bytes: &[u8]) {
        let asks_for_body = bytes.starts_with(b"HTTP/1.1 100");
        if self.place == Place::Behind && !asks_for_body {
            self.place = Place::Start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of requests that are each answered before the next one comes, read in pieces of this length.
    fn found(requests: &[&str], length: usize) -> Vec<bool> {
        let mut lines = Lines::default();
        let of_one = |request: &&str| {
            let bare = request.as_bytes().chunks(length).fold(false, |bare, piece| bare | lines.read(piece));
            lines.written(b"HTTP/1.1 100 Continue\r\n\r\n");
            let more = lines.read(b"{\n}\n");
            lines.written(b"HTTP/1.1 200 OK\r\n\r\n");
            bare | more
        };
        requests.iter().map(of_one).collect()
    }

    #[test]
    fn a_line_feed_alone_is_found_in_heads_and_not_in_bodies() {
        let good = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{\n\n\"a\":1}";
        let cases =
            ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n", "\r\nGET / HTTP/1.1\r\nHost:\r\na\n\r\n"];
        for length in [1, 2, 7, 1_000] {
            for bad in cases {
                assert_eq!(found(&[good, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", bad], length), [false, false, true], "{bad:?} by {length}");
            }
        }
    }
}
