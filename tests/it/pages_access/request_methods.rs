//! GET changes nothing, HEAD has no body, other methods are refused, and forms need the own origin.

use std::collections::{BTreeSet, VecDeque};

use axum::http::{Method, StatusCode};
use chatlake::actor::Role;
use scraper::{Html, Selector};

use super::AccessFixture;
use super::CASES;
use super::OTHER_ADDRESSES;
use super::PageOutcome;
use super::assert_security_headers;
use super::assert_unchanged;
use super::comparable;
use super::form_fields;
use super::routes;
use super::source;
use crate::support::context::TestContext;

use PageOutcome::{Done, Forbidden, Wrong};

#[tokio::test(flavor = "multi_thread")]
async fn reading_changes_nothing_and_no_link_is_broken() {
    let fixture = AccessFixture::new().await;
    // One of the two DataSets fails because its credentials are missing.
    let mut tx = fixture.ctx.app.db.write().await.unwrap();
    let failed = "UPDATE runs
         SET
             state = 'failed', version_id = NULL, error_code = 'unauthorized',
             error_message = 'No', error_who = '', error_action = ''
         WHERE id = $1";
    sqlx::query(failed)
        .bind(&fixture.shared.run)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("UPDATE accounts SET health = 'failing' WHERE id = $1")
        .bind(&fixture.shared.account)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    // The other account is known to work, so panes that open ask the vendor for its menus.
    assert_eq!(
        PageOutcome::of(
            &fixture
                .ask(
                    Some(&fixture.owner),
                    "POST",
                    "/accounts/{id}/check",
                    &fixture.mine
                )
                .await
        ),
        Done
    );
    let before = fixture.digest().await;
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    // Follows all links from all addresses of the table.
    let mut to_see: VecDeque<String> = CASES
        .iter()
        .filter(|case| case.0 == "GET" && !case.2[4].refuses())
        .map(|case| fixture.path(case.1, &fixture.mine))
        .collect();
    let mut seen: BTreeSet<String> = to_see.iter().cloned().collect();
    let links = Selector::parse("a[href], link[href], script[src], img[src], [data-src]").unwrap();
    while let Some(path) = to_see.pop_front() {
        let page = browser.get(&path).await;
        assert_security_headers(&page, &format!("GET {path}"), false);
        assert!(
            page.status == StatusCode::OK || page.status == StatusCode::SEE_OTHER,
            "{path}: {}",
            page.status
        );
        let html = page
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/html"));
        if !html {
            continue;
        }
        for element in Html::parse_document(&page.text).select(&links) {
            let to = ["href", "src", "data-src"]
                .iter()
                .find_map(|name| element.attr(name))
                .unwrap()
                .split('#')
                .next()
                .unwrap();
            // Links that never end are followed a limited number of times.
            if to.starts_with('/') && seen.len() < 400 && seen.insert(to.to_owned()) {
                to_see.push_back(to.to_owned());
            }
        }
    }
    assert!(seen.len() > 60, "{seen:?}");
    assert!(
        seen.contains(&format!("/accounts/{}/edit", fixture.shared.account)),
        "{seen:?}"
    );
    assert_unchanged(&before, &fixture.digest().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_a_body_and_no_other_method_is_served() {
    let fixture = AccessFixture::new().await;
    let before = fixture.digest().await;
    for (_, address, _) in CASES.iter().filter(|case| case.0 == "GET") {
        let path = fixture.path(address, &fixture.mine);
        for actor in [None, Some(&fixture.admin)] {
            let get = fixture.browser(actor).await.get(&path).await;
            let head = fixture
                .browser(actor)
                .await
                .send(Method::HEAD, &path, None, &[])
                .await;
            assert_security_headers(&head, &format!("HEAD {path}"), false);
            assert!(head.bytes.is_empty(), "HEAD {path} has a body");
            let (mut get, mut head) = (
                comparable(&get, &fixture.mine),
                comparable(&head, &fixture.mine),
            );
            if path == "/metrics" {
                // The metrics count these requests.
                get.1.remove("content-length");
                head.1.remove("content-length");
            }
            assert_eq!((head.0, head.1), (get.0, get.1), "HEAD {path}");
        }
    }
    let methods = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get",
        "TRACK",
    ];
    let table = routes(&source());
    let addresses: BTreeSet<&str> = table.iter().map(|(_, path)| path.as_str()).collect();
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    for address in addresses {
        let taken: Vec<&str> = table
            .iter()
            .filter(|(_, path)| path == address)
            .map(|(method, _)| method.as_str())
            .collect();
        for method in methods.iter().filter(|method| !taken.contains(method)) {
            let path = fixture.path(address, &fixture.mine);
            let own = [
                ("origin", "http://127.0.0.1:8080"),
                ("sec-fetch-site", "same-origin"),
            ];
            let page = browser
                .send(method.parse().unwrap(), &path, None, &own)
                .await;
            assert_eq!(
                page.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}: {}",
                page.title()
            );
            let allowed = page
                .headers
                .get("allow")
                .map_or("", |allow| allow.to_str().unwrap());
            assert!(
                taken.iter().all(|method| allowed.contains(method)),
                "{method} {path} allows {allowed:?}"
            );
            assert_security_headers(&page, &format!("{method} {path}"), false);
        }
    }
    assert_unchanged(&before, &fixture.digest().await);
}

