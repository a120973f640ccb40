//! The four panes: Credentials, Details, Scheduling, Name & Describe Your DataSet. The same form
//! creates a DataSet and changes it later.
//!
//! All panes are one form, so no input is lost and the server stores no state between steps. Each
//! pane's file validates its fields (`read`) and renders its part of the page (`render`). Saving
//! validates everything again. Start at `handle`.

pub mod credentials;
pub mod details;
pub mod form_fields;
pub mod name;
pub mod preview;
pub mod retry_policy;
pub mod schedule_fields;
mod schedule_parse;
pub mod scheduling;
pub mod update_method;
pub mod view;

use axum::http::StatusCode;

use super::Web;
use super::components::{Band, Errors};
use crate::accounts::Account;
use crate::actor::Actor;
use crate::connectors::Connector;
use crate::datasets::{Dataset, DatasetSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DatasetId;
use crate::puller::run::Trigger;
use form_fields::{FormFields, NEW};
use preview::PreviewLocks;
use view::{PaneHead, Preview, Wizard};

/// The context of the form: the person, the connector and the DataSet.
pub struct FormContext<'a> {
    pub web: &'a Web,
    pub actor: &'a Actor,
    pub connector: Connector,
    /// The DataSet that is changed; `None` for a new one.
    pub dataset: Option<&'a Dataset>,
}

/// The four panes, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pane {
    #[default]
    Credentials,
    Details,
    Scheduling,
    Name,
}

impl Pane {
    const ALL: [Pane; 4] = [
        Pane::Credentials,
        Pane::Details,
        Pane::Scheduling,
        Pane::Name,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Pane::Credentials => "credentials",
            Pane::Details => "details",
            Pane::Scheduling => "scheduling",
            Pane::Name => "name",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pane| pane.word() == word)
    }

    fn title(self) -> &'static str {
        match self {
            Pane::Credentials => "Credentials",
            Pane::Details => "Details",
            Pane::Scheduling => "Scheduling",
            Pane::Name => "Name & Describe Your DataSet",
        }
    }

    /// The action of the main button while this pane is open.
    fn main_action(self) -> &'static str {
        match self {
            Pane::Credentials => "connect",
            Pane::Details => "details",
            Pane::Scheduling => "schedule",
            Pane::Name => "save",
        }
    }
}

/// The action of the button that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormAction {
    Connect,
    /// Show the menus of the selected report.
    Report,
    /// Read Group and Login again.
    Choices,
    Preview,
    Details,
    NextRuns,
    Schedule,
    Save,
    SaveNew,
    Edit(Pane),
}

impl FormAction {
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
            other => Self::Edit(Pane::parse(other.strip_prefix("edit_")?)?),
        })
    }
}

/// The result of an action.
pub enum FormOutcome {
    /// Show the panes again.
    Show(Box<Wizard>, StatusCode),
    /// Only the preview, for a script.
    Preview(Box<Preview>),
    /// Only the next runs, for a script.
    NextRuns(scheduling::NextRuns),
    /// The account was accepted and nothing else was entered yet. Redirects to a new form with this
    /// account, so that reloading repeats nothing.
    Connected(Box<Account>, String),
    Saved {
        id: DatasetId,
        name: String,
        and_new: bool,
        /// Why the first run could not be started, if so.
        not_started: Option<String>,
    },
}

/// The state of the form while an action is handled.
struct FormState {
    typed: FormFields,
    account: Option<Account>,
    /// `None`: all panes are closed.
    open: Option<Pane>,
    errors: Errors,
    problem: Option<Band>,
    preview: Option<Preview>,
    status: StatusCode,
}

impl FormState {
    fn new(typed: FormFields, account: Option<Account>, open: Option<Pane>) -> Self {
        Self {
            typed,
            account,
            open,
            errors: Errors::default(),
            problem: None,
            preview: None,
            status: StatusCode::OK,
        }
    }

