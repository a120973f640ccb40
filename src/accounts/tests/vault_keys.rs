//! Tests of the key that must decrypt the stored credentials.

use super::*;

#[tokio::test]
async fn a_key_that_did_not_seal_what_is_stored_is_refused_and_changes_nothing() {
    let fixture = AccountsFixture::new().await;
    let (db, clock) = (&fixture.fixture.db, &fixture.fixture.clock);
    let own = Vault::open(fixture.fixture.dir.path(), true).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Vault::open(elsewhere.path(), false).unwrap();
    assert!(!vault_check::has_sealed_data(db).await.unwrap());
    vault_check::verify_vault_keys(db, clock, &other)
        .await
        .unwrap();
    vault_check::verify_vault_keys(db, clock, &own)
        .await
        .unwrap();
    fixture.create_account(&fixture.owner, None).await;
    assert!(vault_check::has_sealed_data(db).await.unwrap());
    let error = vault_check::verify_vault_keys(db, clock, &other)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "vault_key");
    assert!(error.message().contains(&own.fingerprints()[0].0) && !error.message().contains('\n'));
    // The same id with another key, as after editing the file.
    let line = std::fs::read_to_string(elsewhere.path().join("vault.key")).unwrap();
    let forged = line.replace(&other.fingerprints()[0].0, &own.fingerprints()[0].0);
    std::fs::write(elsewhere.path().join("vault.key"), forged).unwrap();
    let forged = Vault::open(elsewhere.path(), true).unwrap();
    assert_eq!(
        vault_check::verify_vault_keys(db, clock, &forged)
            .await
            .unwrap_err()
            .code(),
        "vault_key"
    );
    vault_check::verify_vault_keys(db, clock, &own)
        .await
        .unwrap();
}