#[tokio::test]
async fn head_returns_the_status_and_type_of_the_page_without_its_body() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    for path in ["/accounts", "/settings", "/me", "/help", "/nothing"] {
        let (page, head) = (
            olga.get(path).await,
            olga.send(Method::HEAD, path, None, &[]).await,
        );
        assert_eq!(
            (page.status, page.headers.get("content-type")),
            (head.status, head.headers.get("content-type")),
            "{path}"
        );
        assert!(head.bytes.is_empty() && !page.bytes.is_empty(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_accepted_only_from_the_own_origin() {
    let fixture = AccessFixture::new().await;
    let before = fixture.digest().await;
    let mut browser = fixture.browser(Some(&fixture.admin)).await;
    let (own, other) = ("http://127.0.0.1:8080", "https://evil.example");
    let sites = ["cross-site", "same-site", "none", "same-origin", "", "x"];
    let origins = [
        own,
        other,
        "null",
        "https://127.0.0.1:8080",
        "http://127.0.0.1:8081",
        "http://127.0.0.1:8080.evil.example",
        "",
    ];
    let (mut refused, mut let_in) = (0, 0);
    for (method, address, _) in CASES
        .iter()
        .filter(|case| case.0 == "POST" && !OTHER_ADDRESSES.contains(&case.1))
    {
        for site in sites {
            for origin in origins {
                let headers: Vec<(&str, &str)> = [("sec-fetch-site", site), ("origin", origin)]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .collect();
                let is_own =
                    matches!(site, "none" | "same-origin") || (site.is_empty() && origin == own);
                // An accepted form is executed, so these addresses change little.
                if is_own && *address != "/accounts/new" {
                    continue;
                }
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(form_fields(address, &fixture.mine))
                    .finish();
                let page = browser
                    .send(
                        Method::POST,
                        &fixture.path(address, &fixture.mine),
                        Some(form),
                        &headers,
                    )
                    .await;
                let wanted = if is_own { Wrong } else { Forbidden };
                assert_eq!(
                    PageOutcome::of(&page),
                    wanted,
                    "{method} {address} from {site:?} {origin:?}: {}",
                    page.title()
                );
                assert_security_headers(&page, &format!("{method} {address}"), false);
                if is_own { let_in += 1 } else { refused += 1 }
            }
        }
    }
    assert!(refused > 500 && let_in == 15, "{refused} {let_in}");
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let page = browser
            .send(
                method,
                "/datasets",
                Some(String::new()),
                &[("origin", other)],
            )
            .await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
    assert_unchanged(&before, &fixture.digest().await);
    assert!(
        browser.is_signed_in().await,
        "still signed in after forged sign-outs"
    );
}
