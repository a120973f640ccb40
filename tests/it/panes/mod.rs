//! The four panes through the router, as a browser without scripts sends their forms.

mod creation;
mod credentials;
mod days_and_times;
mod gallery;
mod permissions;
mod preview;
mod settings;

use crate::support::context::TestContext;

async fn first_runs(ctx: &TestContext) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE trigger = 'first'")
        .fetch_one(ctx.app.db.read())
        .await
        .unwrap()
}
