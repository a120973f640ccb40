//! The four panes: Credentials, Details, Scheduling, Name & Describe Your DataSet. One component makes a DataSet and changes it later.
//!
//! All panes are one form, so nothing typed is ever lost and the server keeps no state between two steps. `take` is where a step
//! arrives; each pane's file reads its own fields into checked values (`read`) and fills its part of the page (`fill`). Saving
//! checks everything again, whatever was shown before. Start at `take`.

pub mod credentials;
pub mod details;
pub mod name;
pub mod preview;
pub mod retrying;
pub mod scheduling;
pub mod typed;
pub mod update_method;
pub mod view;
pub mod when;
mod when_read;

use axum::http::StatusCode;

use super::Web;
use super::parts::{Band, Errors};
use crate::accounts::Account;
use crate::actor::Actor;
use crate::connectors::Connector;
use crate::datasets::{Dataset, Settings};
use crate::error::{Error, Kind, Result};
use crate::ids::DatasetId;
use crate::puller::run::Trigger;
use preview::Turns;
use typed::{NEW, Typed};
use view::{Pane, Preview, Wizard};

/// Who fills in the panes, and for what.
pub struct For<'a> {
    pub web: &'a Web,
    pub actor: &'a Actor,
    pub connector: Connector,
    /// The DataSet that is changed; none for a new one.
    pub dataset: Option<&'a Dataset>,
}

/// Where somebody is in the panes, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    #[default]
    Credentials,
    Details,
    Scheduling,
    Name,
}

impl At {
    const ALL: [At; 4] = [At::Credentials, At::Details, At::Scheduling, At::Name];

    pub fn word(self) -> &'static str {
        match self {
            At::Credentials => "credentials",
            At::Details => "details",
            At::Scheduling => "scheduling",
            At::Name => "name",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|at| at.word() == word)
    }

    fn title(self) -> &'static str {
        match self {
            At::Credentials => "Credentials",
            At::Details => "Details",
            At::Scheduling => "Scheduling",
            At::Name => "Name & Describe Your DataSet",
        }
    }

    /// What the main button of the open pane does.
    fn main_step(self) -> &'static str {
        match self {
            At::Credentials => "connect",
            At::Details => "details",
            At::Scheduling => "schedule",
            At::Name => "save",
        }
    }
}

/// What a button of the form asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connect,
    /// Show what the chosen report takes.
    Report,
    /// Read Group and Login again.
    Choices,
    Preview,
    Details,
    NextRuns,
    Schedule,
    Save,
    SaveNew,
    Edit(At),
}

impl Step {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "connect" => Self::Connect,
            "report" => Self::Report,
            "choices" => Self::Choices,
            "preview" => Self::Preview,
            "details" => Self::Details,
            "next_runs" => Self::NextRuns,
            "schedule" => Self::Schedule,
            "save" => Self::Save,
            "save_new" => Self::SaveNew,
            other => Self::Edit(At::parse(other.strip_prefix("edit_")?)?),
        })
    }
}

/// What came of a step.
pub enum Done {
    /// The panes again.
    Show(Box<Wizard>, StatusCode),
    /// Only the preview, for a script.
    Preview(Box<Preview>),
    /// Only the next runs, for a script.
    NextRuns(scheduling::NextRuns),
    /// The account is good and nothing else was typed yet: the panes begin anew with it, so that reloading repeats nothing.
    Connected(Box<Account>, String),
    Saved {
        id: DatasetId,
        name: String,
        and_new: bool,
        /// Why the first run could not be started, if so.
        not_started: Option<String>,
    },
}

/// The panes as they are to be shown.
struct Sheet {
    typed: Typed,
    account: Option<Account>,
    /// None: all closed.
    open: Option<At>,
    errors: Errors,
    problem: Option<Band>,
    preview: Option<Preview>,
    status: StatusCode,
}

impl Sheet {
    fn new(typed: Typed, account: Option<Account>, open: Option<At>) -> Self {
        Self { typed, account, open, errors: Errors::default(), problem: None, preview: None, status: StatusCode::OK }
    }

