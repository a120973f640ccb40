//! Tests of references and ampersands that are invalid XML.

use super::*;

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
