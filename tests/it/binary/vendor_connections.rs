//! Connections of the built binary to vendors: certificates and proxies.

use std::time::Duration;

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::tls_vendor::{TlsVendor, certificate};

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_certificate_must_be_valid_for_its_name_and_date() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let authority = certificate("authority.pem");
    let trusting = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    for (name, good) in [
        ("right.pem", true),
        ("wrong_name.pem", false),
        ("expired.pem", false),
        ("self_signed.pem", false),
    ] {
        let vendor = TlsVendor::new(name);
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let checked = data_dir
            .run_in(&trusting, &["account", "check", &account])
            .await;
        assert_eq!(checked.code, 1, "{name}: {checked:?}");
        assert_eq!(
            checked.err.contains("certificate"),
            !good,
            "{name}: {}",
            checked.err
        );
        assert_eq!(vendor.calls() > 0, good, "{name} receives the credentials");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_not_used() {
    let (data_dir, vendor, tls) = (
        DataDir::new(),
        LocalSandbox::new(40).await,
        TlsVendor::new("right.pem"),
    );
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, authority) = (
        format!("http://{}", proxy.local_addr().unwrap()),
        certificate("authority.pem"),
    );
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let mut environment: Vec<(&str, &str)> =
        names.iter().map(|name| (*name, at.as_str())).collect();
    environment.push(("SSL_CERT_FILE", authority.to_str().unwrap()));
    let email = data_dir.person("olga", "admin").await;
    let plain = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let secure = data_dir.account(&email, &tls.address, "sandbox-key").await;
    data_dir
        .run_in(&environment, &["account", "check", &plain])
        .await
        .good();
    assert_eq!(
        data_dir
            .run_in(&environment, &["account", "check", &secure])
            .await
            .code,
        1
    );
    assert!(tls.calls() > 0, "it was asked itself");
    let proxied = tokio::time::timeout(Duration::from_millis(100), proxy.accept()).await;
    assert!(proxied.is_err(), "the proxy was asked: {proxied:?}");
}
