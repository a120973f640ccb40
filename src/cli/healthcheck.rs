//! `chatlake healthcheck`, for containers, which contain no HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CommandError, CommandResult};
use crate::config::{Config, GlobalArgs, ServeArgs};

#[derive(clap::Args)]
pub struct HealthcheckArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

pub async fn run(global_args: &GlobalArgs, arguments: &HealthcheckArgs) -> CommandResult {
    let listen = Config::listen_address(global_args, &arguments.serve);
    let answer = tokio::time::timeout(Duration::from_secs(5), ready(listen)).await;
    match answer {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(CommandError {
            code: 69,
            message: format!("The server at {listen} is not ready."),
        }),
        Ok(Err(why)) => Err(CommandError {
            code: 69,
            message: format!("The server at {listen} does not answer: {why}."),
        }),
        Err(_) => Err(CommandError {
            code: 69,
            message: format!("The server at {listen} does not answer within 5 seconds."),
        }),
    }
}

async fn ready(listen: SocketAddr) -> std::io::Result<bool> {
    let address = if listen.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], listen.port()))
    } else {
        listen
    };
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).await?;
    Ok(&head == b"HTTP/1.1 200")
}
