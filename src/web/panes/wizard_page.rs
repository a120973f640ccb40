//! Fills the page of the form: every pane and its header.

use axum::http::StatusCode;

use super::form_state::FormState;
use super::view::{PaneHead, Wizard};
use super::{FormContext, Pane, credentials, details, name, retry_policy, scheduling};
use crate::error::Result;

/// Renders the whole page.
pub(super) async fn render(
    f: &FormContext<'_>,
    mut state: FormState,
) -> Result<(Wizard, StatusCode)> {
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
