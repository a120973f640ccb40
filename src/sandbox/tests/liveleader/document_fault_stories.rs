//! Tests of faults of a whole document: its times, encoding, root and size.

use super::super::super::faults::{Doctype, Label};
use super::*;

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
