//! The connectors, with the fields of their accounts and their reports.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::List;
use crate::actor::Scope;
use crate::api::body::Ids;
use crate::api::error::ApiResult;
use crate::api::token::Bearer;
use crate::connectors::Connector;
use crate::connectors::report::{MenuUse, Report};
use crate::error::Error;

/// A connector: LiveChat or LiveLeader.
#[derive(Serialize, ToSchema)]
pub struct ConnectorBody {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    /// Fields of an account.
    fields: Vec<FieldBody>,
    reports: Vec<ReportBody>,
}

#[derive(Serialize, ToSchema)]
struct FieldBody {
    id: &'static str,
    label: &'static str,
    /// Write-only.
    secret: bool,
    help: &'static str,
}

#[derive(Serialize, ToSchema)]
struct ReportBody {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    source: &'static str,
    menus: Vec<MenuBody>,
    columns: Vec<ColumnBody>,
    key: &'static [&'static str],
    update_mode: &'static str,
}

#[derive(Serialize, ToSchema)]
struct MenuBody {
    id: &'static str,
    label: &'static str,
    /// `days`, `choice` (see the account's choices), `options` or `switch`.
    kind: &'static str,
    required: bool,
    /// Pages show this menu collapsed.
    extra: bool,
    /// For the kind `options`. The first one is the default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<OptionBody>,
}

#[derive(Serialize, ToSchema)]
struct OptionBody {
    value: &'static str,
    label: &'static str,
}

#[derive(Serialize, ToSchema)]
struct ColumnBody {
    name: &'static str,
    /// text, integer, number, boolean, date, timestamp or json.
    kind: &'static str,
    meaning: &'static str,
}

fn menu(taken: &MenuUse) -> MenuBody {
    let menu = taken.menu;
    let options = menu
        .options()
        .iter()
        .map(|(value, label)| OptionBody { value, label })
        .collect();
    MenuBody {
        id: menu.id(),
        label: menu.label(),
        kind: taken.kind(),
        required: taken.required,
        extra: taken.extra,
        options,
    }
}

fn report(report: &'static Report) -> ReportBody {
    ReportBody {
        id: report.id,
        title: report.title,
        about: report.about,
        source: report.source,
        menus: report.menus.iter().map(menu).collect(),
        columns: report
            .columns
            .iter()
            .map(|c| ColumnBody {
                name: c.name,
                kind: c.kind.word(),
                meaning: c.meaning,
            })
            .collect(),
        key: report.key,
        update_mode: report.mode.word(),
    }
}

fn body(connector: Connector) -> ConnectorBody {
    ConnectorBody {
        id: connector.id(),
        title: connector.title(),
        about: connector.about(),
        fields: connector
            .fields()
            .iter()
            .map(|f| FieldBody {
                id: f.id,
                label: f.label,
                secret: f.secret,
                help: f.help,
            })
            .collect(),
        reports: connector.reports().iter().map(report).collect(),
    }
}

/// List connectors
#[utoipa::path(
    get,
    operation_id = "list_connectors",
    path = "/connectors",
    responses((status = 200, body = List<ConnectorBody>))
)]
pub async fn list(bearer: Bearer) -> ApiResult<Json<List<ConnectorBody>>> {
    bearer.require(Scope::Read)?;
    Ok(Json(List::complete(
        Connector::ALL.into_iter().map(body).collect(),
    )))
}

/// Get a connector with its fields and reports
#[utoipa::path(
    get,
    operation_id = "get_connector",
    path = "/connectors/{id}",
    params(("id" = String, Path)),
    responses((status = 200, body = ConnectorBody), (status = 404))
)]
pub async fn get(bearer: Bearer, Ids(id): Ids<String>) -> ApiResult<Json<ConnectorBody>> {
    bearer.require(Scope::Read)?;
    Ok(Json(body(
        Connector::parse(&id).ok_or_else(|| Error::not_found("connector"))?,
    )))
}
