//! `chatlake dataset`. Works with and without a running server. If a server runs, it executes the
//! run.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::dataset_schedule::ScheduleArgs;
use super::{CommandError, CommandResult, ignore_broken_pipe, print_list, system_actor};
use crate::actor::Actor;
use crate::app::App;
use crate::clock::iso;
use crate::config::GlobalArgs;
use crate::connectors::Menus;
use crate::connectors::report::{GroupBy, UpdateMode, Weekday};
use crate::datasets::export::pipe::{Encode, PART_BYTES};
use crate::datasets::export::{self, CsvOptions};
use crate::datasets::options::ReportSetup;
use crate::datasets::{self, Dataset, DatasetDescription, DatasetName, DatasetSettings};
use crate::error::Error;
use crate::ids::{AccountId, DatasetId};
use crate::puller::queue;
use crate::puller::run::{Run, RunState, Trigger};
use crate::puller::schedules::{self, Schedule};

#[derive(clap::Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them, and it is read once"
)]
pub enum Command {
    /// List DataSets
    List {
        #[arg(long)]
        json: bool,
    },
    /// Create a DataSet and print its id
    Create {
        /// Email of the owner
        #[arg(long)]
        user: String,
        #[arg(long)]
        name: String,
        /// Description, shown in the list (optional)
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        description: String,
        /// Account id
        #[arg(long)]
        account: String,
        /// Report id, for example chat_messages
        #[arg(long)]
        report: String,
        #[arg(long, value_name = "DAYS")]
        start_days: Option<u32>,
        #[arg(long, value_name = "DAYS")]
        end_days: Option<u32>,
        /// Group id; all groups when left out
        #[arg(long)]
        group: Option<String>,
        /// Login of an agent; all agents when left out
        #[arg(long)]
        login: Option<String>,
        /// Length of a period in reports by period: automatic, hour, day or month
        #[arg(long, value_name = "PERIOD", value_parser = group_by)]
        group_by: Option<GroupBy>,
        /// Only data with this tag; all data when left out
        #[arg(long)]
        tag: Option<String>,
        /// Weekday, mon to sun, for the Simultaneous Chats Report; Monday when left out
        #[arg(long, value_name = "DAY", value_parser = weekday)]
        weekday: Option<Weekday>,
        /// Include chats that wait for an answer
        #[arg(long)]
        include_pending: bool,
        /// Pull more details of each agent, with one more API call per agent
        #[arg(long)]
        agent_details: bool,
        /// Update method: replace, append, merge or partition; the report's default when left out
        #[arg(long, value_name = "MODE", value_parser = update_mode)]
        update_mode: Option<UpdateMode>,
        /// Key columns for merge, separated by commas; the report's key when left out
        #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
        key: Vec<String>,
        /// For merge and partition: later runs start this many days before the first day that is
        /// missing; 0 pulls all days in each run
        #[arg(
            long,
            value_name = "DAYS",
            default_value_t = 0,
            hide_default_value = true
        )]
        look_back: u32,
        /// Pull days that ended less than 48 hours ago only once: fewer API calls, but data that
        /// moves between pages can be missed
        #[arg(long)]
        no_second_read: bool,
        #[command(flatten)]
        schedule: Box<ScheduleArgs>,
        /// IANA name of the time zone
        #[arg(long, default_value = "UTC", value_name = "ZONE")]
        time_zone: String,
    },
    /// Run a DataSet now and wait until the run ends
    Run {
        /// DataSet id, as in the list
        id: String,
    },
    /// Export the rows of a DataSet as CSV
    Export {
        /// DataSet id, as in the list
        id: String,
        /// Output file; standard output when left out or -
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Start the file with a byte order mark
        #[arg(long)]
        bom: bool,
        /// Mark text that a spreadsheet would read as a formula
        #[arg(long)]
        guard_formulas: bool,
    },
}

/// A DataSet in the output of the list.
#[derive(Serialize)]
struct DatasetLine {
    id: DatasetId,
    name: String,
    report: &'static str,
    account: Option<String>,
    rows: Option<i64>,
    schedule: Option<String>,
    time_zone: String,
    next_run_at: Option<String>,
    updated_at: Option<String>,
}

