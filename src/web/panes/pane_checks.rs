//! Validates the panes, and chooses the pane to open next.

use super::form_fields::FormFields;
use super::form_state::FormState;
use super::{FormContext, Pane, details, name, retry_policy, scheduling};
use crate::accounts::Account;
use crate::error::{Error, Result};

/// Validates the panes up to `last`. Opens the first invalid one, and shows the errors of all.
pub(super) async fn check_up_to(
    f: &FormContext<'_>,
    state: &mut FormState,
    last: Pane,
) -> Result<bool> {
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
pub(super) async fn open_next_pane(
    f: &FormContext<'_>,
    state: &mut FormState,
    done: Pane,
) -> Result<()> {
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
