//! What one Chatlake pulled from LiveLeader and serves is, to another one that pulls it there, what
//! the first one got: field by field, with unknown elements, awkward texts and sub-seconds.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use chatlake::connectors::{self, Connector, Menus, PullRequest, Source};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::support::data_dir::DataDir;
use crate::support::pulls::{PulledRows, pull, request};
use crate::support::sandbox::{LocalSandbox, allow};
use crate::support::{noon_zone, until};

/// Rows by their key, each as its cells by column; empty ones are left out.
fn rows(
    got: &PulledRows,
    report: usize,
    key: &[&str],
) -> BTreeMap<Vec<String>, BTreeMap<String, String>> {
    let of = |batch: &RecordBatch, row: usize| {
        let schema = batch.schema();
        let cells = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let text = if column.is_null(row) {
                    None
                } else {
                    array_value_to_string(column, row).ok()
                };
                (field.name().clone(), text)
            });
        cells
            .filter_map(|(name, text)| Some((name, text?)))
            .collect::<BTreeMap<String, String>>()
    };
    let all = got.batches[report]
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| of(batch, row)));
    all.map(|row| {
        (
            key.iter()
                .map(|name| row.get(*name).cloned().unwrap_or_default())
                .collect(),
            row,
        )
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chatlake_gets_from_this_one_what_this_one_got_from_the_vendor() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(400).await);
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Unknown),
        Fault::new(FaultKind::SeveralOperators),
    ]);
    let server = data_dir.serve().await;
    let email = data_dir.person("maren", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let arguments = [
        "account",
        "add",
        "--user",
        &email,
        "--connector",
        "liveleader",
        "--name",
        "Night desk",
        "--field",
        "email=operator@sandbox.test",
    ];
    let account = data_dir
        .run_with(
            &[
                &arguments[..],
                &[
                    "--api-url",
                    &vendor.address,
                    "--requests-per-minute",
                    "60000",
                ],
            ]
            .concat(),
            "sandbox-password",
        )
        .await
        .good();
    let dataset = data_dir.dataset(&email, &account, "chats").await;
    let run = server.run(&dataset, &token).await;
    until("the run ends", async || {
        let run = server.get(&format!("/runs/{run}"), &token).await.1;
        assert_ne!(run["state"], "failed", "{run}");
        (run["state"] == "succeeded").then_some(())
    })
    .await;
    let published = server
        .send(
            "PATCH",
            &format!("/api/v1/datasets/{dataset}"),
            &token,
            Some(json!({"published": true})),
        )
        .await;
    assert_eq!(published.status(), 200);
    let password = data_dir
        .run(&[
            "export-password",
            "create",
            "--user",
            &email,
            "--name",
            "The other one",
        ])
        .await
        .good();

    let zone = TimeZone::get(&noon_zone()).unwrap();
    let today = chatlake::clock::Clock::system()
        .timestamp()
        .to_zoned(zone.clone())
        .date();
    let range = Menus {
        start_days: Some(14),
        end_days: Some(0),
        ..Menus::default()
    }
    .range(today);
    let upstreams = connectors::upstream::Upstreams::new(
        vec![allow("127.0.0.1")],
        chatlake::clock::Clock::system(),
    )
    .unwrap();
    let ask = async |address: &str, email: &str, password: &str, whole: bool| {
        let reports: Vec<_> = Connector::LiveLeader.reports().iter().collect();
        let source = Source {
            connector: Connector::LiveLeader,
            fields: BTreeMap::from([("email".to_owned(), email.to_owned())]),
            secrets: BTreeMap::from([("password".to_owned(), Secret::new(password))]),
            zone: TimeZone::UTC,
            upstream: upstreams
                .for_account("", Connector::LiveLeader, Some(address), 0)
                .unwrap(),
        };
        let windows = connectors::windows(reports[0], range);
        let request = PullRequest {
            reports,
            windows,
            zone: zone.clone(),
            menus: Menus::default(),
            ..request(&[], &[])
        };
        let (got, done) = pull(&source, &request).await;
        assert_eq!(done, Ok(()));
        assert!(!whole || got.rows(0) > 100);
        got
    };
    let there = ask(
        &vendor.address,
        "operator@sandbox.test",
        "sandbox-password",
        true,
    )
    .await;
    let here = ask(&server.url(), &email, &password, true).await;
    for (at, report) in Connector::LiveLeader.reports().iter().enumerate() {
        let (vendor_rows, served) = (rows(&there, at, report.key), rows(&here, at, report.key));
        assert!(!vendor_rows.is_empty());
        for (key, row) in &vendor_rows {
            assert_eq!(served.get(key), Some(row), "{} {key:?}", report.id);
        }
        assert_eq!(served.len(), vendor_rows.len(), "{}", report.id);
    }
    server.stop().await;
}
