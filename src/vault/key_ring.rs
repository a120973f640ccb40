//! The keys and their file. `vault.key` has one key per line, `key-id base64`. The first key
//! encrypts, all keys decrypt. The id has eight hex digits, the key 32 bytes. The file is read
//! once, at the start.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The name of the file in the data directory.
pub const KEY_FILE: &str = "vault.key";

pub(super) const ID_BYTES: usize = 4;
pub(super) type KeyId = [u8; ID_BYTES];
const KEY_BYTES: usize = 32;

/// An error in the key file: one line with the cause, the file and the remedy. The process exits
/// with code 78.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{} is missing. Only this file decrypts the stored credentials. Restore it from your backup; a \
        new key cannot decrypt them.", .0.display())]
    Missing(PathBuf),
    #[error("{path} cannot be read: {why}. Give the file to the user that runs Chatlake, with mode 0600.", path = .0.display(), why = .1)]
    Unreadable(PathBuf, std::io::Error),
    #[error("{path} cannot be created: {why}. The data directory must be writable for the user that runs \
        Chatlake.", path = .0.display(), why = .1)]
    NotCreated(PathBuf, std::io::Error),
    #[error("{path} can be read by other users of this machine (mode {mode:04o}). Run: chmod 600 {path}", path = .0.display(), mode = .1)]
    TooPermissive(PathBuf, u32),
    #[error("{} is empty. Restore the file from your backup.", .0.display())]
    Empty(PathBuf),
    #[error("{path}, line {line}: {why}. Restore the file from your backup.", path = .0.display(), line = .1, why = .2)]
    BadLine(PathBuf, usize, &'static str),
    #[error("The system provides no random data to create {}. Start Chatlake on another system.", .0.display())]
    NoRandomness(PathBuf),
}

impl From<VaultError> for crate::error::Error {
    fn from(why: VaultError) -> Self {
        Self::conflict("vault_key", why.to_string())
    }
}

struct VaultKey {
    id: KeyId,
    cipher: Aes256Gcm,
    fingerprint: String,
}

pub(super) struct KeyRing {
    keys: Vec<VaultKey>,
}

impl KeyRing {
    pub fn open(dir: &Path, has_sealed_data: bool) -> Result<Self, VaultError> {
        let path = dir.join(KEY_FILE);
        match fs::metadata(&path) {
            Ok(metadata) => {
                let mode = metadata.permissions().mode() & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(VaultError::TooPermissive(path, mode));
                }
            }
            Err(why) if why.kind() == ErrorKind::NotFound => {
                if has_sealed_data {
                    return Err(VaultError::Missing(path));
                }
                create_key_file(dir, &path)?;
            }
            Err(why) => return Err(VaultError::Unreadable(path, why)),
        }
        let text = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(why) => return Err(VaultError::Unreadable(path, why)),
        };
        Self::parse(&text, path)
    }

    fn parse(bytes: &[u8], path: PathBuf) -> Result<Self, VaultError> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(VaultError::BadLine(path, 1, "it is not text"));
        };
        let mut keys: Vec<VaultKey> = Vec::new();
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            match VaultKey::parse(line) {
                Ok(key) if keys.iter().any(|other| other.id == key.id) => {
                    return Err(VaultError::BadLine(
                        path,
                        at + 1,
                        "the key id appears twice",
                    ));
                }
                Ok(key) => keys.push(key),
                Err(why) => return Err(VaultError::BadLine(path, at + 1, why)),
            }
        }
        if keys.is_empty() {
            Err(VaultError::Empty(path))
        } else {
            Ok(Self { keys })
        }
    }

    pub fn primary(&self) -> Option<(KeyId, &Aes256Gcm)> {
        self.keys.first().map(|key| (key.id, &key.cipher))
    }

    pub fn by_id(&self, id: KeyId) -> Option<&Aes256Gcm> {
        self.keys
            .iter()
            .find(|key| key.id == id)
            .map(|key| &key.cipher)
    }

    pub fn fingerprints(&self) -> Vec<(String, String)> {
        self.keys
            .iter()
            .map(|key| (id_text(key.id), key.fingerprint.clone()))
            .collect()
    }
}

impl VaultKey {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut words = line.split_whitespace();
        let (Some(id), Some(key), None) = (words.next(), words.next(), words.next()) else {
            return Err("a line must be a key id, a space and the key in base64");
        };
        let id = id_from(id).ok_or("the key id must be eight hex digits")?;
        let key = Zeroizing::new(STANDARD.decode(key).map_err(|_| "the key is not base64")?);
        if key.len() != KEY_BYTES {
            return Err("the key must be 32 bytes");
        }
        if !looks_random(&key) {
            return Err("the key is not random: it is an example or all zeros");
        }
        let cipher = Aes256Gcm::new_from_slice(&key).map_err(|_| "the key must be 32 bytes")?;
        let digest = Sha256::new()
            .chain_update(b"chatlake vault key fingerprint 1")
            .chain_update(id)
            .chain_update(&*key)
            .finalize();
        Ok(Self {
            id,
            cipher,
            fingerprint: hex(&digest),
        })
    }
}

