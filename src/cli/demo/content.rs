//! The accounts and DataSets of the demo.

use std::collections::BTreeMap;

use crate::connectors::Connector;
use crate::sandbox::livechat::{API_KEY, LOGIN};
use crate::sandbox::liveleader;
use crate::secret::Secret;

/// A DataSet of the demo.
pub(super) struct DemoDataset {
    pub name: &'static str,
    pub description: &'static str,
    pub report: &'static str,
    pub days: Option<(u32, u32)>,
    pub cron: &'static str,
    pub shared: bool,
    pub account: DemoAccount,
}

/// The accounts of the demo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DemoAccount {
    Support,
    /// Its API key was revoked.
    Webshop,
    Leader,
}

impl DemoAccount {
    pub const ALL: [DemoAccount; 3] = [
        DemoAccount::Support,
        DemoAccount::Webshop,
        DemoAccount::Leader,
    ];

    pub fn name(self) -> &'static str {
        match self {
            DemoAccount::Support => "Support Oslo",
            DemoAccount::Webshop => "Webshop operators",
            DemoAccount::Leader => "Night desk",
        }
    }

    pub fn connector(self) -> Connector {
        if self == DemoAccount::Leader {
            Connector::LiveLeader
        } else {
            Connector::LiveChat
        }
    }

    pub fn credentials(self) -> BTreeMap<String, Secret> {
        let pairs = match self {
            DemoAccount::Support => [("username", LOGIN), ("api_key", API_KEY)],
            DemoAccount::Webshop => [("username", LOGIN), ("api_key", "a key that was withdrawn")],
            DemoAccount::Leader => [
                ("email", liveleader::EMAIL),
                ("password", liveleader::PASSWORD),
            ],
        };
        pairs
            .map(|(field, value)| (field.to_owned(), Secret::new(value)))
            .into()
    }
}

/// One report of each shape: archive records and their parts, periods, lists, a single object.
pub(super) const DEMO_DATASETS: [DemoDataset; 8] = [
    DemoDataset {
        name: "Chats, last 14 days",
        description: "All ended chats of the last two weeks, one row per chat.",
        report: "chat",
        days: Some((14, 1)),
        cron: "30 6 * * *",
        shared: true,
        account: DemoAccount::Support,
    },
    DemoDataset {
        name: "Chat messages, last week",
        description: "All messages of the last week, one row per message.",
        report: "chat_messages",
        days: Some((7, 1)),
        cron: "45 6 * * *",
        shared: false,
        account: DemoAccount::Support,
    },
    DemoDataset {
        name: "Chats per day",
        description: "Number of chats on each of the last 30 days.",
        report: "chat_report",
        days: Some((30, 1)),
        cron: "0 7 * * *",
        shared: true,
        account: DemoAccount::Support,
    },
    DemoDataset {
        name: "Agents",
        description: "All agents, and whether they accept chats now.",
        report: "agents",
        days: None,
        cron: "15 7 * * *",
        shared: false,
        account: DemoAccount::Support,
    },
    DemoDataset {
        name: "Dashboard",
        description: "Numbers of the last seven days, as on the LiveChat dashboard.",
        report: "dashboard_report",
        days: None,
        cron: "40 6 * * *",
        shared: false,
        account: DemoAccount::Support,
    },
    DemoDataset {
        name: "Groups",
        description: "All groups, and the agents in each group.",
        report: "groups",
        days: None,
        cron: "20 7 * * 1-5",
        shared: false,
        account: DemoAccount::Support,
    },
    DemoDataset {
        name: "Webshop chats",
        description: "From the account of a colleague who has left.",
        report: "chat",
        days: Some((3, 1)),
        cron: "0 6 * * *",
        shared: false,
        account: DemoAccount::Webshop,
    },
    DemoDataset {
        name: "Night desk chats",
        description: "Chats of the night desk with transcripts, from the LiveLeader export.",
        report: "chats",
        days: Some((14, 1)),
        cron: "10 6 * * *",
        shared: false,
        account: DemoAccount::Leader,
    },
];
