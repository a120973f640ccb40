//! What each caller gets at every address of the API.

use serde_json::{Value, json};

/// The status for a token, by scope: read, run, manage.
pub(super) type ByScope = [u16; 3];

/// The status for each caller at an address whose object belongs to the owner.
pub(super) struct Case {
    pub(super) method: &'static str,
    pub(super) address: &'static str,
    pub(super) viewer: ByScope,
    pub(super) owner: ByScope,
    pub(super) other_editor: ByScope,
    pub(super) admin: ByScope,
}

pub(super) const fn case(
    method: &'static str,
    address: &'static str,
    viewer: ByScope,
    owner: ByScope,
    other_editor: ByScope,
    admin: ByScope,
) -> Case {
    Case {
        method,
        address,
        viewer,
        owner,
        other_editor,
        admin,
    }
}

pub(super) const ALL: ByScope = [200; 3];

pub(super) const NO: ByScope = [403; 3];

pub(super) const HIDDEN: ByScope = [404; 3];

/// Accounts need the scope manage, and are never shown to viewers.
pub(super) const fn manage(good: u16) -> ByScope {
    [403, 403, good]
}

pub(super) const fn run(good: u16) -> ByScope {
    [403, good, good]
}

pub(super) const CASES: [Case; 42] = [
    case("GET", "/connectors", ALL, ALL, ALL, ALL),
    case("GET", "/connectors/{id}", ALL, ALL, ALL, ALL),
    case(
        "GET",
        "/accounts",
        NO,
        manage(200),
        manage(200),
        manage(200),
    ),
    case(
        "POST",
        "/accounts",
        NO,
        manage(201),
        manage(201),
        manage(201),
    ),
    case(
        "GET",
        "/accounts/{id}",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "PATCH",
        "/accounts/{id}",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "DELETE",
        "/accounts/{id}",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "POST",
        "/accounts/{id}/check",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "GET",
        "/accounts/{id}/choices",
        NO,
        manage(200),
        manage(404),
        manage(200),
    ),
    case("GET", "/datasets", ALL, ALL, ALL, ALL),
    case(
        "POST",
        "/datasets",
        NO,
        manage(201),
        manage(404),
        manage(201),
    ),
    case("GET", "/datasets/{id}", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "PATCH",
        "/datasets/{id}",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "DELETE",
        "/datasets/{id}",
        manage(404),
        manage(204),
        manage(404),
        manage(204),
    ),
    // It has no schedule.
    case(
        "POST",
        "/datasets/{id}/pause",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "POST",
        "/datasets/{id}/resume",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "GET",
        "/datasets/{id}/notifications",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case(
        "PATCH",
        "/datasets/{id}/notifications",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    // Its schedule was not stopped.
    case(
        "POST",
        "/datasets/{id}/bring-back",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "GET",
        "/webhooks",
        NO,
        manage(200),
        manage(200),
        manage(200),
    ),
    case("GET", "/datasets/{id}/runs", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "POST",
        "/datasets/{id}/runs",
        run(404),
        run(202),
        run(404),
        run(202),
    ),
    case("GET", "/runs/{id}", HIDDEN, ALL, HIDDEN, ALL),
    // The run is not held.
    case(
        "POST",
        "/runs/{id}/accept",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "POST",
        "/runs/{id}/discard",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case(
        "POST",
        "/runs/{id}/cancel",
        run(404),
        run(200),
        run(404),
        run(200),
    ),
    case("GET", "/datasets/{id}/rows", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/data", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/versions", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/windows", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/schema", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "POST",
        "/datasets/{id}/revert",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    // The version is the current one.
    case(
        "DELETE",
        "/datasets/{id}/versions/{version}",
        manage(404),
        manage(409),
        manage(404),
        manage(409),
    ),
    case("GET", "/datasets/{id}/retention", HIDDEN, ALL, HIDDEN, ALL),
    case(
        "PATCH",
        "/datasets/{id}/retention",
        manage(404),
        manage(200),
        manage(404),
        manage(200),
    ),
    case("GET", "/datasets/{id}/coverage", HIDDEN, ALL, HIDDEN, ALL),
    case("GET", "/datasets/{id}/backfills", HIDDEN, ALL, HIDDEN, ALL),
    // Agents have no days.
    case(
        "POST",
        "/datasets/{id}/backfills",
        run(404),
        run(409),
        run(404),
        run(409),
    ),
    case(
        "POST",
        "/datasets/{id}/backfills/{backfill}/cancel",
        run(404),
        run(200),
        run(404),
        run(200),
    ),
    case(
        "POST",
        "/datasets/{id}/backfills/{backfill}/resume",
        run(404),
        run(409),
        run(404),
        run(409),
    ),
    case(
        "POST",
        "/datasets/{id}/duplicate",
        manage(404),
        manage(201),
        manage(404),
        manage(201),
    ),
    case("GET", "/openapi.json", ALL, ALL, ALL, ALL),
];

/// The address with the id of its object, and the body that it needs.
pub(super) fn filled(case: &Case, account: &str, dataset: &str, run: &str) -> (String, Value) {
    // These two belong to the run that was pulled, or do not exist, for every DataSet.
    let (version, backfill) = (run.replace("run_", "ver_"), run.replace("run_", "bf_"));
    let id = match case.address.split('/').nth(1) {
        Some("connectors") => "livechat",
        Some("accounts") => account,
        Some("datasets") => dataset,
        _ => run,
    };
    let mut path = case
        .address
        .replace("{id}", id)
        .replace("{version}", &version)
        .replace("{backfill}", &backfill);
    if path.ends_with("/choices") {
        path.push_str("?menu=group");
    }
    let body = match (case.method, case.address) {
        ("POST", "/accounts") => {
            json!({"connector": "livechat", "name": "New", "credentials": {"username": "a@b.test", "api_key": "k"}})
        }
        ("POST", "/datasets") => json!({"name": "New", "account_id": account, "report": "agents"}),
        ("PATCH", "/accounts/{id}") => json!({"name": "Other"}),
        ("PATCH", "/datasets/{id}/notifications") => json!({"after": 2}),
        ("PATCH", "/datasets/{id}/retention") => json!({"versions": 5}),
        ("POST", "/datasets/{id}/revert") => json!({"version": version}),
        ("POST", "/datasets/{id}/backfills") => json!({"from": "2026-01-01", "to": "2026-01-31"}),
        ("PATCH", _) => json!({"description": "Other"}),
        _ => json!({}),
    };
    (path, body)
}
