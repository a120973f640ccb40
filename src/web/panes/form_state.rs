//! The state of the form while an action is handled.

use axum::http::StatusCode;

use super::Pane;
use super::form_fields::FormFields;
use super::view::Preview;
use crate::accounts::Account;
use crate::error::{Error, ErrorKind, Result};
use crate::web::components::{Band, Errors};

/// What the person entered, which pane is open, and what is shown about errors.
pub(super) struct FormState {
    pub(super) typed: FormFields,
    pub(super) account: Option<Account>,
    /// `None`: all panes are closed.
    pub(super) open: Option<Pane>,
    pub(super) errors: Errors,
    pub(super) problem: Option<Band>,
    pub(super) preview: Option<Preview>,
    pub(super) status: StatusCode,
}

impl FormState {
    pub(super) fn new(typed: FormFields, account: Option<Account>, open: Option<Pane>) -> Self {
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
    pub(super) fn reject(&mut self, pane: Pane, error: Error) -> Result<()> {
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
