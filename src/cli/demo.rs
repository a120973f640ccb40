//! `chatlake demo`: the product on invented data. The sandbox runs inside; a week is lived through on a clock of its own, so that
//! every run in the history was really pulled; then the server starts on today's clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Done, Failed};
use crate::accounts::{ChangeAccount, NewAccount};
use crate::actor::{Actor, Role};
use crate::app::{App, Hangup, signalled};
use crate::auth::passwords::Hasher;
use crate::auth::users::{self, NewUser};
use crate::clock::{Clock, Millis};
use crate::config::{AllowUpstream, Config, Given, GivenToServe};
use crate::connectors::upstream::Limits;
use crate::connectors::{Connector, Menus};
use crate::datasets::{Description, Name, Settings};
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::puller::queue;
use crate::puller::schedules::Schedule;
use crate::sandbox::livechat::{API_KEY, LOGIN};
use crate::sandbox::liveleader;
use crate::sandbox::{Options, Sandbox};
use crate::secret::Secret;

const DAY: Millis = 24 * 60 * 60 * 1_000;
const ZONE: &str = "Europe/Oslo";
/// Everyone here has this host in the email.
const HOST: &str = "demo.test";
/// One day of the demo's week must be pulled within this much real time.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    serve: GivenToServe,
    /// Number of chats in the simulated LiveChat and LiveLeader
    #[arg(long, default_value_t = 6_000, value_name = "N")]
    chats: u64,
}

/// A DataSet of the demo.
struct Wanted {
    name: &'static str,
    description: &'static str,
    report: &'static str,
    days: Option<(u32, u32)>,
    cron: &'static str,
    shared: bool,
    of: Of,
}

/// The accounts of the demo.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Support,
    /// Its key was withdrawn.
    Webshop,
    Leader,
}

impl Of {
    const ALL: [Of; 3] = [Of::Support, Of::Webshop, Of::Leader];

    fn name(self) -> &'static str {
        match self {
            Of::Support => "Support Oslo",
            Of::Webshop => "Webshop operators",
            Of::Leader => "Night desk",
        }
    }

    fn connector(self) -> Connector {
        if self == Of::Leader { Connector::LiveLeader } else { Connector::LiveChat }
    }

    fn credentials(self) -> BTreeMap<String, Secret> {
        let pairs = match self {
            Of::Support => [("username", LOGIN), ("api_key", API_KEY)],
            Of::Webshop => [("username", LOGIN), ("api_key", "a key that was withdrawn")],
            Of::Leader => [("email", liveleader::EMAIL), ("password", liveleader::PASSWORD)],
        };
        pairs.map(|(field, value)| (field.to_owned(), Secret::new(value))).into()
    }
}

/// One of each shape of report: an archive's records and what is in them, periods, lists, a single object.
const WANTED: [Wanted; 8] = [
    Wanted {
        name: "Chats, last 14 days",
        description: "All ended chats of the last two weeks, one row per chat.",
        report: "chat",
        days: Some((14, 1)),
        cron: "30 6 * * *",
        shared: true,
        of: Of::Support,
    },
    Wanted {
        name: "Chat messages, last week",
        description: "All messages of the last week, one row per message.",
        report: "chat_messages",
        days: Some((7, 1)),
        cron: "45 6 * * *",
        shared: false,
        of: Of::Support,
    },
    Wanted {
        name: "Chats per day",
        description: "Number of chats on each of the last 30 days.",
        report: "chat_report",
        days: Some((30, 1)),
        cron: "0 7 * * *",
        shared: true,
        of: Of::Support,
    },
    Wanted {
        name: "Agents",
        description: "All agents, and whether they accept chats now.",
        report: "agents",
        days: None,
        cron: "15 7 * * *",
        shared: false,
        of: Of::Support,
    },
    Wanted {
        name: "Dashboard",
        description: "Numbers of the last seven days, as on the LiveChat dashboard.",
        report: "dashboard_report",
        days: None,
        cron: "40 6 * * *",
        shared: false,
        of: Of::Support,
    },
    Wanted {
        name: "Groups",
        description: "All groups, and the agents in each group.",
        report: "groups",
        days: None,
        cron: "20 7 * * 1-5",
        shared: false,
        of: Of::Support,
    },
    Wanted {
        name: "Webshop chats",
        description: "From the account of a colleague who has left.",
        report: "chat",
        days: Some((3, 1)),
        cron: "0 6 * * *",
        shared: false,
        of: Of::Webshop,
    },
    Wanted {
        name: "Night desk chats",
        description: "Chats of the night desk with transcripts, from the LiveLeader export.",
        report: "chats",
        days: Some((14, 1)),
        cron: "10 6 * * *",
        shared: false,
        of: Of::Leader,
    },
];

