//! Schema: the columns of the version that people read just now, or those the report will bring.

use askama::Template;
use axum::extract::State;

use super::dataset::{DatasetHead, open};
use crate::connectors::report::Report;
use crate::datasets::columns;
use crate::ids::DatasetId;
use crate::web::Web;
use crate::web::asked::Id;
use crate::web::page::{Answer, show};
use crate::web::parts::Chrome;
use crate::web::person::Person;
use crate::web::words::counted;

#[derive(Template)]
#[template(path = "pages/dataset_schema.html")]
struct Page {
    chrome: Chrome,
    head: DatasetHead,
    columns: Vec<Column>,
    words: String,
}

struct Column {
    number: usize,
    name: String,
    kind: &'static str,
    meaning: String,
    is_key: bool,
    undeclared: bool,
}

/// What a column holds, in words; of columns of our own too.
pub fn meaning(report: &Report, column: &str) -> String {
    let own = match column {
        "_misfit" => "Original values that do not fit the type of their column, as JSON.",
        "_more" => "New fields beyond the limit of 200 new columns, as JSON.",
        _ => "",
    };
    report.columns.iter().find(|declared| declared.name == column).map_or(own, |declared| declared.meaning).to_owned()
}

/// `GET /datasets/{id}/data/schema`
pub async fn show_schema(State(web): State<Web>, person: Person, Id(id): Id<DatasetId>) -> Answer {
    let opened = open(&web, &person.actor, &id, "data").await?;
    let report = opened.dataset.report;
    let version = web.datasets.versions.current(&id).await?;
    let number = version.as_ref().map(|version| version.number);
    let list = version.map_or_else(|| columns::columns_of(report), |version| version.columns);
    let many = counted(i64::try_from(list.len()).unwrap_or(0), "column", "columns");
    let words = number.map_or_else(|| format!("{many}, no rows yet"), |number| format!("{many} of version {number}"));
    let columns = list
        .into_iter()
        .enumerate()
        .map(|(index, column)| Column {
            number: index + 1,
            kind: column.kind.word(),
            meaning: meaning(report, &column.name),
            is_key: report.key.contains(&column.name.as_str()),
            undeclared: !column.declared && !column.name.starts_with('_'),
            name: column.name,
        })
        .collect();
    show(&Page { chrome: web.chrome(&person.actor, &person.session, "datasets").await, head: opened.head, columns, words })
}
