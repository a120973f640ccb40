//! Tests of precedence, validation, and the places that errors name.

use std::path::Path;

use super::merge::MAX_TRANSFER_RATE;
use super::*;

fn global_args(dir: &Path) -> GlobalArgs {
    GlobalArgs {
        data: Some(dir.to_owned()),
        ..GlobalArgs::default()
    }
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("chatlake.toml"),
        "listen = \"127.0.0.1:9000\"\n\
         workers = 2\n\
         allow_upstream = [\"10.0.0.0/8\", \"Vendor.Test\"]\n",
    )
    .unwrap();
    let config = Config::resolve(
        &global_args(dir.path()),
        &ServeArgs {
            workers: Some(7),
            ..ServeArgs::default()
        },
    )
    .unwrap();
    assert_eq!(
        (config.listen.port(), config.workers, config.keep_versions),
        (9000, 7, 10)
    );
    assert_eq!(
        config.allow_upstream,
        vec![
            AllowUpstream::Net("10.0.0.0/8".parse().unwrap()),
            AllowUpstream::Host("vendor.test".to_owned())
        ]
    );
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:9000/");
}

#[test]
fn limits_of_runs_and_answers_are_settings_with_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let usual = Config::resolve(&global_args(dir.path()), &ServeArgs::default()).unwrap();
    assert_eq!((usual.min_transfer_rate, usual.max_run_hours), (1_024, 12));
    std::fs::write(
        dir.path().join("chatlake.toml"),
        "min_transfer_rate = 0\nmax_run_hours = 48\n",
    )
    .unwrap();
    let by_flag = ServeArgs {
        max_run_hours: Some(2),
        ..ServeArgs::default()
    };
    let config = Config::resolve(&global_args(dir.path()), &by_flag).unwrap();
    assert_eq!((config.min_transfer_rate, config.max_run_hours), (0, 2));
    for (rate, hours) in [
        (Some(MAX_TRANSFER_RATE + 1), None),
        (None, Some(0)),
        (None, Some(721)),
    ] {
        let serve = ServeArgs {
            min_transfer_rate: rate,
            max_run_hours: hours,
            ..ServeArgs::default()
        };
        assert!(
            Config::resolve(&global_args(dir.path()), &serve).is_err(),
            "{rate:?} {hours:?}"
        );
    }
}

#[test]
fn plain_http_to_other_machines_is_refused_unless_allowed_explicitly() {
    let dir = tempfile::tempdir().unwrap();
    let open = |url: Option<&str>, insecure| ServeArgs {
        listen: Some("0.0.0.0:80".parse().unwrap()),
        public_url: url.map(|u| u.parse().unwrap()),
        insecure_http: insecure,
        ..ServeArgs::default()
    };
    for (url, insecure, good) in [
        (None, false, false),
        (None, true, false),
        (Some("http://chat.test"), false, false),
        (Some("http://chat.test"), true, true),
        (Some("https://chat.test"), false, true),
        (Some("https://chat.test/path"), false, false),
    ] {
        assert_eq!(
            Config::resolve(&global_args(dir.path()), &open(url, insecure)).is_ok(),
            good,
            "{url:?} {insecure}"
        );
    }
}

#[test]
fn a_command_that_serves_nothing_does_not_judge_what_is_said_of_listening() {
    let dir = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(dir.path().join("chatlake.toml"), text).unwrap();
    write("listen = \"0.0.0.0:8080\"\nworkers = 3\n");
    assert_eq!(
        Config::resolve(&global_args(dir.path()), &ServeArgs::default())
            .unwrap_err()
            .code(),
        "plain_http"
    );
    assert_eq!(
        Config::for_command(&global_args(dir.path()))
            .unwrap()
            .workers,
        3
    );
    write("workers = 0\n");
    assert!(
        Config::for_command(&global_args(dir.path())).is_err(),
        "what is no setting is refused to everybody"
    );
}

