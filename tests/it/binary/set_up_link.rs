//! The set-up link, which creates the first admin.

use chatlake::auth::invites::{self, AcceptInvite};
use chatlake::auth::passwords::Hasher;
use chatlake::clock::Clock;
use chatlake::db::Db;
use chatlake::secret::Secret;

use crate::support::PASSWORD;
use crate::support::data_dir::DataDir;

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_link_is_printed_once_and_works_once() {
    let data_dir = DataDir::new();
    let server = data_dir.serve().await;
    let out = server.out();
    let links: Vec<&str> = out
        .lines()
        .filter(|line| line.contains("/set-up/"))
        .collect();
    let [link] = links[..] else { panic!("{out}") };
    assert!(
        link.trim().starts_with(&server.url()),
        "{link} is no address of {}",
        server.url()
    );
    let code = link.rsplit('/').next().unwrap();
    assert!(!server.err().contains(code), "a log line shows the link");
    let (clock, hasher) = (Clock::system(), Hasher::new(1));
    let db = Db::open(&data_dir.catalogue()).await.unwrap();
    let accept = |email: &str| AcceptInvite {
        email: email.to_owned(),
        name: "First".to_owned(),
        password: Secret::new(PASSWORD),
        address: None,
    };
    assert!(
        invites::find(&db, &clock, code)
            .await
            .unwrap()
            .is_some_and(|invite| invite.is_set_up())
    );
    invites::accept(&db, &clock, &hasher, code, &accept("first@house.test"))
        .await
        .unwrap();
    assert!(
        invites::accept(&db, &clock, &hasher, code, &accept("second@house.test"))
            .await
            .is_err()
    );
    server.stop().await;
    let again = data_dir.serve().await;
    assert!(!again.out().contains("/set-up/"), "{}", again.out());
    assert_eq!(
        data_dir.run(&["user", "list", "--json"]).await.json()[0]["role"],
        "admin"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_link_ends_with_its_server() {
    let data_dir = DataDir::new();
    let code_of = |out: String| {
        out.lines()
            .find_map(|line| line.split_once("/set-up/"))
            .map(|(_, code)| code.trim().to_owned())
            .unwrap()
    };
    let first = data_dir.serve().await;
    let old = code_of(first.out());
    first.stop().await;
    let second = data_dir.serve().await;
    let db = Db::open(&data_dir.catalogue()).await.unwrap();
    assert!(
        invites::find(&db, &Clock::system(), &old)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        invites::find(&db, &Clock::system(), &code_of(second.out()))
            .await
            .unwrap()
            .is_some()
    );
}
