//! Connect data: the gallery of connectors and reports, and the four panes that create a DataSet.

use std::collections::{BTreeMap, HashMap};

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse;

use crate::accounts::{Account, Health, outer_spaces};
use crate::actor::Actor;
use crate::connectors::Connector;
use crate::connectors::report::{Menu, PeriodRows, Report, Shape};
use crate::error::Error;
use crate::secret::Secret;
use crate::web::Web;
use crate::web::components::Chrome;
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{
    FRAGMENT, PageResult, redirect, redirect_from_form, render, render_with_status,
};
use crate::web::panes::form_fields::FormFields;
use crate::web::panes::preview::{self, PreviewLocks};
use crate::web::panes::view::Wizard;
use crate::web::panes::{self, FormContext, FormOutcome, scheduling};
use crate::web::person::Person;

#[derive(Template)]
#[template(path = "pages/connect.html")]
struct Gallery {
    chrome: Chrome,
    q: String,
    connectors: Vec<ConnectorCard>,
    reports: Vec<ReportRow>,
    quick: Vec<ConnectorFilter>,
}

struct ConnectorCard {
    id: &'static str,
    name: &'static str,
    monogram: &'static str,
    about: &'static str,
    reports: usize,
    needs: String,
    accounts: usize,
    accounts_words: String,
}

struct ReportRow {
    connector: &'static str,
    monogram: &'static str,
    id: &'static str,
    title: &'static str,
    about: &'static str,
    row_per: String,
    choose: String,
}

struct ConnectorFilter {
    label: String,
    count: usize,
    href: String,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "pages/wizard.html")]
struct WizardPage {
    chrome: Chrome,
    w: Wizard,
}

/// `GET /connect`
pub async fn gallery(
    State(web): State<Web>,
    person: Person,
    Query(query): Query<HashMap<String, String>>,
) -> PageResult {
    editors_only(&person.actor)?;
    let field = |name: &str| {
        query
            .get(name)
            .map(|value| value.trim().to_owned())
            .unwrap_or_default()
    };
    let (q, from) = (field("q"), Connector::parse(&field("from")));
    let accounts = web.accounts.list(&person.actor).await?;
    let finds = |texts: [&str; 2]| {
        texts
            .iter()
            .any(|text| text.to_lowercase().contains(&q.to_lowercase()))
    };
    let found = |connector: Connector| {
        let named = finds([connector.title(), ""]);
        connector
            .reports()
            .iter()
            .filter(move |report| named || finds([report.title, report.about]))
    };
    let connectors: Vec<Connector> = Connector::ALL
        .into_iter()
        .filter(|c| found(*c).next().is_some() || finds([c.title(), c.about()]))
        .collect();
    let shown = connectors
        .iter()
        .filter(|c| from.is_none_or(|from| from == **c));
    let mut reports: Vec<(Connector, &Report)> = shown
        .flat_map(|c| found(*c).map(|report| (*c, report)))
        .collect();
    reports.sort_by_key(|(_, report)| rank(report, &q.to_lowercase()));
    let page = Gallery {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        reports: reports
            .into_iter()
            .map(|(connector, report)| report_row(connector, report))
            .collect(),
        quick: quick(
            &q,
            from,
            &connectors
                .iter()
                .map(|c| (*c, found(*c).count()))
                .collect::<Vec<_>>(),
        ),
        connectors: connectors.iter().map(|c| card(*c, &accounts)).collect(),
        q,
    };
    render(&page)
}

/// How well a report matches the search text, which is in lower case; 0 is best.
/// `static/js/rank.js` does the same.
fn rank(report: &Report, wanted: &str) -> u8 {
    let title = report.title.to_lowercase();
    match title.find(wanted) {
        _ if wanted.is_empty() || title == wanted => 0,
        Some(0) => 1,
        Some(at) if title[..at].ends_with(' ') => 2,
        Some(_) => 3,
        None => 4,
    }
}

/// `GET /connect/{connector}`
pub async fn wizard(
    State(web): State<Web>,
    person: Person,
    FirstPathId(connector): FirstPathId<String>,
    Query(query): Query<HashMap<String, String>>,
) -> PageResult {
    editors_only(&person.actor)?;
    let f = FormContext {
        web: &web,
        actor: &person.actor,
        connector: find(&connector)?,
        dataset: None,
    };
    let w = panes::new_dataset(
        &f,
        query.get("report").map(String::as_str),
        query.get("account").map(String::as_str),
    )
    .await?;
    render(&WizardPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        w,
    })
}

/// `POST /connect/{connector}`: handles every action of the form that creates a DataSet.
pub async fn step(
    State(web): State<Web>,
    person: Person,
    FirstPathId(connector): FirstPathId<String>,
    Extension(preview_locks): Extension<PreviewLocks>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> PageResult {
    editors_only(&person.actor)?;
    let connector = find(&connector)?;
    let f = FormContext {
        web: &web,
        actor: &person.actor,
        connector,
        dataset: None,
    };
    let typed = FormFields::read(connector, fields);
    let spaces = outer_spaces_note(connector, &typed.secrets);
    match panes::handle(&f, &preview_locks, typed, headers.contains_key(FRAGMENT)).await? {
        FormOutcome::Show(w, status) => render_with_status(
            status,
            &WizardPage {
                chrome: web.chrome(&person.actor, &person.session, "datasets").await,
                w: *w,
            },
        ),
        FormOutcome::Preview(preview) => preview_fragment(*preview),
        FormOutcome::NextRuns(next) => next_runs_fragment(next),
        FormOutcome::Connected(account, report) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("account", account.id.as_str())
                .append_pair("report", &report)
                .finish();
            if !spaces.is_empty() {
                web.flash(
                    &person.session,
                    format!("{} is connected.{spaces}", account.name),
                )
                .await;
            }
            redirect_from_form(&headers, &format!("/connect/{}?{query}", connector.id()))
        }
        FormOutcome::Saved {
            id,
            name,
            and_new,
            not_started,
        } => {
            let is_started = not_started.is_none();
            let first_run = not_started.map_or_else(
                || "The first run has started.".to_owned(),
                |why| format!("The first run could not start. {why}"),
            );
            let sentence = if and_new {
                format!("“{name}” is saved. {first_run}")
            } else {
                format!("Saved. {first_run}")
            };
            if is_started {
                web.flash(&person.session, sentence).await;
            } else {
                web.flash_failure(&person.session, sentence).await;
            }
            if and_new {
                redirect(&format!("/connect/{}", connector.id()))
            } else {
                redirect(&format!("/datasets/{id}"))
            }
        }
    }
}