pub async fn run(given: &Given, arguments: &Arguments) -> Done {
    super::log::start(given.log.as_deref().unwrap_or("error"), given.log_format.unwrap_or_default())?;
    let (dir, temporary) = match &given.data {
        Some(dir) => (dir.clone(), false),
        None => (temporary_directory()?, true),
    };
    let done = demonstrate(given, arguments, dir.clone()).await;
    if temporary {
        let _ = std::fs::remove_dir_all(&dir);
    }
    done
}

async fn demonstrate(given: &Given, arguments: &Arguments, dir: PathBuf) -> Done {
    let mut given = Given { data: Some(dir), ..given.clone() };
    given.allow_upstream.push(AllowUpstream::Host("localhost".to_owned()));
    given.allow_upstream.push(AllowUpstream::Net(std::net::IpAddr::from([127, 0, 0, 1]).into()));
    let config = Config::resolve(&given, &arguments.serve)?;
    let stop = signalled(Hangup::Ends);
    // Before the week is made, so that a port that is taken is told at once.
    let listener = bind(&config).await?;
    let config = config.listening_on(listener.local_addr()?)?;

    let vendor = start_sandbox(arguments.chats, stop.clone()).await?;
    tell!("Creating a week of sample data. The simulated LiveChat and LiveLeader listen at {vendor} ...")?;
    let passphrase = live_a_week(config.clone(), &vendor).await?;

    let app = App::open(config, Clock::system()).await?;
    tell!("")?;
    tell!("Chatlake is ready at {}", app.config.public_url)?;
    match passphrase {
        Some(passphrase) => tell!("Sign in as maren@{HOST} with the password {}", passphrase.reveal())?,
        None => tell!("This directory contains an earlier demo. Sign in with the password that it printed.")?,
    }
    tell!("To add accounts for the simulated LiveChat and LiveLeader, use the API URL {vendor} and these credentials:")?;
    tell!("  LiveChat: Username {LOGIN}, API Key {API_KEY}")?;
    tell!("  LiveLeader: Email {}, Password {}", liveleader::EMAIL, liveleader::PASSWORD)?;
    tell!("Press Ctrl+C to stop.")?;
    app.serve(listener.into_std()?, stop).await?;
    Ok(())
}

async fn bind(config: &Config) -> Result<TcpListener> {
    TcpListener::bind(config.listen).await.map_err(|why| {
        Error::conflict("listen", format!("Cannot listen on {}: {why}.", config.listen))
            .action("Another program may use this address. Choose another address with --listen, for example 127.0.0.1:0 for any free port.")
    })
}

async fn start_sandbox(chats: u64, stop: CancellationToken) -> Result<String, Failed> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let vendor = format!("http://{}", listener.local_addr()?);
    let options = Options { chats, days: 60, seed: 7, delay: Duration::from_millis(2), ..Options::default() };
    let sandbox = Sandbox::new(options, Clock::system());
    tokio::spawn(async move { sandbox.serve(listener, stop).await });
    Ok(vendor)
}

/// Makes people, accounts and DataSets as of a week ago and lets the schedules run until now. The password of all people; none when the
/// directory holds a demo already, whose accounts are then led to the vendor's new address.
async fn live_a_week(config: Config, vendor: &str) -> Result<Option<Secret>, Failed> {
    let now = Clock::system().now();
    let clock = Clock::stopped_at(now - 7 * DAY);
    // The sandbox is beside us: what it rejects once, it rejects.
    let limits = Limits { confirm_after: Duration::from_millis(20), ..Limits::default() };
    let app = App::open_with(config.clone(), clock.clone(), limits).await?;
    if users::count(&app.db).await? > 0 {
        lead_to(&app, vendor).await?;
        app.stop().await;
        return Ok(None);
    }
    let passphrase = passphrase();
    let owner = people(&app, &passphrase).await?;
    let mut accounts = Vec::new();
    for of in Of::ALL {
        accounts.push((of, account(&app, &owner, of, vendor).await?));
    }
    for wanted in &WANTED {
        for (_, account) in accounts.iter().filter(|(of, _)| *of == wanted.of) {
            dataset(&app, &owner, wanted, account).await?;
        }
    }
    app.start_pulling().await?;
    // The last minutes are left for the workers, who wait by this clock.
    let until = now - DAY / 96;
    while clock.now() < until {
        clock.advance((until - clock.now()).min(DAY));
        app.puller.rescheduled.notify_one();
        settle(&app, &clock, now).await?;
    }
    for (_, account) in accounts.iter().filter(|(of, _)| *of != Of::Webshop) {
        app.accounts.check(&owner, account).await?;
    }
    app.stop().await;
    Ok(Some(passphrase))
}

