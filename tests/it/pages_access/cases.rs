//! What each visitor gets at every address of the pages.

use crate::support::http::Page;

use PageOutcome::{Done, Failed, Forbidden, Hidden, Other, Page as Shown, SignIn, Wrong};

/// The kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageOutcome {
    Page,
    /// The change was made, and the answer is a redirect.
    Done,
    /// A redirect to the sign-in page.
    SignIn,
    Forbidden,
    Hidden,
    /// The form again, with its errors.
    Wrong,
    /// The form again, after the action failed.
    Failed,
    Other(u16),
}

impl PageOutcome {
    pub(super) fn of(page: &Page) -> Self {
        match page.status.as_u16() {
            200 => Shown,
            303 if page.location().split('?').next() == Some("/sign-in") => SignIn,
            303 => Done,
            403 => Forbidden,
            404 => Hidden,
            422 => Wrong,
            other => Self::Other(other),
        }
    }

    pub(super) fn refuses(self) -> bool {
        !matches!(self, Shown | Done | Failed)
    }

    pub(super) fn is(self, page: &Page) -> bool {
        Self::of(page) == if self == Failed { Wrong } else { self }
    }
}

/// A method and an address, and the outcome for: an anonymous or deactivated person, a viewer,
/// the editor whose object it is, another editor, an admin.
pub(super) type Case = (&'static str, &'static str, [PageOutcome; 5]);

pub(super) const ALL: [PageOutcome; 5] = [Shown; 5];

pub(super) const PEOPLE: [PageOutcome; 5] = [SignIn, Shown, Shown, Shown, Shown];

pub(super) const SAVED: [PageOutcome; 5] = [SignIn, Done, Done, Done, Done];

pub(super) const EDITORS: [PageOutcome; 5] = [SignIn, Forbidden, Shown, Shown, Shown];

pub(super) const fn admins(got: PageOutcome) -> [PageOutcome; 5] {
    [SignIn, Forbidden, Forbidden, Forbidden, got]
}

/// An object of the owner that is not shared. `viewer` differs because viewers see no accounts at
/// all.
pub(super) const fn own(viewer: PageOutcome, got: PageOutcome) -> [PageOutcome; 5] {
    [SignIn, viewer, got, Hidden, got]
}

