//! Tests of the parser with valid and invalid documents.

use std::io::Cursor;

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
    let chat = "<chat lang=\"no\"><id source=\"x\">1</id><city>Oslo</city><geo lat='59'><lon>10</lon><x:y> z </x:y></geo><tag>a</tag><tag>b</tag><archived/>\
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

#[test]
fn a_document_that_is_cut_anywhere_is_no_document() {
    let end = GOOD.rfind("</chats>").unwrap() + "</chats>".len();
    let mut seen = 0;
    for at in 0..end {
        let cut = &GOOD.as_bytes()[..at];
        let mut chats = 0;
        let read = read(Cursor::new(cut.to_vec()), None, |_| {
            chats += 1;
            true
        });
        let why = read.unwrap_err();
        assert!(
            matches!(why, DocumentError::Cut)
                || (at < GOOD.find("<chats>").unwrap() + 7
                    && matches!(why, DocumentError::Empty | DocumentError::Cut)),
            "{at}: {why:?}"
        );
        seen += chats;
    }
    assert!(
        seen > 0,
        "chats before the cut are passed to the callback, although the result is an error"
    );
    assert!(all(&GOOD[..end]).is_ok());
}

#[test]
fn inputs_that_are_no_document_are_classified() {
    for (document, why) in [
        ("", DocumentError::Empty),
        (" \r\n\t", DocumentError::Empty),
        ("\u{feff}", DocumentError::Empty),
        ("<?xml version=\"1.0\"?>", DocumentError::Empty),
        ("<!-- nothing -->", DocumentError::Empty),
        (
            "<!DOCTYPE html>\n<html><p>Sign in</html>",
            DocumentError::WebPage,
        ),
        (
            "<!doctype HTML PUBLIC \"-//W3C//DTD\"><html>",
            DocumentError::WebPage,
        ),
        ("<HTML><body>Sign in", DocumentError::WebPage),
        ("Wrong password", DocumentError::NotXml),
        ("{\"error\":\"no\"}", DocumentError::NotXml),
        ("a & b", DocumentError::NotXml),
        ("text <chats></chats>", DocumentError::NotXml),
        (
            "<error><message>no</message></error>",
            DocumentError::OtherRoot(Some("error".to_owned())),
        ),
        (
            "<chat><id>1</id></chat>",
            DocumentError::OtherRoot(Some("chat".to_owned())),
        ),
        ("<ns:chats></ns:chats>", DocumentError::OtherRoot(None)),
        ("<chats><chat></chat>", DocumentError::Cut),
        ("<chats><chat", DocumentError::Cut),
        ("<chats><![CDATA[", DocumentError::Cut),
        ("<chats></chats>trailing", DocumentError::Trailing),
        ("<chats></chats>&amp;", DocumentError::Trailing),
        ("<chats></chats><chats></chats>", DocumentError::TwoRoots),
        ("<chats/><p/>", DocumentError::TwoRoots),
        ("<chats>Permission denied</chats>", DocumentError::StrayText),
        (
            "<chats><error>Permission denied</error></chats>",
            DocumentError::NoChats,
        ),
        ("&nbsp;<chats></chats>", DocumentError::NotXml),
        ("<chats>&nbsp;</chats>", DocumentError::StrayText),
        ("<chats></chats>&nbsp;", DocumentError::Trailing),
        ("<chats></chats> & ", DocumentError::Trailing),
        ("<chats><chat><url>a & b", DocumentError::Cut),
        ("<chats><chat><url>a &amp", DocumentError::Cut),
        (
            "<?xml version=\"1.0\" encoding=\"klingon\"?><chats/>",
            DocumentError::UnknownEncoding,
        ),
    ] {
        assert_eq!(error_of(document), why, "{document}");
    }
    for broken in [
        "<chats><chat></chats>",
        "<chats><chat a=1></chat></chats>",
        "<chats><chat a=\"1\" a=\"2\"/></chats>",
        "<chats><!x></chats>",
        "<chats></chats></chats>",
    ] {
        assert!(
            matches!(
                error_of(broken),
                DocumentError::Broken { .. } | DocumentError::Trailing
            ),
            "{broken}: {:?}",
            error_of(broken)
        );
    }
}

