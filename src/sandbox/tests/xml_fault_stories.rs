//! Tests of every fault of LiveLeader's document, and of the other faults on it.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::faults::{Cut, Doctype, Fault, FaultKind, Label, RetryAfter};
use super::liveleader_stories::{everything, export, ids, millis, record, truth_of};
use super::xml::{Element, read};
use super::*;

async fn served_with(kind: FaultKind) -> Served {
    let served = Served::start(sandbox(200, 10)).await;
    served.sandbox.faults().add(Fault::new(kind));
    served
}

async fn text_of(kind: FaultKind) -> String {
    let (status, kind, text) = served_with(kind).await.fetched(&everything()).await;
    assert_eq!(
        (status, kind.as_str()),
        (200, "text/xml; charset=utf-8"),
        "{text}"
    );
    text
}

async fn document_of(kind: FaultKind) -> Element {
    read(&text_of(kind).await).unwrap()
}

async fn whole() -> Element {
    Served::start(sandbox(200, 10))
        .await
        .document(
            "2020-01-01T00:00:00.000+00:00",
            "2030-01-01T00:00:00.000+00:00",
        )
        .await
}

async fn bytes_of(kind: FaultKind) -> (String, Vec<u8>) {
    let served = served_with(kind).await;
    let answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    (
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned(),
        answer.bytes().await.unwrap().to_vec(),
    )
}

/// The number of bytes until the body ended, broke or was longer than `limit`, and the longest
/// chunk.
async fn length_of(kind: FaultKind, limit: usize) -> (usize, usize) {
    let served = served_with(kind).await;
    let mut answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    let (mut bytes, mut longest) = (0, 0);
    while let Some(chunk) = answer.chunk().await.unwrap() {
        bytes += chunk.len();
        longest = longest.max(chunk.len());
        if bytes > limit {
            break;
        }
    }
    (bytes, longest)
}

#[tokio::test]
async fn faults_of_the_network_and_the_host_are_liveleaders_too() {
    let fetched = async |kind: FaultKind| served_with(kind).await.fetched(&everything()).await;
    let plain = "text/plain; charset=utf-8".to_owned();
    assert_eq!(
        fetched(FaultKind::Status { status: 503 }).await,
        (503, plain.clone(), "Something went wrong".to_owned())
    );
    assert_eq!(
        fetched(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(7)
        })
        .await,
        (429, plain, "Too many requests".to_owned())
    );
    assert!(
        fetched(FaultKind::Html)
            .await
            .2
            .starts_with("<!DOCTYPE html>")
    );
    assert_eq!(fetched(FaultKind::Empty).await.2, "");
    assert_eq!(
        fetched(FaultKind::Shape {
            body: "<chats/>".to_owned()
        })
        .await,
        (
            200,
            "text/xml; charset=utf-8".to_owned(),
            "<chats/>".to_owned()
        )
    );
    assert_eq!(
        fetched(FaultKind::Redirect {
            status: 302,
            to: "http://127.0.0.1:1/".to_owned()
        })
        .await
        .0,
        302
    );
    assert_eq!(fetched(FaultKind::Late { ms: 1 }).await.0, 200);
    assert!(
        read(
            &fetched(FaultKind::Drip {
                bytes: 50_000,
                every_ms: 1
            })
            .await
            .2
        )
        .is_ok()
    );
    assert!(length_of(FaultKind::Endless, 2_000_000).await.0 > 2_000_000);
    assert!(length_of(FaultKind::GzipBomb, 2_000_000).await.0 > 2_000_000);
    let served = served_with(FaultKind::HangUp).await;
    assert!(
        served
            .http
            .get(served.url(&everything()))
            .send()
            .await
            .is_err()
    );
    for (how, breaks) in [
        (Cut::Length, true),
        (Cut::Chunked, true),
        (Cut::Clean, false),
    ] {
        let served = served_with(FaultKind::Cut { after: 900, how }).await;
        let answer = served
            .http
            .get(served.url(&everything()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.content_length().is_some(), how != Cut::Chunked);
        let text = answer.text().await;
        assert_eq!(text.is_err(), breaks, "{how:?}");
        assert!(text.is_err() || read(&text.unwrap()).is_err(), "{how:?}");
    }
    let served = served_with(FaultKind::Stall { after: 900 }).await;
    let mut answer = served
        .http
        .get(served.url(&everything()))
        .send()
        .await
        .unwrap();
    let mut bytes = 0;
    while bytes < 900 {
        bytes += answer.chunk().await.unwrap().unwrap().len();
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(200), answer.chunk())
            .await
            .is_err(),
        "data after the stall"
    );
    // A request without permission gets no document.
    let wrong = everything().replace("sandbox-password", "wrong");
    assert_eq!(
        served_with(FaultKind::EndlessChats)
            .await
            .fetched(&wrong)
            .await
            .0,
        401
    );
    // LiveChat is not affected.
    assert_eq!(
        served_with(FaultKind::WrongRoot).await.json("/chats").await["total"],
        200
    );
}

