//! Every report of LiveChat against the sandbox.

mod content;
mod faults;

use chatlake::connectors::report::{GroupBy, Menu, Report};
use chatlake::connectors::{self, Menus, PullRequest, Window};
use chatlake::sandbox::truth::TruthQuestion;
use serde_json::Value;

use crate::support::pulls::{ZONE, request};
use crate::support::sandbox::Vendor;

/// A pull of one report for these days, with the menus it needs and no more.
fn pull_request(report: &'static Report, days: Window) -> PullRequest {
    let mut pull_req = request(&[report.id], &[]);
    pull_req.menus = Menus::default().check(report).unwrap();
    pull_req.windows = connectors::windows(report, report.takes(Menu::StartDays).then_some(days));
    pull_req
}

fn truth(vendor: &Vendor, report: &Report, days: Window, menus: &Menus) -> Value {
    let question = TruthQuestion {
        report: report.id.to_owned(),
        date_from: Some(days.from),
        date_to: Some(days.to),
        timezone: Some(ZONE.to_owned()),
        group: menus.group.as_ref().map(|group| group.parse().unwrap()),
        agent: menus.login.clone(),
        tag: menus.tag.clone(),
        group_by: menus
            .group_by
            .filter(|by| *by != GroupBy::Automatic)
            .map(|by| by.word().to_owned()),
        weekday: menus.weekday.map(|day| day.word().to_owned()),
        include_pending: u8::from(menus.include_pending == Some(true)),
        ids: 1,
        ..TruthQuestion::default()
    };
    vendor
        .sandbox
        .truth(&question)
        .unwrap_or_else(|why| panic!("{}: {why}", report.id))
}
