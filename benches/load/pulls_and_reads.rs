//! Rates and peak memory of a pull, a download, and pages of rows.

use std::time::Instant;

use serde_json::json;

use crate::api_client::Api;
use crate::processes::Server;
use crate::table::{Table, median, thousands};

impl Table {
    /// A run from its request to its commit.
    pub async fn pull(
        &mut self,
        server: &Server,
        api: &Api,
        dataset: &str,
        name: &str,
        least: u64,
    ) {
        server.forget_peak();
        let began = Instant::now();
        let run = api.run(dataset).await;
        let seconds = began.elapsed().as_secs_f64();
        let rows = run["rows"].as_u64().unwrap();
        assert!(
            rows >= least && run["verified"] == json!(true) && run["misfits"] == json!(0),
            "{run}"
        );
        let rate = thousands((rows as f64 / seconds) as u64);
        self.line(
            &format!(
                "{name}: {} rows from {} calls",
                thousands(rows),
                thousands(run["calls"].as_u64().unwrap())
            ),
            &format!("{rate} rows/s, {seconds:.1} s"),
            0.0,
            None,
        );
        self.memory(
            &format!("{name}: peak memory"),
            server.memory("VmHWM"),
            256.0,
        );
    }

    /// The whole DataSet as CSV.
    pub async fn download(&mut self, server: &Server, api: &Api, dataset: &str, name: &str) {
        server.forget_peak();
        let mut best: Option<(f64, f64, u64, u64)> = None;
        for _ in 0..3 {
            let began = Instant::now();
            let mut answer = api
                .request("GET", &format!("/datasets/{dataset}/data?format=csv"))
                .send()
                .await
                .unwrap()
                .error_for_status()
                .unwrap();
            let rows: u64 = answer.headers()["x-chatlake-rows"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            let (mut first, mut bytes) = (None, 0);
            while let Some(chunk) = answer.chunk().await.unwrap() {
                first.get_or_insert_with(|| began.elapsed().as_secs_f64() * 1_000.0);
                bytes += chunk.len() as u64;
            }
            let one = (began.elapsed().as_secs_f64(), first.unwrap(), bytes, rows);
            best = Some(best.filter(|best| best.0 < one.0).unwrap_or(one));
        }
        let (seconds, first, bytes, rows) = best.unwrap();
        let megabytes = bytes as f64 / 1e6;
        let what = format!(
            "{name} as CSV: {} rows, {megabytes:.0} MB (best of 3)",
            thousands(rows)
        );
        self.line(
            &what,
            &format!(
                "{:.0} MB/s, first byte after {first:.0} ms",
                megabytes / seconds
            ),
            0.0,
            None,
        );
        self.memory(
            &format!("{name} as CSV: peak memory"),
            server.memory("VmHWM"),
            256.0,
        );
    }

    /// The first and the last 100 rows, and all rows page by page. `how`: a description of the
    /// segments for the output.
    pub async fn pages(&mut self, server: &Server, api: &Api, dataset: &str, how: &str) {
        server.forget_peak();
        let rows = format!("/datasets/{dataset}/rows");
        let (mut cursor, mut seen, began) = (String::new(), 0, Instant::now());
        loop {
            let page = api.get(&format!("{rows}?limit=1000{cursor}")).await;
            seen += page["items"].as_array().unwrap().len() as u64;
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        let walked = thousands((seen as f64 / began.elapsed().as_secs_f64()) as u64);
        for (which, cursor) in [("first", ""), ("last", cursor.as_str())] {
            let mut times = Vec::new();
            for _ in 0..41 {
                let began = Instant::now();
                let page = api.get(&format!("{rows}?limit=100{cursor}")).await;
                times.push(began.elapsed().as_secs_f64() * 1_000.0);
                assert!(!page["items"].as_array().unwrap().is_empty());
            }
            let what = format!(
                "API: a page of 100 rows, the {which} of {} (median of 41){how}",
                thousands(seen)
            );
            self.line(&what, &format!("{:.1} ms", median(&mut times)), 0.0, None);
        }
        self.line(
            &format!("API: all {} rows, 1,000 per page{how}", thousands(seen)),
            &format!("{walked} rows/s"),
            0.0,
            None,
        );
        self.memory(
            &format!("API pages{how}: peak memory"),
            server.memory("VmHWM"),
            256.0,
        );
    }
}
