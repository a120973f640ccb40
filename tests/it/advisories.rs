//! `bin/audit` compares the lock file with the advisories.

use std::io::Write as _;
use std::process::Command;

#[test]
fn the_audit_finds_a_version_with_an_advisory_and_none_in_the_lock_file() {
    let root = env!("CARGO_MANIFEST_DIR");
    let audit = |lock: &str| {
        let ended = Command::new("python3")
            .arg(format!("{root}/bin/audit"))
            .args(["--lock", lock])
            .output()
            .unwrap();
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stdout).into_owned()
                + &*String::from_utf8_lossy(&ended.stderr),
        )
    };
    let (code, said) = audit(&format!("{root}/Cargo.lock"));
    assert_eq!(code, Some(0), "{said}");
    let of = |versions: &[(&str, &str)]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (name, version) in versions {
            writeln!(
                file,
                "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n"
            )
            .unwrap();
        }
        audit(file.path().to_str().unwrap())
    };
    let (code, said) = of(&[
        ("lettre", "0.11.23"),
        ("lettre", "0.10.0"),
        ("rustls-webpki", "0.103.9"),
        ("bytes", "1.2.0"),
    ]);
    assert_eq!(code, Some(1), "{said}");
    let starts = |with: &str| said.lines().any(|line| line.starts_with(with));
    for found in [
        "lettre 0.10.0: RUSTSEC-2026-0561",
        "lettre 0.10.0: RUSTSEC-2026-0562",
        "rustls-webpki 0.103.9: RUSTSEC-2026-0049",
    ] {
        assert!(starts(found), "{found}: {said}");
    }
    // An accepted advisory is printed, and only for that version.
    assert!(
        starts("Accepted: lettre 0.11.23: RUSTSEC-2026-0562") && !starts("lettre 0.11.23"),
        "{said}"
    );
    assert!(
        !said.contains("bytes") && !said.contains("lettre 0.10.0: RUSTSEC-2026-0141"),
        "{said}"
    );
    assert_eq!(
        of(&[
            ("lettre", "0.11.24"),
            ("lettre", "0.12.0-alpha.1"),
            ("bytes", "1.10.0-rc.1+x")
        ])
        .0,
        Some(1)
    );
    assert_eq!(
        of(&[
            ("lettre", "0.11.24"),
            ("lettre", "0.12.0-alpha.1"),
            ("parquet", "60.1.0")
        ])
        .0,
        Some(0)
    );
    assert_eq!(audit("/nowhere/Cargo.lock").0, Some(2));
}
