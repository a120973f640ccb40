//! Security beyond the tables of cases: metrics, connections, identities and the mail server.

mod identities;
mod mail_server;
mod metrics_access;
mod process_and_connections;

use crate::support::context::TestContext;
use crate::support::http::Browser;

fn at(ctx: &TestContext, address: &str) -> Browser {
    let mut browser = ctx.browser();
    browser.address = address.parse().unwrap();
    browser
}
