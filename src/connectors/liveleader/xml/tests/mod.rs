//! Tests of the parser with valid and invalid documents.

mod encodings;
mod invalid_documents;
mod references;
mod size_limits;

use std::io::Cursor;

use super::chat::FIELDS;
use super::*;

/// A chat as lines `name=value`.
fn lines(chat: &ExportedChat) -> Vec<String> {
    let mut lines: Vec<String> = FIELDS
        .iter()
        .filter_map(|(name, field)| Some(format!("{name}={}", chat.field(*field)?)))
        .collect();
    lines.extend(
        chat.operators()
            .map(|operator| format!("operator={operator}")),
    );
    lines.extend(
        chat.extras()
            .map(|(name, value)| format!("+{name}={value}")),
    );
    for message in chat.messages() {
        let more: String = message
            .extras()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        lines.push(format!(
            "msg {:?} {:?}{more}: {}",
            message.from(),
            message.time(),
            message.text()
        ));
    }
    lines
}

fn all(document: impl AsRef<[u8]>) -> Result<Vec<Vec<String>>, DocumentError> {
    let mut chats = Vec::new();
    read(Cursor::new(document.as_ref().to_vec()), None, |chat| {
        chats.push(lines(chat));
        true
    })?;
    Ok(chats)
}

fn error_of(document: impl AsRef<[u8]>) -> DocumentError {
    all(document).unwrap_err()
}

const GOOD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- today -->\n<chats>\n  <chat>\n    <id>a-1</id> <referrer/>
    <operator>ann@x.test</operator><operator>bo@x.test</operator>
    <visitorip>192.0.2.1</visitorip> <start>2008-08-18T19:24:18.884+02:00</start><duration>125</duration>
    <msg from=\"visitor\" time=\"t1\">\n      Hei &amp; hallo &lt;b&gt; &#x1F600;\n      andre linje\n    </msg>
    <msg from='ann@x.test' time='a &quot;b&quot;'><![CDATA[<b>\n]]></msg>
  </chat>
  <chat><id>a-2</id><msg/></chat>
</chats>\n<!-- the end -->\n";

#[test]
fn a_document_is_read_chat_by_chat() {
    let chats = all(GOOD).unwrap();
    assert_eq!(
        chats[0],
        [
            "id=a-1",
            "referrer=",
            "visitorip=192.0.2.1",
            "start=2008-08-18T19:24:18.884+02:00",
            "duration=125",
            "operator=ann@x.test",
            "operator=bo@x.test",
            "msg Some(\"visitor\") Some(\"t1\"): Hei & hallo <b> 😀\n      andre linje",
            "msg Some(\"ann@x.test\") Some(\"a \\\"b\\\"\"): <b>\n",
        ]
    );
    assert_eq!(chats[1], ["id=a-2", "msg None None: "]);
    assert_eq!(all("<chats/>").unwrap().len(), 0);
    assert_eq!(all("  <chats> </chats>  ").unwrap().len(), 0);
}

#[test]
fn only_line_breaks_that_indent_are_trimmed() {
    for (inside, is) in [
        (" blanks stay ", " blanks stay "),
        ("\n   text\n  ", "text"),
        ("\r\n\ttext\r\nmore\r\n", "text\nmore"),
        ("\n\n", ""),
        ("  ", "  "),
        ("&#10;text&#10;", "\ntext\n"),
        ("\n  &#32;text&#9;\n", " text\t"),
        ("<![CDATA[\n text \n]]>", "\n text \n"),
        ("\n<![CDATA[\n]]>\n", "\n"),
        ("a\n&amp;\nb", "a\n&\nb"),
        ("&#13;", "\r"),
        ("a<!-- b -->c", "ac"),
    ] {
        assert_eq!(
            all(format!("<chats><chat><url>{inside}</url></chat></chats>")).unwrap()[0],
            [format!("url={is}")],
            "{inside:?}"
        );
    }
}

#[test]
fn unknown_elements_are_stored_by_path() {
    let chat = "<chat lang=\"no\"><id source=\"x\">1</id><city>Oslo</city>\
                <geo lat='59'><lon>10</lon><x:y> z </x:y></geo><tag>a</tag><tag>b</tag><archived/>\
                <id>2</id>stray<msg from=\"visitor\" read=\"yes\">Hei <b>du</b> der</msg></chat>";
    assert_eq!(
        all(format!(
            "<chats total=\"1\"><info>passed over</info>{chat}</chats>"
        ))
        .unwrap()[0],
        [
            "id=1",
            "+lang=no",
            "+id_source=x",
            "+city=Oslo",
            "+geo_lat=59",
            "+geo_lon=10",
            "+geo_x_y= z ",
            "+tag=a",
            "+tag=b",
            "+archived=",
            "+id=2",
            "+_text=stray",
            "msg Some(\"visitor\") None read=yes b=du: Hei  der",
        ]
    );
}
