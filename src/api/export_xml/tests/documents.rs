//! Round trips of whole documents: the LiveLeader connector reads every document of the writer as
//! the same chats.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{document_of, integer, moment_of, text};
use crate::connectors::liveleader::xml::{self, ChatField};

/// A chat as it is stored in rows.
#[derive(Clone, Debug, PartialEq)]
struct Chat {
    id: Option<String>,
    referrer: Option<String>,
    keywords: Option<String>,
    operators: Vec<String>,
    visitor_ip: Option<String>,
    start: Option<i64>,
    /// A text that is in neither date format.
    odd_stop: Option<String>,
    duration: Option<i64>,
    url: Option<String>,
    city: Option<String>,
    messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq)]
struct Message {
    from: Option<String>,
    time: Option<String>,
    text: String,
    lang: Option<String>,
}

/// Any text that XML can hold; awkward characters are more frequent.
fn any_text() -> impl Strategy<Value = String> {
    let allowed = |c: char| !super::is_forbidden(c);
    let awkward: Vec<char> = "\r\n\t <>&\"';]a=é\u{85}\u{a0}\u{2028}\u{1f600}"
        .chars()
        .collect();
    let char = prop_oneof![3 => prop::sample::select(awkward), 1 => any::<char>()];
    vec(char, 0..12).prop_map(move |chars| chars.into_iter().filter(|c| allowed(*c)).collect())
}

/// An operator name that contains no separator, so that joined operators can be split again.
fn operator() -> impl Strategy<Value = String> {
    any_text().prop_map(|text| text.replace(", ", ","))
}

fn any_chat() -> impl Strategy<Value = Chat> {
    let message = (
        option::of(any_text()),
        option::of(any_text()),
        any_text(),
        option::of(any_text()),
    );
    let message = message.prop_map(|(from, time, text, lang)| Message {
        from,
        time,
        text,
        lang,
    });
    let first = (
        option::of(any_text()),
        option::of(any_text()),
        option::of(any_text()),
        vec(operator(), 0..4),
        option::of(any_text()),
    );
    // The years that the four-digit format can express.
    let second = (
        option::of(-62_135_596_800_000..253_402_300_799_999_i64),
        option::of(any_text()),
        option::of(any::<i64>()),
        option::of(any_text()),
    );
    (first, second, option::of(any_text()), vec(message, 0..4)).prop_map(
        |(first, second, city, messages)| {
            let (id, referrer, keywords, operators, visitor_ip) = first;
            let (start, odd_stop, duration, url) = second;
            Chat {
                id,
                referrer,
                keywords,
                operators,
                visitor_ip,
                start,
                odd_stop,
                duration,
                url,
                city,
                messages,
            }
        },
    )
}

fn written(chats: &[Chat]) -> String {
    let of = |chat: &Chat| {
        let message = |m: &Message| {
            let mut object = serde_json::Map::new();
            let fields = [
                ("from", m.from.clone()),
                ("time", m.time.clone()),
                ("text", Some(m.text.clone())),
                ("lang", m.lang.clone()),
            ];
            object.extend(
                fields
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.into()))),
            );
            serde_json::Value::Object(object)
        };
        let transcript =
            serde_json::Value::from(chat.messages.iter().map(message).collect::<Vec<_>>())
                .to_string();
        let operators = (!chat.operators.is_empty()).then(|| chat.operators.join(", "));
        let misfit = chat
            .odd_stop
            .as_ref()
            .map(|stop| serde_json::json!({"stop": stop}).to_string());
        vec![
            ("id", text(chat.id.as_deref())),
            ("referrer", text(chat.referrer.as_deref())),
            ("keywords", text(chat.keywords.as_deref())),
            ("operators", text(operators.as_deref())),
            (
                "operator_count",
                integer(i64::try_from(chat.operators.len()).ok()),
            ),
            ("visitor_ip", text(chat.visitor_ip.as_deref())),
            ("start", moment_of(chat.start)),
            ("stop", moment_of(None)),
            ("duration", integer(chat.duration)),
            ("url", text(chat.url.as_deref())),
            ("transcript", text(Some(&transcript))),
            ("city", text(chat.city.as_deref())),
            ("_misfit", text(misfit.as_deref())),
        ]
    };
    document_of(chats.iter().map(of).collect()).0
}

fn read(document: &str) -> Vec<Chat> {
    let mut chats = Vec::new();
    xml::read(document.as_bytes(), None, |chat| {
        let field = |field| chat.field(field).map(str::to_owned);
        let more: Vec<(&str, &str)> = chat.extras().collect();
        assert!(
            more.iter().all(|(name, _)| *name == "city") && more.len() <= 1,
            "{more:?}"
        );
        chats.push(Chat {
            id: field(ChatField::Id),
            referrer: field(ChatField::Referrer),
            keywords: field(ChatField::Keywords),
            operators: chat.operators().map(str::to_owned).collect(),
            visitor_ip: field(ChatField::VisitorIp),
            start: chat
                .field(ChatField::Start)
                .map(|at| at.parse::<jiff::Timestamp>().unwrap().as_millisecond()),
            odd_stop: field(ChatField::Stop),
            duration: chat
                .field(ChatField::Duration)
                .map(|number| number.parse().unwrap()),
            url: field(ChatField::Url),
            city: more.first().map(|(_, city)| (*city).to_owned()),
            messages: chat
                .messages()
                .map(|m| {
                    let of = |text: Option<&str>| text.map(str::to_owned);
                    let lang = m.extras().next().map(|(_, lang)| lang.to_owned());
                    Message {
                        from: of(m.from()),
                        time: of(m.time()),
                        text: m.text().to_owned(),
                        lang,
                    }
                })
                .collect(),
        });
        true
    })
    .unwrap();
    chats
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_is_written_is_read_as_the_same_chats(chats in vec(any_chat(), 0..4)) {
        prop_assert_eq!(read(&written(&chats)), chats);
    }
}