#[test]
fn a_probe_finds_the_server_whatever_else_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let serve = |listen: Option<&str>| ServeArgs {
        listen: listen.map(|address| address.parse().unwrap()),
        ..ServeArgs::default()
    };
    assert_eq!(
        Config::listen_address(&global_args(dir.path()), &serve(None)),
        DEFAULT_LISTEN
    );
    for broken in [
        "workers = 0",
        "public_url = \"https://chat.test/path\"",
        "nonsense = 1",
        "log = 7",
    ] {
        std::fs::write(
            dir.path().join("chatlake.toml"),
            format!("listen = \"0.0.0.0:9000\"\n{broken}\n"),
        )
        .unwrap();
        assert!(
            Config::resolve(&global_args(dir.path()), &serve(None)).is_err(),
            "{broken}"
        );
        assert_eq!(
            Config::listen_address(&global_args(dir.path()), &serve(None)).to_string(),
            "0.0.0.0:9000",
            "{broken}"
        );
        assert_eq!(
            Config::listen_address(&global_args(dir.path()), &serve(Some("127.0.0.1:1"))).port(),
            1
        );
    }
    std::fs::write(dir.path().join("chatlake.toml"), "listen = [\n").unwrap();
    assert_eq!(
        Config::listen_address(&global_args(dir.path()), &serve(None)),
        DEFAULT_LISTEN
    );
}

#[test]
fn errors_in_chatlake_toml_name_the_line_and_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chatlake.toml");
    for (text, line, key, said) in [
        (
            "# ours\nworkers = \"two\"\n",
            2,
            "workers",
            "expected a whole number",
        ),
        (
            "listen = \"127.0.0.1:80\"\n\n  workers = 0\n",
            3,
            "workers",
            "must be from 1 to 64, not 0",
        ),
        (
            "public_url = \"https://chat.test/path\"\n",
            1,
            "public_url",
            "scheme, host and port only",
        ),
        ("\nworker = 2\n", 2, "worker", "unknown field"),
        (
            "keep_days = 3\nallow_upstream = [\"a b\"]\n",
            2,
            "allow_upstream",
            "neither an address",
        ),
        (
            "mail_hello = \"not a host\"\n",
            1,
            "mail_hello",
            "neither a host name",
        ),
        ("log_format = \"xml\"\n", 1, "log_format", "human"),
        (
            "\nlog = \"chatlake=loud\"\n",
            2,
            "log",
            "is not a log filter",
        ),
        ("downloads = -1\n", 1, "downloads", "-1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Config::resolve(&global_args(dir.path()), &ServeArgs::default()).unwrap_err();
        let begins = format!("{}, line {line}: {key}: ", path.display());
        assert!(
            error.message().starts_with(&begins)
                && error.message().contains(said)
                && error.message().lines().count() == 1,
            "{error}"
        );
    }
    std::fs::write(&path, "listen = [\n").unwrap();
    assert!(
        Config::resolve(&global_args(dir.path()), &ServeArgs::default())
            .unwrap_err()
            .message()
            .contains(", line ")
    );
    // A flag is named as such.
    std::fs::write(&path, "workers = 2\n").unwrap();
    let by_flag = ServeArgs {
        workers: Some(65),
        ..ServeArgs::default()
    };
    assert_eq!(
        Config::resolve(&global_args(dir.path()), &by_flag)
            .unwrap_err()
            .message(),
        "--workers must be from 1 to 64, not 65."
    );
}

#[test]
fn a_name_to_greet_mail_servers_with_is_a_host_or_an_address() {
    for (text, good) in [
        ("chat.example.com", true),
        ("10.0.0.7", true),
        ("2001:db8::1", true),
        ("[2001:db8::1]", true),
        ("two words", false),
        ("", false),
    ] {
        assert_eq!(mail_hello(text).is_ok(), good, "{text}");
    }
}

#[test]
fn a_word_that_chatlake_toml_does_not_know_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("chatlake.toml"), "worker = 2\n").unwrap();
    let error = Config::resolve(&global_args(dir.path()), &ServeArgs::default()).unwrap_err();
    assert!(error.message().contains("worker"), "{error}");
}
