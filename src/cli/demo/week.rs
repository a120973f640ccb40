//! The week before the demo: creates people, accounts and DataSets, and executes their schedules on
//! a simulated clock.

use std::time::Duration;

use super::content::{DEMO_DATASETS, DemoAccount, DemoDataset};
use super::{CommandError, HOST, passphrase};
use crate::accounts::{ChangeAccount, NewAccount};
use crate::actor::{Actor, Role};
use crate::app::App;
use crate::auth::passwords::Hasher;
use crate::auth::users::{self, NewUser};
use crate::cli::system_actor;
use crate::clock::{Clock, Millis};
use crate::config::Config;
use crate::connectors::upstream::Limits;
use crate::connectors::{Connector, Menus};
use crate::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::puller::queue;
use crate::puller::schedules::Schedule;
use crate::secret::Secret;

const DAY: Millis = 24 * 60 * 60 * 1_000;
const ZONE: &str = "Europe/Oslo";
/// The real-time limit for executing one day of the simulated week.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates people, accounts and DataSets as of a week ago and executes their schedules until now.
/// Returns the password of all people. `None` if the directory already holds a demo; its accounts
/// then get the new address of the sandbox.
pub(super) async fn simulate_week(
    config: Config,
    vendor: &str,
) -> Result<Option<Secret>, CommandError> {
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
    let system_actor = system_actor();
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