#[test]
fn invalid_references_are_decoded_and_counted() {
    for (inside, is, repaired) in [
        ("AT&amp;T", "AT&T", 0),
        (
            "AT&T, and see https://x.test/?a=1&b=2",
            "AT&T, and see https://x.test/?a=1&b=2",
            2,
        ),
        ("fish & chips", "fish & chips", 1),
        ("a && b", "a && b", 2),
        ("&", "&", 1),
        ("Q&A; that is it", "Q&A; that is it", 1),
        ("&laugh;", "&laugh;", 1),
        (
            "price&nbsp;10, caf&eacute;&hellip;",
            "price\u{a0}10, café…",
            3,
        ),
        ("before&#x0;after&#0;", "before\u{fffd}after\u{fffd}", 2),
        ("thanks &#xD83D;&#xDE00;", "thanks \u{fffd}\u{fffd}", 2),
        ("&#x110000;&#99999999999;", "\u{fffd}\u{fffd}", 2),
        ("&#;&#x;&#abc;", "&#;&#x;&#abc;", 3),
        // Valid XML that needs no repair.
        (
            "&#8;&#x1F;&#x1F600;&lt;&quot;&apos;&gt;",
            "\u{8}\u{1f}😀<\"'>",
            0,
        ),
        ("<![CDATA[AT&T &nbsp; &#0;]]>", "AT&T &nbsp; &#0;", 0),
        ("\n  a &\n  b\n", "a &\n  b", 1),
    ] {
        let (mut chats, mut counted) = (Vec::new(), 0);
        let document =
            format!("<chats><chat><url>{inside}</url></chat><chat><id>fine</id></chat></chats>");
        read(Cursor::new(document.into_bytes()), None, |chat| {
            chats.push(lines(chat));
            counted += chat.repaired();
            true
        })
        .unwrap();
        assert_eq!(
            (chats[0].clone(), counted),
            (vec![format!("url={is}")], repaired),
            "{inside}"
        );
        assert_eq!(
            chats[1],
            ["id=fine"],
            "the chat after {inside} is unaffected"
        );
    }
    // The same in attributes, of messages and others.
    let document = "<chats><chat a=\"R&D&nbsp;1\"><msg from=\"visitor\" time=\"1&2&amp;3\" x='&laugh;'>b&c</msg></chat></chats>";
    read(Cursor::new(document), None, |chat| {
        assert_eq!(
            lines(chat),
            [
                "+a=R&D\u{a0}1",
                "msg Some(\"visitor\") Some(\"1&2&3\") x=&laugh;: b&c"
            ]
        );
        assert_eq!(chat.repaired(), 5);
        true
    })
    .unwrap();
}

#[test]
fn each_document_type_declaration_is_refused() {
    let laughs = "<!DOCTYPE chats [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><chats><chat><id>&b;</id></chat></chats>";
    for document in [
        laughs,
        "<!DOCTYPE chats SYSTEM \"file:///etc/passwd\"><chats/>",
        "<!DOCTYPE chats [<!ENTITY % p SYSTEM \"http://x.test/\">%p;]><chats/>",
        "<?xml version=\"1.0\"?> <!DOCTYPE chats><chats/>",
        "<chats><!DOCTYPE html></chats>",
    ] {
        assert_eq!(error_of(document), DocumentError::Doctype, "{document}");
        assert!(error_of(document).is_final());
    }
}

/// A document that is generated while it is read.
struct GeneratedDocument<F>(F, usize);

