//! The help page: the main tasks in a few lines each.

use askama::Template;
use axum::extract::State;

use crate::web::Web;
use crate::web::components::Chrome;
use crate::web::page::{PageResult, render};
use crate::web::person::Person;

#[derive(Template)]
#[template(path = "pages/help.html")]
struct HelpPage {
    chrome: Chrome,
    can_edit: bool,
    curl: String,
}

/// `GET /help`
pub async fn help(State(web): State<Web>, Person { actor, session }: Person) -> PageResult {
    let curl = format!(
        "curl -H 'Authorization: Bearer TOKEN' {}api/v1/datasets",
        web.config.public_url
    );
    render(&HelpPage {
        chrome: web.chrome(&actor, &session, "").await,
        can_edit: actor.may_edit(),
        curl,
    })
}
