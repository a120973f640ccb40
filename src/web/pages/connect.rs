//! Connect data: the gallery of connectors and reports, and the four panes that make a DataSet from one.

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
use crate::web::forms::{Form, Id};
use crate::web::page::{Answer, FRAGMENT, go, go_from_form, show, show_with};
use crate::web::panes::preview::{self, Turns};
use crate::web::panes::typed::Typed;
use crate::web::panes::view::Wizard;
use crate::web::panes::{self, Done, For, scheduling};
use crate::web::parts::Chrome;
use crate::web::person::Person;
use crate::web::{Web, words};

#[derive(Template)]
#[template(path = "pages/connect.html")]
struct Gallery {
    chrome: Chrome,
    q: String,
    connectors: Vec<Card>,
    reports: Vec<ReportRow>,
    quick: Vec<Quick>,
}

struct Card {
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
    about: String,
    row_per: String,
    choose: String,
}

struct Quick {
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
pub async fn gallery(State(web): State<Web>, person: Person, Query(query): Query<HashMap<String, String>>) -> Answer {
    editors_only(&person.actor)?;
    let given = |name: &str| query.get(name).map(|value| value.trim().to_owned()).unwrap_or_default();
    let (q, from) = (given("q"), Connector::parse(&given("from")));
    let accounts = web.accounts.list(&person.actor).await?;
    let finds = |texts: [&str; 2]| texts.iter().any(|text| text.to_lowercase().contains(&q.to_lowercase()));
    let found = |connector: Connector| {
        let named = finds([connector.title(), ""]);
        connector.reports().iter().filter(move |report| named || finds([report.title, report.about]))
    };
    let connectors: Vec<Connector> = Connector::ALL.into_iter().filter(|c| found(*c).next().is_some() || finds([c.title(), c.about()])).collect();
    let shown = connectors.iter().filter(|c| from.is_none_or(|from| from == **c));
    let mut reports: Vec<(Connector, &Report)> = shown.flat_map(|c| found(*c).map(|report| (*c, report))).collect();
    reports.sort_by_key(|(_, report)| rank(report, &q.to_lowercase()));
    let page = Gallery {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        reports: reports.into_iter().map(|(connector, report)| report_row(connector, report)).collect(),
        quick: quick(&q, from, &connectors.iter().map(|c| (*c, found(*c).count())).collect::<Vec<_>>()),
        connectors: connectors.iter().map(|c| card(*c, &accounts)).collect(),
        q,
    };
    show(&page)
}

/// How well a report fits what is searched for, in small letters, the best being 0; `static/js/rank.js` does the same.
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
pub async fn wizard(State(web): State<Web>, person: Person, Id(connector): Id<String>, Query(query): Query<HashMap<String, String>>) -> Answer {
    editors_only(&person.actor)?;
    let f = For { web: &web, actor: &person.actor, connector: find(&connector)?, dataset: None };
    let w = panes::begin(&f, query.get("report").map(String::as_str), query.get("account").map(String::as_str)).await?;
    show(&WizardPage { chrome: web.chrome(&person.actor, &person.session, "datasets").await, w })
}

/// `POST /connect/{connector}`: every step of making a DataSet.
pub async fn step(
    State(web): State<Web>,
    person: Person,
    Id(connector): Id<String>,
    Extension(turns): Extension<Turns>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    editors_only(&person.actor)?;
    let connector = find(&connector)?;
    let f = For { web: &web, actor: &person.actor, connector, dataset: None };
    let typed = Typed::read(connector, fields);
    let spaces = spaces_in_words(connector, &typed.secrets);
    match panes::take(&f, &turns, typed, headers.contains_key(FRAGMENT)).await? {
        Done::Show(w, status) => show_with(status, &WizardPage { chrome: web.chrome(&person.actor, &person.session, "datasets").await, w: *w }),
        Done::Preview(preview) => preview_alone(*preview),
        Done::NextRuns(next) => next_runs_alone(next),
        Done::Connected(account, report) => {
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("account", account.id.as_str()).append_pair("report", &report).finish();
            if !spaces.is_empty() {
                web.say_next(&person.session, format!("{} is connected.{spaces}", account.name)).await;
            }
            go_from_form(&headers, &format!("/connect/{}?{query}", connector.id()))
        }
        Done::Saved { id, name, and_new, not_started } => {
            let said = not_started.map_or_else(|| "The first run has started.".to_owned(), |why| format!("The first run could not start. {why}"));
            let named = if and_new { format!("“{name}” is saved. {said}") } else { format!("Saved. {said}") };
            web.say_next(&person.session, named).await;
            if and_new { go(&format!("/connect/{}", connector.id())) } else { go(&format!("/datasets/{id}")) }
        }
    }
}

/// " API Key ends with a space, which is a part of it.", or nothing.
pub fn spaces_in_words(connector: Connector, secrets: &BTreeMap<String, Secret>) -> String {
    outer_spaces(connector, secrets).into_iter().map(|(_, sentence)| format!(" {sentence}")).collect()
}

/// The preview alone, for `static/js/fragment.js`.
pub fn preview_alone(preview: panes::view::Preview) -> Answer {
    let page = show(&preview::Fragment { preview })?;
    Ok(([(FRAGMENT, HeaderValue::from_static("preview"))], page).into_response())
}

/// The next runs alone.
pub fn next_runs_alone(w: scheduling::NextRuns) -> Answer {
    let page = show(&scheduling::Fragment { w })?;
    Ok(([(FRAGMENT, HeaderValue::from_static("next_runs"))], page).into_response())
}

fn editors_only(actor: &Actor) -> Result<(), Error> {
    if actor.may_edit() { Ok(()) } else { Err(Error::forbidden("Viewers cannot create DataSets. An admin can change your role.")) }
}

fn find(connector: &str) -> Result<Connector, Error> {
    Connector::parse(connector).ok_or_else(|| Error::not_found("connector"))
}

fn card(connector: Connector, accounts: &[Account]) -> Card {
    let own: Vec<&Account> = accounts.iter().filter(|a| a.connector == connector).collect();
    let failing = own.iter().filter(|a| a.health == Health::Failing).count();
    let noun = if own.len() == 1 { "account" } else { "accounts" };
    Card {
        id: connector.id(),
        name: connector.title(),
        monogram: connector.monogram(),
        about: connector.about(),
        reports: connector.reports().len(),
        needs: connector.fields().iter().map(|field| field.label).collect::<Vec<_>>().join(", "),
        accounts: own.len(),
        accounts_words: match failing {
            0 => noun.to_owned(),
            all if all == own.len() => format!("{noun}, rejected"),
            some => format!("{noun}, {some} rejected"),
        },
    }
}

fn quick(q: &str, from: Option<Connector>, found: &[(Connector, usize)]) -> Vec<Quick> {
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
    let all = Quick { label: "All".to_owned(), count: found.iter().map(|(_, n)| n).sum(), href: href(None), chosen: from.is_none() };
    let each = found.iter().map(|(c, n)| Quick { label: c.title().to_owned(), count: *n, href: href(Some(*c)), chosen: from == Some(*c) });
    std::iter::once(all).chain(each).collect()
}

fn report_row(connector: Connector, report: &'static Report) -> ReportRow {
    let plain = report.menus.iter().filter(|m| !m.extra && m.menu != Menu::EndDays);
    let taken: Vec<&str> = plain.map(|m| if m.menu == Menu::StartDays { "Days" } else { m.menu.label() }).collect();
    // What a row is stands in its own column.
    let about = report.about.strip_prefix("One row per ").and_then(|about| about.split_once(": ")).map_or(report.about, |(_, about)| about);
    ReportRow {
        connector: connector.id(),
        monogram: connector.monogram(),
        id: report.id,
        title: report.title,
        about: words::sentence(about),
        row_per: row_per(report),
        choose: if taken.is_empty() { "–".to_owned() } else { taken.join(", ") },
    }
}

/// What a row is, in a word or two: the start of the report's own sentence, where that tells it.
fn row_per(report: &Report) -> String {
    const NOUN_ENDS: [&str; 12] = [":", ",", ".", " that ", " who ", " with ", " made ", " created ", " of a ", " on ", " in ", " was "];
    let noun = |text: &str| NOUN_ENDS.iter().filter_map(|end| text.find(end)).min().map_or_else(|| text.to_owned(), |at| text[..at].to_owned());
    match report.shape {
        Shape::Periods(PeriodRows::Currencies) => "period and currency".to_owned(),
        Shape::Periods(_) => "period".to_owned(),
        Shape::List { .. } | Shape::Archive { .. } | Shape::Single | Shape::Export(_) => match report.about.strip_prefix("One row per ") {
            Some(rest) => noun(rest),
            None => "account".to_owned(),
        },
    }
}
