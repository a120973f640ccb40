//! Encodings of a document other than UTF-8 without a byte order mark.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Label {
    #[serde(rename = "windows-1252")]
    Windows1252,
    #[serde(rename = "iso-8859-1")]
    Iso88591,
    /// With a byte order mark, like the next one.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// With a byte order mark.
    #[serde(rename = "utf-8-bom")]
    Utf8Bom,
}

/// The characters of windows-1252 from 0x80 to 0x9f; a space for undefined ones.
const MIDDLE: &str = "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ";

impl Label {
    /// The name in the document's declaration.
    pub fn declared(self) -> &'static str {
        match self {
            Self::Windows1252 => "windows-1252",
            Self::Iso88591 => "ISO-8859-1",
            Self::Utf16Le | Self::Utf16Be => "UTF-16",
            Self::Utf8Bom => "UTF-8",
        }
    }

    /// The name in the Content-Type header.
    pub fn charset(self) -> &'static str {
        match self {
            Self::Windows1252 => "windows-1252",
            Self::Iso88591 => "iso-8859-1",
            Self::Utf16Le | Self::Utf16Be => "utf-16",
            Self::Utf8Bom => "utf-8",
        }
    }

    /// Whether some letters need a numeric reference, which CDATA cannot contain.
    pub fn is_narrow(self) -> bool {
        matches!(self, Self::Windows1252 | Self::Iso88591)
    }

    pub fn mark(self) -> &'static [u8] {
        match self {
            Self::Windows1252 | Self::Iso88591 => b"",
            Self::Utf16Le => b"\xff\xfe",
            Self::Utf16Be => b"\xfe\xff",
            Self::Utf8Bom => b"\xef\xbb\xbf",
        }
    }

    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Windows1252 => narrow(text, |letter| match letter {
                '\u{80}'..='\u{9f}' | ' ' => (letter == ' ').then_some(b' '),
                '\0'..='\u{ff}' => u8::try_from(letter).ok(),
                _ => (0x80..=0x9f)
                    .zip(MIDDLE.chars())
                    .find(|(_, other)| *other == letter)
                    .map(|(byte, _)| byte),
            }),
            Self::Iso88591 => narrow(text, |letter| u8::try_from(letter).ok()),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Self::Utf8Bom => text.as_bytes().to_vec(),
        }
    }
}

/// Encodes with one byte per letter, and a numeric reference for a letter without a byte.
fn narrow(text: &str, byte: impl Fn(char) -> Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut reference = String::new();
    for letter in text.chars() {
        match byte(letter) {
            Some(byte) => bytes.push(byte),
            None => {
                reference.clear();
                let _ = write!(reference, "&#{};", u32::from(letter));
                bytes.extend_from_slice(reference.as_bytes());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_an_encoding_lacks_become_references() {
        assert_eq!(
            Label::Windows1252.encode("Å €\u{81}Ÿ ž 佐"),
            b"\xc5 \x80&#129;\x9f \x9e &#20304;"
        );
        assert_eq!(Label::Iso88591.encode("Å €"), b"\xc5 &#8364;");
        assert_eq!(Label::Utf16Le.encode("Å佐"), b"\xc5\x00\x50\x4f");
        assert_eq!(Label::Utf16Be.encode("Å佐"), b"\x00\xc5\x4f\x50");
    }
}
