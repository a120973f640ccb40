//! A mail server and a receiver of webhooks.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chatlake::notifications::mail;
use chatlake::secret::Secret;
use serde_json::Value;

use super::process::ChildProcess;
use super::until;

/// A mail server process. It is killed when this value is dropped.
pub struct MailServer {
    process: ChildProcess,
    pub port: u16,
}

impl MailServer {
    pub async fn new(arguments: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/smtp.py");
        let process = ChildProcess::spawn(
            Command::new("/usr/bin/python3")
                .arg(script)
                .arg(port.to_string())
                .args(arguments),
        );
        process
            .line("“ready” (is python3-aiosmtpd installed?)", |line| {
                (line == "ready").then_some(())
            })
            .await;
        Self { process, port }
    }

    /// The settings that make Chatlake use this server.
    pub fn mail_settings(
        &self,
        encryption: &str,
        login: Option<(&str, &str)>,
    ) -> mail::MailServerInput {
        let (username, password) = login.unwrap_or_default();
        mail::MailServerInput {
            host: "127.0.0.1".to_owned(),
            port: self.port.to_string(),
            encryption: encryption.to_owned(),
            username: username.to_owned(),
            password: Secret::new(password),
            sender: "chatlake@house.test".to_owned(),
        }
    }

    /// The mails so far: each line of output after the first one is a mail.
    pub fn all(&self) -> Vec<Value> {
        self.process
            .out()
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// All mails, as soon as there are `count`.
    pub async fn count(&self, count: usize) -> Vec<Value> {
        until("so many mails", async || {
            (self.all().len() >= count).then(|| self.all())
        })
        .await
    }
}

/// How a receiver answers.
#[derive(Clone, Copy, Debug)]
pub enum WebhookAnswer {
    With(u16),
    /// Reads the request and sends no response.
    Never,
    /// Redirects to an address that must not be requested.
    Elsewhere,
}

/// Headers, body and path of each request.
pub type ReceivedPosts = Vec<(HeaderMap, String, String)>;

/// A receiver of webhooks.
pub struct WebhookListener {
    pub address: String,
    posts: Arc<Mutex<ReceivedPosts>>,
    answer: Arc<Mutex<WebhookAnswer>>,
}

impl WebhookListener {
    pub async fn new() -> Self {
        let (posts, answer) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(Mutex::new(WebhookAnswer::With(200))),
        );
        let (thread_posts, thread_answer) = (posts.clone(), answer.clone());
        let take = move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
            let (thread_posts, thread_answer) = (thread_posts.clone(), thread_answer.clone());
            async move {
                thread_posts.lock().unwrap().push((
                    headers,
                    String::from_utf8(body.to_vec()).unwrap(),
                    uri.to_string(),
                ));
                let answer = *thread_answer.lock().unwrap();
                match answer {
                    WebhookAnswer::With(status) => (
                        StatusCode::from_u16(status).unwrap(),
                        "kanarie of the receiver",
                    )
                        .into_response(),
                    WebhookAnswer::Elsewhere => {
                        (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response()
                    }
                    WebhookAnswer::Never => std::future::pending::<Response>().await,
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(take))).await });
        Self {
            address,
            posts,
            answer,
        }
    }

    pub fn answer(&self, answer: WebhookAnswer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The requests so far.
    pub fn all(&self) -> ReceivedPosts {
        self.posts.lock().unwrap().clone()
    }

    /// All requests, as soon as there are `count`.
    pub async fn count(&self, count: usize) -> ReceivedPosts {
        until("so many posts", async || {
            (self.all().len() >= count).then(|| self.all())
        })
        .await
    }
}
