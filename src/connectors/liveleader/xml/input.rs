//! The input of the XML parser: decodes any encoding to UTF-8 and limits the size of each piece of
//! markup.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use encoding_rs_io::{DecodeReaderBytes, DecodeReaderBytesBuilder};

use super::DocumentError;

/// The declaration must be within the first bytes.
const HEAD: usize = 1_024;

/// The inspected start of a source and its rest, as UTF-8.
pub type Decoded<R> = DecodeReaderBytes<io::Chain<Cursor<Vec<u8>>, R>, Vec<u8>>;

/// Decodes the document to UTF-8 without a byte order mark. The order of precedence is: byte order
/// mark, declaration, `label`, UTF-8. Invalid bytes become U+FFFD.
pub fn decoded<R: Read>(mut source: R, label: Option<&str>) -> Result<Decoded<R>, DocumentError> {
    let mut head = Vec::with_capacity(HEAD);
    while head.len() < HEAD && declaration(&head).is_none() && !is_decided(&head) {
        let mut more = [0; HEAD];
        match source.read(&mut more[..HEAD - head.len()]) {
            Ok(0) => break,
            Ok(read) => head.extend_from_slice(&more[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(DocumentError::Cut),
        }
    }
    let encoding = if has_bom(&head) {
        None
    } else if let Some(encoding) = utf16_without_bom(&head) {
        Some(encoding)
    } else {
        let declared = declaration(&head).and_then(|text| encoding_of(&text));
        let named = declared.as_deref().or(label.map(str::trim));
        match named.filter(|name| !name.is_empty()) {
            Some(name) => match Encoding::for_label(name.as_bytes()) {
                // A document whose declaration can be read as ASCII is not UTF-16, even if the
                // declaration names UTF-16.
                Some(found) if found == UTF_16LE || found == UTF_16BE => Some(UTF_8),
                Some(found) => Some(found),
                None => return Err(DocumentError::UnknownEncoding),
            },
            None => Some(UTF_8),
        }
    };
    let source = Cursor::new(head).chain(source);
    Ok(DecodeReaderBytesBuilder::new()
        .encoding(encoding)
        .bom_override(true)
        .strip_bom(true)
        .build(source))
}

fn has_bom(head: &[u8]) -> bool {
    [&[0xef, 0xbb, 0xbf][..], &[0xff, 0xfe], &[0xfe, 0xff]]
        .iter()
        .any(|mark| head.starts_with(mark))
}

/// UTF-16 without a byte order mark starts with a markup character and a zero byte.
fn utf16_without_bom(head: &[u8]) -> Option<&'static Encoding> {
    match head {
        [b'<', 0, ..] => Some(UTF_16LE),
        [0, b'<', ..] => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether the first bytes show that no declaration follows, or that it is not needed to find the
/// encoding.
fn is_decided(head: &[u8]) -> bool {
    let begins = b"<?xml";
    head.len() >= 4
        && (has_bom(head)
            || utf16_without_bom(head).is_some()
            || !begins.starts_with(&head[..head.len().min(begins.len())]))
}

/// The text of the XML declaration, if it is complete.
fn declaration(head: &[u8]) -> Option<String> {
    let rest = head.strip_prefix(b"<?xml")?;
    let end = rest.windows(2).position(|two| two == b"?>")?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

fn encoding_of(declaration: &str) -> Option<String> {
    let (_, after) = declaration.split_once("encoding")?;
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    value[1..]
        .split(quote)
        .next()
        .map(|name| name.trim().to_owned())
}

/// The error for a piece of markup above the size limit.
#[derive(Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a piece of markup is too long")
    }
}

impl std::error::Error for TooLong {}

/// Returns at most the limit of bytes until the next piece of markup begins.
pub struct LimitedInput<R> {
    from: R,
    taken: usize,
    limit: usize,
}

impl<R> LimitedInput<R> {
    pub fn new(from: R, limit: usize) -> Self {
        Self {
            from,
            taken: 0,
            limit,
        }
    }

    pub fn begin_piece(&mut self) {
        self.taken = 0;
    }
}

impl<R: Read> Read for LimitedInput<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.from.read(into)
    }
}

impl<R: BufRead> BufRead for LimitedInput<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.taken > self.limit {
            return Err(io::Error::other(TooLong));
        }
        self.from.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.taken += bytes;
        self.from.consume(bytes);
    }
}
