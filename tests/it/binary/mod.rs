//! The built binary, tested from outside.

mod commands;
mod data_directory;
mod request_limits;
mod secrets_in_output;
mod set_up_link;
mod shutdown;
mod vault_key;
mod vendor_connections;

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A refused start prints one line.
fn single_line(err: &str) -> &str {
    assert_eq!(err.lines().count(), 1, "one line is enough: {err}");
    err.trim_end()
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the other side closes, and returns what it sent.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is also an end.
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes))
        .await
        .expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}
