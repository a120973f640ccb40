//! Reads reports without pages: lists and single objects, with one call or one call for each choice
//! of a menu.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::client::{LiveChatClient, as_text, not_json, query};
use super::output::RecordOutput;
use super::paging::Sink;
use super::raw_fields::{RawFields, id_of};
use super::record_key::RecordKey;
use super::{group_ids, logins};
use crate::connectors::report::{Calls, ColumnSource, Menu, Report, Shape};
use crate::connectors::upstream::encoded;
use crate::connectors::{Menus, PullError, Window, WindowCounts};

/// The maximum number of concurrent calls.
pub(super) const MAX_CONCURRENT: usize = 8;

/// A report and the parameters of its requests.
pub(super) struct ListReader<'a> {
    pub client: &'a LiveChatClient,
    pub report: &'static Report,
    pub menus: &'a Menus,
    pub zone: &'a TimeZone,
}

impl ListReader<'_> {
    pub fn takes_group_by(&self) -> bool {
        self.report.takes(Menu::GroupBy)
    }

    /// Reads the report and stores each key once. Stops after `limit` rows.
    pub async fn read(
        &self,
        window: Option<Window>,
        limit: usize,
        output: &mut RecordOutput<'_>,
    ) -> Result<WindowCounts, PullError> {
        let choices = self.choices().await?;
        let pages = choices.len() as u64;
        let at_once = if limit == usize::MAX {
            MAX_CONCURRENT
        } else {
            1
        };
        let requests: Vec<_> = choices
            .into_iter()
            .map(|choice| self.request_choice(choice, window))
            .collect();
        let mut answers = stream::iter(requests).buffered(at_once);
        let (mut counts, mut seen, key) = (
            WindowCounts::default(),
            HashSet::new(),
            RecordKey::of(self.report),
        );
        while let Some(answer) = answers.next().await {
            let (choice, text) = answer?;
            let records = text
                .as_ref()
                .map_or(Ok(Vec::new()), |text| records(self.report.shape, text))
                .map_err(|_| output.unwritable())?;
            counts.read += records.len() as u64;
            let new: Vec<&str> = records
                .into_iter()
                .filter(|record| key.values(record).is_none_or(|key| seen.insert(key)))
                .collect();
            counts.kept += new.len() as u64;
            counts.pages += 1;
            output.begin_call(choice.as_deref(), self.client.now());
            if self.menus.agent_details == Some(true) && self.report.takes(Menu::AgentDetails) {
                let detailed = self.details(&new[..new.len().min(limit)]).await?;
                output
                    .records(detailed.iter().map(String::as_str).collect())
                    .await?;
            } else {
                output.records(new).await?;
            }
            output.page(counts.pages, pages).await?;
            if counts.kept >= limit as u64 {
                break;
            }
        }
        Ok(counts)
    }

    /// The choices to request: the menu's value, or all choices of the menu.
    async fn choices(&self) -> Result<Vec<Option<String>>, PullError> {
        let Calls::Each(menu) = self.report.request.calls else {
            return Ok(vec![None]);
        };
        let chosen = if menu == Menu::Login {
            &self.menus.login
        } else {
            &self.menus.group
        };
        let all = match (chosen, menu) {
            (Some(chosen), _) => vec![chosen.clone()],
            (None, Menu::Login) => logins(self.client).await?,
            (None, _) => group_ids(self.client).await?,
        };
        Ok(all.into_iter().map(Some).collect())
    }

    /// Requests one choice; `None` if LiveChat says twice that there is no data.
    async fn request_choice(
        &self,
        choice: Option<String>,
        window: Option<Window>,
    ) -> Result<(Option<String>, Option<Bytes>), PullError> {
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
            let found =
                records(self.report.shape, &text).map_err(|error| not_json(&text, &error))?;
            match found.first() {
                Some(object)
                    if self.report.shape == Shape::Single && !self.is_report_object(object) =>
                {
                    Err("the answer does not match the report".to_owned())
                }
                _ => Ok(Some(text.clone())),
            }
        };
        // Status 404 does not prove that the list is empty; an empty list that is returned twice
        // does.
        let on_empty: fn(u16) -> Option<Option<Bytes>> = match self.report.shape {
            Shape::List { .. } => |status| (status != 404).then_some(None),
            _ => |_| None,
        };
        let text = self
            .client
            .get_or_empty(
                &path,
                0,
                &query(self.report, &menus, window, self.zone),
                read,
                on_empty,
            )
            .await?;
        Ok((choice, text))
    }

    /// Whether an object belongs to the report: it is no error and has at least one of the report's
    /// fields.
    fn is_report_object(&self, object: &str) -> bool {
        let Ok(RawFields(fields)) = serde_json::from_str(object) else {
            return false;
        };
        let has = |name: &str| fields.iter().any(|(found, _)| found == name);
        let mut known = self
            .report
            .columns
            .iter()
            .filter(|column| column.from == ColumnSource::Path)
            .peekable();
        !has("error")
            && !has("errors")
            && (known.peek().is_none() || known.any(|column| has(column.name)))
    }

    /// Adds the fields that only the call for a single agent returns. An agent that was deleted
    /// meanwhile keeps the fields of the list.
    async fn details(&self, agents: &[&str]) -> Result<Vec<String>, PullError> {
        let requests: Vec<_> = agents.iter().map(|agent| self.detail(agent)).collect();
        let all: Vec<Result<String, PullError>> = stream::iter(requests)
            .buffered(MAX_CONCURRENT)
            .collect()
            .await;
        all.into_iter().collect()
    }

    async fn detail(&self, agent: &str) -> Result<String, PullError> {
        let Some(login) = id_of(agent, "login") else {
            return Ok(agent.to_owned());
        };
        let read = |body: &Bytes| {
            let text = as_text(body);
            let RawFields(fields) =
                serde_json::from_slice(&text).map_err(|error| not_json(&text, &error))?;
            if !fields.iter().any(|(name, _)| name == "login") {
                return Err("the answer is not an agent".to_owned());
            }
            Ok(Some(text.clone()))
        };
        let missing = |status| (status == 404).then_some(None);
        let detail = self
            .client
            .get_or_empty(
                &format!("/agents/{}", encoded(&login)),
                0,
                &Vec::new(),
                read,
                missing,
            )
            .await?;
        Ok(detail.map_or_else(
            || agent.to_owned(),
            |detail| merged(&String::from_utf8_lossy(&detail), agent),
        ))
    }
}

