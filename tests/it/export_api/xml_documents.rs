//! Two independent XML parsers read any text of a chat back.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::exports::{CLASSIC, ExportFixture, chat};
use crate::support::{DAY, NOON};

/// Sends a document to the standard input of a program, and returns its output.
fn feed(program: &str, arguments: &[&str], document: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pipe, document) = (child.stdin.take().unwrap(), document.to_owned());
    let feeding = std::thread::spawn(move || pipe.write_all(document.as_bytes()));
    let ended = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(
        ended.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).unwrap()
}

/// Every element's name, attributes and text, as expat reads them.
const EXPAT: &str = "
import json, sys, xml.parsers.expat
parser, seen, stack = xml.parsers.expat.ParserCreate(), [], []
parser.buffer_text = True
def start(name, attributes):
    entry = [name, attributes, '']
    seen.append(entry)
    stack.append(entry)
def data(text):
    stack[-1][2] += text
parser.StartElementHandler, parser.CharacterDataHandler = start, data
parser.EndElementHandler = lambda name: stack.pop()
parser.Parse(sys.stdin.buffer.read(), True)
print(json.dumps(seen))
";

#[tokio::test(flavor = "multi_thread")]
async fn two_xml_parsers_read_any_text_back() {
    let forbidden = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    let all: String = (0..=0xffff_u32).filter_map(char::from_u32).collect();
    let wanted: String = all
        .chars()
        .map(|c| if forbidden(c) { '\u{fffd}' } else { c })
        .collect();
    let odd = [
        "]]>",
        "<![CDATA[x]]>",
        "<!DOCTYPE x>",
        "&amp;&#13;",
        "\r\n a \r",
        "\u{1f600}\u{10ffff}",
        "<!-- -- -->",
        "<?xml?>",
    ];
    let mut chats = vec![chat("all", NOON - DAY, &all)];
    let transcript = json!([{"from": all, "time": "23-10-2008T12:49:1231", "text": "x", "further": all, "a b": "no name"}]).to_string();
    let misfit = json!({"stop": "23-10-2008T12:49:1231", "duration": "long & dull"}).to_string();
    chats.push(json!({
        "id": "attributes",
        "start": NOON,
        "url": all,
        "transcript": transcript,
        "_misfit": misfit,
        "city": "Ålesund <3",
        "bad name": "x",
    }));
    chats.extend(
        odd.iter()
            .enumerate()
            .map(|(n, said)| chat(&format!("odd {n}"), NOON + n as i64 + 1, said)),
    );
    let export_fixture = ExportFixture::new(&chats).await;
    let answer = export_fixture.get(CLASSIC).await;
    assert_eq!(answer.ids().len(), chats.len());
    assert_eq!(
        feed("xmllint", &["--noout", "--huge", "-"], &answer.text),
        ""
    );
    let seen: Vec<(String, Value, String)> =
        serde_json::from_str(&feed("python3", &["-c", EXPAT], &answer.text)).unwrap();
    let said: Vec<&(String, Value, String)> =
        seen.iter().filter(|(name, ..)| name == "msg").collect();
    assert!(said[0].2 == wanted, "the text of all code points differs");
    assert!(
        said[1].1["from"] == wanted.as_str() && said[1].1["further"] == wanted.as_str(),
        "an attribute of all code points differs"
    );
    assert_eq!(
        (
            said[1].1["time"].as_str(),
            said[1].1.as_object().unwrap().len()
        ),
        (Some("23-10-2008T12:49:1231"), 3)
    );
    for (message, text) in said[2..].iter().zip(odd) {
        assert_eq!(message.2, text);
    }
    for (name, text) in [
        ("city", "Ålesund <3"),
        ("duration", "long & dull"),
        ("stop", "23-10-2008T12:49:1231"),
        ("url", &wanted),
    ] {
        assert!(
            seen.iter()
                .any(|(element, _, read)| element == name && read == text),
            "{name} is not read back"
        );
    }
    assert!(!answer.text.contains("bad name") && !answer.text.contains("_misfit"));
    let metrics = export_fixture.ctx.metrics().await;
    let count = all.chars().filter(|c| forbidden(*c)).count() * 4;
    assert!(
        metrics.contains(&format!("chatlake_replaced_code_points_total {count}\n")),
        "{metrics}"
    );
}
