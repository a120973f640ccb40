//! The test server: a simulated vendor whose answers are cached in memory.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bytes::Bytes;
use chatlake::clock::Clock;
use chatlake::sandbox::{Sandbox, SandboxOptions};
use tower::ServiceExt;

use crate::{DAYS, NOW};

/// Serves chats from memory. Returns the address.
pub async fn serve(chats: u64) -> String {
    let sandbox = Sandbox::new(
        SandboxOptions {
            chats,
            days: DAYS,
            ..SandboxOptions::default()
        },
        Clock::stopped_at(NOW),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let vendor = Router::new().fallback(from_memory).with_state(Memory {
        vendor: sandbox.router(),
        pages: Arc::default(),
    });
    tokio::spawn(async move { axum::serve(listener, vendor).await });
    address
}

pub async fn serve_as_vendor(chats: u64) {
    println!("{}", serve(chats).await);
    // Runs until the parent process ends it.
    std::future::pending::<()>().await;
}

#[derive(Clone)]
struct Memory {
    vendor: Router,
    pages: Arc<RwLock<HashMap<String, Bytes>>>,
}

async fn from_memory(State(memory): State<Memory>, request: Request) -> Response {
    let question = request.uri().to_string();
    let held = memory.pages.read().unwrap().get(&question).cloned();
    let body = match held {
        Some(body) => body,
        None => {
            let answer = memory.vendor.oneshot(request).await.unwrap();
            if !answer.status().is_success() {
                return answer;
            }
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            memory.pages.write().unwrap().insert(question, body.clone());
            body
        }
    };
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(body),
    )
        .into_response()
}
