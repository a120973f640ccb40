//! The evidence that a run has read all records, while the records change.

mod changing_chats;
mod display;
mod migrated_runs;
mod second_read;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Query};
use axum::routing::get;
use axum::{Json, Router};
use chatlake::clock::Clock;
use chatlake::connectors::Source;
use chatlake::connectors::upstream::{SystemResolver, Upstreams};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::NOON;
use crate::support::sandbox::{allow, limits, source};

/// Serves `/chats` and `/tickets` with a function of list, page and first day, and returns the
/// address.
async fn serve_pages(
    answer: impl Fn(&str, usize, &str) -> Value + Clone + Send + Sync + 'static,
) -> String {
    let page = move |Path(list): Path<String>, Query(query): Query<BTreeMap<String, String>>| {
        let response = answer(&list, query["page"].parse().unwrap(), &query["date_from"]);
        async move { Json(response) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/{list}", get(page))).await },
    );
    address
}

fn source_at(address: &str) -> Source {
    let upstreams = Upstreams::with(
        vec![allow("127.0.0.1")],
        Clock::stopped_at(NOON),
        limits(),
        Arc::new(SystemResolver),
    )
    .unwrap();
    source(&upstreams, address, "k")
}
