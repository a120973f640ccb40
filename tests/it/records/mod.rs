//! Which records of a vendor become rows, and with which values.

mod keys;
mod rejected;
mod values;

use chatlake::ids::DatasetId;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::Value;

use crate::support::DAY;
use crate::support::datasets::DatasetFixture;

/// Chats as the vendor writes them, all in the one requested window.
fn archive(chats: &[String]) -> String {
    format!(
        r#"{{"chats":[{}],"total":{},"pages":1}}"#,
        chats.join(","),
        chats.len()
    )
}

fn set_answer(fixture: &DatasetFixture, body: &str) {
    fixture
        .ctx
        .sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Shape {
            body: body.to_owned(),
        })]);
}

/// A chat of yesterday whose id is written as `id`, with these further fields; no id if it is
/// empty.
fn chat(fixture: &DatasetFixture, id: &str, rest: &str) -> String {
    let started = (fixture.ctx.app.clock.now() - DAY) / 1_000;
    let id = if id.is_empty() {
        String::new()
    } else {
        format!("\"id\":{id},")
    };
    let rest = if rest.is_empty() {
        String::new()
    } else {
        format!(",{rest}")
    };
    format!(
        r#"{{{id}"started_timestamp":{started},"messages":[{{"text":"m1"}},{{"text":"m2"}}]{rest}}}"#
    )
}

async fn sorted_column(fixture: &DatasetFixture, dataset: &DatasetId, column: &str) -> Vec<String> {
    let mut all = fixture.column(dataset, column).await;
    all.sort();
    all
}

fn record_counts(run: &Value) -> [u64; 5] {
    ["read", "kept", "duplicates", "left_out", "rejected"]
        .map(|name| run[name].as_u64().unwrap_or_else(|| panic!("{run}")))
}
