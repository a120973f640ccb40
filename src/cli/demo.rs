//! `chatlake demo`: the application with generated data. It runs the sandbox in the same process
//! and executes a week of scheduled runs on a simulated clock, so that the history consists of real
//! runs. Then the server starts on the system clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult};
use crate::accounts::{ChangeAccount, NewAccount};
use crate::actor::{Actor, Role};
use crate::app::{App, Hangup, shutdown_signal};
use crate::auth::passwords::Hasher;
use crate::auth::users::{self, NewUser};
use crate::clock::{Clock, Millis};
use crate::config::{AllowUpstream, Config, GlobalArgs, ServeArgs};
use crate::connectors::upstream::Limits;
use crate::connectors::{Connector, Menus};
use crate::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::puller::queue;
use crate::puller::schedules::Schedule;
use crate::sandbox::livechat::{API_KEY, LOGIN};
use crate::sandbox::liveleader;
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::secret::Secret;

const DAY: Millis = 24 * 60 * 60 * 1_000;
const ZONE: &str = "Europe/Oslo";
/// The host of all email addresses in the demo.
const HOST: &str = "demo.test";
/// The real-time limit for executing one day of the simulated week.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Number of chats in the simulated LiveChat and LiveLeader
    #[arg(long, default_value_t = 6_000, value_name = "N")]
    chats: u64,
}

/// A DataSet of the demo.
struct DemoDataset {
    name: &'static str,
    description: &'static str,
    report: &'static str,
    days: Option<(u32, u32)>,
    cron: &'static str,
    shared: bool,
    account: DemoAccount,
}

/// The accounts of the demo.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DemoAccount {
    Support,
    /// Its API key was revoked.
    Webshop,
    Leader,
}

impl DemoAccount {
    const ALL: [DemoAccount; 3] = [
        DemoAccount::Support,
        DemoAccount::Webshop,
        DemoAccount::Leader,
    ];