/// The note about secrets that begin or end with a space, such as " API Key ends with a space,
/// which is a part of it."; empty if there is none.
pub fn outer_spaces_note(connector: Connector, secrets: &BTreeMap<String, Secret>) -> String {
    outer_spaces(connector, secrets)
        .into_iter()
        .map(|(_, sentence)| format!(" {sentence}"))
        .collect()
}

/// Only the preview, for `static/js/fragment.js`.
pub fn preview_fragment(preview: panes::view::Preview) -> PageResult {
    let page = render(&preview::PreviewFragment { preview })?;
    Ok(([(FRAGMENT, HeaderValue::from_static("preview"))], page).into_response())
}

/// Only the next runs, for a script.
pub fn next_runs_fragment(w: scheduling::NextRuns) -> PageResult {
    let page = render(&scheduling::NextRunsFragment { w })?;
    Ok(([(FRAGMENT, HeaderValue::from_static("next_runs"))], page).into_response())
}

fn editors_only(actor: &Actor) -> Result<(), Error> {
    if actor.may_edit() {
        Ok(())
    } else {
        Err(Error::forbidden(
            "Viewers cannot create DataSets. An admin can change your role.",
        ))
    }
}

fn find(connector: &str) -> Result<Connector, Error> {
    Connector::parse(connector).ok_or_else(|| Error::not_found("connector"))
}

fn card(connector: Connector, accounts: &[Account]) -> ConnectorCard {
    let own: Vec<&Account> = accounts
        .iter()
        .filter(|a| a.connector == connector)
        .collect();
    let failing = own.iter().filter(|a| a.health == Health::Failing).count();
    let noun = if own.len() == 1 {
        "account"
    } else {
        "accounts"
    };
    ConnectorCard {
        id: connector.id(),
        name: connector.title(),
        monogram: connector.monogram(),
        about: connector.about(),
        reports: connector.reports().len(),
        needs: connector
            .fields()
            .iter()
            .map(|field| field.label)
            .collect::<Vec<_>>()
            .join(", "),
        accounts: own.len(),
        accounts_words: match failing {
            0 => noun.to_owned(),
            all if all == own.len() => format!("{noun}, rejected"),
            some => format!("{noun}, {some} rejected"),
        },
    }
}

fn quick(q: &str, from: Option<Connector>, found: &[(Connector, usize)]) -> Vec<ConnectorFilter> {
    let href = |from: Option<Connector>| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !q.is_empty() {
            query.append_pair("q", q);
        }
        if let Some(from) = from {
            query.append_pair("from", from.id());
        }
        format!("/connect?{}", query.finish())
    };
    if found.len() < 2 {
        return Vec::new();
    }
    let all = ConnectorFilter {
        label: "All".to_owned(),
        count: found.iter().map(|(_, n)| n).sum(),
        href: href(None),
        chosen: from.is_none(),
    };
    let each = found.iter().map(|(c, n)| ConnectorFilter {
        label: c.title().to_owned(),
        count: *n,
        href: href(Some(*c)),
        chosen: from == Some(*c),
    });
    std::iter::once(all).chain(each).collect()
}

fn report_row(connector: Connector, report: &'static Report) -> ReportRow {
    let plain = report
        .menus
        .iter()
        .filter(|m| !m.extra && m.menu != Menu::EndDays);
    let taken: Vec<&str> = plain
        .map(|m| {
            if m.menu == Menu::StartDays {
                "Days"
            } else {
                m.menu.label()
            }
        })
        .collect();
    ReportRow {
        connector: connector.id(),
        monogram: connector.monogram(),
        id: report.id,
        title: report.title,
        about: report.about,
        row_per: row_per(report),
        choose: if taken.is_empty() {
            "–".to_owned()
        } else {
            taken.join(", ")
        },
    }
}

/// What a row is, in one or two words, from the start of the report's description.
fn row_per(report: &Report) -> String {
    const NOUN_ENDS: [&str; 12] = [
        ":",
        ",",
        ".",
        " that ",
        " who ",
        " with ",
        " made ",
        " created ",
        " of a ",
        " on ",
        " in ",
        " was ",
    ];
    let noun = |text: &str| {
        NOUN_ENDS
            .iter()
            .filter_map(|end| text.find(end))
            .min()
            .map_or_else(|| text.to_owned(), |at| text[..at].to_owned())
    };
    match report.shape {
        Shape::Periods(PeriodRows::Currencies) => "day or hour, and currency".to_owned(),
        Shape::Periods(_) => "day or hour".to_owned(),
        Shape::List { .. } | Shape::Archive { .. } | Shape::Single | Shape::Export(_) => {
            match report.about.strip_prefix("One row per ") {
                Some(rest) => noun(rest),
                None => "account".to_owned(),
            }
        }
    }
}