    /// Stays at a pane because of what is wrong. What is not the fault of the form is handed on.
    fn refuse(&mut self, at: At, error: Error) -> Result<()> {
        self.open = Some(at);
        self.status = StatusCode::UNPROCESSABLE_ENTITY;
        let Some(error) = self.errors.take(error) else { return Ok(()) };
        match error.kind() {
            Kind::Conflict | Kind::Unavailable | Kind::Unprocessable | Kind::TooMany { .. } => {
                let text = error.next_step().unwrap_or("Nothing was saved.").to_owned();
                self.problem = Some(Band { tone: "bad".to_owned(), title: error.message().to_owned(), text, actions: Vec::new() });
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// The panes before anything was typed. With an account that the vendor accepted lately they begin at Details.
pub async fn begin(f: &For<'_>, report: Option<&str>, account: Option<&str>) -> Result<Wizard> {
    let report = report.and_then(|id| f.connector.report(id));
    let mut typed = Typed::fresh(f.connector, report);
    typed.account_id = account.unwrap_or_default().to_owned();
    let account = credentials::chosen(f, &typed).await?;
    typed.reached = if account.as_ref().is_some_and(|a| credentials::is_proven(f, a)) { At::Details } else { At::Credentials };
    let open = typed.reached;
    show(f, Sheet::new(typed, account, Some(open))).await.map(|(wizard, _)| wizard)
}

/// The panes of a DataSet, closed unless one needs somebody.
pub async fn settings(f: &For<'_>, dataset: &Dataset) -> Result<Wizard> {
    let typed = Typed::of(dataset);
    let mut sheet = match credentials::chosen(f, &typed).await {
        Ok(account) => Sheet::new(typed, account, None),
        Err(why) if why.kind() == Kind::NotFound => Sheet::new(typed, None, None),
        Err(why) => return Err(why),
    };
    if sheet.account.is_none() {
        let why = match &dataset.account_name {
            None => "The account of this DataSet was deleted, so the DataSet does not run. Choose another account.".to_owned(),
            Some(name) => format!("The account “{name}” is not shared with you. To change these settings, choose another account."),
        };
        sheet.errors.add("account_id", why);
        sheet.open = Some(At::Credentials);
        sheet.typed.account_id.clear();
    }
    show(f, sheet).await.map(|(wizard, _)| wizard)
}

/// Takes a step. `alone`: a script wants only the part that the step is about.
pub async fn take(f: &For<'_>, turns: &Turns, typed: Typed, alone: bool) -> Result<Done> {
    let step = Step::parse(&typed.step).unwrap_or(Step::Edit(typed.reached));
    if step == Step::NextRuns && alone {
        return Ok(Done::NextRuns(scheduling::next_runs(f, &typed)));
    }
    let mut sheet = match credentials::chosen(f, &typed).await {
        Ok(account) => Sheet::new(typed, account, None),
        Err(why) if why.kind() == Kind::NotFound => return refuse_account(f, typed, &why).await,
        Err(why) => return Err(why),
    };
    match step {
        Step::Connect => return connect(f, sheet).await,
        Step::Report => sheet.open = Some(At::Details),
        Step::Choices => {
            if let Some(account) = &sheet.account {
                f.web.accounts.forget_menus(&account.id);
            }
            sheet.open = Some(At::Details);
        }
        Step::Preview => match sample(f, turns, &mut sheet).await? {
            Some(preview) if alone => return Ok(Done::Preview(Box::new(preview))),
            preview => sheet.preview = preview,
        },
        Step::NextRuns => {
            sheet.open = Some(At::Scheduling);
            if let Err(why) = scheduling::read(f, &sheet.typed) {
                sheet.refuse(At::Scheduling, why)?;
            }
        }
        Step::Edit(at) => sheet.open = Some(if f.dataset.is_some() { at } else { at.min(sheet.typed.reached) }),
        // In a DataSet's settings every pane has its own Save, and each saves the whole.
        Step::Details | Step::Schedule if f.dataset.is_some() => return save(f, sheet, false).await,
        Step::Details => {
            if check_until(f, &mut sheet, At::Details).await? {
                go_on(f, &mut sheet, At::Details).await?;
            }
        }
        Step::Schedule => {
            if check_until(f, &mut sheet, At::Scheduling).await? {
                go_on(f, &mut sheet, At::Scheduling).await?;
            }
        }
        Step::Save => return save(f, sheet, false).await,
        Step::SaveNew => return save(f, sheet, true).await,
    }
    again(f, sheet).await
}

async fn again(f: &For<'_>, sheet: Sheet) -> Result<Done> {
    show(f, sheet).await.map(|(wizard, status)| Done::Show(Box::new(wizard), status))
}

/// The account that the form names is gone, or not for this person: nothing is asked of any vendor.
async fn refuse_account(f: &For<'_>, mut typed: Typed, why: &Error) -> Result<Done> {
    typed.account_id.clear();
    let mut sheet = Sheet::new(typed, None, Some(At::Credentials));
    sheet.errors.add("account_id", format!("{} Choose another account.", why.message()));
    sheet.status = StatusCode::NOT_FOUND;
    again(f, sheet).await
}

async fn connect(f: &For<'_>, mut sheet: Sheet) -> Result<Done> {
    let connected = match sheet.account.take() {
        Some(account) => credentials::prove(f, account).await,
        None if sheet.typed.account_id == NEW => credentials::add(f, &mut sheet.typed).await,
        None => Err(Error::field("account_id", "Choose an account or add one.")),
    };
    let account = match connected {
        Ok(account) => account,
        Err(why) => {
            sheet.account = credentials::chosen(f, &sheet.typed).await?;
            sheet.refuse(At::Credentials, why)?;
            return again(f, sheet).await;
        }
    };
    if f.dataset.is_some() {
        sheet.account = Some(account);
        return save(f, sheet, false).await;
    }
    if sheet.typed.reached == At::Credentials {
        return Ok(Done::Connected(Box::new(account), sheet.typed.report));
    }
    sheet.account = Some(account);
    go_on(f, &mut sheet, At::Credentials).await?;
    again(f, sheet).await
}

/// The first rows, when Credentials and Details are right.
async fn sample(f: &For<'_>, turns: &Turns, sheet: &mut Sheet) -> Result<Option<Preview>> {
    sheet.open = Some(At::Details);
    if !check_until(f, sheet, At::Details).await? {
        return Ok(None);
    }
    let details = details::read(f.connector, &sheet.typed)?;
    let Some(account) = &sheet.account else { return Ok(None) };
    preview::load(f, turns, account, &details, details::zone(&sheet.typed)).await.map(Some)
}

/// Whether the panes up to this one are right. Opens the first that is not, with what is wrong in all of them.
async fn check_until(f: &For<'_>, sheet: &mut Sheet, last: At) -> Result<bool> {
    let mut first = None;
    for at in At::ALL.into_iter().filter(|at| *at <= last) {
        if let Err(why) = check(f, sheet.account.as_ref(), &sheet.typed, at).await {
            first = first.or(Some(at));
            sheet.refuse(at, why)?;
        }
    }
    let Some(first) = first else { return Ok(true) };
    sheet.open = Some(first);
    Ok(false)
}

async fn check(f: &For<'_>, account: Option<&Account>, typed: &Typed, at: At) -> Result<()> {
    match at {
        At::Credentials if account.is_none() => Err(Error::field("account_id", "Choose an account and press Connect first.")),
        At::Credentials => Ok(()),
        At::Details => {
            let details = details::read(f.connector, typed)?;
            match account {
                Some(account) => details::check_choices(f, account, &details.menus).await,
                None => Ok(()),
            }
        }
        At::Scheduling => scheduling::read(f, typed).and(retrying::read(f, &typed.retrying)).map(drop),
        At::Name => name::read(typed).map(drop),
    }
}

/// Opens what comes after a pane that is done: the next one that needs somebody, else the furthest that was open before.
async fn go_on(f: &For<'_>, sheet: &mut Sheet, done: At) -> Result<()> {
    let next = At::ALL.into_iter().find(|at| *at > done).unwrap_or(At::Name);
    let was = sheet.typed.reached;
    sheet.typed.reached = was.max(next);
    for at in At::ALL.into_iter().filter(|at| *at >= next && *at < was) {
        if let Err(why) = check(f, sheet.account.as_ref(), &sheet.typed, at).await {
            return sheet.refuse(at, why);
        }
    }
    sheet.open = Some(sheet.typed.reached);
    Ok(())
}

/// Checks everything anew and saves. A new DataSet is pulled at once.
async fn save(f: &For<'_>, mut sheet: Sheet, and_new: bool) -> Result<Done> {
    if !check_until(f, &mut sheet, At::Name).await? {
        sheet.typed.reached = At::Name;
        return again(f, sheet).await;
    }
    let Some(account) = &sheet.account else { return again(f, sheet).await };
    if let Err(why) = credentials::prove_to_save(f, account).await {
        sheet.refuse(At::Credentials, why)?;
        return again(f, sheet).await;
    }
    let details = details::read(f.connector, &sheet.typed)?;
    let scheduling = scheduling::read(f, &sheet.typed)?;
    let (retry, expected_hours) = retrying::read(f, &sheet.typed.retrying)?;
    let (name, description) = name::read(&sheet.typed)?;
    let settings = Settings {
        name,
        description,
        account_id: account.id.clone(),
        connector: f.connector,
        report: details.report,
        menus: details.menus,
        update_mode: scheduling.update.mode,
        options: scheduling.update.options.clone(),
        schedule: scheduling::stored(&scheduling, f.web.clock.timestamp()),
        time_zone: scheduling.zone_name,
    };
    let name = settings.name.as_str().to_owned();
    let mut not_started = None;
    let id = match f.dataset {
        Some(dataset) => {
            f.web.datasets.configure(f.actor, &dataset.id, &settings).await?;
            f.web.datasets.set_upkeep(f.actor, &dataset.id, retry, expected_hours).await?;
            dataset.id.clone()
        }
        None => {
            let id = f.web.datasets.create(f.actor, &settings).await?;
            f.web.datasets.set_upkeep(f.actor, &id, retry, expected_hours).await?;
            // The DataSet is there from here on, whatever becomes of its first run.
            if let Err(why) = f.web.puller.run_now(f.actor, &id, Trigger::First).await {
                not_started = Some(why.message().to_owned());
            }
            id
        }
    };
    f.web.puller.rescheduled.notify_one();
    Ok(Done::Saved { id, name, and_new, not_started })
}

/// Fills the whole page.
async fn show(f: &For<'_>, mut sheet: Sheet) -> Result<(Wizard, StatusCode)> {
    let details = details::read(f.connector, &sheet.typed);
    if sheet.open == Some(At::Details)
        && let Some(account) = &sheet.account
    {
        details::read_choices(f, account, &mut sheet.errors).await?;
    }
    if sheet.typed.reached == At::Name
        && f.dataset.is_none()
        && let Ok(details) = &details
    {
        name::suggest(&mut sheet.typed, sheet.account.as_ref(), details);
    }
    let mut w = Wizard {
        editing: f.dataset.is_some(),
        action: f.dataset.map_or_else(|| format!("/connect/{}", f.connector.id()), |d| format!("/datasets/{}/settings", d.id)),
        connector_name: f.connector.title().to_owned(),
        monogram: f.connector.monogram().to_owned(),
        reached: sheet.typed.reached.word().to_owned(),
        default_step: sheet.open.unwrap_or(At::Name).main_step().to_owned(),
        problem: sheet.problem.take(),
        errors: std::mem::take(&mut sheet.errors),
        preview: sheet.preview.take(),
        ..Wizard::default()
    };
    credentials::fill(&mut w, f, &sheet.typed, sheet.account.as_ref()).await?;
    details::fill(&mut w, f, &sheet.typed, sheet.account.as_ref());
    scheduling::fill(&mut w, f, &sheet.typed);
    retrying::fill(&mut w, f, &sheet.typed.retrying).await?;
    name::fill(&mut w, f, &sheet.typed);
    w.credentials = head(&sheet, At::Credentials, sheet.account.as_ref().map(|a| credentials::summary(f, a)));
    w.details = head(&sheet, At::Details, details.ok().map(|d| details::summary(f, sheet.account.as_ref(), &d)));
    w.scheduling = head(&sheet, At::Scheduling, scheduling::read(f, &sheet.typed).ok().map(|s| scheduling::summary(&s)));
    w.name_pane = head(&sheet, At::Name, name::read(&sheet.typed).ok().map(|(name, _)| name.as_str().to_owned()));
    Ok((w, sheet.status))
}

/// The head of a pane. `summary` none: what is in it is not right.
fn head(sheet: &Sheet, at: At, summary: Option<String>) -> Pane {
    let is_furthest = at == sheet.typed.reached && at != At::Name;
    let (state, summary) = match summary {
        _ if sheet.open == Some(at) => ("open", String::new()),
        _ if at > sheet.typed.reached => {
            let before = At::ALL.into_iter().rfind(|b| *b < at).unwrap_or_default();
            ("later", if before == sheet.typed.reached { format!("opens after {}", before.title()) } else { String::new() })
        }
        None => ("review", "needs attention".to_owned()),
        Some(summary) if is_furthest => ("review", summary),
        Some(summary) => ("done", summary),
    };
    Pane { number: at as u8 + 1, title: at.title().to_owned(), state: state.to_owned(), summary }
}