/// Rejects zeros, repeated bytes and sequences such as 0, 1, 2, 3. A random key is rejected once in
/// more than 10^30 cases.
fn looks_random(key: &[u8]) -> bool {
    let mut seen = [false; 256];
    let mut steps = [false; 256];
    for (at, byte) in key.iter().enumerate() {
        seen[usize::from(*byte)] = true;
        if let Some(before) = at.checked_sub(1).and_then(|at| key.get(at)) {
            steps[usize::from(byte.wrapping_sub(*before))] = true;
        }
    }
    let count = |flags: &[bool; 256]| flags.iter().filter(|flag| **flag).count();
    count(&seen) >= 10 && count(&steps) >= 10
}

/// Creates the file with its first key. It appears complete and with mode 0600 or not at all, and
/// never replaces another file.
fn create_key_file(dir: &Path, path: &Path) -> Result<(), VaultError> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    let mut id: KeyId = [0; ID_BYTES];
    let mut suffix = [0_u8; 8];
    let mut random = rand::rng();
    random.fill(&mut key[..]);
    random.fill(&mut id[..]);
    random.fill(&mut suffix[..]);
    if !looks_random(&*key) {
        return Err(VaultError::NoRandomness(path.to_owned()));
    }
    let line = Zeroizing::new(format!(
        "{} {}\n",
        id_text(id),
        &*Zeroizing::new(STANDARD.encode(key.as_slice()))
    ));
    let staged = dir.join(format!(".{KEY_FILE}.{}", hex(&suffix)));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        // A hard link instead of a rename, so that two concurrent first starts end with one key.
        fs::hard_link(&staged, path)?;
        fs::File::open(dir)?.sync_all()
    })();
    let _ = fs::remove_file(&staged);
    match written {
        Err(why) if why.kind() != ErrorKind::AlreadyExists => {
            Err(VaultError::NotCreated(path.to_owned(), why))
        }
        _ => Ok(()),
    }
}

pub(super) fn id_text(id: KeyId) -> String {
    hex(&id)
}

fn id_from(text: &str) -> Option<KeyId> {
    let digits = text.len() == ID_BYTES * 2
        && text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    digits
        .then(|| u32::from_str_radix(text, 16).ok().map(u32::to_be_bytes))
        .flatten()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn listing(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let entries = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .map(|path| {
                (
                    path.clone(),
                    (
                        fs::metadata(&path).unwrap().permissions().mode(),
                        fs::read(&path).unwrap(),
                    ),
                )
            })
            .collect()
    }

    fn write(dir: &Path, text: &[u8], mode: u32) {
        let path = dir.join(KEY_FILE);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_start_makes_a_file_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        KeyRing::open(dir.path(), false).unwrap();
        let files = listing(dir.path());
        assert_eq!(files.len(), 1);
        assert_eq!(files[&dir.path().join(KEY_FILE)].0 & 0o7777, 0o600);
        KeyRing::open(dir.path(), true).unwrap();
        assert_eq!(listing(dir.path()), files);
    }

    #[test]
    fn two_concurrent_first_starts_create_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let found: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| KeyRing::open(dir.path(), false).unwrap().fingerprints()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(listing(dir.path()).len(), 1);
    }

    #[test]
    fn a_bad_key_file_refuses_the_start_in_one_line_and_nothing_is_changed() {
        let good = {
            let dir = tempfile::tempdir().unwrap();
            KeyRing::open(dir.path(), false).unwrap();
            fs::read_to_string(dir.path().join(KEY_FILE)).unwrap()
        };
        let zeros = format!("0a0b0c0d {}\n", STANDARD.encode([0; 32]));
        let example = format!(
            "0a0b0c0d {}\n",
            STANDARD.encode((0..32).collect::<Vec<u8>>())
        );
        let short = format!("0a0b0c0d {}\n", STANDARD.encode([7, 200, 3, 90]));
        let cut = &good[..good.len() / 2];
        let twice = format!("{good}{good}");
        let cases: [(&str, &[u8], u32, &str); 10] = [
            ("empty", b"", 0o600, "is empty"),
            ("blank", b"\n\n", 0o600, "is empty"),
            ("short", short.as_bytes(), 0o600, "32 bytes"),
            ("all zeros", zeros.as_bytes(), 0o600, "not random"),
            ("example", example.as_bytes(), 0o600, "not random"),
            ("cut", cut.as_bytes(), 0o600, "line 1"),
            ("not text", &[0xff, 0xfe, 0x00], 0o600, "not text"),
            ("twice", twice.as_bytes(), 0o600, "twice"),
            ("read by all", good.as_bytes(), 0o644, "chmod 600"),
            ("read by the group", good.as_bytes(), 0o640, "chmod 600"),
        ];
        for (name, text, mode, says) in cases {
            for sealed in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                write(dir.path(), text, mode);
                let before = listing(dir.path());
                let line = KeyRing::open(dir.path(), sealed).err().unwrap().to_string();
                assert!(
                    line.contains(says) && line.contains(KEY_FILE) && !line.contains('\n'),
                    "{name}: {line}"
                );
                assert!(
                    !line.contains(good.split(' ').nth(1).unwrap().trim()),
                    "{name} shows the key"
                );
                assert_eq!(listing(dir.path()), before, "{name}");
            }
        }
    }

    #[test]
    fn a_missing_key_is_not_replaced_when_something_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let line = KeyRing::open(dir.path(), true).err().unwrap().to_string();
        assert!(line.contains("is missing"), "{line}");
        assert!(listing(dir.path()).is_empty());
    }
}