#[tokio::test]
async fn times_in_the_format_of_the_sample_and_in_an_unknown_format() {
    let (good, sample) = (
        whole().await,
        document_of(FaultKind::SampleTimes { zone: None }).await,
    );
    let hundredths = |text: &str| {
        let (day, clock) = text.split_once('T').unwrap();
        let day: Vec<_> = day.split('-').collect();
        let iso = format!(
            "{}-{}-{}T{}.{}0Z",
            day[2],
            day[1],
            day[0],
            &clock[..8],
            &clock[8..]
        );
        assert_eq!(clock.len(), 10, "{text}");
        millis(&iso)
    };
    let times = |document: &Element, read: &dyn Fn(&str) -> i64| {
        let chats = document.all("chat").into_iter();
        let each = chats.flat_map(|chat| {
            let messages = chat
                .all("msg")
                .into_iter()
                .map(|msg| msg.attribute("time").unwrap().to_owned());
            [
                chat.of("start").unwrap().to_owned(),
                chat.of("stop").unwrap().to_owned(),
            ]
            .into_iter()
            .chain(messages)
            .collect::<Vec<_>>()
        });
        each.map(|text| read(&text)).collect::<Vec<_>>()
    };
    let wanted: Vec<_> = times(&good, &millis)
        .into_iter()
        .map(|at| at / 10 * 10)
        .collect();
    assert_eq!(times(&sample, &hundredths), wanted);
    let tokyo = document_of(FaultKind::SampleTimes {
        zone: Some("Asia/Tokyo".to_owned()),
    })
    .await;
    assert_eq!(
        times(&tokyo, &hundredths),
        wanted
            .iter()
            .map(|at| at + 9 * 3_600_000)
            .collect::<Vec<_>>()
    );

    let odd = document_of(FaultKind::OddTimes).await;
    let first = odd.all("chat")[0];
    assert_eq!(first.of("start"), Some("the day before yesterday, 12.49"));
    assert_eq!(
        first.all("msg").last().unwrap().attribute("time"),
        Some("32-13-2008T25:61:99")
    );
    assert_eq!(odd.all("chat")[1..], good.all("chat")[1..]);
}

#[tokio::test]
async fn each_encoding_has_the_same_content() {
    let good = whole().await;
    let (_, utf8) = bytes_of(FaultKind::Crlf).await;
    assert!(utf8.starts_with(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<chats>\r\n"));
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        assert_eq!(bytes.len() % 2, 0);
        String::from_utf16(
            &bytes
                .chunks(2)
                .map(|pair| unit([pair[0], pair[1]]))
                .collect::<Vec<_>>(),
        )
        .unwrap()
    };
    for label in [
        Label::Windows1252,
        Label::Iso88591,
        Label::Utf16Le,
        Label::Utf16Be,
        Label::Utf8Bom,
    ] {
        let (kind, bytes) = bytes_of(FaultKind::Encoding { label }).await;
        let text = match label {
            Label::Utf16Le => utf16(bytes.strip_prefix(b"\xff\xfe").unwrap(), u16::from_le_bytes),
            Label::Utf16Be => utf16(bytes.strip_prefix(b"\xfe\xff").unwrap(), u16::from_be_bytes),
            Label::Utf8Bom => {
                String::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap().to_vec()).unwrap()
            }
            // Of the characters of windows-1252 from 0x80 to 0x9f, these chats contain only the
            // euro sign.
            Label::Windows1252 | Label::Iso88591 => bytes
                .iter()
                .map(|byte| {
                    if *byte == 0x80 {
                        '€'
                    } else {
                        char::from(*byte)
                    }
                })
                .collect(),
        };
        assert!(
            bytes.contains(&0xc5) || bytes.contains(&0xc3) || bytes.contains(&0xe5),
            "letters beyond ASCII are bytes"
        );
        let declared = text.split('"').nth(3).unwrap().to_lowercase();
        assert_eq!(kind, format!("text/xml; charset={declared}"));
        assert_eq!(read(&text).unwrap(), good, "{label:?}");
        assert!(
            label != Label::Iso88591 || text.contains("&#8364;"),
            "the euro sign"
        );
    }
}

