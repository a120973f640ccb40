//! Schedules in the API.

use axum::http::Method;
use serde_json::json;

use super::ScheduleFixture;
use crate::support::HOUR;

#[tokio::test]
async fn the_api_returns_every_kind_of_schedule_as_it_was_set() {
    let fixture = ScheduleFixture::new().await;
    for (schedule, words, next) in [
        (
            json!({"cron": "0 9 * * *"}),
            "Every day at 09:00, Europe/Oslo",
            "2026-11-21T08:00:00Z",
        ),
        (
            json!({"times": ["09:00", "17:30"]}),
            "Every day at 09:00 and 17:30, Europe/Oslo",
            "2026-11-20T16:30:00Z",
        ),
        (
            json!({"every": "15m", "active_from": "08:00", "active_to": "18:00"}),
            "Every 15 minutes from 08:00 to 18:00, both included, Europe/Oslo",
            "2026-11-20T12:15:00Z",
        ),
        (
            json!({"times": ["09:00", "17:30"], "weekdays": ["fri"], "nth": [2, "last"]}),
            "On the second and last Friday of the month at 09:00 and 17:30, Europe/Oslo",
            "2026-11-27T08:00:00Z",
        ),
        (
            json!({"times": ["09:00"], "every_days": 3, "days_from": "2026-11-20"}),
            "Every 3 days, starting 20 Nov 2026, at 09:00, Europe/Oslo",
            "2026-11-23T08:00:00Z",
        ),
        (
            json!({"cron": "0 9 1 * 1", "catch_up": "none", "starts_at": "2026-12-02T00:00:00Z"}),
            "",
            "2026-12-07T08:00:00Z",
        ),
    ] {
        let dataset = fixture.make(schedule.clone()).await;
        let response = fixture.dataset_json(&dataset).await;
        assert_eq!(
            (&response["schedule"], response["next_run_at"].as_str()),
            (&schedule, Some(next)),
            "{response}"
        );
        assert!(
            words.is_empty() || response["schedule_words"] == words,
            "{response}"
        );
        // Another change does not affect it.
        let (_, response) = fixture
            .ask(
                Method::PATCH,
                &format!("/datasets/{dataset}"),
                Some(json!({"report": "groups"})),
            )
            .await;
        assert_eq!(
            (&response["schedule"], response["next_run_at"].as_str()),
            (&schedule, Some(next)),
            "{response}"
        );
    }
    let dataset = fixture.make(json!({"remind_after_hours": 24})).await;
    assert_eq!(
        fixture.dataset_json(&dataset).await["schedule"],
        json!({"remind_after_hours": 24})
    );
    fixture.ctx.clock.advance(25 * HOUR);
    let mut browser = fixture.ctx.signed_in(&fixture.owner).await;
    assert!(
        browser
            .get(&format!("/datasets/{dataset}"))
            .await
            .words(".band")
            .contains("older than its reminder allows")
    );
    for wrong in [
        json!({"cron": "0 0 31 2 *"}),
        json!({"every": "1m"}),
        json!({"times": ["9 o'clock"]}),
        json!({}),
        json!({"cron": "0 9 * * *", "odd": 1}),
    ] {
        let new = json!({"name": "Agents", "account_id": fixture.account, "report": "agents", "schedule": wrong});
        let (status, why) = fixture.ask(Method::POST, "/datasets", Some(new)).await;
        assert!(
            matches!(status, 400 | 422)
                && why["error"]["message"]
                    .as_str()
                    .is_some_and(|text| text.ends_with('.')),
            "{status} {why}"
        );
    }
}
