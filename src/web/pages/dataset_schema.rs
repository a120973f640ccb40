//! The Schema page: the columns of the current version, or those of the report before the first
//! one.

use askama::Template;
use axum::extract::State;

use super::dataset::{DatasetHeader, open_dataset};
use crate::connectors::report::Report;
use crate::datasets::columns;
use crate::ids::DatasetId;
use crate::web::Web;
use crate::web::components::Chrome;
use crate::web::humanize::counted;
use crate::web::page::{PageResult, render};
use crate::web::person::Person;
use crate::web::query::PathId;

#[derive(Template)]
#[template(path = "pages/dataset_schema.html")]
struct SchemaPage {
    chrome: Chrome,
    head: DatasetHeader,
    columns: Vec<SchemaColumnRow>,
    words: String,
}

struct SchemaColumnRow {
    number: usize,
    name: String,
    kind: &'static str,
    meaning: String,
    is_key: bool,
    undeclared: bool,
}

/// The meaning of a column in words, including columns that Chatlake adds.
pub fn meaning(report: &Report, column: &str) -> String {
    let own = match column {
        "_misfit" => "Original values that do not fit the type of their column, as JSON.",
        "_more" => "New fields beyond the limit of 200 new columns, as JSON.",
        _ => "",
    };
    report
        .columns
        .iter()
        .find(|declared| declared.name == column)
        .map_or(own, |declared| declared.meaning)
        .to_owned()
}

/// `GET /datasets/{id}/data/schema`
pub async fn show_schema(
    State(web): State<Web>,
    person: Person,
    PathId(id): PathId<DatasetId>,
) -> PageResult {
    let opened = open_dataset(&web, &person.actor, &id, "data").await?;
    let report = opened.dataset.report;
    let version = web.datasets.versions.current(&id).await?;
    let number = version.as_ref().map(|version| version.number);
    let list = version.map_or_else(|| columns::columns_of(report), |version| version.columns);
    let many = counted(i64::try_from(list.len()).unwrap_or(0), "column", "columns");
    let words = number.map_or_else(
        || format!("{many}, no rows yet"),
        |number| format!("{many} of version {number}"),
    );
    let columns = list
        .into_iter()
        .enumerate()
        .map(|(index, column)| SchemaColumnRow {
            number: index + 1,
            kind: column.kind.word(),
            meaning: meaning(report, &column.name),
            is_key: report.key.contains(&column.name.as_str()),
            undeclared: !column.declared && !column.name.starts_with('_'),
            name: column.name,
        })
        .collect();
    render(&SchemaPage {
        chrome: web.chrome(&person.actor, &person.session, "datasets").await,
        head: opened.head,
        columns,
        words,
    })
}