#[tokio::test]
async fn documents_that_are_not_one_of_chats() {
    let good = whole().await;
    let wrong = document_of(FaultKind::WrongRoot).await;
    assert_eq!(
        (wrong.name.as_str(), wrong.of("message")),
        ("error", Some("The export is not available right now."))
    );
    let two = text_of(FaultKind::TwoRoots).await;
    let (first, second) = two.split_once("</chats>\n").unwrap();
    assert_eq!(read(&format!("{first}</chats>")).unwrap(), good);
    assert!(
        second.starts_with("<chats>\n")
            && second.ends_with("</chats>\n")
            && second.contains(&ids(&good)[0])
    );
    assert!(read(&two).is_err());
    let trailing = text_of(FaultKind::Trailing).await;
    assert_eq!(
        read(trailing.strip_suffix("That is all.\n").unwrap()).unwrap(),
        good
    );
    assert!(read(&trailing).is_err());
}

#[tokio::test]
async fn type_declarations_are_small_and_malicious() {
    for (how, holds) in [
        (Doctype::Laughs, "<!ENTITY lol9 \"&lol8;&lol8;"),
        (
            Doctype::External,
            "<!ENTITY file SYSTEM \"file:///etc/passwd\">",
        ),
        (Doctype::Quadratic, "&a;&a;&a;"),
        (Doctype::Parameter, "%remote;"),
    ] {
        let text = text_of(FaultKind::Doctype { how }).await;
        assert!(
            text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE chats [\n")
                && text.contains(holds),
            "{text}"
        );
        assert!(text.len() < 200_000 && read(&text).is_err());
        let (declaration, rest) = text.split_once("]>\n").unwrap();
        assert!(declaration.matches("<!ENTITY").count() < 20);
        assert!(rest.starts_with("<chats>\n  <chat>\n    <id>") && rest.ends_with("</chats>\n"));
    }
}

#[tokio::test]
async fn large_and_deep_documents_are_streamed() {
    let deep = document_of(FaultKind::Deep { levels: 30 }).await;
    let (mut levels, mut at) = (0, deep.all("chat")[0].all("x"));
    while let Some(inner) = at.first() {
        levels += 1;
        at = inner.all("x");
    }
    assert_eq!(levels, 30);
    let text = text_of(FaultKind::Deep { levels: 100_000 }).await;
    assert_eq!(
        (text.matches("<x>").count(), text.matches("</x>").count()),
        (100_000, 100_000)
    );
    let (bytes, longest) = length_of(FaultKind::Deep { levels: 2_000_000 }, usize::MAX).await;
    assert!(bytes > 14_000_000 && longest < 1_000_000);

    let many = document_of(FaultKind::ManyAttributes { count: 10_000 }).await;
    let message = many.all("chat")[0].all("msg")[0];
    assert_eq!(
        (
            message.attributes.len(),
            message.attribute("a9999"),
            message.text.as_str()
        ),
        (10_002, Some("9999"), "many")
    );

    for bytes in [3, 1_000_001] {
        let long = document_of(FaultKind::LongText { bytes }).await;
        assert_eq!(long.all("chat")[0].all("msg")[0].text.len() as u64, bytes);
    }
    let (bytes, longest) = length_of(FaultKind::LongText { bytes: 1 << 30 }, 50_000_000).await;
    assert!(bytes > 50_000_000 && longest < 1_000_000);

    let large = text_of(FaultKind::LargeChat { bytes: 1_000_000 }).await;
    assert!(
        (800_000..1_300_000).contains(&large.len()),
        "{}",
        large.len()
    );
    let large = read(&large).unwrap();
    let chat = large.all("chat")[0];
    let messages = chat.all("msg");
    assert_eq!(messages.last().unwrap().attribute("time"), chat.of("stop"));
    assert_eq!(
        (large.children.len(), messages[0].attribute("time")),
        (1, chat.of("start"))
    );
    assert!(messages.len() > 4_000);

    let (bytes, _) = length_of(FaultKind::EndlessChats, 3_000_000).await;
    assert!(bytes > 3_000_000);
    let served = served_with(FaultKind::EndlessChats).await;
    let path = export(
        "2026-11-20T00:00:00.000+00:00",
        "2026-11-21T00:00:00.000+00:00",
    );
    let mut answer = served.http.get(served.url(&path)).send().await.unwrap();
    let mut text = String::new();
    while text.len() < 300_000 {
        text.push_str(&String::from_utf8_lossy(
            &answer.chunk().await.unwrap().unwrap(),
        ));
    }
    let (whole, _) = text.rsplit_once("  <chat>").unwrap();
    let document = read(&format!("{whole}</chats>")).unwrap();
    let mut found = ids(&document);
    assert!(
        found.len() > 200
            && document
                .all("chat")
                .iter()
                .all(|chat| chat.of("start") == Some("2026-11-20T00:00:00.000+00:00"))
    );
    found.sort();
    found.dedup();
    assert_eq!(found.len(), document.children.len());
}

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

#[tokio::test]
async fn xml_faults_are_set_over_http_too() {
    let served = Served::start(sandbox(100, 10)).await;
    for (fault, kind) in [
        (
            json!({"fault": "sample_times"}),
            FaultKind::SampleTimes { zone: None },
        ),
        (
            json!({"fault": "sample_times", "zone": "Europe/Oslo"}),
            FaultKind::SampleTimes {
                zone: Some("Europe/Oslo".to_owned()),
            },
        ),
        (
            json!({"fault": "encoding", "label": "windows-1252"}),
            FaultKind::Encoding {
                label: Label::Windows1252,
            },
        ),
        (
            json!({"fault": "encoding", "label": "iso-8859-1"}),
            FaultKind::Encoding {
                label: Label::Iso88591,
            },
        ),
        (
            json!({"fault": "encoding", "label": "utf-16le"}),
            FaultKind::Encoding {
                label: Label::Utf16Le,
            },
        ),
        (
            json!({"fault": "encoding", "label": "utf-16be"}),
            FaultKind::Encoding {
                label: Label::Utf16Be,
            },
        ),
        (
            json!({"fault": "encoding", "label": "utf-8-bom"}),
            FaultKind::Encoding {
                label: Label::Utf8Bom,
            },
        ),
        (
            json!({"fault": "doctype", "how": "laughs"}),
            FaultKind::Doctype {
                how: Doctype::Laughs,
            },
        ),
        (
            json!({"fault": "doctype", "how": "parameter"}),
            FaultKind::Doctype {
                how: Doctype::Parameter,
            },
        ),
        (
            json!({"fault": "deep", "levels": 2_000_000}),
            FaultKind::Deep { levels: 2_000_000 },
        ),
        (
            json!({"fault": "many_attributes", "count": 9}),
            FaultKind::ManyAttributes { count: 9 },
        ),
        (
            json!({"fault": "long_text", "bytes": 9}),
            FaultKind::LongText { bytes: 9 },
        ),
        (
            json!({"fault": "large_chat", "bytes": 9}),
            FaultKind::LargeChat { bytes: 9 },
        ),
        (json!({"fault": "endless_chats"}), FaultKind::EndlessChats),
        (json!({"fault": "no_id"}), FaultKind::NoId),
        (json!({"fault": "bare"}), FaultKind::Bare),
        (
            json!({"fault": "several_operators"}),
            FaultKind::SeveralOperators,
        ),
        (
            json!({"fault": "capital_operators"}),
            FaultKind::CapitalOperators,
        ),
        (json!({"fault": "loose_text"}), FaultKind::LooseText),
        (
            json!({"fault": "answer", "status": 403, "body": ""}),
            FaultKind::Answer {
                status: 403,
                content_type: None,
                body: String::new(),
            },
        ),
        (
            json!({"fault": "shuffle", "seed": 4}),
            FaultKind::Shuffle { seed: 4 },
        ),
    ] {
        let put = served
            .http
            .put(served.url("/__faults"))
            .header("content-type", "application/json")
            .body(fault.to_string());
        assert_eq!(put.send().await.unwrap().status(), 204, "{fault}");
        assert_eq!(served.sandbox.faults().list(), [Fault::new(kind)]);
    }
}
