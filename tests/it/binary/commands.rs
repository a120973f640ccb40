//! The commands of the built binary, with and without a running server.

use super::single_line;
use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_succeeds_only_while_a_server_is_ready() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let address = server.address();
    assert_eq!(
        data_dir
            .run(&["healthcheck", "--listen", &address])
            .await
            .code,
        0
    );
    server.stop().await;
    let gone = data_dir.run(&["healthcheck", "--listen", &address]).await;
    assert_eq!(gone.code, 69);
    assert!(
        single_line(&gone.err).contains("does not answer"),
        "{}",
        gone.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_settings_in_the_file_apply_only_to_servers() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let file = data_dir.data().join("chatlake.toml");
    // The server of this directory gets its public address by flag or environment, which no other
    // command has.
    std::fs::write(&file, "listen = \"0.0.0.0:0\"\n").unwrap();
    data_dir.person("kim", "viewer").await;
    data_dir.token(&email, "read").await;
    for listing in [
        ["user", "list"],
        ["token", "list"],
        ["account", "list"],
        ["dataset", "list"],
    ] {
        data_dir.run(&listing).await.good();
    }
    for serving in ["serve", "demo"] {
        let refused = data_dir.run(&[serving]).await;
        assert_eq!(refused.code, 1, "{serving}");
        assert!(
            single_line(&refused.err).contains("plain http"),
            "{serving}: {}",
            refused.err
        );
    }

    let server = data_dir.serve().await;
    std::fs::write(
        &file,
        format!("listen = \"{}\"\nworkers = 0\n", server.address()),
    )
    .unwrap();
    assert_eq!(
        data_dir.run(&["healthcheck"]).await.code,
        0,
        "where it listens is known, though workers is no number of them"
    );
    server.stop().await;
    let gone = data_dir.run(&["healthcheck"]).await;
    assert!(
        gone.code == 69 && gone.err.contains(&server.address()),
        "{gone:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_with_and_without_a_running_server() {
    let vendor = LocalSandbox::new(60).await;
    for with_server in [false, true] {
        let data_dir = DataDir::new();
        let server = if with_server {
            Some(data_dir.serve().await)
        } else {
            None
        };
        let email = data_dir.person("olga", "admin").await;
        assert_eq!(
            data_dir
                .run_with(
                    &[
                        "user", "add", "--email", "a@b.test", "--name", "A", "--role", "viewer"
                    ],
                    "short"
                )
                .await
                .code,
            1,
            "a short password"
        );
        data_dir.person("kim", "viewer").await;
        let people = data_dir.run(&["user", "list", "--json"]).await.json();
        assert_eq!(people.as_array().unwrap().len(), 2, "{people}");
        assert!(!people.to_string().contains("argon2"), "{people}");
        data_dir
            .run_with(
                &["user", "password", "--email", "kim@house.test"],
                "another good password 9",
            )
            .await
            .good();
        let token = data_dir.token("kim@house.test", "read").await;
        assert!(
            token.starts_with("clk_") && !token.contains(char::is_whitespace),
            "{token}"
        );
        let tokens = data_dir.run(&["token", "list", "--json"]).await.json();
        assert!(
            !tokens.to_string().contains(&token),
            "a listing shows a token"
        );
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        assert!(
            data_dir
                .run(&["account", "check", &account])
                .await
                .good()
                .len()
                > 3
        );
        let accounts = data_dir.run(&["account", "list", "--json"]).await.json();
        assert!(
            accounts[0]["health"] == "valid" && !accounts.to_string().contains("sandbox-key"),
            "{accounts}"
        );
        let dataset = data_dir.dataset(&email, &account, "agents").await;
        let ran = data_dir.run(&["dataset", "run", &dataset]).await.good();
        let listed = data_dir.run(&["dataset", "list", "--json"]).await.json();
        assert_eq!(
            ran,
            format!("{} rows", listed[0]["rows"]),
            "beside a server: {with_server}"
        );
        let file = data_dir.data().join("agents.csv");
        data_dir
            .run(&[
                "dataset",
                "export",
                &dataset,
                "--output",
                file.to_str().unwrap(),
            ])
            .await
            .good();
        let exported = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            data_dir.run(&["dataset", "export", &dataset]).await.good(),
            exported.trim_end(),
            "to a file and to standard output"
        );
        if let Some(server) = &server {
            assert_eq!(server.get("/datasets", &token).await.0, 200);
        }
        data_dir
            .run(&["token", "revoke", tokens[0]["id"].as_str().unwrap()])
            .await
            .good();
        data_dir
            .run(&["user", "disable", "--email", "kim@house.test"])
            .await
            .good();
        if let Some(server) = &server {
            assert_eq!(server.get("/datasets", &token).await.0, 401);
            server.stop().await;
        }
        for unknown in [
            &["account", "check", "acc_1"][..],
            &["dataset", "run", "ds_1"],
            &["token", "revoke", "x"],
            &["user", "disable", "--email", "no@body.test"],
        ] {
            let refused = data_dir.run(unknown).await;
            assert_eq!(refused.code, 1, "{unknown:?}");
            single_line(&refused.err);
        }
    }
}