impl<F: Fn(usize) -> Option<Vec<u8>>> Read for GeneratedDocument<F> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let Some(piece) = (self.0)(self.1) else {
            return Ok(0);
        };
        self.1 += 1;
        into[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

fn read_generated(piece: impl Fn(usize) -> Option<Vec<u8>>) -> Result<(), DocumentError> {
    read(GeneratedDocument(piece, 0), None, |_| true)
}

#[test]
fn nothing_grows_without_an_end() {
    let then = |begin: &'static str, on: &'static str| {
        move |at: usize| Some(if at == 0 { begin } else { on }.as_bytes().to_vec())
    };
    assert_eq!(
        read_generated(then("<chats><chat>", "<a><a><a><a><a><a><a><a><a>")),
        Err(DocumentError::TooDeep)
    );
    assert_eq!(
        read_generated(then("<chats><chat><url>", "x marks the spot and goes on ")),
        Err(DocumentError::LongText)
    );
    assert_eq!(
        error_of(format!(
            "<chats><chat>{}</chat></chats>",
            "x".repeat((1 << 20) + 1)
        )),
        DocumentError::LongText,
        "between fields"
    );
    assert_eq!(
        read_generated(then("<chats><chat><url>", "&amp;&amp;&amp;&amp;&amp;&amp;")),
        Err(DocumentError::LongText)
    );
    assert_eq!(
        read_generated(then("<chats><chat ", "a=\"b\" ")),
        Err(DocumentError::LongText),
        "a tag that never ends"
    );
    assert_eq!(
        read_generated(then("<chats><", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
        Err(DocumentError::LongText),
        "a name that never ends"
    );
    assert_eq!(
        read_generated(then("<chats><!--", "comment ")),
        Err(DocumentError::LongText)
    );
    assert_eq!(
        read_generated(then("<chats><chat>", "<msg from=\"visitor\">Hello</msg>")),
        Err(DocumentError::LargeChat)
    );
    assert_eq!(
        read_generated(then("<chats><chat>", "<msg/><a/>")),
        Err(DocumentError::LargeChat)
    );
    assert_eq!(
        error_of(format!(
            "<chats><chat {}/></chats>",
            (0..65).map(|at| format!("a{at}=\"\" ")).collect::<String>()
        )),
        DocumentError::TooManyAttributes
    );
    assert_eq!(
        error_of(format!(
            "<chats><chat><{}/></chat></chats>",
            "n".repeat(257)
        )),
        DocumentError::LongName
    );
    assert!(
        all(format!(
            "<chats><chat {}/></chats>",
            (0..64).map(|at| format!("a{at}=\"\" ")).collect::<String>()
        ))
        .is_ok()
    );
    // Many chats of the maximum size are accepted.
    let chat = format!("<chat><url>{}</url></chat>", "x".repeat(3_900)).into_bytes();
    let end = 20_000;
    assert_eq!(
        read_generated(move |at| if at == 0 {
            Some(b"<chats>".to_vec())
        } else if at < end {
            Some(chat.clone())
        } else {
            (at == end).then(|| b"</chats>".to_vec())
        }),
        Ok(())
    );
}

#[test]
fn any_declared_encoding_is_read() {
    let text = "Blåbærsyltetøy – €";
    let document = |label: &str| {
        format!(
            "<?xml version='1.0' encoding='{label}'?><chats><chat><url>{text}</url></chat></chats>"
        )
    };
    let wide = |document: String, big: bool, mark: bool| -> Vec<u8> {
        let units = mark
            .then_some(0xfeff)
            .into_iter()
            .chain(document.encode_utf16());
        units
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    };
    let narrow = encoding_rs::WINDOWS_1252
        .encode(&document("windows-1252"))
        .0
        .into_owned();
    for (name, bytes) in [
        ("utf-8", document("UTF-8").into_bytes()),
        (
            "utf-8 with a mark",
            format!("\u{feff}{}", document("utf-8")).into_bytes(),
        ),
        ("windows-1252", narrow),
        (
            "utf-16le with a mark",
            wide(document("UTF-16"), false, true),
        ),
        ("utf-16be with a mark", wide(document("UTF-16"), true, true)),
        ("utf-16le", wide(document("UTF-16LE"), false, false)),
        ("utf-16be", wide(document("UTF-16BE"), true, false)),
        (
            "said to be utf-16 and is not",
            document("UTF-16").into_bytes(),
        ),
    ] {
        assert_eq!(all(&bytes).unwrap()[0], [format!("url={text}")], "{name}");
    }
    let bare = encoding_rs::WINDOWS_1252
        .encode("<chats><chat><url>\u{e5}</url></chat></chats>")
        .0
        .into_owned();
    let url_read_as = |label: Option<&str>| {
        let mut url = String::new();
        read(Cursor::new(bare.clone()), label, |chat| {
            url.push_str(chat.field(ChatField::Url).unwrap());
            true
        })
        .unwrap();
        url
    };
    assert_eq!(
        (
            url_read_as(Some("iso-8859-1")).as_str(),
            url_read_as(None).as_str()
        ),
        ("å", "\u{fffd}")
    );
}
