//! The gallery of connectors and its search.

use chatlake::actor::Role;

use crate::support::panes::{PaneSession, before_spring};

#[tokio::test]
async fn the_gallery_finds_connectors_and_reports() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect").await;
    assert_eq!(
        (
            page.all(".connector").len(),
            page.all("#reports tbody tr").len()
        ),
        (2, 48 + 3)
    );
    assert!(page.words(".connector").contains("Username, API Key"));
    let found = maren.get("/connect?q=MESSAGES").await;
    assert!(
        found
            .all("#reports tbody .name")
            .contains(&"Chat Messages".to_owned())
    );
    assert!(
        found.all("#reports tbody tr").len() < 48
            && found
                .all("#reports tbody .name")
                .iter()
                .filter(|name| *name == "Chat Messages")
                .count()
                == 2
    );
    // The exact title first, then titles that begin with the word, then those that contain it.
    let chat = maren
        .get("/connect?q=chat")
        .await
        .all("#reports tbody .name");
    assert_eq!(
        (chat[0].as_str(), chat[1].as_str()),
        ("Chat", "Chat Agents")
    );
    let first_without = chat
        .iter()
        .position(|name| !name.to_lowercase().contains("chat"))
        .unwrap();
    assert!(
        chat[first_without..]
            .iter()
            .all(|name| !name.to_lowercase().contains("chat")),
        "{chat:?}"
    );
    let none = maren
        .get("/connect?q=%3Cscript%3Ealert(1)%3C/script%3E")
        .await;
    assert!(none.text.contains("No report matches") && !none.text.contains("<script>alert"));
    assert!(
        !none.has("#reports")
            && none.attribute(".empty a.button", "href").as_deref() == Some("/connect")
            && none.words(".empty a") == "Clear search"
    );
    let page = maren.get("/connect/livechat?report=groups").await;
    assert_eq!(page.form().0["report"], "groups");
}
