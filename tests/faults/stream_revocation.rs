//! Streams and downloads end with what let them begin: each kind of stream against each way of
//! ending a session, a token, an export password or a person.

use std::net::SocketAddr;

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

use crate::support::context::TestContext;
use crate::support::exports::{CLASSIC, ExportFixture, many};
use crate::support::http::Browser;
use crate::support::{DAY, HOUR, PASSWORD, TIMEOUT};

const ANOTHER: &str = "staple battery horse";

/// What begins, in the order of the columns of `TABLE`: as a page's session, as a token, as an
/// export password.
const STREAMS: [&str; 4] = [
    "a download by a page",
    "events of a run",
    "a download by a token",
    "an export",
];

/// How something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Revocation {
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
const TABLE: [(Revocation, [bool; 4]); 16] = [
    (Revocation::SignOut, [E, E, G, G]),
    (Revocation::SignInAgain, [E, E, G, G]),
    (Revocation::SignOutEverywhere, [E, E, G, G]),
    (Revocation::PasswordHere, [E, E, G, G]),
    (Revocation::PasswordElsewhere, [E, E, G, G]),
    (Revocation::PasswordAndTokens, [E, E, E, E]),
    (Revocation::PasswordByAdmin, [E, E, G, G]),
    (Revocation::OtherRole, [E, E, E, E]),
    (Revocation::Deactivated, [E, E, E, E]),
    (Revocation::TwelveHours, [E, E, G, G]),
    (Revocation::TokenRevoked, [G, G, E, G]),
    (Revocation::TokenExpires, [E, E, E, G]),
    (Revocation::ExportPasswordRevoked, [G, G, G, E]),
    (Revocation::ExportPasswordExpires, [E, E, E, E]),
    (Revocation::NoLongerShared, [E, E, E, E]),
    (Revocation::Nothing, [G, G, G, G]),
];

struct Stream {
    name: &'static str,
    connection: Connection,
    answer: Response<Body>,
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: it hangs"))
}

async fn begin(
    ctx: &TestContext,
    name: &'static str,
    path: &str,
    header: Option<(&str, String)>,
) -> Stream {
    let connection = Connection::default();
    let mut request = Request::get(path).header("host", "127.0.0.1:8080");
    if let Some((name, value)) = &header {
        request = request.header(*name, value);
    }
    let request = request
        .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))))
        .extension(connection.clone());
    let mut answer = within(
        name,
        ctx.router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap()),
    )
    .await
    .unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{name}");
    let first = within(name, answer.body_mut().frame()).await;
    assert!(first.is_some_and(|frame| frame.is_ok()), "{name}");
    Stream {
        name,
        connection,
        answer,
    }
}

/// Reads what comes until the stream breaks off or ends. True when it broke off, or events stopped
/// coming.
async fn is_cut_off(stream: &mut Stream) -> bool {
    loop {
        match within(stream.name, stream.answer.body_mut().frame()).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
            None => return stream.name == STREAMS[1],
        }
    }
}

struct StreamFixture {
    export_fixture: ExportFixture,
    reader: UserId,
    here: Browser,
    elsewhere: Browser,
    token: tokens::Token,
    export: export_passwords::ExportPassword,
    streams: Vec<Stream>,
}

impl StreamFixture {
    /// The chats are few, so that no stream is cut off for being read slowly while the clock moves.
    ///
    /// Rita reads what Olga shares, in four ways at once. She is an editor, so that another role is
    /// a lesser one.
    async fn new() -> Self {
        let export_fixture = ExportFixture::of(TestContext::new().await, &many(20)).await;
        let ctx = &export_fixture.ctx;
        ctx.app
            .datasets
            .share(&export_fixture.owner, &export_fixture.dataset, true)
            .await
            .unwrap();
        // Nobody pulls here, so it stays queued.
        let run = ctx
            .app
            .puller
            .run_now(
                &export_fixture.owner,
                &export_fixture.dataset,
                Trigger::Manual,
            )
            .await
            .unwrap();
        let (rita, here) = ctx.signed_in_person("rita", Role::Editor).await;
        let elsewhere = ctx.signed_in(&rita).await;
        let (token, text) = {
            let new = tokens::NewToken {
                name: "script".to_owned(),
                scope: Scope::Read,
                days: 1,
            };
            tokens::create(&ctx.app.db, &ctx.clock, &rita, &new)
                .await
                .unwrap()
        };
        let (export, password) = {
            let new = export_passwords::NewExportPassword {
                name: "script".to_owned(),
                days: 2,
            };
            export_passwords::create(&ctx.app.db, &ctx.clock, (&rita).into(), &new)
                .await
                .unwrap()
        };
        let cookies: Vec<String> = here
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let session = || Some(("cookie", cookies.join("; ")));
        let bearer = Some(("authorization", format!("Bearer {}", text.reveal())));
        let classic = format!(
            "/a/Srv?{CLASSIC}&email=rita@house.test&password={}",
            password.reveal()
        );
        let streams = vec![
            begin(
                ctx,
                STREAMS[0],
                &format!("/datasets/{}/download", export_fixture.dataset),
                session(),
            )
            .await,
            begin(
                ctx,
                STREAMS[1],
                &format!("/runs/{}/events", run.id),
                session(),
            )
            .await,
            begin(
                ctx,
                STREAMS[2],
                &format!("/api/v1/datasets/{}/data", export_fixture.dataset),
                bearer,
            )
            .await,
            begin(ctx, STREAMS[3], &classic, None).await,
        ];
        Self {
            reader: rita.user,
            export_fixture,
            here,
            elsewhere,
            token,
            export,
            streams,
        }
    }

