//! Tests of documents without an end: each limit on sizes ends them.

use super::*;

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