impl From<Dataset> for DatasetLine {
    fn from(d: Dataset) -> Self {
        Self {
            report: d.report.id,
            account: d.account_name,
            rows: d.current.as_ref().map(|c| c.rows),
            updated_at: d.current.as_ref().map(|c| iso(c.created_at)),
            next_run_at: d.next_run_at.map(iso),
            id: d.id,
            name: d.name,
            schedule: d.schedule,
            time_zone: d.time_zone,
        }
    }
}

pub async fn run(global_args: &GlobalArgs, command: Command) -> CommandResult {
    let app = super::user::open(global_args).await?;
    match command {
        Command::List { json } => {
            let lines: Vec<DatasetLine> = app
                .datasets
                .list(&system_actor())
                .await?
                .into_iter()
                .map(DatasetLine::from)
                .collect();
            print_list(
                json,
                &["id", "name", "report", "rows", "updated", "next run"],
                &lines,
                |l| {
                    let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".to_owned());
                    vec![
                        l.id.to_string(),
                        l.name.clone(),
                        l.report.to_owned(),
                        l.rows.map_or_else(|| "-".to_owned(), |r| r.to_string()),
                        text(&l.updated_at),
                        text(&l.next_run_at),
                    ]
                },
            )?;
        }
        Command::Create {
            user,
            name,
            description,
            account,
            report,
            start_days,
            end_days,
            group,
            login,
            group_by,
            tag,
            weekday,
            include_pending,
            agent_details,
            update_mode,
            key,
            look_back,
            no_second_read,
            schedule,
            time_zone,
        } => {
            let actor = super::user::find(&app, &user).await?.actor();
            let (include_pending, agent_details) = (
                include_pending.then_some(true),
                agent_details.then_some(true),
            );
            let menus = Menus {
                start_days,
                end_days,
                group,
                login,
                group_by,
                tag,
                weekday,
                include_pending,
                agent_details,
            };
            let mut settings = dataset_settings(
                &app, &actor, &name, &account, &report, menus, &schedule, time_zone,
            )
            .await?;
            settings.description = DatasetDescription::parse(&description)?;
            settings.update_mode = update_mode.unwrap_or(settings.update_mode);
            let setup = ReportSetup {
                report: settings.report,
                mode: settings.update_mode,
                menus: &settings.menus,
            };
            let options = datasets::options::DatasetOptions {
                key,
                look_back,
                second_read: !no_second_read,
                ..Default::default()
            };
            settings.options = options.check(&setup, &[]).map_err(Error::fields)?;
            print_line!("{}", app.datasets.create(&actor, &settings).await?)?;
        }
        Command::Run { id } => return pull(app, &parse(&id)?).await,
        Command::Export {
            id,
            output,
            bom,
            guard_formulas,
        } => {
            export_csv(
                &app,
                &parse(&id)?,
                output,
                CsvOptions {
                    columns: None,
                    bom,
                    guard: guard_formulas,
                },
            )
            .await?
        }
    }
    app.stop().await;
    Ok(())
}

fn group_by(word: &str) -> Result<GroupBy, String> {
    GroupBy::parse(word).ok_or_else(|| "it must be automatic, hour, day or month".to_owned())
}

fn update_mode(word: &str) -> Result<UpdateMode, String> {
    UpdateMode::parse(word)
        .ok_or_else(|| "it must be replace, append, merge or partition".to_owned())
}

fn weekday(word: &str) -> Result<Weekday, String> {
    Weekday::parse(word).ok_or_else(|| "it must be mon, tue, wed, thu, fri, sat or sun".to_owned())
}

fn parse(id: &str) -> Result<DatasetId, CommandError> {
    DatasetId::parse(id).ok_or_else(|| Error::not_found("DataSet").into())
}

