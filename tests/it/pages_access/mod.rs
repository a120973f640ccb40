//! Who may do what on every page: the routes of `src/web/routes.rs` against a table of cases.

mod cases;
mod fixture;
mod hidden_objects;
mod permissions;
mod request_ids;
mod request_methods;
mod route_table;
mod security_headers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::http::StatusCode;

use crate::support::http::Page;

use cases::{CASES, OTHER_ADDRESSES, PageOutcome, SHARED};
use fixture::{AccessFixture, Objects, assert_unchanged, form_fields, objects};

/// The parts of an answer that can be compared, without the ids.
fn comparable(page: &Page, ids: &Objects) -> (StatusCode, BTreeMap<String, String>, String) {
    let request = page.headers["x-request-id"].to_str().unwrap();
    let plain = |text: &str| {
        [request, &ids.account, &ids.dataset, &ids.run]
            .iter()
            .fold(text.to_owned(), |text, id| text.replace(id, "ID"))
    };
    let headers = page
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), plain(value.to_str().unwrap())));
    (
        page.status,
        headers.filter(|(name, _)| name != "set-cookie").collect(),
        plain(&page.text),
    )
}

/// Checks the security headers that every answer has.
fn assert_security_headers(page: &Page, what: &str, https: bool) {
    let header = |name: &str| {
        page.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'";
    assert_eq!(header("content-security-policy"), policy, "{what}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(
        header("referrer-policy"),
        if https { "no-referrer" } else { "same-origin" },
        "{what}"
    );
    assert_eq!(
        header("cross-origin-opener-policy"),
        "same-origin",
        "{what}"
    );
    assert_eq!(
        header("cross-origin-resource-policy"),
        "same-origin",
        "{what}"
    );
    assert!(header("permissions-policy").contains("camera=()"), "{what}");
    assert_eq!(
        header("strict-transport-security"),
        if https { "max-age=31536000" } else { "" },
        "{what}"
    );
    assert!(header("x-request-id").len() > 20, "{what}");
    assert!(
        !page.headers.contains_key("server")
            && !page.headers.contains_key("access-control-allow-origin"),
        "{what}"
    );
    let is_file = what.contains("/static/") && page.status == StatusCode::OK;
    if is_file {
        assert!(
            header("cache-control").contains("max-age=31536000"),
            "{what}: {}",
            header("cache-control")
        );
    } else {
        assert!(
            header("cache-control").contains("no-store"),
            "{what}: {}",
            header("cache-control")
        );
    }
    let kind = header("content-type");
    assert!(
        page.bytes.is_empty() || !kind.is_empty(),
        "{what} does not say what it is"
    );
    assert!(
        !kind.starts_with("text/") || kind.contains("charset=utf-8") || kind == "text/event-stream",
        "{what}: {kind}"
    );
    for line in page.headers.get_all("set-cookie") {
        let line = line.to_str().unwrap();
        assert!(
            line.contains("HttpOnly")
                && line.contains("SameSite=Lax")
                && line.contains("Path=/")
                && line.contains("Secure") == https,
            "{what}: {line}"
        );
    }
    let is_bare = page.text.contains("<body class=\"bare\">");
    assert!(
        !is_bare || !page.text.contains(env!("CARGO_PKG_VERSION")),
        "{what} shows the version to anonymous visitors"
    );
    let to = page.location();
    assert!(
        to.is_empty() || (to.starts_with('/') && !to.starts_with("//")),
        "{what} leads to {to}"
    );
    if page.status.is_client_error() || page.status.is_server_error() {
        for word in [
            "src/",
            ".rs",
            "sqlx",
            "axum",
            "panicked",
            "SELECT ",
            "RUST_BACKTRACE",
            env!("CARGO_PKG_VERSION"),
        ] {
            assert!(
                !page.text.contains(word),
                "{what} says {word}: {}",
                page.title()
            );
        }
        // An answer with a form needs no request id.
        let is_page =
            kind.starts_with("text/html") && !page.bytes.is_empty() && !page.has("main form");
        assert!(
            !is_page || page.text.contains(header("x-request-id")),
            "{what} does not show the request's id: {}",
            page.title()
        );
    }
}

fn source() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/routes.rs"))
        .unwrap()
}

/// The methods and addresses of the route table.
fn routes(source: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (at, start) in source.match_indices(".route(") {
        let rest = source[at + start.len()..]
            .trim_start()
            .strip_prefix('"')
            .expect("an address is written out");
        let (path, rest) = rest.split_once('"').unwrap();
        let mut depth = 1;
        let end = rest.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let handlers = &rest[..end.unwrap()];
        let mut methods = 0;
        for (at, _) in handlers.match_indices('(') {
            let word = handlers[..at]
                .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            assert!(
                ["get", "post", "put", "patch", "delete"].contains(&word),
                "{path}: what is {word}?"
            );
            assert!(
                found.insert((word.to_uppercase(), path.to_owned())),
                "{path} twice"
            );
            methods += 1;
        }
        assert!(methods > 0, "{path} takes no method");
    }
    found
}
