//! Seals and opens bytes. Knows nothing of accounts or of the catalogue: whoever keeps sealed bytes says where they stand, and they
//! open only there. Start at `seal`; the keys and their file are in `key_ring.rs`.

mod key_ring;

use std::path::Path;
use std::sync::Arc;

use aes_gcm::aead::{Aead, Generate, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
pub use key_ring::{KEY_FILE, VaultError};
use key_ring::{KeyId, KeyRing};

/// The layout of sealed bytes: format, algorithm, key id, nonce, then ciphertext with its tag.
const FORMAT: u8 = 1;
const AES_256_GCM: u8 = 1;
const HEADER: usize = 2 + key_ring::ID_BYTES;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Where sealed bytes stand. They open nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub table: &'static str,
    pub column: &'static str,
    /// The row's id.
    pub row: &'a str,
}

/// The keys of this data directory. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct Vault(Arc<KeyRing>);

impl Vault {
    /// Reads `vault.key` in `dir`. The file is made only when it is missing and nothing is sealed yet; a file that is there is never
    /// changed. Everything that is wrong with it is an error of one line.
    pub fn open(dir: &Path, anything_sealed: bool) -> std::result::Result<Self, VaultError> {
        KeyRing::open(dir, anything_sealed).map(|ring| Self(Arc::new(ring)))
    }

    /// Seals `plain` with the first key, for this place only. Equal texts give different bytes.
    pub fn seal(&self, plain: &[u8], place: &Place<'_>) -> Result<Vec<u8>> {
        let (id, cipher) = self.0.primary().ok_or_else(|| Error::internal("the key ring is empty"))?;
        let header = header(id);
        let nonce = Nonce::<<Aes256Gcm as aes_gcm::AeadCore>::NonceSize>::try_generate().map_err(|_| Error::internal("no randomness for a nonce"))?;
        let sealed =
            cipher.encrypt(&nonce, Payload { msg: plain, aad: &associated(&header, place) }).map_err(|_| Error::internal("the cipher would not seal"))?;
        let mut bytes = Vec::with_capacity(HEADER + NONCE + sealed.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Opens what `seal` made for this place. Any other byte, place or key is `credential_damaged`.
    pub fn open_sealed(&self, sealed: &[u8], place: &Place<'_>) -> Result<Zeroizing<Vec<u8>>> {
        if sealed.len() < HEADER + NONCE + TAG {
            return Err(damaged("too short"));
        }
        let (head, rest) = sealed.split_at(HEADER);
        let (nonce, text) = rest.split_at(NONCE);
        if head.first() != Some(&FORMAT) || head.get(1) != Some(&AES_256_GCM) {
            return Err(damaged("unknown format or algorithm"));
        }
        let id: KeyId = head.get(2..).and_then(|id| id.try_into().ok()).ok_or_else(|| damaged("no key id"))?;
        let cipher = self.0.by_id(id).ok_or_else(|| damaged("sealed with a key that vault.key does not hold"))?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| damaged("no nonce"))?;
        let plain = cipher.decrypt(&nonce.into(), Payload { msg: text, aad: &associated(head, place) }).map_err(|_| damaged("the tag does not fit"))?;
        Ok(Zeroizing::new(plain))
    }

    /// Id and fingerprint of every key, the first one first. A fingerprint tells keys apart and tells nothing about them; whoever
    /// keeps sealed bytes keeps these beside them and so notices another key.
    pub fn fingerprints(&self) -> Vec<(String, String)> {
        self.0.fingerprints()
    }

    /// The id of the key that sealed these bytes, as `fingerprints` writes it; none when they are not sealed bytes at all.
    pub fn key_of(sealed: &[u8]) -> Option<String> {
        let id: KeyId = sealed.get(2..HEADER)?.try_into().ok()?;
        Some(key_ring::id_text(id))
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(...)")
    }
}

fn header(id: KeyId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = FORMAT;
    header[1] = AES_256_GCM;
    header[2..].copy_from_slice(&id);
    header
}

/// The header and the place, each part after its length, so that no two places spell the same bytes.
fn associated(header: &[u8], place: &Place<'_>) -> Vec<u8> {
    let mut bytes = header.to_vec();
    for part in [place.table, place.column, place.row] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn damaged(why: &'static str) -> Error {
    Error::conflict("credential_damaged", "The stored credentials cannot be decrypted. They were changed or moved outside Chatlake.")
        .action("Enter the credentials again.")
        .because(why)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PLACE: Place<'static> = Place { table: "accounts", column: "sealed", row: "acc_1" };

    fn vault() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), false).unwrap();
        (dir, vault)
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_after_a_restart() {
        let (dir, vault) = vault();
        let sealed = vault.seal(b"sandbox-key", &PLACE).unwrap();
        let again = Vault::open(dir.path(), true).unwrap();
        assert_eq!(again.open_sealed(&sealed, &PLACE).unwrap().as_slice(), b"sandbox-key");
        assert_eq!(again.fingerprints(), vault.fingerprints());
        assert_eq!(Vault::key_of(&sealed), Some(vault.fingerprints()[0].0.clone()));
        assert!(!format!("{vault:?}").contains(&vault.fingerprints()[0].0));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (_dir, vault) = vault();
        let sealed = vault.seal(b"sandbox-key", &PLACE).unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(vault.open_sealed(&changed, &PLACE).unwrap_err().code(), "credential_damaged", "byte {at}, bit {bit}");
            }
        }
        for length in 0..sealed.len() {
            assert!(vault.open_sealed(&sealed[..length], &PLACE).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn sealed_bytes_open_in_no_other_row_column_or_table() {
        let (_dir, vault) = vault();
        let sealed = vault.seal(b"sandbox-key", &PLACE).unwrap();
        for other in [
            Place { row: "acc_2", ..PLACE },
            Place { column: "fields", ..PLACE },
            Place { table: "datasets", ..PLACE },
            Place { column: "sealeda", row: "cc_1", ..PLACE },
        ] {
            assert_eq!(vault.open_sealed(&sealed, &other).unwrap_err().code(), "credential_damaged", "{other:?}");
        }
    }

    #[test]
    fn equal_secrets_are_sealed_to_different_bytes() {
        let (_dir, vault) = vault();
        let nonces: HashSet<Vec<u8>> = (0..2_000).map(|_| vault.seal(b"same", &PLACE).unwrap()[HEADER..HEADER + NONCE].to_vec()).collect();
        assert_eq!(nonces.len(), 2_000);
    }

    #[test]
    fn a_new_first_key_seals_and_the_old_one_still_opens() {
        let (dir, vault) = vault();
        let sealed = vault.seal(b"old", &PLACE).unwrap();
        let file = dir.path().join(KEY_FILE);
        let old = std::fs::read_to_string(&file).unwrap();
        let other = tempfile::tempdir().unwrap();
        Vault::open(other.path(), false).unwrap();
        let new = std::fs::read_to_string(other.path().join(KEY_FILE)).unwrap();
        std::fs::write(&file, format!("{new}{old}")).unwrap();
        let both = Vault::open(dir.path(), true).unwrap();
        assert_eq!(both.open_sealed(&sealed, &PLACE).unwrap().as_slice(), b"old");
        assert_ne!(Vault::key_of(&both.seal(b"new", &PLACE).unwrap()), Vault::key_of(&sealed));
        assert_eq!(both.fingerprints().len(), 2);
        let only_new = Vault::open(other.path(), true).unwrap();
        assert_eq!(only_new.open_sealed(&sealed, &PLACE).unwrap_err().code(), "credential_damaged");
    }
}
