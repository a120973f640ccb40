//! Checksums of a segment: CRC-32C of each 256 KiB block and of the whole file. They are computed
//! while the file is written, stored in the catalogue, and compared each time a block is read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The length of a block in bytes; the last block of a file may be shorter.
pub const BLOCK_BYTES: usize = 256 << 10;
const SCHEME: &str = "crc32c-256k";

/// The checksums of one file. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksums {
    file: u32,
    blocks: Arc<[u32]>,
}

impl Checksums {
    /// The stored text: the scheme, the checksum of the file in hex, and those of the blocks,
    /// little-endian, in base64.
    pub fn to_text(&self) -> String {
        let bytes: Vec<u8> = self
            .blocks
            .iter()
            .flat_map(|block| block.to_le_bytes())
            .collect();
        format!(
            "{SCHEME}:{:08x}:{}",
            self.file,
            STANDARD_NO_PAD.encode(bytes)
        )
    }

    /// Parses the result of `to_text`. `None` for another scheme or damaged text.
    pub fn parse(text: &str) -> Option<Self> {
        let (file, blocks) = text
            .strip_prefix(SCHEME)?
            .strip_prefix(':')?
            .split_once(':')?;
        let bytes = STANDARD_NO_PAD.decode(blocks).ok()?;
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return None;
        }
        Some(Self {
            file: u32::from_str_radix(file, 16).ok()?,
            blocks: words.iter().map(|word| u32::from_le_bytes(*word)).collect(),
        })
    }

    /// Whether `bytes` are the content of block number `at`, from 0.
    pub fn matches(&self, at: usize, bytes: &[u8]) -> bool {
        self.blocks
            .get(at)
            .is_some_and(|expected| *expected == crc32c::crc32c(bytes))
    }

    /// Reads the rest of a file. Returns its checksums and the number of bytes read.
    pub fn of_file(mut file: &File) -> io::Result<(Self, u64)> {
        let mut sum = RunningChecksum::default();
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut length = 0_u64;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((sum.finish(), length)),
                read => {
                    length += read as u64;
                    sum.add(&buffer[..read]);
                }
            }
        }
    }
}

/// Computes checksums of consecutive bytes.
#[derive(Default)]
struct RunningChecksum {
    file: u32,
    block: u32,
    /// The number of bytes in the current block so far.
    filled: usize,
    blocks: Vec<u32>,
}

impl RunningChecksum {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.block = crc32c::crc32c_append(self.block, now);
            self.filled += now.len();
            if self.filled == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.file = crc32c::crc32c_combine(self.file, self.block, self.filled);
        self.blocks.push(std::mem::take(&mut self.block));
        self.filled = 0;
    }

    fn finish(mut self) -> Checksums {
        if self.filled > 0 {
            self.end_block();
        }
        Checksums {
            file: self.file,
            blocks: self.blocks.into(),
        }
    }
}

/// Writes a file from its start and computes its checksums.
pub struct ChecksumWriter {
    file: File,
    sum: RunningChecksum,
}

impl ChecksumWriter {
    pub fn new(file: File) -> Self {
        Self {
            file,
            sum: RunningChecksum::default(),
        }
    }

    pub fn finish(self) -> (File, Checksums) {
        (self.file, self.sum.finish())
    }
}

impl Write for ChecksumWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.add(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], pieces: usize) -> Checksums {
        let mut sum = RunningChecksum::default();
        bytes.chunks(pieces).for_each(|piece| sum.add(piece));
        sum.finish()
    }

    #[test]
    fn the_sums_do_not_depend_on_how_the_bytes_arrive() {
        let bytes: Vec<u8> = (0..2 * BLOCK_BYTES + 777)
            .map(|n| (n * 31 % 251) as u8)
            .collect();
        let sums = of(&bytes, bytes.len());
        for pieces in [1_000, BLOCK_BYTES, BLOCK_BYTES + 1] {
            assert_eq!(of(&bytes, pieces), sums);
        }
        assert_eq!((sums.blocks.len(), sums.file), (3, crc32c::crc32c(&bytes)));
        assert!(
            sums.matches(2, &bytes[2 * BLOCK_BYTES..])
                && !sums.matches(1, &bytes[..BLOCK_BYTES])
                && !sums.matches(3, &[])
        );
        assert_eq!(Checksums::parse(&sums.to_text()), Some(sums));
    }

    #[test]
    fn a_text_of_another_scheme_is_no_checksum() {
        for text in [
            "",
            "crc32c-256k",
            "crc32c-256k:xyz:",
            "crc32c-256k:00000000:AAA",
            "blake3:00000000:",
            "crc32c-256k:00000000:%",
        ] {
            assert_eq!(Checksums::parse(text), None, "{text}");
        }
        assert!(Checksums::parse(&of(&[], 1).to_text()).is_some());
    }

    #[test]
    fn a_file_has_the_sums_that_were_computed_while_it_was_written() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = ChecksumWriter::new(file.reopen().unwrap());
        let bytes = vec![7; BLOCK_BYTES + 5];
        writer.write_all(&bytes).unwrap();
        let (_, sums) = writer.finish();
        let (read, length) = Checksums::of_file(file.as_file_mut()).unwrap();
        assert_eq!((read, length), (sums, bytes.len() as u64));
    }
}
