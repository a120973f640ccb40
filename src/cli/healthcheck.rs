//! `chatlake healthcheck`: for containers, which have no other program inside.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Done, Failed};
use crate::config::{Config, Given, GivenToServe};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    serve: GivenToServe,
}

pub async fn run(given: &Given, arguments: &Arguments) -> Done {
    let listen = Config::listens_at(given, &arguments.serve);
    let asked = tokio::time::timeout(Duration::from_secs(5), ready(listen)).await;
    match asked {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Failed { code: 69, line: format!("The server at {listen} is not ready.") }),
        Ok(Err(why)) => Err(Failed { code: 69, line: format!("The server at {listen} does not answer: {why}.") }),
        Err(_) => Err(Failed { code: 69, line: format!("The server at {listen} does not answer within 5 seconds.") }),
    }
}

async fn ready(listen: SocketAddr) -> std::io::Result<bool> {
    let address = if listen.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], listen.port())) } else { listen };
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).await?;
    Ok(&head == b"HTTP/1.1 200")
}
