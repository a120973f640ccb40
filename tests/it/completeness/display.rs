//! The completeness of a run on pages, in the API and in commands, and the option to read twice.

use chatlake::datasets::options::DatasetOptions;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::data_dir::DataDir;
use crate::support::datasets::DatasetFixture;
use crate::support::sandbox::LocalSandbox;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_the_completeness_of_its_weakest_window_in_all_places() {
    let fixture = DatasetFixture::new().await;
    // The 15th to the 19th; at noon of the 20th the 17th is the last settled day.
    let dataset = fixture
        .dataset("chat", json!({"menus": {"start_days": 5, "end_days": 1}}))
        .await;
    let windows = async || {
        let lines = fixture
            .call(
                "GET",
                &format!("/datasets/{dataset}/windows?limit=5"),
                Value::Null,
            )
            .await
            .1;
        let of = |name: &str| {
            lines["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line[name].clone())
                .collect::<Vec<_>>()
        };
        (of("completeness"), of("verified"))
    };
    let days = async || {
        let days = fixture
            .call("GET", &format!("/datasets/{dataset}/coverage"), Value::Null)
            .await
            .1;
        days["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|day| format!("{} {}", day["state"], day["completeness"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    let run = fixture.good_run(&dataset).await;
    assert_eq!(
        (&run["completeness"], &run["verified"]),
        (&json!("reread"), &json!(true)),
        "{run}"
    );
    assert_eq!(
        windows().await,
        (
            ["verified", "verified", "verified", "reread", "reread"]
                .map(Value::from)
                .into(),
            vec![json!(true); 5]
        )
    );
    assert_eq!(
        days().await,
        [
            "verified verified",
            "verified verified",
            "verified verified",
            "verified reread",
            "verified reread"
        ]
    );
    let page = fixture
        .owner
        .get(&format!("/runs/{}", run["id"].as_str().unwrap()))
        .await;
    let record = page.texts(".run-detail").join(" ");
    assert!(
        record.contains("Pulled twice: two pulls of the newest days agree. LiveChat reports"),
        "{record}"
    );
    assert!(
        record.contains("Pages pulled again")
            && page.texts(".run-detail table")[0].contains("Pulled twice"),
        "{record}"
    );
    assert!(
        page.texts(".run-log")
            .join(" ")
            .contains("Two pulls agree."),
        "{:?}",
        page.texts(".run-log")
    );

    // Without the second read, which makes it another request.
    let changed = fixture
        .change(&dataset, json!({"options": {"second_read": false}}))
        .await;
    assert_eq!(changed["options"]["second_read"], json!(false));
    let once = fixture.good_run(&dataset).await;
    assert_eq!(
        (&once["completeness"], &once["verified"], &once["rows"]),
        (&json!("counted"), &json!(false), &run["rows"]),
        "{once}"
    );
    assert!(once["calls"].as_u64() < run["calls"].as_u64(), "{once}");
    let (proven, verified) = windows().await;
    assert_eq!(
        proven,
        ["verified", "verified", "verified", "counted", "counted"].map(Value::from)
    );
    assert_eq!(verified, [true, true, true, false, false].map(Value::from));
    assert_eq!(days().await[3..], ["held counted", "held counted"]);
    let history = fixture
        .owner
        .get(&format!("/datasets/{dataset}/history"))
        .await;
    assert!(
        history.texts(".run-detail")[0].contains("Counted: LiveChat reports"),
        "{:?}",
        history.texts(".run-detail")
    );
    assert!(
        history
            .text
            .contains("aria-label=\"Thu 19 Nov 2026: present, counted\""),
        "the calendar says what is proven of the day"
    );
    let day = fixture
        .owner
        .get(&format!("/datasets/{dataset}/days/2026-11-19"))
        .await;
    assert!(
        day.texts("table")[0].contains("Counted") && day.texts("table")[0].contains("Pulled twice"),
        "{:?}",
        day.texts("table")
    );

    // A page that arrived twice, on a settled day: the window was read again.
    let faults = fixture.ctx.sandbox.faults();
    faults.set(vec![
        Fault::new(FaultKind::RepeatPage)
            .on("/chats")
            .page(2)
            .times(1),
    ]);
    let corrected = fixture.good_run(&dataset).await;
    assert_eq!(
        (
            &corrected["completeness"],
            &corrected["verified"],
            &corrected["rows"]
        ),
        (&json!("corrected"), &json!(false), &run["rows"]),
        "{corrected}"
    );
    faults.set(vec![
        Fault::new(FaultKind::LyingTotal { by: 3 }).on("/chats"),
    ]);
    let short = fixture.run(&dataset).await;
    assert_eq!(
        (&short["state"], &short["completeness"], &short["verified"]),
        (&json!("failed"), &json!("short"), &json!(false)),
        "{short}"
    );
    assert_eq!(
        (windows().await.0[0].clone(), windows().await.1[0].clone()),
        (json!("short"), json!(false))
    );
    faults.clear();
    assert_eq!(
        days().await[0],
        "stale verified",
        "the rows of the run before are those that people read"
    );

    // Lists, periods and the document of LiveLeader are read to their ends.
    let agents = fixture.dataset("agents", json!({})).await;
    let run = fixture.good_run(&agents).await;
    assert_eq!(
        (&run["completeness"], &run["verified"]),
        (&json!("complete"), &Value::Null),
        "{run}"
    );
    let leader = fixture.leader().await;
    let exported = fixture
        .dataset(
            "chats",
            json!({"account_id": leader, "menus": {"start_days": 2, "end_days": 1}}),
        )
        .await;
    assert_eq!(
        fixture.good_run(&exported).await["completeness"],
        json!("complete")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_read_is_an_option_and_is_on_where_none_is_stored() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(30).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let make = [
        "dataset",
        "create",
        "--user",
        email.as_str(),
        "--name",
        "Chats",
        "--account",
        account.as_str(),
        "--report",
        "chat",
        "--no-second-read",
    ];
    let once = data_dir.run(&make).await.good();
    let usual = data_dir.run(&make[..make.len() - 1]).await.good();
    let server = data_dir.serve().await;
    for (dataset, wanted, proven) in [(&once, false, "counted"), (&usual, true, "reread")] {
        assert_eq!(
            server.get(&format!("/datasets/{dataset}"), &token).await.1["options"]["second_read"],
            json!(wanted)
        );
        let run = server
            .over(&server.run(dataset, &token).await, &token)
            .await;
        assert_eq!(
            (&run["state"], &run["completeness"]),
            (&json!("succeeded"), &json!(proven)),
            "{run}"
        );
    }
    server.stop().await;
    // Options that were stored before this option existed have it on.
    assert!(
        serde_json::from_str::<DatasetOptions>(r#"{"key":[],"look_back":2}"#)
            .unwrap()
            .second_read
    );
}
