//! What the XML reader reads from: bytes of any encoding as UTF-8, and never more of them in one piece than there is room for.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use super::Fault;

/// A declaration is looked for in the first bytes.
const HEAD: usize = 1_024;

/// What was looked at of a source, then its rest, as UTF-8.
pub type Decoded<R> = DecodeReaderBytes<io::Chain<Cursor<Vec<u8>>, R>, Vec<u8>>;

/// The document as UTF-8, without a byte order mark. Its own mark counts most, then its declaration, then `label`; else it is UTF-8. A
/// byte that its encoding does not know becomes U+FFFD.
pub fn decoded<R: Read>(mut source: R, label: Option<&str>) -> Result<Decoded<R>, Fault> {
    let mut head = Vec::with_capacity(HEAD);
    while head.len() < HEAD && declaration(&head).is_none() && !settled(&head) {
        let mut more = [0; HEAD];
        match source.read(&mut more[..HEAD - head.len()]) {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&more[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Fault::Cut),
        }
    }
    let encoding = if marked(&head) {
        None
    } else if let Some(wide) = wide(&head) {
        Some(wide)
    } else {
        let declared = declaration(&head).and_then(|text| encoding_of(&text));
        let named = declared.as_deref().or(label.map(str::trim));
        match named.filter(|name| !name.is_empty()) {
            Some(name) => match Encoding::for_label(name.as_bytes()) {
                // A declaration that can be read is not in the wide encoding that it names.
                Some(found) if found == UTF_16LE || found == UTF_16BE => Some(UTF_8),
                Some(found) => Some(found),
                None => return Err(Fault::UnknownEncoding),
            },
            None => Some(UTF_8),
        }
    };
    let whole = Cursor::new(head).chain(source);
    Ok(DecodeReaderBytesBuilder::new().encoding(encoding).bom_override(true).strip_bom(true).build(whole))
}

fn marked(head: &[u8]) -> bool {
    [&[0xef, 0xbb, 0xbf][..], &[0xff, 0xfe], &[0xfe, 0xff]].iter().any(|mark| head.starts_with(mark))
}

/// UTF-16 without a mark begins with a character of markup and a zero.
fn wide(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [b'<', 0, ..] => Some(UTF_16LE),
        [0, b'<', ..] => Some(UTF_16BE),
        _ => None,
    }
}

/// The first bytes are no beginning of a declaration.
fn settled(head: &[u8]) -> bool {
    let begins = b"<?xml";
    head.len() >= 4 && (marked(head) || wide(head).is_some() || !begins.starts_with(&head[..head.len().min(begins.len())]))
}

/// The text of the XML declaration, when it is all there.
fn declaration(head: &[u8]) -> Option<String> {
    let rest = head.strip_prefix(b"<?xml")?;
    let end = rest.windows(2).position(|two| two == b"?>")?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

fn encoding_of(declaration: &str) -> Option<String> {
    let (_, after) = declaration.split_once("encoding")?;
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    value[1..].split(quote).next().map(|name| name.trim().to_owned())
}

/// A piece of markup is longer than there is room for.
#[derive(Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a piece of markup is too long")
    }
}

impl std::error::Error for TooLong {}

/// Gives so many bytes and no more until the next piece is begun.
pub struct Feed<R> {
    from: R,
    taken: usize,
    most: usize,
}

impl<R> Feed<R> {
    pub fn new(from: R, most: usize) -> Self {
        Self { from, taken: 0, most }
    }

    pub fn begin_piece(&mut self) {
        self.taken = 0;
    }
}

impl<R: Read> Read for Feed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.from.read(into)
    }
}

impl<R: BufRead> BufRead for Feed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken > self.most {
            return Err(io::Error::other(TooLong));
        }
        self.from.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.taken += bytes;
        self.from.consume(bytes);
    }
}