async fn dataset_settings(
    app: &App,
    actor: &Actor,
    name: &str,
    account: &str,
    report: &str,
    menus: Menus,
    schedule: &ScheduleArgs,
    time_zone: String,
) -> Result<DatasetSettings, CommandError> {
    let account_id = AccountId::parse(account).ok_or_else(|| Error::not_found("account"))?;
    let account = app.accounts.usable(actor, &account_id).await?;
    let report = account.connector.report(report).ok_or_else(|| {
        Error::field(
            "report",
            format!("{} has no report {report}.", account.connector.title()),
        )
    })?;
    schedules::zone(&time_zone)?;
    let now = app.clock.now();
    let schedule = match schedule.wire()? {
        None => None,
        Some(wire) => Schedule::from_json(&wire, &time_zone, now, app.config.shortest_interval)?
            .to_stored(now),
    };
    Ok(DatasetSettings {
        name: DatasetName::parse(name)?,
        description: DatasetDescription::default(),
        account_id,
        connector: account.connector,
        menus: menus.check(report).map_err(Error::fields)?,
        update_mode: report.mode,
        options: datasets::options::DatasetOptions::default(),
        report,
        time_zone,
        schedule,
    })
}

/// Enqueues a run, and executes it in this process if no server runs.
async fn pull(mut app: App, id: &DatasetId) -> CommandResult {
    let dataset = app.datasets.for_run(id).await?;
    let mut tx = app.db.write().await?;
    let run = queue::enqueue(
        &mut tx,
        app.clock.now(),
        id,
        &dataset.source_key(),
        Trigger::Manual,
        None,
    )
    .await?;
    tx.commit().await.map_err(Error::from)?;
    if app.try_lock_data_directory().await? {
        app.start_pulling().await?;
    }
    let ended = loop {
        match queue::get(&app.db, &run).await? {
            Some(run) if run.state.is_final() => break run,
            Some(_) => app.clock.wait(Duration::from_millis(200)).await,
            None => return Err(Error::not_found("run").into()),
        }
    };
    app.stop().await;
    print_outcome(&ended)
}

fn print_outcome(run: &Run) -> CommandResult {
    match (&run.state, &run.failure) {
        (RunState::Succeeded, _) => {
            print_line!("{} rows", run.rows)?;
            Ok(())
        }
        (_, Some(failure)) => Err(CommandError {
            code: 1,
            message: format!("{} {} {}", failure.message, failure.who, failure.action),
        }),
        (state, None) => Err(CommandError {
            code: 1,
            message: format!("The run is {}.", state.word()),
        }),
    }
}

/// Writes the current version as CSV to a file or to standard output.
async fn export_csv(
    app: &App,
    id: &DatasetId,
    output: Option<PathBuf>,
    options: CsvOptions,
) -> CommandResult {
    app.datasets.for_run(id).await?;
    let version = app.datasets.versions.current(id).await?;
    let version = version.ok_or_else(|| {
        Error::conflict("no_data_yet", "This DataSet has no data yet. Run it first.")
    })?;
    app.datasets.segments.check(&version.segments).await?;
    let mut encoder = export::csv(
        &app.datasets.segments,
        app.datasets.versions.pin(&version),
        options,
    )?;
    match output.filter(|path| path.as_os_str() != "-") {
        None => write_out(&mut encoder, std::io::stdout().lock())?,
        Some(output) => write_file(&mut encoder, &output)?,
    }
    match encoder.replaced_nul.get() {
        0 => {}
        1 => eprintln!("chatlake: 1 NUL character was written as U+FFFD."),
        many => eprintln!("chatlake: {many} NUL characters were written as U+FFFD."),
    }
    Ok(())
}

/// Writes a file. It gets its name only after it was written completely.
fn write_file(encoder: &mut impl Encode, output: &Path) -> CommandResult {
    let mut partial = output.as_os_str().to_owned();
    partial.push(".part");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    let written = write_out(encoder, file);
    match &written {
        Ok(()) => std::fs::rename(&partial, output)?,
        Err(_) => std::fs::remove_file(&partial)?,
    }
    written
}

/// Writes all parts until the end or until the reader closes the pipe, which is not an error.
fn write_out(encoder: &mut impl Encode, mut to: impl Write) -> CommandResult {
    let (mut part, mut is_last) = (Vec::new(), false);
    while !is_last {
        part.clear();
        is_last = encoder.encode(&mut part, PART_BYTES)?;
        if let Err(why) = to.write_all(&part) {
            return Ok(ignore_broken_pipe(Err(why))?);
        }
    }
    Ok(ignore_broken_pipe(to.flush())?)
}
