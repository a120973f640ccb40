//! Reads all pages: by the connector, or into plain structs.

use std::collections::BTreeMap;
use std::hint::black_box;

use chatlake::clock::Clock;
use chatlake::connectors::upstream::Upstreams;
use chatlake::connectors::{self, Connector, Menus, PullEvent, PullRequest, Source, Window};
use chatlake::sandbox::livechat;
use chatlake::secret::Secret;
use futures_util::{StreamExt, stream};
use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plain_chats::Page;
use crate::{DAYS, NOW};

/// The number of concurrent pages, as in the connector.
const AT_ONCE: usize = 8;

pub struct Bench {
    address: String,
    source: Source,
    windows: Vec<Window>,
    client: reqwest::Client,
}

impl Bench {
    pub fn at(address: String) -> Self {
        let upstreams =
            Upstreams::new(vec!["127.0.0.1".parse().unwrap()], Clock::stopped_at(NOW)).unwrap();
        let source = Source {
            connector: Connector::LiveChat,
            fields: BTreeMap::from([("username".to_owned(), livechat::LOGIN.to_owned())]),
            secrets: BTreeMap::from([("api_key".to_owned(), Secret::new(livechat::API_KEY))]),
            zone: TimeZone::UTC,
            // 0: no rate limit.
            upstream: upstreams
                .for_account("", Connector::LiveChat, Some(&address), 0)
                .unwrap(),
        };
        let today = jiff::Timestamp::from_millisecond(NOW)
            .unwrap()
            .to_zoned(TimeZone::UTC)
            .date();
        let range = Menus {
            start_days: Some(DAYS),
            end_days: Some(0),
            ..Menus::default()
        }
        .range(today);
        let windows = connectors::windows(Connector::LiveChat.report("chat").unwrap(), range);
        Self {
            address,
            source,
            windows,
            client: reqwest::Client::builder()
                .no_proxy()
                .no_gzip()
                .build()
                .unwrap(),
        }
    }

    /// The number of rows that the connector reads from all pages. `second_read`: whether days that
    /// are not settled are read twice.
    pub async fn pull(&self, reports: &[&str], second_read: bool) -> u64 {
        let request = PullRequest {
            reports: reports
                .iter()
                .map(|id| Connector::LiveChat.report(id).unwrap())
                .collect(),
            menus: Menus::default(),
            zone: TimeZone::UTC,
            extras: Vec::new(),
            previous_window: None,
            second_read,
            scratch: std::env::temp_dir(),
            windows: self.windows.clone(),
            cancel: CancellationToken::new(),
        };
        let (out, mut come) = mpsc::channel(4);
        let source = self.source.clone();
        let reading = tokio::spawn(async move { connectors::pull(&source, &request, &out).await });
        let mut rows = 0;
        while let Some(pulled) = come.recv().await {
            if let PullEvent::Rows { batch, .. } = pulled {
                rows += black_box(batch).num_rows() as u64;
            }
        }
        reading.await.unwrap().unwrap();
        rows
    }

    /// The numbers of chats and messages of all pages.
    pub async fn baseline(&self) -> (u64, u64) {
        let (mut chats, mut messages) = (0, 0);
        for window in &self.windows {
            let first = self.page(*window, 1).await;
            let rest = stream::iter(2..=first.pages)
                .map(|page| self.page(*window, page))
                .buffered(AT_ONCE);
            let mut pages = std::pin::pin!(stream::iter([first]).chain(rest));
            while let Some(page) = pages.next().await {
                chats += page.chats.len() as u64;
                messages += page
                    .chats
                    .iter()
                    .map(|chat| chat.messages.len() as u64)
                    .sum::<u64>();
            }
        }
        (chats, messages)
    }

    /// Reads and parses a page in a separate task.
    fn page(&self, window: Window, page: u64) -> impl Future<Output = Page> + use<> {
        let url = format!(
            "{}/chats?date_from={}&date_to={}&timezone=UTC&page={page}",
            self.address, window.from, window.to
        );
        let request = self
            .client
            .get(url)
            .basic_auth(livechat::LOGIN, Some(livechat::API_KEY))
            .header("x-api-version", "2");
        let task = tokio::spawn(async move {
            let body = request.send().await.unwrap().bytes().await.unwrap();
            serde_json::from_slice(&body).unwrap()
        });
        async move { task.await.unwrap() }
    }
}
