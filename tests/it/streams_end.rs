//! Streams and downloads end with what let them begin: each kind of stream against each way of ending a session, a token, an export
//! password or a person.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use chatlake::actor::{Role, Scope};
use chatlake::auth::passwords::Hasher;
use chatlake::auth::{export_passwords, sessions, tokens, users};
use chatlake::connection::Connection;
use chatlake::ids::UserId;
use chatlake::puller::run::Trigger;
use chatlake::secret::Secret;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::export_api::{CLASSIC, Story, many};
use super::house::{Browser, House, PASSWORD};

const ANOTHER: &str = "staple battery horse";
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// A test that waits for longer than this has found something that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What begins, in the order of the columns of `TABLE`: as a page's session, as a token, as an export password.
const STREAMS: [&str; 4] = ["a download by a page", "events of a run", "a download by a token", "an export"];

/// How something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    SignOut,
    SignInAgain,
    SignOutEverywhere,
    PasswordHere,
    PasswordElsewhere,
    PasswordAndTokens,
    PasswordByAdmin,
    OtherRole,
    Deactivated,
    TwelveHours,
    TokenRevoked,
    TokenExpires,
    ExportPasswordRevoked,
    ExportPasswordExpires,
    NoLongerShared,
    Nothing,
}

const E: bool = true;
const G: bool = false;

/// What ends of `STREAMS`; the others go on.
const TABLE: [(Way, [bool; 4]); 16] = [
    (Way::SignOut, [E, E, G, G]),
    (Way::SignInAgain, [E, E, G, G]),
    (Way::SignOutEverywhere, [E, E, G, G]),
    (Way::PasswordHere, [E, E, G, G]),
    (Way::PasswordElsewhere, [E, E, G, G]),
    (Way::PasswordAndTokens, [E, E, E, E]),
    (Way::PasswordByAdmin, [E, E, G, G]),
    (Way::OtherRole, [E, E, E, E]),
    (Way::Deactivated, [E, E, E, E]),
    (Way::TwelveHours, [E, E, G, G]),
    (Way::TokenRevoked, [G, G, E, G]),
    (Way::TokenExpires, [E, E, E, G]),
    (Way::ExportPasswordRevoked, [G, G, G, E]),
    (Way::ExportPasswordExpires, [E, E, E, E]),
    (Way::NoLongerShared, [E, E, E, E]),
    (Way::Nothing, [G, G, G, G]),
];

struct Stream {
    name: &'static str,
    connection: Connection,
    answer: Response<Body>,
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: it hangs"))
}

async fn begin(house: &House, name: &'static str, path: &str, header: Option<(&str, String)>) -> Stream {
    let connection = Connection::default();
    let mut request = Request::get(path).header("host", "127.0.0.1:8080");
    if let Some((name, value)) = &header {
        request = request.header(*name, value);
    }
    let request = request.extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1)))).extension(connection.clone());
    let mut answer = within(name, house.router.clone().oneshot(request.body(Body::empty()).unwrap())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{name}");
    let first = within(name, answer.body_mut().frame()).await;
    assert!(first.is_some_and(|frame| frame.is_ok()), "{name}");
    Stream { name, connection, answer }
}

/// Reads what comes until the stream breaks off or ends. True when it broke off, or events stopped coming.
async fn is_cut_off(stream: &mut Stream) -> bool {
    loop {
        match within(stream.name, stream.answer.body_mut().frame()).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
            None => return stream.name == STREAMS[1],
        }
    }
}

struct World {
    story: Story,
    reader: UserId,
    here: Browser,
    elsewhere: Browser,
    token: tokens::Token,
    export: export_passwords::ExportPassword,
    streams: Vec<Stream>,
}

impl World {
    /// The chats are few, so that no stream is cut off for being read slowly while the clock moves.
    ///
    /// Rita reads what Olga shares, in four ways at once. She is an editor, so that another role is a lesser one.
    async fn new() -> Self {
        let story = Story::of(House::new().await, &many(20)).await;
        let house = &story.house;
        house.app.datasets.share(&story.owner, &story.dataset, true).await.unwrap();
        // Nobody pulls here, so it stays queued.
        let run = house.app.puller.run_now(&story.owner, &story.dataset, Trigger::Manual).await.unwrap();
        let (rita, here) = house.at_browser("rita", Role::Editor).await;
        let elsewhere = house.signed_in(&rita).await;
        let (token, text) = {
            let new = tokens::NewToken { name: "script".to_owned(), scope: Scope::Read, days: 1 };
            tokens::create(&house.app.db, &house.clock, &rita, &new).await.unwrap()
        };
        let (export, password) = {
            let new = export_passwords::NewExportPassword { name: "script".to_owned(), days: 2 };
            export_passwords::create(&house.app.db, &house.clock, (&rita).into(), &new).await.unwrap()
        };
        let cookies: Vec<String> = here.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let session = || Some(("cookie", cookies.join("; ")));
        let bearer = Some(("authorization", format!("Bearer {}", text.reveal())));
        let classic = format!("/a/Srv?{CLASSIC}&email=rita@house.test&password={}", password.reveal());
        let streams = vec![
            begin(house, STREAMS[0], &format!("/datasets/{}/download", story.dataset), session()).await,
            begin(house, STREAMS[1], &format!("/runs/{}/events", run.id), session()).await,
            begin(house, STREAMS[2], &format!("/api/v1/datasets/{}/data", story.dataset), bearer).await,
            begin(house, STREAMS[3], &classic, None).await,
        ];
        Self { reader: rita.user, story, here, elsewhere, token, export, streams }
    }

