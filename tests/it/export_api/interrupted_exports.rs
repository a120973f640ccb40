//! Exports that end early: failing storage, a lost permission, and the limit per person.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use chatlake::auth::export_passwords;
use chatlake::clock::Clock;
use http_body_util::BodyExt;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::NOON;
use crate::support::context::TestContext;
use crate::support::exports::{CLASSIC, ExportFixture, HERE, many};

/// Damages the texts of the later chats, as a failing disk does during an export. The rest of their
/// files stays readable.
fn lose_half(ctx: &TestContext) {
    let mut files: Vec<_> = std::fs::read_dir(ctx.dir.path().join("data/segments"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in &files[files.len() / 2..] {
        let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
        let group = reader.metadata().row_group(0);
        let column = group
            .columns()
            .iter()
            .find(|column| column.column_path().string() == "transcript")
            .unwrap();
        let (start, length) = column.byte_range();
        let mut bytes = std::fs::read(file).unwrap();
        bytes[start as usize..(start + length) as usize].fill(0xff);
        std::fs::write(file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_in_the_middle_leaves_the_document_open_and_cuts_the_connection() {
    let export_fixture = ExportFixture::new(&many(2_000)).await;
    let whole = export_fixture.get(CLASSIC).await;
    assert_eq!(whole.ids().len(), 2_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = export_fixture
        .ctx
        .router
        .clone()
        .into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let fetch = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(
                format!(
                    "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
                    export_fixture.classic(CLASSIC)
                )
                .as_bytes(),
            )
            .await
            .unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let good = fetch().await;
    assert!(
        good.starts_with("HTTP/1.1 200")
            && good.contains("</chats>")
            && good.ends_with("0\r\n\r\n")
    );
    lose_half(&export_fixture.ctx);
    // If a checksum detects the damage, nothing is sent.
    let damaged = export_fixture.get(CLASSIC).await;
    assert_eq!(damaged.status, 500, "{}", damaged.text);
    assert!(
        damaged.text.contains("cannot be read") && !damaged.text.contains("<chat"),
        "{}",
        damaged.text
    );
    damaged.has_security_headers("damaged");
    let mut tx = export_fixture.ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE segments SET checksums = NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let cut = fetch().await;
    assert!(
        cut.starts_with("HTTP/1.1 200"),
        "{}",
        &cut[..cut.len().min(500)]
    );
    assert!(
        cut.contains("<chat>")
            && !cut.contains("</chats>")
            && !cut.ends_with("0\r\n\r\n")
            && cut.len() < good.len(),
        "{}",
        cut.len()
    );
    let answer = export_fixture.get(CLASSIC).await;
    assert!(answer.broken && !answer.text.contains("</chats>"));
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_with_its_permission_and_exports_per_person_are_limited() {
    let export_fixture = ExportFixture::of(
        TestContext::with(Clock::stopped_at(NOON), |config| {
            config.downloads_per_person = 4
        })
        .await,
        &many(3_000),
    )
    .await;
    let (db, clock) = (&export_fixture.ctx.app.db, &export_fixture.ctx.clock);
    let start = async || {
        export_fixture
            .send(HERE, "GET", &export_fixture.classic(CLASSIC), &[], "")
            .await
    };
    let mut under_way = Vec::new();
    for _ in 0..4 {
        let answer = start().await;
        assert_eq!(answer.status(), StatusCode::OK);
        under_way.push(answer.into_body());
    }
    // The fifth waits for a minute.
    let (fifth, ()) = tokio::join!(export_fixture.get(CLASSIC), async {
        while !export_fixture
            .ask("GET", "/metrics", &[], "")
            .await
            .text
            .contains("chatlake_downloads_waiting 1\n")
        {
            tokio::task::yield_now().await;
        }
        clock.advance(60_000);
    });
    assert_eq!(
        (fifth.status, fifth.header("retry-after")),
        (429, "30"),
        "{}",
        fifth.text
    );
    fifth.has_security_headers("the fifth");
    drop(under_way.pop());
    let next = start().await;
    assert_eq!(next.status(), StatusCode::OK, "the place is free again");
    under_way.push(next.into_body());

    let one = export_passwords::list(db, Some(&export_fixture.owner.user))
        .await
        .unwrap()
        .remove(0);
    let mut body = under_way.pop().unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    export_passwords::revoke(db, clock, &one.id, None)
        .await
        .unwrap();
    for mut body in under_way.into_iter().chain([body]) {
        let mut text = Vec::new();
        let broken = loop {
            clock.advance(11_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken && !String::from_utf8_lossy(&text).contains("</chats>"));
    }
}