    async fn revoke(&mut self, revocation: Revocation) {
        let (db, clock) = (
            self.export_fixture.ctx.app.db.clone(),
            self.export_fixture.ctx.clock.clone(),
        );
        let hasher = Hasher::new(1);
        let change = |tokens: &'static str| {
            [
                ("current_password", PASSWORD),
                ("password", ANOTHER),
                ("revoke_tokens", tokens),
            ]
        };
        match revocation {
            Revocation::SignOut => drop(self.here.post("/sign-out", &[]).await),
            Revocation::SignInAgain => drop(
                self.here
                    .post(
                        "/sign-in",
                        &[("email", "rita@house.test"), ("password", PASSWORD)],
                    )
                    .await,
            ),
            Revocation::SignOutEverywhere => {
                drop(self.elsewhere.post("/me/sign-out-everywhere", &[]).await)
            }
            Revocation::PasswordHere => {
                drop(self.here.post("/me/password", &change("")[..2]).await)
            }
            Revocation::PasswordElsewhere => {
                drop(self.elsewhere.post("/me/password", &change("")[..2]).await)
            }
            Revocation::PasswordAndTokens => {
                drop(self.elsewhere.post("/me/password", &change("true")).await)
            }
            Revocation::PasswordByAdmin => {
                users::set_password(&db, &clock, &hasher, &self.reader, &Secret::new(ANOTHER))
                    .await
                    .unwrap()
            }
            Revocation::OtherRole => users::set_role(&db, &clock, &self.reader, Role::Viewer, None)
                .await
                .unwrap(),
            Revocation::Deactivated => users::disable(&db, &clock, &self.reader, None)
                .await
                .unwrap(),
            Revocation::TwelveHours => clock.advance(12 * HOUR),
            Revocation::TokenRevoked => tokens::revoke(&db, &clock, &self.token.id, None)
                .await
                .unwrap(),
            Revocation::TokenExpires => clock.advance(DAY),
            Revocation::ExportPasswordRevoked => {
                export_passwords::revoke(&db, &clock, &self.export.id, None)
                    .await
                    .unwrap()
            }
            Revocation::ExportPasswordExpires => clock.advance(2 * DAY),
            Revocation::NoLongerShared => self
                .export_fixture
                .ctx
                .app
                .datasets
                .share(
                    &self.export_fixture.owner,
                    &self.export_fixture.dataset,
                    false,
                )
                .await
                .unwrap(),
            Revocation::Nothing => {}
        }
    }
}

/// Half a minute, in steps between which everybody may look.
async fn half_a_minute(ctx: &TestContext) {
    for _ in 0..3 {
        ctx.clock.advance(10_000);
        // A look asks the catalogue; one of ours behind it in the queue is answered after it.
        for _ in 0..20 {
            users::count(&ctx.app.db).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_ends_with_what_let_it_begin_within_half_a_minute_and_no_other_does() {
    for (revocation, ends) in TABLE {
        let mut fixture = StreamFixture::new().await;
        fixture.revoke(revocation).await;
        half_a_minute(&fixture.export_fixture.ctx).await;
        for (stream, ends) in fixture.streams.iter_mut().zip(ends) {
            let name = format!("{revocation:?}: {}", stream.name);
            if ends {
                // The connection is closed, so that it ends also while nobody reads; events may end
                // by themselves before.
                if stream.name != STREAMS[1] {
                    within(&name, stream.connection.aborted()).await;
                }
                assert!(is_cut_off(stream).await, "{name} was not cut off");
            } else {
                assert!(
                    stream.connection.aborted().now_or_never().is_none(),
                    "{name} was cut off"
                );
                if stream.name == STREAMS[1] {
                    // Another event comes.
                    assert!(
                        within(&name, stream.answer.body_mut().frame())
                            .await
                            .is_some_and(|frame| frame.is_ok()),
                        "{name} has ended"
                    );
                } else {
                    assert!(!is_cut_off(stream).await, "{name} broke off");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_and_a_page_that_follows_a_run_count_as_use_of_their_session() {
    let mut fixture = StreamFixture::new().await;
    // Longer than a session without use lives, in steps that are shorter.
    for _ in 0..9 {
        fixture.export_fixture.ctx.clock.advance(10 * 60_000);
        half_a_minute(&fixture.export_fixture.ctx).await;
    }
    for stream in &mut fixture.streams[..2] {
        assert!(
            stream.connection.aborted().now_or_never().is_none(),
            "{} was cut off",
            stream.name
        );
    }
    assert!(!is_cut_off(&mut fixture.streams[0]).await);
    assert!(fixture.here.is_signed_in().await);
    assert_eq!(
        sessions::Sessions::new(
            fixture.export_fixture.ctx.app.db.clone(),
            fixture.export_fixture.ctx.clock.clone()
        )
        .list_for(&fixture.reader)
        .await
        .unwrap()
        .len(),
        1
    );
}
