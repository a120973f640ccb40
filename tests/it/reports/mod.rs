//! Every report of LiveChat, from a vendor that answers from a file. A report without an answer in
//! the file fails here.

mod requests;
mod rows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chatlake::clock::Clock;
use chatlake::connectors::report::{Menu, Report};
use chatlake::connectors::upstream::{SystemResolver, Upstreams};
use chatlake::connectors::{Menus, PullRequest, Source};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::NOON;
use crate::support::pulls::{WEEK, request};
use crate::support::sandbox::{allow, limits, source};

const FILE: &str = include_str!("../../fixtures/livechat.json");

const REPORTS: &[Report] = chatlake::connectors::livechat::REPORTS;

type Answers = BTreeMap<String, Value>;

fn answers() -> Answers {
    serde_json::from_str(FILE).unwrap()
}

/// A vendor that answers each path with one body and ignores the query.
struct Scripted {
    answers: Arc<Mutex<Answers>>,
    /// Path and query of every call.
    requests: Arc<Mutex<Vec<String>>>,
    source: Source,
}

impl Scripted {
    async fn new(answers: Answers) -> Self {
        let (answers, requests) = (
            Arc::new(Mutex::new(answers)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let (thread_answers, thread_requests) = (answers.clone(), requests.clone());
        let answer = move |request: Request| {
            let path = request.uri().path().replace("%40", "@");
            thread_requests.lock().unwrap().push(format!(
                "{path}?{}",
                request.uri().query().unwrap_or_default()
            ));
            let body: Option<Value> = thread_answers.lock().unwrap().get(&path).cloned();
            async move {
                body.map_or_else(
                    || StatusCode::NOT_FOUND.into_response(),
                    |body| -> Response { axum::Json(body).into_response() },
                )
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(answer)).await },
        );
        let upstreams = Upstreams::with(
            vec![allow("127.0.0.1")],
            Clock::stopped_at(NOON),
            limits(),
            Arc::new(SystemResolver),
        )
        .unwrap();
        Self {
            answers,
            requests,
            source: source(&upstreams, &address, "k"),
        }
    }

    fn take_requests(&self) -> Vec<String> {
        let mut pull_req = std::mem::take(&mut *self.requests.lock().unwrap());
        pull_req.sort();
        pull_req
    }
}

/// A pull of one report for a week, with the menus it needs and no more.
fn pull_request(report: &'static Report) -> PullRequest {
    let mut pull_req = request(&[report.id], &[]);
    pull_req.menus = Menus::default().check(report).unwrap();
    if report.takes(Menu::StartDays) {
        pull_req.windows = vec![WEEK];
    }
    pull_req
}
