//! Cells that a spreadsheet would run as a formula are marked in a file.

use axum::http::Method;
use chatlake::actor::Scope;

use crate::support::NOON;
use crate::support::context::TestContext;
use crate::support::exports::{ExportFixture, chat};

#[tokio::test]
async fn a_spreadsheet_file_says_how_many_cells_are_marked() {
    let words = [
        "Hi",
        "=1+1",
        "+47 22 00 00 00",
        "-5",
        "-x",
        "'quoted",
        "@ada",
        "",
        "\t",
    ];
    let chats: Vec<_> = words
        .iter()
        .enumerate()
        .map(|(number, word)| chat(&format!("{word}{number}"), NOON, word))
        .collect();
    let export_fixture = ExportFixture::of(TestContext::new().await, &chats).await;
    let mut browser = export_fixture.ctx.signed_in(&export_fixture.owner).await;
    let bearer = format!(
        "Bearer {}",
        export_fixture
            .ctx
            .token(&export_fixture.owner, Scope::Read)
            .await
    );
    let path = format!(
        "/datasets/{}/download?bom=1&formulas=guard",
        export_fixture.dataset
    );
    let page = browser.get(&path).await;
    let cells = |text: &str| {
        let mut lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
        lines
            .records()
            .map(|line| {
                line.unwrap()
                    .iter()
                    .filter(|cell| cell.starts_with('\''))
                    .count()
            })
            .sum::<usize>()
            .to_string()
    };
    assert_eq!(
        (
            page.headers["x-chatlake-marked-cells"].to_str().unwrap(),
            cells(&page.text).as_str()
        ),
        ("6", "6"),
        "{}",
        page.text
    );
    for (query, wanted) in [
        ("?formulas=guard", Some("6")),
        ("?formulas=guard&columns=operators", Some("0")),
        ("", None),
    ] {
        let path = format!("/api/v1/datasets/{}/data{query}", export_fixture.dataset);
        let page = export_fixture
            .ctx
            .browser()
            .send(Method::GET, &path, None, &[("authorization", &bearer)])
            .await;
        assert_eq!(
            page.headers
                .get("x-chatlake-marked-cells")
                .map(|is_named| is_named.to_str().unwrap()),
            wanted,
            "{query}"
        );
    }
}
