//! The key file of the vault: which one stops a start, and when a new one is created.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::single_line;
use crate::support::data_dir::DataDir;

/// The files that differ. The lock file is empty and may be new.
fn changed_files(
    before: &BTreeMap<PathBuf, (u32, String)>,
    after: &BTreeMap<PathBuf, (u32, String)>,
) -> Vec<PathBuf> {
    let all = before
        .keys()
        .chain(after.keys())
        .filter(|path| !path.ends_with("chatlake.lock"));
    all.filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_vault_key_refuses_every_start_and_changes_nothing() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    data_dir
        .account(&email, "http://127.0.0.1:1", "sandbox-key")
        .await;
    let key = data_dir.data().join("vault.key");
    let good = std::fs::read(&key).unwrap();
    let other = {
        let other = DataDir::new();
        other.person("else", "admin").await;
        std::fs::read(other.data().join("vault.key")).unwrap()
    };
    let zeros = format!("0a0b0c0d {}=\n", "A".repeat(43));
    let id = String::from_utf8_lossy(&good[..8]).into_owned();
    let same_id = format!("{id}{}", String::from_utf8_lossy(&other[8..]));
    let cases: [(&str, Option<&[u8]>, u32); 8] = [
        ("missing", None, 0o600),
        ("another", Some(&other), 0o600),
        ("another under the same id", Some(same_id.as_bytes()), 0o600),
        ("empty", Some(b""), 0o600),
        ("short", Some(&good[..20]), 0o600),
        ("all zeros", Some(zeros.as_bytes()), 0o600),
        ("world-readable", Some(&good), 0o644),
        ("no text", Some(&[0xff; 60]), 0o600),
    ];
    for (name, text, mode) in cases {
        let _ = std::fs::remove_file(&key);
        if let Some(text) = text {
            std::fs::write(&key, text).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let before = data_dir.listing();
        for arguments in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["account", "list"],
        ] {
            let began = Instant::now();
            let refused = data_dir.run(arguments).await;
            assert_eq!(refused.code, 78, "{name}: {refused:?}");
            assert!(
                single_line(&refused.err).contains("vault.key"),
                "{name}: {}",
                refused.err
            );
            assert!(
                !refused
                    .err
                    .contains(std::str::from_utf8(&good[9..40]).unwrap()),
                "{name} shows the key"
            );
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{name}: {:?}",
                began.elapsed()
            );
            assert_eq!(
                changed_files(&before, &data_dir.listing()),
                Vec::<PathBuf>::new(),
                "{name}: {arguments:?} changed the directory"
            );
        }
    }
    std::fs::write(&key, &good).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        data_dir
            .run(&["account", "list", "--json"])
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_created_while_nothing_is_encrypted() {
    let data_dir = DataDir::new();
    data_dir.person("olga", "admin").await;
    let key = data_dir.data().join("vault.key");
    let first = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    data_dir.run(&["user", "list"]).await.good();
    assert_ne!(std::fs::read(&key).unwrap(), first);
}