pub(super) const CASES: [Case; 98] = [
    ("GET", "/healthz", ALL),
    ("GET", "/readyz", ALL),
    ("GET", "/metrics", [Other(401); 5]),
    ("GET", "/", [Done; 5]),
    ("GET", "/sign-in", [Shown, Done, Done, Done, Done]),
    ("POST", "/sign-in", [Done; 5]),
    ("POST", "/sign-out", [SignIn; 5]),
    // A person exists, so the set-up code no longer works.
    ("GET", "/set-up/{code}", [Hidden; 5]),
    ("POST", "/set-up", [Hidden; 5]),
    ("GET", "/invite/{code}", ALL),
    ("POST", "/invite", [Done; 5]),
    ("GET", "/me", PEOPLE),
    ("POST", "/me/name", SAVED),
    // The present password is wrong.
    ("POST", "/me/password", [SignIn, Wrong, Wrong, Wrong, Wrong]),
    ("POST", "/me/sign-out-everywhere", [SignIn; 5]),
    ("POST", "/me/export-passwords", PEOPLE),
    (
        "GET",
        "/me/export-passwords/{id}/revoke",
        own(Hidden, Shown),
    ),
    (
        "POST",
        "/me/export-passwords/{id}/revoke",
        own(Hidden, Done),
    ),
    ("GET", "/settings", PEOPLE),
    ("GET", "/settings/people/new", admins(Shown)),
    ("POST", "/settings/people/new", admins(Shown)),
    ("GET", "/settings/people/{id}/disable", admins(Shown)),
    ("POST", "/settings/people/{id}/disable", admins(Done)),
    ("POST", "/settings/people/{id}/enable", admins(Done)),
    ("POST", "/settings/people/{id}/role", admins(Done)),
    ("POST", "/settings/people/{id}/link", admins(Shown)),
    ("GET", "/settings/invites/{id}/withdraw", admins(Shown)),
    ("POST", "/settings/invites/{id}/withdraw", admins(Done)),
    ("GET", "/settings/notifications", admins(Shown)),
    // Without a server's name; without a server; to nobody.
    ("POST", "/settings/notifications/mail", admins(Wrong)),
    ("POST", "/settings/notifications/mail/test", admins(Wrong)),
    ("GET", "/settings/notifications/mail/remove", admins(Shown)),
    ("POST", "/settings/notifications/mail/remove", admins(Done)),
    ("POST", "/settings/notifications/webhooks", admins(Shown)),
    (
        "POST",
        "/settings/notifications/webhooks/{id}/test",
        admins(Failed),
    ),
    (
        "GET",
        "/settings/notifications/webhooks/{id}/remove",
        admins(Shown),
    ),
    (
        "POST",
        "/settings/notifications/webhooks/{id}/remove",
        admins(Done),
    ),
    ("GET", "/accounts", EDITORS),
    ("GET", "/accounts/new", EDITORS),
    // Without credentials.
    (
        "POST",
        "/accounts/new",
        [SignIn, Forbidden, Wrong, Wrong, Wrong],
    ),
    ("GET", "/accounts/{id}/edit", own(Forbidden, Shown)),
    ("POST", "/accounts/{id}/edit", own(Forbidden, Done)),
    ("POST", "/accounts/{id}/check", own(Forbidden, Done)),
    ("POST", "/accounts/{id}/bring-back", own(Forbidden, Done)),
    ("POST", "/accounts/{id}/run-failed", own(Forbidden, Done)),
    ("GET", "/accounts/{id}/delete", own(Forbidden, Shown)),
    ("POST", "/accounts/{id}/delete", own(Forbidden, Done)),
    ("GET", "/help", PEOPLE),
    ("GET", "/help/components", admins(Shown)),
    ("GET", "/connect", EDITORS),
    // With the owner's account.
    ("GET", "/connect/{connector}", own(Forbidden, Shown)),
    ("POST", "/connect/{connector}", own(Forbidden, Done)),
    ("GET", "/datasets", PEOPLE),
    ("GET", "/datasets/{id}", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/settings", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/settings", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/data", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/data/schema", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/history", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/download", own(Hidden, Shown)),
    (
        "GET",
        "/datasets/{id}/versions/{version}/revert",
        own(Hidden, Shown),
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/revert",
        own(Hidden, Done),
    ),
    (
        "GET",
        "/datasets/{id}/versions/{version}/delete",
        own(Hidden, Shown),
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/delete",
        own(Hidden, Done),
    ),
    ("GET", "/datasets/{id}/retention", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/retention", own(Hidden, Done)),
    ("GET", "/datasets/{id}/coverage", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/days/{day}", own(Hidden, Shown)),
    ("GET", "/datasets/{id}/backfill", own(Hidden, Shown)),
    // Its update mode replaces all rows.
    ("POST", "/datasets/{id}/backfill", own(Hidden, Other(409))),
    // It has no backfill.
    (
        "POST",
        "/datasets/{id}/backfill/cancel",
        own(Hidden, Other(409)),
    ),
    (
        "POST",
        "/datasets/{id}/backfill/resume",
        own(Hidden, Other(409)),
    ),
    ("POST", "/datasets/{id}/duplicate", own(Hidden, Done)),
    ("GET", "/datasets/{id}/rename", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/rename", own(Hidden, Done)),
    ("GET", "/datasets/{id}/delete", own(Hidden, Shown)),
    ("POST", "/datasets/{id}/delete", own(Hidden, Done)),
    ("POST", "/datasets/{id}/run", own(Hidden, Done)),
    // It has no schedule.
    ("POST", "/datasets/{id}/pause", own(Hidden, Other(409))),
    ("POST", "/datasets/{id}/resume", own(Hidden, Done)),
    ("POST", "/datasets/{id}/sharing", own(Hidden, Done)),
    (
        "POST",
        "/datasets/{id}/publishing",
        [SignIn, Hidden, Forbidden, Hidden, Done],
    ),
    ("GET", "/datasets/{id}/notifications", own(Hidden, Done)),
    ("POST", "/datasets/{id}/notifications", own(Hidden, Done)),
    ("POST", "/datasets/{id}/bring-back", own(Hidden, Done)),
    ("GET", "/runs/{id}", own(Hidden, Shown)),
    ("GET", "/runs/{id}/events", own(Hidden, Shown)),
    ("GET", "/runs/{id}/progress", own(Hidden, Shown)),
    ("GET", "/runs/{id}/stop", own(Hidden, Shown)),
    ("POST", "/runs/{id}/stop", own(Hidden, Done)),
    // The run is not held.
    (
        "POST",
        "/runs/{id}/accept",
        own(Hidden, PageOutcome::Other(409)),
    ),
    (
        "POST",
        "/runs/{id}/discard",
        own(Hidden, PageOutcome::Other(409)),
    ),
    ("GET", "/activity", PEOPLE),
    // A file of `/static` is no route of the table.
    ("GET", "/static/{file}", ALL),
    // Addresses that do not exist.
    ("GET", "/nowhere", [Hidden; 5]),
    ("POST", "/nowhere", [Hidden; 5]),
    ("GET", "/datasets/{id}/nowhere", [Hidden; 5]),
    ("GET", "/static/nowhere", [Hidden; 5]),
];

/// The addresses in `CASES` that are not in the route table.
pub(super) const OTHER_ADDRESSES: [&str; 4] = [
    "/static/{file}",
    "/nowhere",
    "/datasets/{id}/nowhere",
    "/static/nowhere",
];

/// The outcome at a shared object of another person: for a viewer, and for another editor.
pub(super) const SHARED: [(&str, &str, [PageOutcome; 2]); 50] = [
    // An export password is never shared.
    ("GET", "/me/export-passwords/{id}/revoke", [Hidden; 2]),
    ("POST", "/me/export-passwords/{id}/revoke", [Hidden; 2]),
    ("GET", "/accounts/{id}/edit", [Forbidden; 2]),
    ("POST", "/accounts/{id}/edit", [Forbidden; 2]),
    ("POST", "/accounts/{id}/check", [Forbidden, Done]),
    ("POST", "/accounts/{id}/bring-back", [Forbidden; 2]),
    ("POST", "/accounts/{id}/run-failed", [Forbidden, Done]),
    ("GET", "/accounts/{id}/delete", [Forbidden; 2]),
    ("POST", "/accounts/{id}/delete", [Forbidden; 2]),
    ("GET", "/connect/{connector}", [Forbidden, Shown]),
    ("POST", "/connect/{connector}", [Forbidden, Done]),
    ("GET", "/datasets/{id}", [Shown; 2]),
    ("GET", "/datasets/{id}/settings", [Forbidden; 2]),
    ("POST", "/datasets/{id}/settings", [Forbidden; 2]),
    ("GET", "/datasets/{id}/data", [Shown; 2]),
    ("GET", "/datasets/{id}/data/schema", [Shown; 2]),
    ("GET", "/datasets/{id}/history", [Shown; 2]),
    ("GET", "/datasets/{id}/download", [Shown; 2]),
    (
        "GET",
        "/datasets/{id}/versions/{version}/revert",
        [Forbidden; 2],
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/revert",
        [Forbidden; 2],
    ),
    (
        "GET",
        "/datasets/{id}/versions/{version}/delete",
        [Forbidden; 2],
    ),
    (
        "POST",
        "/datasets/{id}/versions/{version}/delete",
        [Forbidden; 2],
    ),
    ("GET", "/datasets/{id}/retention", [Forbidden; 2]),
    ("POST", "/datasets/{id}/retention", [Forbidden; 2]),
    ("GET", "/datasets/{id}/coverage", [Shown; 2]),
    ("GET", "/datasets/{id}/days/{day}", [Shown; 2]),
    ("GET", "/datasets/{id}/backfill", [Forbidden; 2]),
    ("POST", "/datasets/{id}/backfill", [Forbidden; 2]),
    ("POST", "/datasets/{id}/backfill/cancel", [Forbidden; 2]),
    ("POST", "/datasets/{id}/backfill/resume", [Forbidden; 2]),
    // Its account is shared, too.
    ("POST", "/datasets/{id}/duplicate", [Forbidden, Done]),
    ("GET", "/datasets/{id}/rename", [Forbidden; 2]),
    ("POST", "/datasets/{id}/rename", [Forbidden; 2]),
    ("GET", "/datasets/{id}/delete", [Forbidden; 2]),
    ("POST", "/datasets/{id}/delete", [Forbidden; 2]),
    ("POST", "/datasets/{id}/run", [Forbidden; 2]),
    ("POST", "/datasets/{id}/pause", [Forbidden; 2]),
    ("POST", "/datasets/{id}/resume", [Forbidden; 2]),
    ("POST", "/datasets/{id}/sharing", [Forbidden; 2]),
    ("POST", "/datasets/{id}/publishing", [Forbidden; 2]),
    ("POST", "/datasets/{id}/notifications", [Forbidden; 2]),
    ("POST", "/datasets/{id}/bring-back", [Forbidden; 2]),
    ("GET", "/runs/{id}", [Shown; 2]),
    ("GET", "/runs/{id}/events", [Shown; 2]),
    ("GET", "/runs/{id}/progress", [Shown; 2]),
    ("GET", "/runs/{id}/stop", [Forbidden; 2]),
    ("POST", "/runs/{id}/stop", [Forbidden; 2]),
    ("POST", "/runs/{id}/accept", [Forbidden; 2]),
    ("POST", "/runs/{id}/discard", [Forbidden; 2]),
    ("GET", "/datasets/{id}/notifications", [Done; 2]),
];
