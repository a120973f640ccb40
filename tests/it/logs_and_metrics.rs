//! The log lines of runs, and the metrics of a new server.

use crate::support::api_server::{ApiServer, OWNER};
use crate::support::data_dir::DataDir;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn each_run_is_logged_under_its_own_id_also_in_a_shared_read() {
    let fixture = ApiServer::new(40).await;
    let mut datasets = Vec::new();
    for report in ["chat", "chat_messages", "chat_events"] {
        datasets.push(
            fixture
                .data_dir
                .dataset(OWNER, &fixture.account, report)
                .await,
        );
    }
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(fixture.server.run(dataset, &fixture.token).await);
    }
    let mut shared = Vec::new();
    for run in &runs {
        let over = fixture.server.over(run, &fixture.token).await;
        assert_eq!(over["state"], "succeeded", "{over}");
        shared.push(over["shared_by"].as_i64().unwrap());
    }
    assert!(
        shared.iter().any(|count| *count > 1),
        "no two of them shared a read: {shared:?}"
    );
    let log = until("all runs are logged", async || {
        let log = fixture.server.err();
        (log.matches("the run succeeded").count() == 3).then_some(log)
    })
    .await;
    assert!(
        !log.contains('\u{1b}'),
        "colours that no terminal shows: {log}"
    );
    for (run, dataset) in runs.iter().zip(&datasets) {
        for message in ["the run began", "the run succeeded"] {
            let lines: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(message) && line.contains(run.as_str()))
                .collect();
            assert_eq!(lines.len(), 1, "{message} {run}: {log}");
            assert!(lines[0].contains(dataset.as_str()), "{}", lines[0]);
        }
    }
    assert!(
        !log.contains("/readyz") && log.contains("/api/v1/datasets/{id}/runs"),
        "probes are not logged, requests are: {log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_new_server_have_version_process_disk_and_each_run_outcome() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let metrics = server
        .send("GET", "/metrics", "", None)
        .await
        .text()
        .await
        .unwrap();
    let value = |name: &str| -> f64 {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(
        value(&format!(
            "chatlake_build_info{{version=\"{}\"}} ",
            env!("CARGO_PKG_VERSION")
        )),
        1.0
    );
    for outcome in ["succeeded", "failed", "cancelled"] {
        assert_eq!(
            value(&format!("chatlake_runs_total{{outcome=\"{outcome}\"}} ")),
            0.0
        );
    }
    assert!(value("chatlake_data_free_bytes ") > 0.0);
    assert!(
        value("process_resident_memory_bytes ") > 1_000_000.0 && value("process_open_fds ") > 3.0
    );
    assert!(
        value("process_start_time_seconds ") > 1_700_000_000.0
            && value("process_cpu_seconds_total ") >= 0.0
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
