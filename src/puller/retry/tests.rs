//! Which failures are retried, and what their sentences say.

use super::*;
use crate::connectors::pull_error::{Cause, MissingAccess, ResponseLocation};
use crate::connectors::{PullError, Window};

#[test]
fn every_failure_says_what_happened_who_must_act_and_what_is_next() {
    for error in [
        PullError::Unauthorized,
        PullError::CredentialsStopped,
        PullError::Unavailable(Cause::NoProgress),
        PullError::Refused {
            status: 400,
            vendor_message: String::new(),
        },
        PullError::UnexpectedRecords {
            rejected: 20,
            of: 20,
        },
        PullError::AddressRefused { why: "x".into() },
    ] {
        let Decision::Fail(failure) = decide(&error, "LiveChat", "Support", "chats", true) else {
            panic!("{error:?} must end the run")
        };
        assert!(
            !failure.message.is_empty()
                && !failure.who.is_empty()
                && failure.action.contains("unchanged"),
            "{failure:?}"
        );
    }
}

#[test]
fn temporary_failures_are_retried_and_those_that_a_person_must_fix_are_not() {
    for code in [
        "unavailable",
        "malformed",
        "incomplete",
        "unexpected_records",
        "no_progress",
        "run_too_long",
        "internal",
        "busy",
        "storage_full",
        "storage_failed",
        "version_changed",
        "rows_missing",
    ] {
        assert!(may_retry(code), "{code}");
    }
    for code in [
        "unauthorized",
        "credentials_stopped",
        "refused",
        "not_allowed",
        "forbidden_address",
        "address_refused",
        "credential_damaged",
        "account_missing",
        "data_damaged",
        "empty_answer",
        "held",
        "schema_changed",
        "",
    ] {
        assert!(!may_retry(code), "{code}");
    }
    // All errors that end a run: a new one needs a decision here.
    let window = Window {
        from: jiff::civil::date(2026, 11, 1),
        to: jiff::civil::date(2026, 11, 1),
    };
    let place = ResponseLocation {
        path: "/chats".to_owned(),
        page: 1,
    };
    for (error, again) in [
        (PullError::Unauthorized, false),
        (PullError::CredentialsStopped, false),
        (
            PullError::Refused {
                status: 403,
                vendor_message: String::new(),
            },
            false,
        ),
        (PullError::NotAllowed(MissingAccess::Permission), false),
        (PullError::NotAllowed(MissingAccess::Plan), false),
        (
            PullError::AddressRefused {
                why: "x".to_owned(),
            },
            false,
        ),
        (PullError::Unavailable(Cause::WebPage(403)), true),
        (PullError::Unavailable(Cause::Denied(403)), true),
        (PullError::Unavailable(Cause::ProxyCredentials), true),
        (PullError::Unavailable(Cause::Unconfirmed(401)), true),
        (PullError::Unavailable(Cause::NoData(404)), true),
        (
            PullError::Malformed {
                at: place,
                why: "x".to_owned(),
            },
            true,
        ),
        (
            PullError::Incomplete {
                window,
                have: 1,
                of: 2,
            },
            true,
        ),
        (
            PullError::UnexpectedRecords {
                rejected: 20,
                of: 20,
            },
            true,
        ),
        (PullError::StorageFull, true),
    ] {
        let Decision::Fail(failure) = decide(&error, "LiveChat", "Support", "chats", true) else {
            panic!("{error:?} must end the run")
        };
        assert_eq!(may_retry(&failure.code), again, "{error:?}");
    }
}

#[test]
fn a_refused_request_says_who_can_fix_it() {
    let refusal = |status, said: &str| {
        let Decision::Fail(failure) = decide(
            &PullError::Refused {
                status,
                vendor_message: said.to_owned(),
            },
            "LiveChat",
            "Support",
            "chats",
            true,
        ) else {
            panic!()
        };
        failure
    };
    let scope = refusal(403, "Missing scope: tags--all:ro");
    assert!(
        scope.message.contains("Missing scope: tags--all:ro")
            && scope.who.contains("roles and scopes in LiveChat"),
        "{scope:?}"
    );
    let zone = refusal(400, "timezone must be one of the names of the tz database");
    assert!(
        zone.who.contains("time zone") && zone.action.contains("time zone"),
        "{zone:?}"
    );
    assert!(refusal(400, "group is unknown").who.contains("Group"));
}

#[test]
fn a_wait_has_a_minimum_and_a_maximum() {
    for (asked, waits) in [
        (None, 60),
        (Some(0), 1),
        (Some(30), 30),
        (Some(315_360_000), 86_400),
    ] {
        let Decision::Wait(wait) = decide(
            &PullError::RateLimited {
                wait: asked.map(Duration::from_secs),
            },
            "LiveChat",
            "Support",
            "chats",
            true,
        ) else {
            panic!()
        };
        assert_eq!(wait.as_secs(), waits);
    }
}