    async fn end(&mut self, way: Way) {
        let (db, clock) = (self.story.house.app.db.clone(), self.story.house.clock.clone());
        let hasher = Hasher::new(1);
        let change = |tokens: &'static str| [("current_password", PASSWORD), ("password", ANOTHER), ("revoke_tokens", tokens)];
        match way {
            Way::SignOut => drop(self.here.post("/sign-out", &[]).await),
            Way::SignInAgain => drop(self.here.post("/sign-in", &[("email", "rita@house.test"), ("password", PASSWORD)]).await),
            Way::SignOutEverywhere => drop(self.elsewhere.post("/me/sign-out-everywhere", &[]).await),
            Way::PasswordHere => drop(self.here.post("/me/password", &change("")[..2]).await),
            Way::PasswordElsewhere => drop(self.elsewhere.post("/me/password", &change("")[..2]).await),
            Way::PasswordAndTokens => drop(self.elsewhere.post("/me/password", &change("true")).await),
            Way::PasswordByAdmin => users::set_password(&db, &clock, &hasher, &self.reader, &Secret::new(ANOTHER)).await.unwrap(),
            Way::OtherRole => users::set_role(&db, &clock, &self.reader, Role::Viewer, None).await.unwrap(),
            Way::Deactivated => users::disable(&db, &clock, &self.reader, None).await.unwrap(),
            Way::TwelveHours => clock.advance(12 * HOUR),
            Way::TokenRevoked => tokens::revoke(&db, &clock, &self.token.id, None).await.unwrap(),
            Way::TokenExpires => clock.advance(DAY),
            Way::ExportPasswordRevoked => export_passwords::revoke(&db, &clock, &self.export.id, None).await.unwrap(),
            Way::ExportPasswordExpires => clock.advance(2 * DAY),
            Way::NoLongerShared => self.story.house.app.datasets.share(&self.story.owner, &self.story.dataset, false).await.unwrap(),
            Way::Nothing => {}
        }
    }
}

/// Half a minute, in steps between which everybody may look.
async fn half_a_minute(house: &House) {
    for _ in 0..3 {
        house.clock.advance(10_000);
        // A look asks the catalogue; one of ours behind it in the queue is answered after it.
        for _ in 0..20 {
            users::count(&house.app.db).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_ends_with_what_let_it_begin_within_half_a_minute_and_no_other_does() {
    for (way, ends) in TABLE {
        let mut world = World::new().await;
        world.end(way).await;
        half_a_minute(&world.story.house).await;
        for (stream, ends) in world.streams.iter_mut().zip(ends) {
            let name = format!("{way:?}: {}", stream.name);
            if ends {
                // The connection is closed, so that it ends also while nobody reads; events may end by themselves before.
                if stream.name != STREAMS[1] {
                    within(&name, stream.connection.aborted()).await;
                }
                assert!(is_cut_off(stream).await, "{name} was not cut off");
            } else {
                assert!(stream.connection.aborted().now_or_never().is_none(), "{name} was cut off");
                if stream.name == STREAMS[1] {
                    // Another event comes.
                    assert!(within(&name, stream.answer.body_mut().frame()).await.is_some_and(|frame| frame.is_ok()), "{name} has ended");
                } else {
                    assert!(!is_cut_off(stream).await, "{name} broke off");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_and_a_page_that_follows_a_run_count_as_use_of_their_session() {
    let mut world = World::new().await;
    // Longer than a session without use lives, in steps that are shorter.
    for _ in 0..9 {
        world.story.house.clock.advance(10 * 60_000);
        half_a_minute(&world.story.house).await;
    }
    for stream in &mut world.streams[..2] {
        assert!(stream.connection.aborted().now_or_never().is_none(), "{} was cut off", stream.name);
    }
    assert!(!is_cut_off(&mut world.streams[0]).await);
    assert!(world.here.is_in().await);
    assert_eq!(sessions::Sessions::new(world.story.house.app.db.clone(), world.story.house.clock.clone()).list_for(&world.reader).await.unwrap().len(), 1);
}