    /// Keeps the pane open with the errors of its fields. Other errors are returned.
    fn reject(&mut self, pane: Pane, error: Error) -> Result<()> {
        self.open = Some(pane);
        self.status = StatusCode::UNPROCESSABLE_ENTITY;
        let Some(error) = self.errors.take(error) else {
            return Ok(());
        };
        match error.kind() {
            ErrorKind::Conflict
            | ErrorKind::Unavailable
            | ErrorKind::Unprocessable
            | ErrorKind::TooMany { .. } => {
                let text = error
                    .suggested_action()
                    .unwrap_or("Nothing was saved.")
                    .to_owned();
                self.problem = Some(Band {
                    tone: "bad".to_owned(),
                    title: error.message().to_owned(),
                    text,
                    actions: Vec::new(),
                });
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// The form for a new DataSet. With a recently accepted account it starts at Details.
pub async fn new_dataset(
    f: &FormContext<'_>,
    report: Option<&str>,
    account: Option<&str>,
) -> Result<Wizard> {
    let report = report.and_then(|id| f.connector.report(id));
    let mut typed = FormFields::fresh(f.connector, report);
    typed.account_id = account.unwrap_or_default().to_owned();
    let account = credentials::chosen(f, &typed).await?;
    typed.reached = if account
        .as_ref()
        .is_some_and(|a| credentials::is_recently_verified(f, a))
    {
        Pane::Details
    } else {
        Pane::Credentials
    };
    let open = typed.reached;
    render(f, FormState::new(typed, account, Some(open)))
        .await
        .map(|(wizard, _)| wizard)
}

/// The form for an existing DataSet, with all panes closed unless one has an error.
pub async fn existing_dataset(f: &FormContext<'_>, dataset: &Dataset) -> Result<Wizard> {
    let typed = FormFields::of(dataset);
    let mut state = match credentials::chosen(f, &typed).await {
        Ok(account) => FormState::new(typed, account, None),
        Err(why) if why.kind() == ErrorKind::NotFound => FormState::new(typed, None, None),
        Err(why) => return Err(why),
    };
    if state.account.is_none() {
        let why = match &dataset.account_name {
            None => "The account of this DataSet was deleted, so the DataSet does not run. Choose another account.".to_owned(),
            Some(name) => format!("The account “{name}” is not shared with you. To change these settings, choose another account."),
        };
        state.errors.add("account_id", why);
        state.open = Some(Pane::Credentials);
        state.typed.account_id.clear();
    }
    render(f, state).await.map(|(wizard, _)| wizard)
}

/// Handles the action of the pressed button. `fragment_only`: a script requests only the part of
/// the page that the action changes.
pub async fn handle(
    f: &FormContext<'_>,
    preview_locks: &PreviewLocks,
    typed: FormFields,
    fragment_only: bool,
) -> Result<FormOutcome> {
    let action = FormAction::parse(&typed.step).unwrap_or(FormAction::Edit(typed.reached));
    if action == FormAction::NextRuns && fragment_only {
        return Ok(FormOutcome::NextRuns(scheduling::next_runs(f, &typed)));
    }
    let mut state = match credentials::chosen(f, &typed).await {
        Ok(account) => FormState::new(typed, account, None),
        Err(why) if why.kind() == ErrorKind::NotFound => {
            return reject_account(f, typed, &why).await;
        }
        Err(why) => return Err(why),
    };
    match action {
        FormAction::Connect => return connect(f, state).await,
        FormAction::Report => state.open = Some(Pane::Details),
        FormAction::Choices => {
            if let Some(account) = &state.account {
                f.web.accounts.clear_menu_cache(&account.id);
            }
            state.open = Some(Pane::Details);
        }
        FormAction::Preview => match load_preview(f, preview_locks, &mut state).await? {
            Some(preview) if fragment_only => return Ok(FormOutcome::Preview(Box::new(preview))),
            preview => state.preview = preview,
        },
        FormAction::NextRuns => {
            state.open = Some(Pane::Scheduling);
            if let Err(why) = scheduling::read(f, &state.typed) {
                state.reject(Pane::Scheduling, why)?;
            }
        }
        FormAction::Edit(pane) => {
            state.open = Some(if f.dataset.is_some() {
                pane
            } else {
                pane.min(state.typed.reached)
            })
        }
        // In the settings of a DataSet every pane has a Save button, which saves all panes.
        FormAction::Details | FormAction::Schedule if f.dataset.is_some() => {
            return save(f, state, false).await;
        }
        FormAction::Details => {
            if check_up_to(f, &mut state, Pane::Details).await? {
                open_next_pane(f, &mut state, Pane::Details).await?;
            }
        }
        FormAction::Schedule => {
            if check_up_to(f, &mut state, Pane::Scheduling).await? {
                open_next_pane(f, &mut state, Pane::Scheduling).await?;
            }
        }
        FormAction::Save => return save(f, state, false).await,
        FormAction::SaveNew => return save(f, state, true).await,
    }
    render_again(f, state).await
}

async fn render_again(f: &FormContext<'_>, state: FormState) -> Result<FormOutcome> {
    render(f, state)
        .await
        .map(|(wizard, status)| FormOutcome::Show(Box::new(wizard), status))
}

/// The selected account was deleted or is not accessible to this person. No vendor is called.
async fn reject_account(
    f: &FormContext<'_>,
    mut typed: FormFields,
    why: &Error,
) -> Result<FormOutcome> {
    typed.account_id.clear();
    let mut state = FormState::new(typed, None, Some(Pane::Credentials));
    state.errors.add(
        "account_id",
        format!("{} Choose another account.", why.message()),
    );
    state.status = StatusCode::NOT_FOUND;
    render_again(f, state).await
}

async fn connect(f: &FormContext<'_>, mut state: FormState) -> Result<FormOutcome> {
    let connected = match state.account.take() {
        Some(account) => credentials::verify(f, account).await,
        None if state.typed.account_id == NEW => credentials::add(f, &mut state.typed).await,
        None => Err(Error::field("account_id", "Choose an account or add one.")),
    };
    let account = match connected {
        Ok(account) => account,
        Err(why) => {
            state.account = credentials::chosen(f, &state.typed).await?;
            state.reject(Pane::Credentials, why)?;
            return render_again(f, state).await;
        }
    };
    if f.dataset.is_some() {
        state.account = Some(account);
        return save(f, state, false).await;
    }
    if state.typed.reached == Pane::Credentials {
        return Ok(FormOutcome::Connected(
            Box::new(account),
            state.typed.report,
        ));
    }
    state.account = Some(account);
    open_next_pane(f, &mut state, Pane::Credentials).await?;
    render_again(f, state).await
}

/// Loads the preview if Credentials and Details are valid.
async fn load_preview(
    f: &FormContext<'_>,
    preview_locks: &PreviewLocks,
    state: &mut FormState,
) -> Result<Option<Preview>> {
    state.open = Some(Pane::Details);
    if !check_up_to(f, state, Pane::Details).await? {
        return Ok(None);
    }
    let details = details::read(f.connector, &state.typed)?;
    let Some(account) = &state.account else {
        return Ok(None);
    };
    preview::load(
        f,
        preview_locks,
        account,
        &details,
        details::zone(&state.typed),
    )
    .await
    .map(Some)
}

/// Validates the panes up to `last`. Opens the first invalid one, and shows the errors of all.
async fn check_up_to(f: &FormContext<'_>, state: &mut FormState, last: Pane) -> Result<bool> {
    let mut first = None;
    for pane in Pane::ALL.into_iter().filter(|pane| *pane <= last) {
        if let Err(why) = check(f, state.account.as_ref(), &state.typed, pane).await {
            first = first.or(Some(pane));
            state.reject(pane, why)?;
        }
    }
    let Some(first) = first else { return Ok(true) };
    state.open = Some(first);
    Ok(false)
}

async fn check(
    f: &FormContext<'_>,
    account: Option<&Account>,
    typed: &FormFields,
    pane: Pane,
) -> Result<()> {
    match pane {
        Pane::Credentials if account.is_none() => Err(Error::field(
            "account_id",
            "Choose an account and press Connect first.",
        )),
        Pane::Credentials => Ok(()),
        Pane::Details => {
            let details = details::read(f.connector, typed)?;
            match account {
                Some(account) => details::check_choices(f, account, &details.menus).await,
                None => Ok(()),
            }
        }
        Pane::Scheduling => scheduling::read(f, typed)
            .and(retry_policy::read(f, &typed.retry))
            .map(drop),
        Pane::Name => name::read(typed).map(drop),
    }
}

/// Opens the pane after a finished one: the next one with an error, else the furthest that was open
/// before.
async fn open_next_pane(f: &FormContext<'_>, state: &mut FormState, done: Pane) -> Result<()> {
    let next = Pane::ALL
        .into_iter()
        .find(|pane| *pane > done)
        .unwrap_or(Pane::Name);
    let furthest_before = state.typed.reached;
    state.typed.reached = furthest_before.max(next);
    for pane in Pane::ALL
        .into_iter()
        .filter(|pane| *pane >= next && *pane < furthest_before)
    {
        if let Err(why) = check(f, state.account.as_ref(), &state.typed, pane).await {
            return state.reject(pane, why);
        }
    }
    state.open = Some(state.typed.reached);
    Ok(())
}

/// Validates everything again and saves. A new DataSet is pulled at once.
async fn save(f: &FormContext<'_>, mut state: FormState, and_new: bool) -> Result<FormOutcome> {
    if !check_up_to(f, &mut state, Pane::Name).await? {
        state.typed.reached = Pane::Name;
        return render_again(f, state).await;
    }
    let Some(account) = &state.account else {
        return render_again(f, state).await;
    };
    if let Err(why) = credentials::verify_for_saving(f, account).await {
        state.reject(Pane::Credentials, why)?;
        return render_again(f, state).await;
    }
    let details = details::read(f.connector, &state.typed)?;
    let scheduling = scheduling::read(f, &state.typed)?;
    let (retry, expected_hours) = retry_policy::read(f, &state.typed.retry)?;
    let (name, description) = name::read(&state.typed)?;
    let settings = DatasetSettings {
        name,
        description,
        account_id: account.id.clone(),
        connector: f.connector,
        report: details.report,
        menus: details.menus,
        update_mode: scheduling.update.mode,
        options: scheduling.update.options.clone(),
        schedule: scheduling::planned(&scheduling, f.web.clock.timestamp()),
        time_zone: scheduling.zone_name,
    };
    let name = settings.name.as_str().to_owned();
    let mut not_started = None;
    let id = match f.dataset {
        Some(dataset) => {
            f.web
                .datasets
                .configure(f.actor, &dataset.id, &settings)
                .await?;
            f.web
                .datasets
                .set_retry_policy(f.actor, &dataset.id, retry, expected_hours)
                .await?;
            dataset.id.clone()
        }
        None => {
            let id = f.web.datasets.create(f.actor, &settings).await?;
            f.web
                .datasets
                .set_retry_policy(f.actor, &id, retry, expected_hours)
                .await?;
            // The DataSet is saved; an error of its first run does not change that.
            if let Err(why) = f.web.puller.run_now(f.actor, &id, Trigger::First).await {
                not_started = Some(why.message().to_owned());
            }
            id
        }
    };
    f.web.puller.wake_scheduler.notify_one();
    Ok(FormOutcome::Saved {
        id,
        name,
        and_new,
        not_started,
    })
}

/// Renders the whole page.
async fn render(f: &FormContext<'_>, mut state: FormState) -> Result<(Wizard, StatusCode)> {
    let details = details::read(f.connector, &state.typed);
    if state.open == Some(Pane::Details)
        && let Some(account) = &state.account
    {
        details::read_choices(f, account, &mut state.errors).await?;
    }
    if state.typed.reached == Pane::Name
        && f.dataset.is_none()
        && let Ok(details) = &details
    {
        name::suggest(&mut state.typed, state.account.as_ref(), details);
    }
    let mut w = Wizard {
        editing: f.dataset.is_some(),
        action: f.dataset.map_or_else(
            || format!("/connect/{}", f.connector.id()),
            |d| format!("/datasets/{}/settings", d.id),
        ),
        connector_name: f.connector.title().to_owned(),
        monogram: f.connector.monogram().to_owned(),
        reached: state.typed.reached.word().to_owned(),
        default_step: state.open.unwrap_or(Pane::Name).main_action().to_owned(),
        problem: state.problem.take(),
        errors: std::mem::take(&mut state.errors),
        preview: state.preview.take(),
        ..Wizard::default()
    };
    credentials::render(&mut w, f, &state.typed, state.account.as_ref()).await?;
    details::render(&mut w, f, &state.typed, state.account.as_ref());
    scheduling::render(&mut w, f, &state.typed);
    retry_policy::render(&mut w, f, &state.typed.retry).await?;
    name::render(&mut w, f, &state.typed);
    w.credentials = pane_head(
        &state,
        Pane::Credentials,
        state.account.as_ref().map(|a| credentials::summary(f, a)),
    );
    w.details = pane_head(
        &state,
        Pane::Details,
        details
            .ok()
            .map(|d| details::summary(f, state.account.as_ref(), &d)),
    );
    w.scheduling = pane_head(
        &state,
        Pane::Scheduling,
        scheduling::read(f, &state.typed)
            .ok()
            .map(|s| scheduling::summary(&s)),
    );
    w.name_pane = pane_head(
        &state,
        Pane::Name,
        name::read(&state.typed)
            .ok()
            .map(|(name, _)| name.as_str().to_owned()),
    );
    Ok((w, state.status))
}

/// The header of a pane. `summary`: `None` if its values are invalid.
fn pane_head(state: &FormState, pane: Pane, summary: Option<String>) -> PaneHead {
    let is_furthest = pane == state.typed.reached && pane != Pane::Name;
    let (state, summary) = match summary {
        _ if state.open == Some(pane) => ("open", String::new()),
        _ if pane > state.typed.reached => {
            let before = Pane::ALL
                .into_iter()
                .rfind(|b| *b < pane)
                .unwrap_or_default();
            (
                "later",
                if before == state.typed.reached {
                    format!("opens after {}", before.title())
                } else {
                    String::new()
                },
            )
        }
        None => ("review", "needs attention".to_owned()),
        Some(summary) if is_furthest => ("review", summary),
        Some(summary) => ("done", summary),
    };
    PaneHead {
        number: pane as u8 + 1,
        title: pane.title().to_owned(),
        state: state.to_owned(),
        summary,
    }
}
