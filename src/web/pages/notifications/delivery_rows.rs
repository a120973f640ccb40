//! The table of the latest deliveries.

use jiff::tz::TimeZone;

use crate::clock::Millis;
use crate::notifications::outbox::Delivery;
use crate::web::components::{DisplayTime, Status};
use crate::web::humanize;

pub(super) struct DeliveryRow {
    pub(super) made: DisplayTime,
    pub(super) to: String,
    pub(super) channel: &'static str,
    pub(super) subject: String,
    pub(super) status: Status,
    pub(super) error: String,
}

pub(super) fn delivery_row(delivery: Delivery, now: Millis) -> DeliveryRow {
    let tries = if delivery.attempts > 1 {
        format!("{} attempts", delivery.attempts)
    } else {
        String::new()
    };
    let (status, error) = match delivery.state.as_str() {
        "sent" => (Status::new("good", false, "Sent", tries), String::new()),
        "failed" if delivery.is_test != 0 => (
            Status::new("bad", false, "Not delivered", ""),
            delivery.error.unwrap_or_default(),
        ),
        "failed" => (
            Status::new("bad", false, "Failed", tries),
            delivery.error.unwrap_or_default(),
        ),
        _ if delivery.error.is_some() => {
            let again = format!(
                "next attempt {}",
                humanize::relative(delivery.next_try_at, now)
            );
            (
                Status::new("warn", true, "Waiting", again),
                delivery.error.unwrap_or_default(),
            )
        }
        _ => (Status::new("info", true, "Sending", ""), String::new()),
    };
    DeliveryRow {
        made: DisplayTime::ago(delivery.created_at, now, &TimeZone::UTC),
        to: delivery.recipient,
        channel: if delivery.channel == "mail" {
            "Email"
        } else {
            "Webhook"
        },
        subject: if delivery.notification_count > 1 {
            format!(
                "{} ({} notifications)",
                delivery.subject, delivery.notification_count
            )
        } else {
            delivery.subject
        },
        status,
        error,
    }
}