/// Waits until every run that is due has ended, moving the clock on a little where a worker waits for it.
async fn settle(app: &App, clock: &Clock, latest: Millis) -> Result<()> {
    let began = tokio::time::Instant::now();
    let mut quiet = 0;
    while quiet < 3 {
        if began.elapsed() > PATIENCE {
            return Err(Error::internal("the demo's week was not pulled in time"));
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
        let waiting = app.datasets.next_scheduled().await?.is_some_and(|next| next <= clock.now());
        quiet = if waiting || queue::alive(&app.db).await? > 0 { 0 } else { quiet + 1 };
        if clock.now() < latest {
            clock.advance((latest - clock.now()).min(400));
        }
    }
    Ok(())
}

async fn people(app: &App, passphrase: &Secret) -> Result<Actor> {
    let hasher = Hasher::new(2);
    let mut owner = None;
    for (name, email, role) in [("Maren Aasen", "maren", Role::Admin), ("Kacper Nowak", "kacper", Role::Editor), ("Noor Haddad", "noor", Role::Viewer)] {
        let new = NewUser { email: format!("{email}@{HOST}"), name: name.to_owned(), role, password: Some(passphrase.clone()) };
        let user = users::create(&app.db, &app.clock, &hasher, &new, None).await?;
        owner.get_or_insert(user.actor());
    }
    owner.ok_or_else(|| Error::internal("a demo without people"))
}

async fn account(app: &App, owner: &Actor, of: Of, vendor: &str) -> Result<AccountId> {
    let new = NewAccount {
        connector: of.connector(),
        name: of.name().to_owned(),
        credentials: of.credentials(),
        api_url: Some(vendor.to_owned()),
        requests_per_minute: Some(60_000),
        time_zone: Some(ZONE.to_owned()),
    };
    Ok(app.accounts.create(owner, &new).await?.id)
}

async fn dataset(app: &App, owner: &Actor, wanted: &Wanted, account: &AccountId) -> Result<()> {
    let connector = wanted.of.connector();
    let report = connector.report(wanted.report).ok_or_else(|| Error::internal("a demo of a report that is not there"))?;
    let now = app.clock.now();
    let schedule = Schedule::parse(wanted.cron, ZONE, now)?;
    let menus = Menus { start_days: wanted.days.map(|(start, _)| start), end_days: wanted.days.map(|(_, end)| end), ..Menus::default() };
    let settings = Settings {
        name: Name::parse(wanted.name)?,
        description: Description::parse(wanted.description)?,
        account_id: account.clone(),
        connector,
        report,
        menus: menus.check(report).map_err(Error::fields)?,
        update_mode: report.mode,
        options: crate::datasets::options::Options::default(),
        time_zone: ZONE.to_owned(),
        schedule: schedule.planned(now),
    };
    let id = app.datasets.create(owner, &settings).await?;
    if wanted.shared {
        app.datasets.share(owner, &id, true).await?;
    }
    Ok(())
}

/// An earlier demo's accounts name a port that is gone; they get the new one, with the secret again.
async fn lead_to(app: &App, vendor: &str) -> Result<()> {
    let keeper = super::keeper();
    for account in app.accounts.list(&keeper).await? {
        if account.api_url.as_deref().is_some_and(|url| url.starts_with("http://127.0.0.1:")) {
            let of = Of::ALL.into_iter().find(|of| of.name() == account.name).unwrap_or(if account.connector == Connector::LiveLeader {
                Of::Leader
            } else {
                Of::Support
            });
            let secrets = of.credentials().into_iter().filter(|(field, _)| !account.fields.contains_key(field));
            let change = ChangeAccount { api_url: Some(Some(vendor.to_owned())), credentials: secrets.collect(), ..ChangeAccount::default() };
            app.accounts.update(&keeper, &account.id, &change).await?;
        }
    }
    Ok(())
}

/// Four words and a number: about 26 bits, for a server on this machine that holds invented data.
fn passphrase() -> Secret {
    const WORDS: [&str; 32] = [
        "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper", "kettle", "lantern", "meadow", "north", "orchid",
        "pebble", "quartz", "river", "summit", "timber", "umber", "valley", "willow", "yonder", "zephyr", "anchor", "beacon", "copper", "drift", "echo",
        "feather", "glacier",
    ];
    let mut rng = rand::rng();
    let words: Vec<&str> = (0..4).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect();
    Secret::new(format!("{}-{}", words.join("-"), rng.random_range(10..100)))
}

fn temporary_directory() -> Result<PathBuf, Failed> {
    let dir = std::env::temp_dir().join(format!("chatlake-demo-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&dir)?;
    Ok(dir)
}
