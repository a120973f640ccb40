//! Tests of faults of single chats, and of their place in a document.

use super::*;

#[tokio::test]
async fn odd_or_misplaced_chats() {
    let good = whole().await;
    let unknown = document_of(FaultKind::Unknown).await;
    assert_eq!(
        unknown
            .all("chat")
            .into_iter()
            .map(record)
            .collect::<Vec<_>>(),
        good.all("chat").into_iter().map(record).collect::<Vec<_>>()
    );
    for chat in unknown.all("chat") {
        assert_eq!(
            (chat.attribute("lang"), chat.attribute("priority")),
            (Some("no"), Some("2 < 3"))
        );
        assert_eq!(chat.all("id")[0].attribute("source"), Some("export"));
        assert_eq!(chat.all("msg")[0].attribute("read"), Some("true"));
        assert_eq!(
            (
                chat.of("rating"),
                chat.all("tag").len(),
                chat.of("archived")
            ),
            (Some("4"), 2, Some(""))
        );
        assert_eq!(
            chat.all("visitor")[0].all("browser")[0].of("name"),
            Some("Firefox")
        );
    }
    let crlf = text_of(FaultKind::Crlf).await;
    assert!(
        crlf.lines().count() > 1_000 && crlf.matches('\n').count() == crlf.matches("\r\n").count()
    );
    assert_eq!(read(&crlf).unwrap(), good);

    let twice = document_of(FaultKind::Twice).await;
    assert_eq!(twice.children[..good.children.len()], good.children);
    assert_eq!(
        (twice.children.len(), &twice.children[good.children.len()]),
        (good.children.len() + 1, &good.children[0])
    );
    let nameless = document_of(FaultKind::NoId).await;
    assert_eq!(
        (
            nameless.children[0].of("id"),
            nameless.children[0].of("start")
        ),
        (None, good.children[0].of("start"))
    );
    assert_eq!(nameless.children[1..], good.children[1..]);
    let bare = document_of(FaultKind::Bare).await;
    assert_eq!(
        (
            bare.children[0].of("id"),
            bare.children[0].all("operator").len(),
            bare.children[0].all("msg").len()
        ),
        (good.children[0].of("id"), 0, 0)
    );
    assert_eq!(bare.children[1..], good.children[1..]);

    let crowded = document_of(FaultKind::SeveralOperators).await;
    assert_eq!(ids(&crowded), ids(&good));
    for (chat, before) in crowded.children.iter().zip(&good.children) {
        let logins = |chat: &Element| {
            chat.all("operator")
                .into_iter()
                .map(|operator| operator.text.clone())
                .collect::<Vec<_>>()
        };
        let mut all = logins(chat);
        assert!(all.starts_with(&logins(before)));
        all.sort();
        all.dedup();
        assert!(all.len() >= 3);
    }
    let capital = document_of(FaultKind::CapitalOperators).await;
    let logins = |document: &Element| {
        document.children[0]
            .all("operator")
            .into_iter()
            .map(|operator| operator.text.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        logins(&capital),
        logins(&good)
            .iter()
            .map(|login| login.to_uppercase())
            .collect::<Vec<_>>()
    );
    // It is no valid XML, and the rest is unchanged.
    let loose = text_of(FaultKind::LooseText).await;
    assert_eq!(
        loose
            .matches("caf&eacute;&hellip; AT&T, ?a=1&b=2 &#0;")
            .count(),
        1
    );
    let shuffled = document_of(FaultKind::Shuffle { seed: 3 }).await;
    assert_eq!(shuffled, document_of(FaultKind::Shuffle { seed: 3 }).await);
    let (mut mixed, mut sorted) = (ids(&shuffled), ids(&good));
    assert_ne!(mixed, sorted);
    mixed.sort();
    sorted.sort();
    assert_eq!(mixed, sorted);
}

#[tokio::test]
async fn an_overlap_contains_chats_that_started_before() {
    let served = Served::start(sandbox(3_000, 3)).await;
    let (start, stop) = (
        "2026-11-20T09:00:00.000+00:00",
        "2026-11-20T10:00:00.000+00:00",
    );
    let proper = ids(&served.document(start, stop).await);
    served.sandbox.faults().add(Fault::new(FaultKind::Overlap));
    let more = served.document(start, stop).await;
    let touches = |record: &&Value| {
        let at = |field: &str| millis(record[field].as_str().unwrap());
        at("stop") >= millis(start) && at("start") < millis(stop)
    };
    let truth = truth_of(&served.sandbox, "report=chats&records=1");
    let wanted: Vec<_> = truth["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(touches)
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids(&more), wanted);
    assert!(wanted.ends_with(&proper) && wanted.len() > proper.len() + 5);
}
