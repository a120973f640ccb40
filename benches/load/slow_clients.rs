//! Many clients that download slowly, or not at all.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::api_client::Api;
use crate::processes::Server;
use crate::table::Table;

/// The number of slow clients (of ten people), and the seconds for which they are observed.
const SLOW_CLIENTS: usize = 500;
const SLOW_SECONDS: u64 = 90;

/// How a client of a download reads.
#[derive(Clone, Copy)]
pub enum Reads {
    Nothing,
    Slowly,
    AByteASecond,
}

impl Reads {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "read nothing",
            Self::Slowly => "read 20 kB per second",
            Self::AByteASecond => "read one byte per second",
        }
    }

    fn bytes_a_second(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Slowly => 20_000,
            Self::AByteASecond => 1,
        }
    }
}

impl Table {
    /// Many clients start a download and read slowly or not at all: measures the server's memory,
    /// and the response time of pages meanwhile.
    pub async fn slow_clients(
        &mut self,
        server: &Server,
        api: &Api,
        dataset: &str,
        tokens: &[String],
        reads: Reads,
    ) {
        let before = server.memory("VmRSS");
        server.forget_peak();
        let address = server
            .url
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let mut clients = Vec::new();
        for token in tokens.iter().cycle().take(SLOW_CLIENTS) {
            let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            let head = format!(
                "GET /api/v1/datasets/{dataset}/data HTTP/1.1\r\n\
                 Host: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            clients.push(stream);
        }
        let (began, mut times, mut second) = (Instant::now(), Vec::new(), 0);
        let mut buffer = vec![0; reads.bytes_a_second()];
        while began.elapsed() < Duration::from_secs(SLOW_SECONDS) {
            if began.elapsed().as_secs() >= second {
                second += 1;
                // Reads what has arrived; disconnected clients have nothing.
                clients
                    .iter()
                    .for_each(|client| drop(client.try_read(&mut buffer)));
            }
            for path in [
                "/datasets".to_owned(),
                format!("/datasets/{dataset}/rows?limit=20"),
            ] {
                let sent_at = Instant::now();
                api.get(&path).await;
                times.push(sent_at.elapsed().as_secs_f64() * 1_000.0);
            }
            sleep(Duration::from_millis(20)).await;
        }
        let peak = server.memory("VmHWM") - before;
        times.sort_by(f64::total_cmp);
        let slowest = times[times.len() * 99 / 100];
        drop(clients);
        sleep(Duration::from_secs(10)).await;
        let after = server.memory("VmRSS") - before;
        let what = format!("{SLOW_CLIENTS} clients that {}", reads.words());
        self.line(
            &format!("{what}: memory growth, at most"),
            &format!("{peak:.0} MiB"),
            peak,
            Some((200.0, "200 MiB")),
        );
        self.line(
            &format!("{what}: ten seconds after they disconnected"),
            &format!("{after:.0} MiB more than before"),
            after,
            Some((100.0, "100 MiB")),
        );
        self.line(
            &format!("{what}: API response time, 99th percentile"),
            &format!("{slowest:.0} ms"),
            slowest,
            Some((100.0, "100 ms")),
        );
    }
}
