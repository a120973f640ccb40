//! Tests of documents that are cut off, of another kind, or refused.

use super::*;

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
