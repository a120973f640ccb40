//! Notifications about one DataSet, as the settings ask for them and as the catalogue has them.

use chatlake::actor::Actor;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::ids::DatasetId;

use super::context::TestContext;

/// Sends these notifications to a webhook that nothing listens to.
pub async fn set_notifications(
    ctx: &TestContext,
    owner: &Actor,
    dataset: &DatasetId,
    on: &[NotificationKind],
    after: i64,
) {
    let hooks = &ctx.app.puller.notifications;
    let known = hooks
        .webhooks()
        .await
        .unwrap()
        .into_iter()
        .next()
        .map(|hook| hook.id.to_string());
    let hook = match known {
        Some(hook) => hook,
        None => hooks
            .add_webhook("Team chat", "http://127.0.0.1:9/x")
            .await
            .unwrap()
            .0
            .id
            .to_string(),
    };
    let notify = NotificationSettings::new(Some(Vec::new()), vec![hook], on.into(), after).unwrap();
    ctx.app
        .datasets
        .set_notifications(owner, dataset, &notify)
        .await
        .unwrap();
}

/// The kinds of the notifications since then, oldest first.
pub async fn stored_notifications_since(ctx: &TestContext, since: i64) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT kind FROM notifications WHERE created_at >= $1 ORDER BY created_at, id",
    )
    .bind(since)
    .fetch_all(ctx.app.db.read())
    .await
    .unwrap()
}

/// The kinds of all notifications, oldest first.
pub async fn stored_notifications(ctx: &TestContext) -> Vec<String> {
    stored_notifications_since(ctx, 0).await
}
