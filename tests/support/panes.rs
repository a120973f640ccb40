//! The panes of a DataSet, used as by a browser without scripts: each step sends the form of the
//! page.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use chatlake::actor::{Actor, Role};
use chatlake::clock::Clock;
use chatlake::datasets::Dataset;
use scraper::{ElementRef, Html, Selector};
use tokio::sync::Mutex;

use super::context::TestContext;
use super::http::{Browser, Page};

/// 2027-03-24 08:00 UTC, a Wednesday. The clocks in Oslo go forward on the next Sunday.
pub const BEFORE_SPRING: i64 = 1_805_875_200_000;
/// The API key that the sandbox accepts.
pub const KEY: &str = "sandbox-key";

/// The clock is stopped at `BEFORE_SPRING`. No run is pulled.
pub async fn before_spring() -> TestContext {
    TestContext::with(Clock::stopped_at(BEFORE_SPRING), |_| {}).await
}

/// The only DataSet that this person sees.
pub async fn only_dataset(of: &PaneSession<'_>) -> Dataset {
    let mut all = of.ctx.app.datasets.list(&of.actor).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// A person who is signed in, and a browser without scripts.
pub struct PaneSession<'a> {
    pub ctx: &'a TestContext,
    pub actor: Actor,
    browser: Mutex<Browser>,
}

impl<'a> PaneSession<'a> {
    pub async fn new(ctx: &'a TestContext, name: &str, role: Role) -> Self {
        let (actor, browser) = ctx.signed_in_person(name, role).await;
        Self {
            ctx,
            actor,
            browser: Mutex::new(browser),
        }
    }

    pub async fn get(&self, path: &str) -> Page {
        self.browser.lock().await.get(path).await
    }

    pub async fn post(&self, path: &str, form: &Form, fragment: Option<&str>) -> Page {
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form.0)
            .finish();
        let headers = [
            ("sec-fetch-site", "same-origin"),
            ("x-chatlake-fragment", fragment.unwrap_or_default()),
        ];
        let headers = &headers[..if fragment.is_some() { 2 } else { 1 }];
        self.browser
            .lock()
            .await
            .send(Method::POST, path, Some(body), headers)
            .await
    }

    /// Presses a button of the panes and follows the redirect.
    pub async fn press(&self, page: &Page, step: &str, typed: &[(&str, &str)]) -> Page {
        let mut form = page.form();
        form.0.retain(|field, _| field != "step");
        form.0.extend(
            [("step", step)]
                .iter()
                .chain(typed)
                .map(|(field, value)| ((*field).to_owned(), (*value).to_owned())),
        );
        let answer = self.post(&page.action(), &form, None).await;
        if answer.status == StatusCode::SEE_OTHER {
            self.get(&answer.location()).await
        } else {
            answer
        }
    }

    /// Connects a new account at the sandbox. The person must be an admin, because only admins may
    /// set an address.
    pub async fn connect(&self) -> Page {
        let page = self.get("/connect/livechat").await;
        let typed = [
            ("account_id", "new"),
            ("account_name", "Support Oslo"),
            ("credentials.username", "agent@sandbox.test"),
            ("credentials.api_key", KEY),
            ("api_url", self.ctx.vendor.as_str()),
            ("requests_per_minute", "60000"),
        ];
        let page = self.press(&page, "connect", &typed).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page
    }

    /// Creates a DataSet with these values and returns it.
    pub async fn make(&self, typed: &[(&str, &str)]) -> Dataset {
        let page = self.connect().await;
        let page = self.press(&page, "details", typed).await;
        let page = self.press(&page, "schedule", typed).await;
        self.press(&page, "save", typed).await;
        only_dataset(self).await
    }
}

/// The fields of a form by name.
#[derive(Clone, Debug, Default)]
pub struct Form(pub BTreeMap<String, String>);

impl Page {
    pub fn each<T>(&self, css: &str, read: impl Fn(ElementRef<'_>) -> T) -> Vec<T> {
        let html = Html::parse_document(&self.text);
        html.select(&Selector::parse(css).unwrap())
            .map(read)
            .collect()
    }

    pub fn action(&self) -> String {
        self.each("form[data-panes]", |e| e.attr("action").unwrap().to_owned())
            .remove(0)
    }

    /// The fields that a browser sends of the panes.
    pub fn form(&self) -> Form {
        Form(fields_of(&Html::parse_document(&self.text)))
    }

    pub fn open_pane(&self) -> Vec<String> {
        self.each(".pane.is-open", |e| e.attr("data-pane").unwrap().to_owned())
    }

    pub fn summary(&self, pane: &str) -> String {
        self.words(&format!("[data-pane={pane}] .pane-summary"))
    }
}

/// The fields that a browser sends of the panes of a page.
pub fn fields_of(html: &Html) -> BTreeMap<String, String> {
    let fields = Selector::parse(
        "form[data-panes] input, form[data-panes] select, form[data-panes] textarea",
    )
    .unwrap();
    let fields = html.select(&fields).filter_map(|e| {
        let name = e.attr("name")?.to_owned();
        let value = match e.value().name() {
            "select" => {
                let options = Selector::parse("option").unwrap();
                let chosen = e
                    .select(&options)
                    .find(|o| o.attr("selected").is_some())
                    .or_else(|| e.select(&options).next())?;
                chosen.attr("value").unwrap_or_default().to_owned()
            }
            "textarea" => e.text().collect(),
            _ if matches!(e.attr("type"), Some("radio" | "checkbox"))
                && e.attr("checked").is_none() =>
            {
                return None;
            }
            _ => e.attr("value").unwrap_or_default().to_owned(),
        };
        Some((name, value))
    });
    fields.collect()
}
