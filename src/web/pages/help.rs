//! The main tasks, each in a few lines.

use askama::Template;
use axum::extract::State;

use crate::web::Web;
use crate::web::page::{Answer, show};
use crate::web::parts::Chrome;
use crate::web::person::Person;

#[derive(Template)]
#[template(path = "pages/help.html")]
struct Page {
    chrome: Chrome,
    can_edit: bool,
    curl: String,
}

/// `GET /help`
pub async fn help(State(web): State<Web>, Person { actor, session }: Person) -> Answer {
    let curl = format!("curl -H 'Authorization: Bearer TOKEN' {}api/v1/datasets", web.config.public_url);
    show(&Page { chrome: web.chrome(&actor, &session, "").await, can_edit: actor.may_edit(), curl })
}