    fn name(self) -> &'static str {
        match self {
            DemoAccount::Support => "Support Oslo",
            DemoAccount::Webshop => "Webshop operators",
            DemoAccount::Leader => "Night desk",
        }
    }

    fn connector(self) -> Connector {
        if self == DemoAccount::Leader {
            Connector::LiveLeader
        } else {
            Connector::LiveChat
        }
    }

    fn credentials(self) -> BTreeMap<String, Secret> {
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
const DEMO_DATASETS: [DemoDataset; 8] = [
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

pub async fn run(global_args: &GlobalArgs, arguments: &DemoArgs) -> CommandResult {
    super::log::start(
        global_args.log.as_deref().unwrap_or("error"),
        global_args.log_format.unwrap_or_default(),
    )?;
    let (dir, temporary) = match &global_args.data {
        Some(dir) => (dir.clone(), false),
        None => (temporary_directory()?, true),
    };
    let result = run_in(global_args, arguments, dir.clone()).await;
    if temporary {
        let _ = std::fs::remove_dir_all(&dir);
    }
    result
}

async fn run_in(global_args: &GlobalArgs, arguments: &DemoArgs, dir: PathBuf) -> CommandResult {
    let mut global_args = GlobalArgs {
        data: Some(dir),
        ..global_args.clone()
    };
    global_args
        .allow_upstream
        .push(AllowUpstream::Host("localhost".to_owned()));
    global_args.allow_upstream.push(AllowUpstream::Net(
        std::net::IpAddr::from([127, 0, 0, 1]).into(),
    ));
    let config = Config::resolve(&global_args, &arguments.serve)?;
    let stop = shutdown_signal(Hangup::Ends);
    // Bound before the week is simulated, so that a port in use is reported at once.
    let listener = bind(&config).await?;
    let config = config.listening_on(listener.local_addr()?)?;

    let vendor = start_sandbox(arguments.chats, stop.clone()).await?;
    print_line!(
        "Creating a week of sample data. The simulated LiveChat and LiveLeader listen at {vendor} ..."
    )?;
    let passphrase = simulate_week(config.clone(), &vendor).await?;

    let app = App::open(config, Clock::system()).await?;
    print_line!("")?;
    print_line!("Chatlake is ready at {}", app.config.public_url)?;
    match passphrase {
        Some(passphrase) => print_line!(
            "Sign in as maren@{HOST} with the password {}",
            passphrase.reveal()
        )?,
        None => print_line!(
            "This directory contains an earlier demo. Sign in with the password that it printed."
        )?,
    }
    print_line!(
        "To add accounts for the simulated LiveChat and LiveLeader, use the API URL {vendor} and these credentials:"
    )?;
    print_line!("  LiveChat: Username {LOGIN}, API Key {API_KEY}")?;
    print_line!(
        "  LiveLeader: Email {}, Password {}",
        liveleader::EMAIL,
        liveleader::PASSWORD
    )?;
    print_line!("Press Ctrl+C to stop.")?;
    app.serve(listener.into_std()?, stop).await?;
    Ok(())
}

async fn bind(config: &Config) -> Result<TcpListener> {
    TcpListener::bind(config.listen).await.map_err(|why| {
        Error::conflict("listen", format!("Cannot listen on {}: {why}.", config.listen))
            .action("Another program may use this address. Choose another address with --listen, for example 127.0.0.1:0 for any free port.")
    })
}

async fn start_sandbox(chats: u64, stop: CancellationToken) -> Result<String, CommandError> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let vendor = format!("http://{}", listener.local_addr()?);
    let options = SandboxOptions {
        chats,
        days: 60,
        seed: 7,
        delay: Duration::from_millis(2),
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::new(options, Clock::system());
    tokio::spawn(async move { sandbox.serve(listener, stop).await });
    Ok(vendor)
}

/// Creates people, accounts and DataSets as of a week ago and executes their schedules until now.
/// Returns the password of all people. `None` if the directory already holds a demo; its accounts
/// then get the new address of the sandbox.
async fn simulate_week(config: Config, vendor: &str) -> Result<Option<Secret>, CommandError> {
    let now = Clock::system().now();
    let clock = Clock::stopped_at(now - 7 * DAY);
    // The sandbox runs in this process, so one rejection is final and is confirmed at once.
    let limits = Limits {
        confirm_after: Duration::from_millis(20),
        ..Limits::default()
    };
    let app = App::open_with_limits(config.clone(), clock.clone(), limits).await?;
    if users::count(&app.db).await? > 0 {
        repoint_accounts(&app, vendor).await?;
        app.stop().await;
        return Ok(None);
    }
    let passphrase = passphrase();
    let owner = create_people(&app, &passphrase).await?;
    let mut accounts = Vec::new();
    for demo_account in DemoAccount::ALL {
        accounts.push((
            demo_account,
            create_account(&app, &owner, demo_account, vendor).await?,
        ));
    }
    for demo in &DEMO_DATASETS {
        for (_, account) in accounts
            .iter()
            .filter(|(demo_account, _)| *demo_account == demo.account)
        {
            create_dataset(&app, &owner, demo, account).await?;
        }
    }
    app.start_pulling().await?;
    // The last minutes are left to the workers, which wait by this clock.
    let until = now - DAY / 96;
    while clock.now() < until {
        clock.advance((until - clock.now()).min(DAY));
        app.puller.wake_scheduler.notify_one();
        settle(&app, &clock, now).await?;
    }
    for (_, account) in accounts
        .iter()
        .filter(|(demo_account, _)| *demo_account != DemoAccount::Webshop)
    {
        app.accounts.check(&owner, account).await?;
    }
    app.stop().await;
    Ok(Some(passphrase))
}

/// Waits until every due run has ended. Advances the clock a little where a worker waits for it.
async fn settle(app: &App, clock: &Clock, latest: Millis) -> Result<()> {
    let began = tokio::time::Instant::now();
    let mut quiet = 0;
    while quiet < 3 {
        if began.elapsed() > SETTLE_TIMEOUT {
            return Err(Error::internal("the demo's week was not pulled in time"));
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
        let waiting = app
            .datasets
            .next_scheduled()
            .await?
            .is_some_and(|next| next <= clock.now());
        quiet = if waiting || queue::count_active(&app.db).await? > 0 {
            0
        } else {
            quiet + 1
        };
        if clock.now() < latest {
            clock.advance((latest - clock.now()).min(400));
        }
    }
    Ok(())
}

async fn create_people(app: &App, passphrase: &Secret) -> Result<Actor> {
    let hasher = Hasher::new(2);
    let mut owner = None;
    for (name, email, role) in [
        ("Maren Aasen", "maren", Role::Admin),
        ("Kacper Nowak", "kacper", Role::Editor),
        ("Noor Haddad", "noor", Role::Viewer),
    ] {
        let new = NewUser {
            email: format!("{email}@{HOST}"),
            name: name.to_owned(),
            role,
            password: Some(passphrase.clone()),
        };
        let user = users::create(&app.db, &app.clock, &hasher, &new, None).await?;
        owner.get_or_insert(user.actor());
    }
    owner.ok_or_else(|| Error::internal("a demo without people"))
}

async fn create_account(
    app: &App,
    owner: &Actor,
    demo_account: DemoAccount,
    vendor: &str,
) -> Result<AccountId> {
    let new = NewAccount {
        connector: demo_account.connector(),
        name: demo_account.name().to_owned(),
        credentials: demo_account.credentials(),
        api_url: Some(vendor.to_owned()),
        requests_per_minute: Some(60_000),
        time_zone: Some(ZONE.to_owned()),
    };
    Ok(app.accounts.create(owner, &new).await?.id)
}

async fn create_dataset(
    app: &App,
    owner: &Actor,
    demo: &DemoDataset,
    account: &AccountId,
) -> Result<()> {
    let connector = demo.account.connector();
    let report = connector
        .report(demo.report)
        .ok_or_else(|| Error::internal("a demo of a report that is not there"))?;
    let now = app.clock.now();
    let schedule = Schedule::parse(demo.cron, ZONE, now)?;
    let menus = Menus {
        start_days: demo.days.map(|(start, _)| start),
        end_days: demo.days.map(|(_, end)| end),
        ..Menus::default()
    };
    let settings = DatasetSettings {
        name: DatasetName::parse(demo.name)?,
        description: DatasetDescription::parse(demo.description)?,
        account_id: account.clone(),
        connector,
        report,
        menus: menus.check(report).map_err(Error::fields)?,
        update_mode: report.mode,
        options: crate::datasets::options::DatasetOptions::default(),
        time_zone: ZONE.to_owned(),
        schedule: schedule.to_stored(now),
    };
    let id = app.datasets.create(owner, &settings).await?;
    if demo.shared {
        app.datasets.share(owner, &id, true).await?;
    }
    Ok(())
}

/// Gives the accounts of an earlier demo the new address of the sandbox, with their secret.
async fn repoint_accounts(app: &App, vendor: &str) -> Result<()> {
    let system_actor = super::system_actor();
    for account in app.accounts.list(&system_actor).await? {
        if account
            .api_url
            .as_deref()
            .is_some_and(|url| url.starts_with("http://127.0.0.1:"))
        {
            let demo_account = DemoAccount::ALL
                .into_iter()
                .find(|demo_account| demo_account.name() == account.name)
                .unwrap_or(if account.connector == Connector::LiveLeader {
                    DemoAccount::Leader
                } else {
                    DemoAccount::Support
                });
            let secrets = demo_account
                .credentials()
                .into_iter()
                .filter(|(field, _)| !account.fields.contains_key(field));
            let change = ChangeAccount {
                api_url: Some(Some(vendor.to_owned())),
                credentials: secrets.collect(),
                ..ChangeAccount::default()
            };
            app.accounts
                .update(&system_actor, &account.id, &change)
                .await?;
        }
    }
    Ok(())
}

/// Four words and a number: about 26 bits, for a server on this machine with generated data.
fn passphrase() -> Secret {
    const WORDS: [&str; 32] = [
        "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island",
        "juniper", "kettle", "lantern", "meadow", "north", "orchid", "pebble", "quartz", "river",
        "summit", "timber", "umber", "valley", "willow", "yonder", "zephyr", "anchor", "beacon",
        "copper", "drift", "echo", "feather", "glacier",
    ];
    let mut rng = rand::rng();
    let words: Vec<&str> = (0..4)
        .map(|_| WORDS[rng.random_range(0..WORDS.len())])
        .collect();
    Secret::new(format!("{}-{}", words.join("-"), rng.random_range(10..100)))
}

fn temporary_directory() -> Result<PathBuf, CommandError> {
    let dir = std::env::temp_dir().join(format!("chatlake-demo-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&dir)?;
    Ok(dir)
}
