//! What a message says: one text for people, and the same as JSON for programs.

use std::fmt::Write;

use serde_json::json;

use super::{About, Kind, Notices, REMINDER};
use crate::clock::{Millis, iso};
use crate::ids::MessageId;

/// So many DataSets are named in one group.
const MOST_NAMED: usize = 20;
/// So many are in the JSON.
const MOST_TOLD: usize = 100;

/// One thing to be told, as the outbox holds it.
#[derive(Clone, Debug)]
pub struct Told {
    pub kind: Kind,
    pub about: About,
    pub at: Millis,
}

/// One of the parts that are told.
type Part = fn(&About) -> &str;

/// What happened to several DataSets in the same way.
struct Group<'a> {
    kind: Kind,
    all: Vec<&'a Told>,
}

/// The same trouble of one account is one group, in the order in which it was first met.
fn groups(told: &[Told]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for one in told {
        let same = |group: &&mut Group<'_>| {
            let first = &group.all[0].about;
            let one_about = &one.about;
            group.kind == one.kind && first.account == one_about.account && first.vendor == one_about.vendor && first.code == one_about.code
        };
        match groups.iter_mut().find(same) {
            // Of one that came and went only the last is told.
            Some(group) => {
                group.all.retain(|told| told.about.dataset_id != one.about.dataset_id);
                group.all.push(one);
            }
            None => groups.push(Group { kind: one.kind, all: vec![one] }),
        }
    }
    groups
}

fn title(group: &Group<'_>) -> String {
    let about = &group.all[0].about;
    let account = if about.account.is_empty() { "a deleted account".to_owned() } else { format!("“{}”", about.account) };
    if group.kind == Kind::Sunset {
        return format!("{} ends the API that {account} uses", about.vendor);
    }
    let (one, many) = match group.kind {
        Kind::Failure => ("failed", "failed"),
        Kind::Recovery => ("is up to date again", "are up to date again"),
        Kind::Late if about.code == REMINDER => ("needs a run", "need a run"),
        Kind::Late => ("is late", "are late"),
        _ => ("no longer runs on schedule", "no longer run on schedule"),
    };
    match group.all.len() {
        1 => format!("“{}” {one}", about.dataset),
        count => format!("{count} DataSets of {account} {many}"),
    }
}

/// The line over a message.
pub fn subject(told: &[Told]) -> String {
    let groups = groups(told);
    match &groups[..] {
        [only] => title(only),
        [first, rest @ ..] => format!("{}, and {} more", title(first), rest.len()),
        [] => "No notifications".to_owned(),
    }
}

impl Notices {
    /// The message as text: what happened, who must act, what is next and when, and where to look.
    pub(super) fn text(&self, told: &[Told]) -> String {
        let mut text = String::new();
        for group in groups(told) {
            let about = &group.all[0].about;
            let _ = writeln!(text, "{}.\n", title(&group));
            let same = |part: Part| group.all.iter().all(|one| part(&one.about) == part(about));
            let parts: [(&str, Part); 3] = [("What happened", |a| &a.happened), ("Who can fix it", |a| &a.who), ("What happens next", |a| &a.next)];
            for (label, part) in parts {
                if same(part) && !part(about).is_empty() {
                    let _ = writeln!(text, "{label}: {}", part(about));
                }
            }
            let _ = writeln!(text, "When: {}\n", iso(group.all[0].at));
            for one in group.all.iter().take(MOST_NAMED) {
                let _ = writeln!(text, "- “{}”: {}", one.about.dataset, self.link(&format!("/datasets/{}", one.about.dataset_id)));
                for (_, part) in parts {
                    if !same(part) && !part(&one.about).is_empty() {
                        let _ = writeln!(text, "  {}", part(&one.about));
                    }
                }
            }
            if group.all.len() > MOST_NAMED {
                let _ = writeln!(text, "- and {} more: {}", group.all.len() - MOST_NAMED, self.link("/datasets?quick=attention"));
            }
            text.push('\n');
        }
        let _ = writeln!(text, "To change these notifications, open the DataSet, then Settings, Notifications.");
        text
    }

    /// The message as JSON. `text` is escaped as Slack wants it, so that no name in it calls a channel.
    pub(super) fn json(&self, id: &MessageId, told: &[Told], now: Millis) -> String {
        let items = told.iter().take(MOST_TOLD).map(|one| {
            json!({
                "kind": one.kind,
                "dataset_id": one.about.dataset_id,
                "dataset": one.about.dataset,
                "account": one.about.account,
                "code": one.about.code,
                "message": one.about.happened,
                "who": one.about.who,
                "action": one.about.next,
                "at": iso(one.at),
                "link": self.link(&format!("/datasets/{}", one.about.dataset_id)),
            })
        });
        let items: Vec<_> = items.collect();
        let more = told.len().saturating_sub(MOST_TOLD);
        json!({ "id": id, "created_at": iso(now), "text": for_slack(&self.text(told)), "notices": items, "more": more }).to_string()
    }
}

/// The three signs that mean something to Slack.
pub fn for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, dataset: &str, account: &str, code: &str, next: &str) -> Told {
        let about = About {
            dataset_id: format!("ds_{dataset}"),
            dataset: dataset.to_owned(),
            account: account.to_owned(),
            vendor: "LiveChat".to_owned(),
            code: code.to_owned(),
            happened: "Could not reach LiveChat.".to_owned(),
            who: "No action needed.".to_owned(),
            next: next.to_owned(),
        };
        Told { kind, about, at: 1_795_176_000_000 }
    }

    #[test]
    fn the_same_trouble_of_one_account_is_one_line() {
        let many: Vec<Told> = (0..50).map(|n| told(Kind::Failure, &format!("D{n}"), "Support", "unavailable", "Later.")).collect();
        assert_eq!(subject(&many), "50 DataSets of “Support” failed");
        assert_eq!(subject(&many[..1]), "“D0” failed");
        let mut mixed = many;
        mixed.push(told(Kind::Late, "Late one", "Sales", "", "Now."));
        mixed.push(told(Kind::Failure, "Other", "Support", "malformed", "Later."));
        assert_eq!(subject(&mixed), "50 DataSets of “Support” failed, and 2 more");
    }

    #[test]
    fn a_name_calls_nobody() {
        assert_eq!(for_slack("<!channel> & <@U1>"), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
    }
}
