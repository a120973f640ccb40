//! Encrypts (seals) and decrypts bytes. Does not depend on accounts or the catalogue: the caller
//! passes the context of the bytes (table, column, row), and they can only be decrypted in the same
//! context. Start at `seal`; the keys and their file are in `key_ring.rs`.

mod key_ring;

use std::path::Path;
use std::sync::Arc;

use aes_gcm::aead::{Aead, Generate, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
pub use key_ring::{KEY_FILE, VaultError};
use key_ring::{KeyId, KeyRing};

/// The format of sealed bytes: format, algorithm, key id, nonce, then ciphertext with its tag.
const FORMAT: u8 = 1;
const AES_256_GCM: u8 = 1;
const HEADER: usize = 2 + key_ring::ID_BYTES;
const NONCE: usize = 12;
const TAG: usize = 16;

/// The location of sealed bytes, which is authenticated with them.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    pub table: &'static str,
    pub column: &'static str,
    /// The row's id.
    pub row: &'a str,
}

/// The keys of this data directory. Cheap to clone; `Debug` shows nothing.
#[derive(Clone)]
pub struct Vault(Arc<KeyRing>);

impl Vault {
    /// Reads `vault.key` in `dir`. The file is created only if it is missing and there is no sealed
    /// data; an existing file is never changed. Any problem with it is an error of one line.
    pub fn open(dir: &Path, has_sealed_data: bool) -> std::result::Result<Self, VaultError> {
        KeyRing::open(dir, has_sealed_data).map(|ring| Self(Arc::new(ring)))
    }

    /// Encrypts `plain` with the first key for this context. Equal texts give different bytes.
    pub fn seal(&self, plain: &[u8], context: &SealContext<'_>) -> Result<Vec<u8>> {
        let (id, cipher) = self
            .0
            .primary()
            .ok_or_else(|| Error::internal("the key ring is empty"))?;
        let header = header(id);
        let nonce = Nonce::<<Aes256Gcm as aes_gcm::AeadCore>::NonceSize>::try_generate()
            .map_err(|_| Error::internal("no randomness for a nonce"))?;
        let sealed = cipher
            .encrypt(
                &nonce,
                Payload {
                    msg: plain,
                    aad: &associated_data(&header, context),
                },
            )
            .map_err(|_| Error::internal("the cipher would not seal"))?;
        let mut bytes = Vec::with_capacity(HEADER + NONCE + sealed.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Decrypts what `seal` returned for this context. Changed bytes, another context or another
    /// key give `credential_damaged`.
    pub fn open_sealed(
        &self,
        sealed: &[u8],
        context: &SealContext<'_>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        if sealed.len() < HEADER + NONCE + TAG {
            return Err(damaged("too short"));
        }
        let (head, rest) = sealed.split_at(HEADER);
        let (nonce, text) = rest.split_at(NONCE);
        if head.first() != Some(&FORMAT) || head.get(1) != Some(&AES_256_GCM) {
            return Err(damaged("unknown format or algorithm"));
        }
        let id: KeyId = head
            .get(2..)
            .and_then(|id| id.try_into().ok())
            .ok_or_else(|| damaged("no key id"))?;
        let cipher = self
            .0
            .by_id(id)
            .ok_or_else(|| damaged("sealed with a key that vault.key does not hold"))?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| damaged("no nonce"))?;
        let plain = cipher
            .decrypt(
                &nonce.into(),
                Payload {
                    msg: text,
                    aad: &associated_data(head, context),
                },
            )
            .map_err(|_| damaged("the tag does not fit"))?;
        Ok(Zeroizing::new(plain))
    }

    /// Id and fingerprint of each key, in order. A fingerprint identifies a key without revealing
    /// it; the database stores the fingerprints to detect another key.
    pub fn fingerprints(&self) -> Vec<(String, String)> {
        self.0.fingerprints()
    }