/// Merges the fields of two objects; the first one takes precedence.
fn merged(first: &str, second: &str) -> String {
    let (Ok(RawFields(mut fields)), Ok(RawFields(more))) =
        (serde_json::from_str(first), serde_json::from_str(second))
    else {
        return first.to_owned();
    };
    for (name, value) in more {
        if !fields.iter().any(|(known, _)| *known == name) {
            fields.push((name, value));
        }
    }
    let texts: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_ref())))
        .collect();
    format!("{{{}}}", texts.join(","))
}

/// The unchanged records of an answer.
fn records(shape: Shape, text: &[u8]) -> Result<Vec<&str>, serde_json::Error> {
    use serde::de::Error;
    let raw: Vec<&RawValue> = match shape {
        Shape::List { under: None, .. } => serde_json::from_slice(text)?,
        Shape::List {
            under: Some(name), ..
        } => {
            let RawFields(fields) = serde_json::from_slice(text)?;
            let list = fields
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, list)| *list);
            match list.ok_or_else(|| serde_json::Error::custom("the list is missing"))? {
                // Some JSON writers encode an empty list like this.
                "null" | "{}" => Vec::new(),
                list => serde_json::from_str(list)?,
            }
        }
        _ => {
            let RawFields(_) = serde_json::from_slice(text)?;
            vec![serde_json::from_slice(text)?]
        }
    };
    Ok(raw.into_iter().map(RawValue::get).collect())
}
