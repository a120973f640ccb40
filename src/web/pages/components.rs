//! A page with every UI component, for comparing the themes.

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use crate::web::Web;
use crate::web::components::{Action, Band, Choice, Chrome, DisplayTime, Pager, Spark, Status};
use crate::web::page::{PageResult, render};
use crate::web::person::{Admin, Person};

#[derive(Template)]
#[template(path = "pages/components.html")]
struct ComponentsPage {
    chrome: Chrome,
    statuses: Vec<Status>,
    bands: Vec<Band>,
    spark: Spark,
    choices: Vec<Choice>,
    pager: Pager,
    when: DisplayTime,
}

/// `GET /help/components`
pub async fn components(
    State(web): State<Web>,
    Admin(Person { actor, session }): Admin,
) -> PageResult {
    let now = web.clock.now();
    let statuses = [
        ("good", false, "Up to date"),
        ("bad", false, "Failed"),
        ("warn", false, "Late"),
        ("info", true, "Running"),
        ("info", true, "Queued"),
        ("", true, "Not run yet"),
    ];
    let band = |tone: &str, title: &str, text: &str, action: &str| Band {
        tone: tone.to_owned(),
        title: title.to_owned(),
        text: text.to_owned(),
        actions: if action.is_empty() {
            Vec::new()
        } else {
            vec![Action {
                label: action.to_owned(),
                href: "#".to_owned(),
                primary: false,
                post: false,
            }]
        },
    };
    let spark = Spark {
        points: "1,20 12,16 23,18 34,9 45,12 56,6 70,4".to_owned(),
        end_x: "70".to_owned(),
        end_y: "4".to_owned(),
        tone: String::new(),
        words: "Rows of the last seven runs, rising".to_owned(),
    };
    let pager = Pager {
        first: "101".to_owned(),
        last: "200".to_owned(),
        of: "of 12,480 rows".to_owned(),
        page: 2,
        pages: 125,
        previous: "#".to_owned(),
        next: "#".to_owned(),
        jump: String::new(),
    };
    let choices = ["All groups", "Sales", "Support"];
    render(&ComponentsPage {
        chrome: web.chrome(&actor, &session, "").await,
        statuses: statuses
            .into_iter()
            .map(|(tone, ring, word)| Status::new(tone, ring, word, ""))
            .collect(),
        bands: vec![
            band(
                "bad",
                "LiveChat rejected the API key.",
                "The existing rows are unchanged. Maren Aasen can update the key.",
                "Update API Key",
            ),
            band(
                "warn",
                "Late since 06:30.",
                "LiveChat limits calls. The run continues at 06:45.",
                "",
            ),
            band(
                "info",
                "The first run is in progress.",
                "Its rows appear here when it finishes.",
                "",
            ),
            band("good", "Connected.", "12 agents visible.", ""),
        ],
        spark,
        choices: choices
            .into_iter()
            .map(|label| Choice {
                value: label.to_owned(),
                label: label.to_owned(),
                selected: label == "Sales",
            })
            .collect(),
        pager,
        when: DisplayTime::ago(now - 2 * 60 * 60 * 1_000, now, &TimeZone::UTC),
    })
}
