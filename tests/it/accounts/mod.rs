//! Accounts on pages. Olga is an admin, Carl owns an account, Stan is another editor, Vera a
//! viewer.

mod credential_checks;
mod deletion;
mod permissions;
mod secrets;

use chatlake::actor::Actor;

use crate::support::context::TestContext;
use crate::support::http::Page;

const CANARY: &str = "canary-4711";

const NEW: &str = "/accounts/new?connector=livechat";

/// The form of a new account, with the values of an admin.
fn filled<'a>(ctx: &'a TestContext, name: &'a str, key: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("name", name),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", key),
        ("api_url", &ctx.vendor),
    ]
}

async fn only(ctx: &TestContext, actor: &Actor) -> chatlake::accounts::Account {
    let mut all = ctx.app.accounts.list(actor).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn row(page: &Page, name: &str) -> String {
    page.all("table.accounts tbody tr")
        .into_iter()
        .find(|row| row.contains(name))
        .unwrap_or_default()
}
