//! Renders a message: a text for people, and the same content as JSON for programs.

use std::fmt::Write;

use serde_json::json;

use super::{NotificationDetails, NotificationKind, Notifications, REMINDER};
use crate::clock::{Millis, iso};
use crate::ids::MessageId;

/// The maximum number of DataSets that a group names.
const MAX_NAMED: usize = 20;
/// The maximum number of notifications in the JSON.
const MAX_IN_JSON: usize = 100;

/// The text if no person has to act; messages omit it.
const NO_ACTION: &str = "No action needed.";

/// A notification in the outbox.
#[derive(Clone, Debug)]
pub struct Notification {
    pub kind: NotificationKind,
    pub details: NotificationDetails,
    pub at: Millis,
}

/// Selects one text of the details.
type DetailText = fn(&NotificationDetails) -> &str;

/// DataSets with the same event.
struct NotificationGroup<'a> {
    kind: NotificationKind,
    all: Vec<&'a Notification>,
}

/// Groups notifications with the same cause and account, in the order of the first one.
fn groups(notifications: &[Notification]) -> Vec<NotificationGroup<'_>> {
    let mut groups: Vec<NotificationGroup<'_>> = Vec::new();
    for one in notifications {
        let same = |group: &&mut NotificationGroup<'_>| {
            let first = &group.all[0].details;
            let one_details = &one.details;
            group.kind == one.kind
                && first.account == one_details.account
                && first.vendor == one_details.vendor
                && first.code == one_details.code
        };
        match groups.iter_mut().find(same) {
            // A DataSet with several notifications of the same event appears once, with the newest
            // one.
            Some(group) => {
                group
                    .all
                    .retain(|earlier| earlier.details.dataset_id != one.details.dataset_id);
                group.all.push(one);
            }
            None => groups.push(NotificationGroup {
                kind: one.kind,
                all: vec![one],
            }),
        }
    }
    groups
}

fn title(group: &NotificationGroup<'_>) -> String {
    let details = &group.all[0].details;
    let account = if details.account.is_empty() {
        "a deleted account".to_owned()
    } else {
        format!("“{}”", details.account)
    };
    if group.kind == NotificationKind::Sunset {
        return format!("{} ends the API that {account} uses", details.vendor);
    }
    let (one, many) = match group.kind {
        NotificationKind::Failure => ("failed", "failed"),
        NotificationKind::Recovery => ("is up to date again", "are up to date again"),
        NotificationKind::Late if details.code == REMINDER => ("needs a run", "need a run"),
        NotificationKind::Late => ("is late", "are late"),
        _ => ("no longer runs on schedule", "no longer run on schedule"),
    };
    match group.all.len() {
        1 => format!("“{}” {one}", details.dataset),
        count => format!("{count} DataSets of {account} {many}"),
    }
}

/// The subject of a message.
pub fn subject(notifications: &[Notification]) -> String {
    let groups = groups(notifications);
    match &groups[..] {
        [only] => title(only),
        [first, rest @ ..] => format!("{}, and {} more", title(first), rest.len()),
        [] => "No notifications".to_owned(),
    }
}

impl Notifications {
    /// The message as text: what happened, who can fix it, what happens next and when, and a link.
    pub(super) fn render_text(&self, notifications: &[Notification]) -> String {
        let mut text = String::new();
        for group in groups(notifications) {
            let details = &group.all[0].details;
            let _ = writeln!(text, "{}.\n", title(&group));
            let same = |part: DetailText| {
                group
                    .all
                    .iter()
                    .all(|one| part(&one.details) == part(details))
            };
            let parts: [(&str, DetailText); 3] = [
                ("What happened", |details| &details.happened),
                ("Who can fix it", |details| &details.who),
                ("What happens next", |details| &details.next),
            ];
            for (label, part) in parts {
                if same(part) && !["", NO_ACTION].contains(&part(details)) {
                    let _ = writeln!(text, "{label}: {}", part(details));
                }
            }
            let _ = writeln!(text, "When: {}\n", iso(group.all[0].at));
            for one in group.all.iter().take(MAX_NAMED) {
                let _ = writeln!(
                    text,
                    "- “{}”: {}",
                    one.details.dataset,
                    self.link(&format!("/datasets/{}", one.details.dataset_id))
                );
                for (_, part) in parts {
                    if !same(part) && !["", NO_ACTION].contains(&part(&one.details)) {
                        let _ = writeln!(text, "  {}", part(&one.details));
                    }
                }
            }
            if group.all.len() > MAX_NAMED {
                let _ = writeln!(
                    text,
                    "- and {} more: {}",
                    group.all.len() - MAX_NAMED,
                    self.link("/datasets?quick=attention")
                );
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "To change these notifications, open the DataSet, then Settings, Notifications."
        );
        text
    }

    /// The message as JSON. `text` is escaped for Slack, so that a name in it cannot mention a
    /// channel.
    pub(super) fn render_json(
        &self,
        id: &MessageId,
        notifications: &[Notification],
        now: Millis,
    ) -> String {
        let items = notifications.iter().take(MAX_IN_JSON).map(|one| {
            json!({
                "kind": one.kind,
                "dataset_id": one.details.dataset_id,
                "dataset": one.details.dataset,
                "account": one.details.account,
                "code": one.details.code,
                "message": one.details.happened,
                "who": one.details.who,
                "action": one.details.next,
                "at": iso(one.at),
                "link": self.link(&format!("/datasets/{}", one.details.dataset_id)),
            })
        });
        let items: Vec<_> = items.collect();
        let more = notifications.len().saturating_sub(MAX_IN_JSON);
        json!({
            "id": id,
            "created_at": iso(now),
            "text": escape_for_slack(&self.render_text(notifications)),
            "notices": items,
            "more": more,
        })
        .to_string()
    }
}

/// Escapes the three special characters of Slack.
pub fn escape_for_slack(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(
        kind: NotificationKind,
        dataset: &str,
        account: &str,
        code: &str,
        next: &str,
    ) -> Notification {
        let details = NotificationDetails {
            dataset_id: format!("ds_{dataset}"),
            dataset: dataset.to_owned(),
            account: account.to_owned(),
            vendor: "LiveChat".to_owned(),
            code: code.to_owned(),
            happened: "Could not reach LiveChat.".to_owned(),
            who: "No action needed.".to_owned(),
            next: next.to_owned(),
        };
        Notification {
            kind,
            details,
            at: 1_795_176_000_000,
        }
    }

    #[test]
    fn the_same_failure_of_one_account_is_one_group() {
        let many: Vec<Notification> = (0..50)
            .map(|n| {
                notification(
                    NotificationKind::Failure,
                    &format!("D{n}"),
                    "Support",
                    "unavailable",
                    "Later.",
                )
            })
            .collect();
        assert_eq!(subject(&many), "50 DataSets of “Support” failed");
        assert_eq!(subject(&many[..1]), "“D0” failed");
        let mut mixed = many;
        mixed.push(notification(
            NotificationKind::Late,
            "Late one",
            "Sales",
            "",
            "Now.",
        ));
        mixed.push(notification(
            NotificationKind::Failure,
            "Other",
            "Support",
            "malformed",
            "Later.",
        ));
        assert_eq!(
            subject(&mixed),
            "50 DataSets of “Support” failed, and 2 more"
        );
    }

    #[test]
    fn a_name_cannot_mention_a_slack_channel() {
        assert_eq!(
            escape_for_slack("<!channel> & <@U1>"),
            "&lt;!channel&gt; &amp; &lt;@U1&gt;"
        );
    }
}
