//! The parameters of the Data tab: search, order, page and version, and the links that keep them.

use crate::connectors::report::{ColumnKind, Report, Shape};
use crate::datasets::columns::ColumnInfo;
use crate::datasets::preview::PreviewQuery;
use crate::web::query::path_with_query;

pub(super) const PER_PAGE: u64 = 100;
/// The value of `order` for the stored order.
pub(super) const STORED: &str = "stored";

/// The parameters of the page.
pub(super) struct DataView {
    pub(super) path: String,
    pub(super) q: String,
    /// The column to sort by, with a leading minus for descending; or empty.
    pub(super) sort: String,
    /// The default for `sort`: newest rows first if the report has times; otherwise empty.
    pub(super) default_sort: String,
    /// Whether the rows are in stored order, like in a download.
    pub(super) stored: bool,
    pub(super) page: u64,
    /// The id of another version than the current one; or empty.
    pub(super) version: String,
}

impl DataView {
    pub(super) fn at(&self, page: u64) -> String {
        let page = if page > 1 {
            page.to_string()
        } else {
            String::new()
        };
        let stored = if self.stored { STORED } else { "" };
        self.with(&[
            ("q", &self.q),
            ("sort", &self.sort),
            ("order", stored),
            ("page", &page),
        ])
    }

    pub(super) fn with(&self, fields: &[(&str, &str)]) -> String {
        path_with_query(
            &self.path,
            &[&[("version", self.version.as_str())], fields].concat(),
        )
    }

    /// The link to this view, to which `page=N` is added.
    pub(super) fn any_page(&self) -> String {
        let address = self.at(1);
        format!("{address}{}", if address.contains('?') { '&' } else { '?' })
    }

    pub(super) fn sorted(&self) -> Option<(&str, bool)> {
        let sort = match (self.sort.as_str(), self.stored) {
            ("", true) => "",
            ("", false) => self.default_sort.as_str(),
            (requested, _) => requested,
        };
        let descends = sort.strip_prefix('-');
        (!sort.is_empty()).then(|| descends.map_or((sort, false), |column| (column, true)))
    }

    /// Whether the order is the default.
    pub(super) fn is_default_sort(&self) -> bool {
        self.sort.is_empty() && !self.stored && !self.default_sort.is_empty()
    }

    /// The link to the other order (stored or sorted), and its label.
    pub(super) fn other_order(&self) -> (String, &'static str) {
        match (self.sort.is_empty(), self.stored) {
            (false, _) if self.default_sort.is_empty() => {
                (self.with(&[("q", &self.q)]), "Stored order")
            }
            (false, _) | (true, true) => (self.with(&[("q", &self.q)]), "Newest first"),
            (true, false) => (
                self.with(&[("q", &self.q), ("order", STORED)]),
                "Stored order",
            ),
        }
    }

    pub(super) fn request(&self, page: u64) -> PreviewQuery {
        PreviewQuery {
            offset: (page - 1).saturating_mul(PER_PAGE),
            limit: PER_PAGE as usize,
            sort: self
                .sorted()
                .map(|(column, descends)| (column.to_owned(), descends))
                .into_iter()
                .collect(),
            filters: Vec::new(),
            search: Some(self.q.clone()).filter(|q| !q.is_empty()),
        }
    }
}

/// The sort order that puts the newest rows first: by the column of the report's days, or by the
/// first column with times for parts of chats and tickets. Empty if rows have no order in time, as
/// in a list of agents.
pub(super) fn newest_first(report: &Report, columns: &[ColumnInfo]) -> String {
    let is_time =
        |column: &&ColumnInfo| matches!(column.kind, ColumnKind::Timestamp | ColumnKind::Date);
    let by_day = report.day.and_then(|day| {
        columns
            .iter()
            .filter(is_time)
            .find(|column| column.name == day)
    });
    let by_time = || {
        columns
            .iter()
            .filter(|_| matches!(report.shape, Shape::Archive { .. } | Shape::Export(_)))
            .find(is_time)
    };
    by_day
        .or_else(by_time)
        .map_or_else(String::new, |column| format!("-{}", column.name))
}

/// The sort order in words, such as "started, newest first".
pub(super) fn sorted_words(columns: &[ColumnInfo], view: &DataView) -> String {
    if view.stored && !view.default_sort.is_empty() {
        return "stored order".to_owned();
    }
    let Some((name, descends)) = view.sorted() else {
        return String::new();
    };
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        return String::new();
    };
    let how = match (column.kind, descends) {
        (ColumnKind::Date | ColumnKind::Timestamp, false) => "oldest first",
        (ColumnKind::Date | ColumnKind::Timestamp, true) => "newest first",
        (ColumnKind::Integer | ColumnKind::Number, false) => "smallest first",
        (ColumnKind::Integer | ColumnKind::Number, true) => "largest first",
        (ColumnKind::Boolean, false) => "false first",
        (ColumnKind::Boolean, true) => "true first",
        (ColumnKind::Text | ColumnKind::Json, false) => "A to Z",
        (ColumnKind::Text | ColumnKind::Json, true) => "Z to A",
    };
    format!("{name}, {how}")
}
