//! Commands at a terminal, in a closed pipe, after a hangup, and with a mistyped data directory.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::api_server::{ApiServer, OWNER};
use crate::support::data_dir::DataDir;
use crate::support::{PASSWORD, until};

/// Every command that needs an existing data directory, with valid arguments.
const NEED_A_DATA_DIRECTORY: [&[&str]; 16] = [
    &["user", "list"],
    &["user", "password", "--email", OWNER],
    &["user", "disable", "--email", OWNER],
    &[
        "token", "create", "--user", OWNER, "--name", "x", "--scope", "read",
    ],
    &["token", "list"],
    &["token", "revoke", "tok_x"],
    &["export-password", "create", "--user", OWNER, "--name", "x"],
    &["export-password", "list"],
    &["export-password", "revoke", "exp_x"],
    &[
        "account",
        "add",
        "--user",
        OWNER,
        "--connector",
        "livechat",
        "--name",
        "x",
    ],
    &["account", "list"],
    &["account", "check", "acc_x"],
    &["account", "rotate-secret", "acc_x"],
    &["dataset", "list"],
    &["dataset", "run", "ds_x"],
    &["verify"],
];

/// The commands that create a data directory, or need none.
const NEED_NO_DATA_DIRECTORY: [&str; 5] = ["serve", "demo", "sandbox", "user add", "healthcheck"];