    /// The id of the key that encrypted these bytes, in the format of `fingerprints`; `None` if the
    /// bytes are not sealed data.
    pub fn key_id_of(sealed: &[u8]) -> Option<String> {
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

/// The header and the context, each part with its length, so that no two contexts give the same
/// bytes.
fn associated_data(header: &[u8], context: &SealContext<'_>) -> Vec<u8> {
    let mut bytes = header.to_vec();
    for part in [context.table, context.column, context.row] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn damaged(why: &'static str) -> Error {
    Error::conflict(
        "credential_damaged",
        "The stored credentials cannot be decrypted. They were changed or moved outside Chatlake.",
    )
    .action("Enter the credentials again.")
    .with_log_cause(why)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CONTEXT: SealContext<'static> = SealContext {
        table: "accounts",
        column: "sealed",
        row: "acc_1",
    };

    fn vault() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), false).unwrap();
        (dir, vault)
    }

    #[test]
    fn sealed_data_opens_in_its_context_after_a_restart() {
        let (dir, vault) = vault();
        let sealed = vault.seal(b"sandbox-key", &CONTEXT).unwrap();
        let reopened = Vault::open(dir.path(), true).unwrap();
        assert_eq!(
            reopened.open_sealed(&sealed, &CONTEXT).unwrap().as_slice(),
            b"sandbox-key"
        );
        assert_eq!(reopened.fingerprints(), vault.fingerprints());
        assert_eq!(
            Vault::key_id_of(&sealed),
            Some(vault.fingerprints()[0].0.clone())
        );
        assert!(!format!("{vault:?}").contains(&vault.fingerprints()[0].0));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (_dir, vault) = vault();
        let sealed = vault.seal(b"sandbox-key", &CONTEXT).unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(
                    vault.open_sealed(&changed, &CONTEXT).unwrap_err().code(),
                    "credential_damaged",
                    "byte {at}, bit {bit}"
                );
            }
        }
        for length in 0..sealed.len() {
            assert!(
                vault.open_sealed(&sealed[..length], &CONTEXT).is_err(),
                "cut to {length}"
            );
        }
    }

    #[test]
    fn sealed_bytes_open_in_no_other_row_column_or_table() {
        let (_dir, vault) = vault();
        let sealed = vault.seal(b"sandbox-key", &CONTEXT).unwrap();
        for other in [
            SealContext {
                row: "acc_2",
                ..CONTEXT
            },
            SealContext {
                column: "fields",
                ..CONTEXT
            },
            SealContext {
                table: "datasets",
                ..CONTEXT
            },
            SealContext {
                column: "sealeda",
                row: "cc_1",
                ..CONTEXT
            },
        ] {
            assert_eq!(
                vault.open_sealed(&sealed, &other).unwrap_err().code(),
                "credential_damaged",
                "{other:?}"
            );
        }
    }

    #[test]
    fn equal_secrets_are_sealed_to_different_bytes() {
        let (_dir, vault) = vault();
        let nonces: HashSet<Vec<u8>> = (0..2_000)
            .map(|_| vault.seal(b"same", &CONTEXT).unwrap()[HEADER..HEADER + NONCE].to_vec())
            .collect();
        assert_eq!(nonces.len(), 2_000);
    }

    #[test]
    fn a_new_first_key_seals_and_the_old_one_still_opens() {
        let (dir, vault) = vault();
        let sealed = vault.seal(b"old", &CONTEXT).unwrap();
        let file = dir.path().join(KEY_FILE);
        let old = std::fs::read_to_string(&file).unwrap();
        let other = tempfile::tempdir().unwrap();
        Vault::open(other.path(), false).unwrap();
        let new = std::fs::read_to_string(other.path().join(KEY_FILE)).unwrap();
        std::fs::write(&file, format!("{new}{old}")).unwrap();
        let both = Vault::open(dir.path(), true).unwrap();
        assert_eq!(
            both.open_sealed(&sealed, &CONTEXT).unwrap().as_slice(),
            b"old"
        );
        assert_ne!(
            Vault::key_id_of(&both.seal(b"new", &CONTEXT).unwrap()),
            Vault::key_id_of(&sealed)
        );
        assert_eq!(both.fingerprints().len(), 2);
        let only_new = Vault::open(other.path(), true).unwrap();
        assert_eq!(
            only_new.open_sealed(&sealed, &CONTEXT).unwrap_err().code(),
            "credential_damaged"
        );
    }
}
