//! Handles the action of the pressed button: shows a pane, loads the preview, connects or saves.

use axum::http::StatusCode;

use super::form_fields::{FormFields, NEW};
use super::form_state::FormState;
use super::pane_checks::{check_up_to, open_next_pane};
use super::preview::{self, PreviewLocks};
use super::view::{Preview, Wizard};
use super::wizard_page::render;
use super::{FormContext, Pane, credentials, details, name, retry_policy, scheduling};
use crate::accounts::Account;
use crate::datasets::DatasetSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::DatasetId;
use crate::puller::run::Trigger;

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
