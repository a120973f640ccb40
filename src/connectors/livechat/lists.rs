//! Reports that come whole, in one call or in one for each choice of a menu: lists and single objects.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::client::{Client, as_text, not_json, query};
use super::output::Output;
use super::paging::Sink;
use super::record_key::RecordKey;
use super::walk::{Fields, id_of};
use super::{group_ids, logins};
use crate::connectors::report::{Calls, From, Menu, Report, Shape};
use crate::connectors::upstream::encoded;
use crate::connectors::{Menus, PullError, Tally, Window};

/// Calls made at once.
pub(super) const AT_ONCE: usize = 8;

/// What a report is asked for, and how.
pub(super) struct List<'a> {
    pub client: &'a Client,
    pub report: &'static Report,
    pub menus: &'a Menus,
    pub zone: &'a TimeZone,
}

impl List<'_> {
    pub fn takes_group_by(&self) -> bool {
        self.report.takes(Menu::GroupBy)
    }

    /// Reads the report, each key once. Stops asking when there are `most` rows.
    pub async fn read(&self, window: Option<Window>, most: usize, output: &mut Output<'_>) -> Result<Tally, PullError> {
        let choices = self.choices().await?;
        let pages = choices.len() as u64;
        let at_once = if most == usize::MAX { AT_ONCE } else { 1 };
        let asked: Vec<_> = choices.into_iter().map(|choice| self.ask(choice, window)).collect();
        let mut answers = stream::iter(asked).buffered(at_once);
        let (mut tally, mut seen, key) = (Tally::default(), HashSet::new(), RecordKey::of(self.report));
        while let Some(answer) = answers.next().await {
            let (choice, text) = answer?;
            let records = text.as_ref().map_or(Ok(Vec::new()), |text| records(self.report.shape, text)).map_err(|_| output.unwritable())?;
            tally.read += records.len() as u64;
            let new: Vec<&str> = records.into_iter().filter(|record| key.values(record).is_none_or(|key| seen.insert(key))).collect();
            tally.kept += new.len() as u64;
            tally.pages += 1;
            output.call(choice.as_deref(), self.client.now());
            if self.menus.agent_details == Some(true) && self.report.takes(Menu::AgentDetails) {
                let detailed = self.details(&new[..new.len().min(most)]).await?;
                output.records(detailed.iter().map(String::as_str).collect()).await?;
            } else {
                output.records(new).await?;
            }
            output.page(tally.pages, pages).await?;
            if tally.kept >= most as u64 {
                break;
            }
        }
        Ok(tally)
    }

    /// What to ask for: what the menu holds, or all it could hold.
    async fn choices(&self) -> Result<Vec<Option<String>>, PullError> {
        let Calls::Each(menu) = self.report.request.calls else { return Ok(vec![None]) };
        let chosen = if menu == Menu::Login { &self.menus.login } else { &self.menus.group };
        let all = match (chosen, menu) {
            (Some(chosen), _) => vec![chosen.clone()],
            (None, Menu::Login) => logins(self.client).await?,
            (None, _) => group_ids(self.client).await?,
        };
        Ok(all.into_iter().map(Some).collect())
    }

    /// What comes for a choice; none if LiveChat says twice that there is nothing.
    async fn ask(&self, choice: Option<String>, window: Option<Window>) -> Result<(Option<String>, Option<Bytes>), PullError> {
        let mut menus = self.menus.clone();
        let mut path = self.report.request.path.to_owned();
        if let (Calls::Each(menu), Some(choice)) = (self.report.request.calls, &choice) {
            path = path.replace(&format!("{{{}}}", menu.id()), &encoded(choice));
            match menu {
                Menu::Login => menus.login = Some(choice.clone()),
                _ => menus.group = Some(choice.clone()),
            }
        }
        let read = |body: &Bytes| {
            let text = as_text(body);
            let found = records(self.report.shape, &text).map_err(|error| not_json(&text, &error))?;
            match found.first() {
                Some(object) if self.report.shape == Shape::Single && !self.told(object) => Err("the answer does not match the report".to_owned()),
                _ => Ok(Some(text.clone())),
            }
        };
        // That a list is not there proves nothing; that it holds nothing does, said twice.
        let nothing: fn(u16) -> Option<Option<Bytes>> = match self.report.shape {
            Shape::List { .. } => |status| (status != 404).then_some(None),
            _ => |_| None,
        };
        let text = self.client.get_or_nothing(&path, 0, &query(self.report, &menus, window, self.zone), read, nothing).await?;
        Ok((choice, text))
    }

    /// Whether an object is the report's: no error, and with at least one of the fields the report knows.
    fn told(&self, object: &str) -> bool {
        let Ok(Fields(fields)) = serde_json::from_str(object) else { return false };
        let has = |name: &str| fields.iter().any(|(found, _)| found == name);
        let mut known = self.report.columns.iter().filter(|column| column.from == From::Path).peekable();
        !has("error") && !has("errors") && (known.peek().is_none() || known.any(|column| has(column.name)))
    }

    /// The agents with what only the call for one agent tells; one who is gone meanwhile stays as the list has it.
    async fn details(&self, agents: &[&str]) -> Result<Vec<String>, PullError> {
        let asked: Vec<_> = agents.iter().map(|agent| self.detail(agent)).collect();
        let all: Vec<Result<String, PullError>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        all.into_iter().collect()
    }

    async fn detail(&self, agent: &str) -> Result<String, PullError> {
        let Some(login) = id_of(agent, "login") else { return Ok(agent.to_owned()) };
        let read = |body: &Bytes| {
            let text = as_text(body);
            let Fields(fields) = serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
            if !fields.iter().any(|(name, _)| name == "login") {
                return Err("the answer is not an agent".to_owned());
            }
            Ok(Some(text.clone()))
        };
        let gone = |status| (status == 404).then_some(None);
        let detail = self.client.get_or_nothing(&format!("/agents/{}", encoded(&login)), 0, &Vec::new(), read, gone).await?;
        Ok(detail.map_or_else(|| agent.to_owned(), |detail| merged(&String::from_utf8_lossy(&detail), agent)))
    }
}

/// One object with the fields of both; where both have one, the first.
fn merged(first: &str, second: &str) -> String {
    let (Ok(Fields(mut fields)), Ok(Fields(more))) = (serde_json::from_str(first), serde_json::from_str(second)) else { return first.to_owned() };
    for (name, value) in more {
        if !fields.iter().any(|(known, _)| *known == name) {
            fields.push((name, value));
        }
    }
    let texts: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_ref()))).collect();
    format!("{{{}}}", texts.join(","))
}

/// The records of an answer, as they came.
fn records(shape: Shape, text: &[u8]) -> Result<Vec<&str>, serde_json::Error> {
    use serde::de::Error;
    let raw: Vec<&RawValue> = match shape {
        Shape::List { under: None, .. } => serde_json::from_slice(text)?,
        Shape::List { under: Some(name), .. } => {
            let Fields(fields) = serde_json::from_slice(text)?;
            let list = fields.iter().find(|(found, _)| found == name).map(|(_, list)| *list);
            match list.ok_or_else(|| serde_json::Error::custom("the list is missing"))? {
                // As some writers of JSON have an empty list.
                "null" | "{}" => Vec::new(),
                list => serde_json::from_str(list)?,
            }
        }
        _ => {
            let Fields(_) = serde_json::from_slice(text)?;
            vec![serde_json::from_slice(text)?]
        }
    };
    Ok(raw.into_iter().map(RawValue::get).collect())
}