fn leaves(command: &clap::Command, before: &str, all: &mut Vec<String>) {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let path = format!("{before} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &path, all)
        } else {
            all.push(path)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_mistyped_data_directory_creates_nothing_and_says_so() {
    let create = [
        "dataset",
        "create",
        "--user",
        OWNER,
        "--name",
        "x",
        "--account",
        "acc_x",
        "--report",
        "agents",
    ];
    let all: Vec<&[&str]> = NEED_A_DATA_DIRECTORY
        .into_iter()
        .chain([&create[..], &["dataset", "export", "ds_x"]])
        .collect();
    let mut known = Vec::new();
    leaves(&chatlake::cli::command_line(), "", &mut known);
    for command in known
        .iter()
        .filter(|command| !NEED_NO_DATA_DIRECTORY.contains(&command.as_str()))
    {
        assert!(
            all.iter()
                .any(|arguments| arguments.join(" ").starts_with(command.as_str())),
            "{command} is not tried"
        );
    }
    let (absent, empty) = (DataDir::new(), DataDir::new());
    std::fs::create_dir(empty.data()).unwrap();
    for arguments in all {
        for data_dir in [&absent, &empty] {
            let refused = data_dir
                .run_with(arguments, "a long enough passphrase\n")
                .await;
            assert_eq!(
                (refused.code, refused.out.as_str()),
                (1, ""),
                "{arguments:?}: {refused:?}"
            );
            assert!(
                refused.err.contains("is not a Chatlake data directory")
                    && refused.err.contains("data"),
                "{arguments:?}: {}",
                refused.err
            );
        }
    }
    assert!(!absent.data().exists());
    assert_eq!(std::fs::read_dir(empty.data()).unwrap().count(), 0);
    // A person who cannot be added creates no directory either.
    let refused = absent
        .run_with(
            &[
                "user", "add", "--email", "nobody", "--name", "Olga", "--role", "admin",
            ],
            "a long enough passphrase\n",
        )
        .await;
    assert!(
        refused.code == 1 && !refused.err.is_empty() && !absent.data().exists(),
        "{refused:?}"
    );
    // The first person of a server without a browser.
    absent.person("olga", "admin").await;
    assert_eq!(
        absent
            .run(&["user", "list", "--json"])
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Runs a command on its own terminal, answers each prompt in turn, and returns its exit code and
/// all that the terminal showed.
async fn on_a_terminal(
    data_dir: &DataDir,
    arguments: &[&str],
    answers: &[(&str, &str)],
) -> (i32, String) {
    let command = [
        &[env!("CARGO_BIN_EXE_chatlake")],
        arguments,
        &["--data", data_dir.data().to_str().unwrap()],
    ]
    .concat()
    .join(" ");
    let answers: Vec<(String, String)> = answers
        .iter()
        .map(|(prompt, answer)| ((*prompt).to_owned(), (*answer).to_owned()))
        .collect();
    let transcript = tokio::task::spawn_blocking(move || {
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut shown = Vec::new();
        let mut at = 0;
        for (prompt, answer) in answers {
            while !String::from_utf8_lossy(&shown[at..]).contains(&prompt) {
                let mut byte = [0];
                assert_eq!(
                    from.read(&mut byte).unwrap(),
                    1,
                    "no prompt {prompt:?}: {}",
                    String::from_utf8_lossy(&shown)
                );
                shown.push(byte[0]);
            }
            at = shown.len();
            to.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        from.read_to_end(&mut shown).unwrap();
        (
            child.wait().unwrap().code().unwrap_or(-1),
            String::from_utf8_lossy(&shown).into_owned(),
        )
    });
    transcript.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_typed_on_a_terminal_is_asked_for_and_not_shown() {
    let data_dir = DataDir::new();
    let add = [
        "user", "add", "--email", OWNER, "--name", "Olga", "--role", "admin",
    ];
    let (code, shown) = on_a_terminal(
        &data_dir,
        &add,
        &[
            ("Password: ", PASSWORD),
            ("Password again: ", "something else"),
        ],
    )
    .await;
    assert!(code == 1 && shown.contains("are not the same"), "{shown}");
    let (code, shown) = on_a_terminal(
        &data_dir,
        &add,
        &[("Password: ", PASSWORD), ("Password again: ", PASSWORD)],
    )
    .await;
    assert!(
        code == 0 && shown.contains("olga@house.test was added as admin"),
        "{shown}"
    );
    assert!(!shown.contains(PASSWORD), "{shown}");
    let other = "another battery staple";
    let change = ["user", "password", "--email", OWNER];
    let (code, shown) = on_a_terminal(
        &data_dir,
        &change,
        &[("New password: ", other), ("New password again: ", other)],
    )
    .await;
    assert!(code == 0 && !shown.contains(other), "{shown}");
    let account = [
        "account",
        "add",
        "--user",
        OWNER,
        "--connector",
        "livechat",
        "--name",
        "Support",
        "--field",
        "username=agent@sandbox.test",
    ];
    let (code, shown) = on_a_terminal(&data_dir, &account, &[("API Key: ", "canary-4711")]).await;
    assert!(
        code == 0 && shown.contains("acc_") && !shown.contains("canary-4711"),
        "{shown}"
    );
    let server = data_dir.serve().await;
    assert_eq!(server.sign_in(OWNER).await.0, 401, "the password before");
}

/// Runs a command whose standard output is a closed pipe.
async fn into_a_closed_pipe(data_dir: &DataDir, arguments: &[&str]) -> (i32, String) {
    let mut command = data_dir.command(arguments);
    let ended = tokio::task::spawn_blocking(move || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command
            .stdout(writer)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    });
    let ended = ended.await.unwrap();
    (
        ended.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_to_standard_output_when_asked_and_a_closed_pipe_is_no_error() {
    let fixture = ApiServer::new(400).await;
    let dataset = fixture.pulled("chat").await;
    let export = ["dataset", "export", dataset.as_str()];
    let plain = fixture.data_dir.run(&export).await.good();
    let dashed = fixture
        .data_dir
        .run(&[&export[..], &["--output", "-"]].concat())
        .await
        .good();
    assert!(plain.len() > 100_000 && plain == dashed);
    assert!(
        !fixture.data_dir.data().parent().unwrap().join("-").exists(),
        "no file of that name"
    );
    for arguments in [
        &export[..],
        &["user", "list"],
        &["user", "list", "--json"],
        &["dataset", "list"],
        &["verify"],
        &["token", "list"],
        &["account", "list"],
    ] {
        let (code, said) = into_a_closed_pipe(&fixture.data_dir, arguments).await;
        assert_eq!((code, said.as_str()), (0, ""), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_does_not_end_a_server() {
    let data_dir = DataDir::new();
    let server = data_dir.serve_with(&["--log", "info"]).await;
    server.signal("HUP");
    until("it is logged", async || {
        server.err().contains("SIGHUP is ignored").then_some(())
    })
    .await;
    assert_eq!(server.send("GET", "/readyz", "", None).await.status(), 200);
    server.stop().await;
}
