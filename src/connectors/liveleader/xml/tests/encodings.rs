//! Tests of declared and detected encodings.

use super::*;

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
