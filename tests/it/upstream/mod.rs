//! Requests to vendors: which addresses are refused, and how responses are read.

mod addresses;
mod responses;

use std::sync::Arc;
use std::time::Duration;

use chatlake::clock::Clock;
use chatlake::connectors::upstream::{ApiRequest, Auth, DnsResolver, Limits, Upstreams};
use chatlake::connectors::{Connector, PullError};
use tokio_util::sync::CancellationToken;

const ASK: ApiRequest<'static> = ApiRequest {
    path: "/agents",
    query: &[],
    auth: Auth::None,
    headers: &[],
    classify_error: |_, _| None,
    auth_check: ("/agents", &[]),
};

fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        first_byte: Duration::from_millis(500),
        first_delay: Duration::from_millis(1),
        ..Limits::default()
    }
}

fn upstreams(allow: &[&str], resolver: Arc<dyn DnsResolver>) -> Upstreams {
    Upstreams::with(
        allow.iter().map(|text| text.parse().unwrap()).collect(),
        Clock::system(),
        limits(),
        resolver,
    )
    .unwrap()
}

async fn ask(upstreams: &Upstreams, address: Option<&str>) -> PullError {
    let upstream = upstreams
        .for_account("", Connector::LiveChat, address, 0)
        .unwrap();
    upstream
        .get(ASK, &CancellationToken::new())
        .await
        .unwrap_err()
}
