//! Tests of the sandbox itself: its endpoints and its truth count in different ways and must agree.
//! All faults are tested over a socket.

mod archive_query_stories;
mod connection_fault_stories;
mod fault_stories;
mod list_stories;
mod liveleader;
mod report_stories;
mod time_stories;
mod world_stories;

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::livechat::{API_KEY, LOGIN};
use super::*;

/// 2026-11-20T12:30:00Z, a Friday.
const NOON: i64 = 1_795_177_800_000;

fn sandbox(chats: u64, days: u32) -> Sandbox {
    Sandbox::new(
        SandboxOptions {
            chats,
            days,
            ..SandboxOptions::default()
        },
        Clock::stopped_at(NOON),
    )
}

/// A sandbox on its own port, until it is dropped.
struct Served {
    sandbox: Sandbox,
    address: SocketAddr,
    http: reqwest::Client,
    _stop: DropGuard,
}

impl Served {
    async fn start(sandbox: Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (serving, token) = (sandbox.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(listener, token).await });
        Self {
            sandbox,
            address,
            http: client(),
            _stop: stop.drop_guard(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.http
            .get(self.url(path))
            .basic_auth(LOGIN, Some(API_KEY))
            .header("X-API-Version", "2")
    }

    async fn get(&self, path: &str) -> reqwest::Result<reqwest::Response> {
        self.request(path).send().await
    }

    /// The JSON of a response, which must have status 200.
    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.unwrap().status().as_u16()
    }

    /// The ids on all pages of a query, in order, and the total of the last page.
    async fn all_ids(&self, query: &str) -> (Vec<String>, u64) {
        let (mut ids, mut page) = (Vec::new(), 1);
        loop {
            let answer = self.json(&format!("/chats?page={page}&{query}")).await;
            ids.extend(ids_of(&answer));
            if page >= answer["pages"].as_u64().unwrap() {
                return (ids, answer["total"].as_u64().unwrap());
            }
            page += 1;
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a plain client, to see what any client would"
)]
fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

fn ids_of(page: &Value) -> Vec<String> {
    page["chats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chat| chat["id"].as_str().unwrap().to_owned())
        .collect()
}

fn question(query: &str) -> truth::TruthQuestion {
    Query::try_from_uri(&format!("/?{query}").parse().unwrap())
        .unwrap()
        .0
}

/// The ids in the truth, newest first.
fn true_ids(sandbox: &Sandbox, query: &str) -> Vec<String> {
    let truth = sandbox
        .truth(&question(&format!("report=chat&ids=1&{query}")))
        .unwrap();
    truth["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_fault_has_a_story_and_each_route_is_in_the_table() {
    let stories = concat!(
        include_str!("archive_query_stories.rs"),
        include_str!("connection_fault_stories.rs"),
        include_str!("fault_stories.rs"),
        include_str!("time_stories.rs"),
        include_str!("liveleader/chat_fault_stories.rs"),
        include_str!("liveleader/document_fault_stories.rs"),
        include_str!("liveleader/network_fault_stories.rs")
    );
    let kinds = include_str!("../faults/fault_kind.rs")
        .split_once("pub enum FaultKind {")
        .unwrap()
        .1
        .split_once("\n}")
        .unwrap()
        .0;
    let kinds: Vec<_> = kinds
        .lines()
        .filter(|line| !line.contains("//"))
        .map(|line| line.trim().split([' ', ',']).next().unwrap())
        // Other lines are the fields of a variant or its closing brace.
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect();
    assert!(kinds.len() > 15, "{kinds:?}");
    for kind in kinds {
        assert!(
            stories.contains(&format!("FaultKind::{kind}")),
            "no story tests the fault {kind}"
        );
    }
    let source = include_str!("../mod.rs");
    let table = source.split_once("mod calendar;").unwrap().0;
    let routes = [
        source,
        include_str!("../livechat/mod.rs"),
        include_str!("../liveleader/mod.rs"),
    ]
    .into_iter()
    .flat_map(|file| file.split(".route(").skip(1))
    .filter_map(|rest| rest.trim_start().strip_prefix('"'));
    for route in routes
        .filter_map(|rest| rest.split_once('"'))
        .map(|(route, _)| route)
        .filter(|route| route.starts_with('/'))
    {
        assert!(
            table.contains(&format!(" {route}`")) || table.contains(&format!(" {route}?")),
            "{route} is not in the table"
        );
    }
}
