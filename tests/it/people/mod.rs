//! People: set-up, sign-in, sessions and roles. Olga is the first admin, Carl a colleague, Stan has
//! no account.

mod administration;
mod audit_log;
mod sessions;
mod set_up_link;
mod sign_in;
mod sign_in_throttling;

use axum::http::StatusCode;

use crate::support::http::{Browser, Page};

const ANOTHER: &str = "staple battery horse";

fn person_path(page: &Page, name: &str, verb: &str) -> String {
    let paths = page
        .text
        .split('"')
        .filter(|text| text.starts_with("/settings/people/usr_") && text.ends_with(verb));
    let mut of_name = paths.filter(|path| {
        let row = page.text.find(path).unwrap();
        page.text[..row]
            .rfind(&format!("Options of {name}"))
            .is_some_and(|at| !page.text[at..row].contains("</tr>"))
    });
    of_name
        .next()
        .unwrap_or_else(|| panic!("no {verb} for {name}"))
        .to_owned()
}

fn link_path(page: &Page) -> String {
    let link = page.words("#invite-link");
    link.strip_prefix("http://127.0.0.1:8080")
        .unwrap_or_else(|| panic!("no link: {}", page.text))
        .to_owned()
}

async fn accept(browser: &mut Browser, path: &str, password: &str) -> Page {
    let form = browser.get(path).await;
    assert_eq!(form.status, StatusCode::OK, "{}", form.text);
    let code = form.attribute("input[name=code]", "value").unwrap();
    browser
        .post("/invite", &[("code", &code), ("password", password)])
        .await
}
