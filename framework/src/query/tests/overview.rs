//! `/stores`, `/cluster`, `/restores` and `/topology`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{body::Body, http::Request};
use serde_json::json;

use super::fixture::{Fake, TASK_OF_UA};
use crate::{
    cluster::{Acceptance, ClusterDescription, PlanTask, Reason, Role, TaskPlacement},
    query::RestoreStatus,
    state::TaskId,
};

#[tokio::test]
async fn stores_are_listed_with_their_owners() {
    let fake = Fake::new("a");
    fake.sees(&[(TASK_OF_UA, "b", "http://b")]);
    let partitioned = |name: &str, kind: &str, key_format: &str| {
        json!({
            "name": name, "kind": kind, "key_format": key_format, "value_format": "json",
            "global": false, "sub_topology": 0, "partitions": 3,
            "owners": [
                {"partition": 0, "instance": null, "url": null},
                {"partition": 1, "instance": "b", "url": "http://b"},
                {"partition": 2, "instance": null, "url": null},
            ],
        })
    };
    let airlines = json!({
        "name": "airlines", "kind": "timestamped-key-value", "key_format": "string", "value_format": "json",
        "global": true, "sub_topology": null, "partitions": null, "owners": [],
    });
    let stores = json!([
        airlines,
        partitioned("by-number", "timestamped-key-value", "i64"),
        partitioned("delays", "timestamped-key-value", "string"),
        partitioned("versions", "versioned", "string"),
    ]);
    assert_eq!(fake.get("/stores").await.json(), json!({ "stores": stores }));

    fake.facts().stores = None;
    assert_eq!(fake.get("/stores").await.problem(), "Starting");
}

#[tokio::test]
async fn the_cluster_is_shown_as_this_instance_sees_it() {
    let fake = Fake::new("a");
    let empty = fake.get("/cluster").await.json();
    assert_eq!(
        (&empty["this_instance"], &empty["generation"], &empty["tasks"]),
        (&json!("a"), &json!(null), &json!([]))
    );

    fake.sees(&[(TASK_OF_UA, "b", "http://b")]);
    fake.sees_placed(TASK_OF_UA, 12);
    let instance = json!({
        "instance": "b", "url": "http://b", "live": true, "zone": null, "capacity": 1, "draining": false,
        "generation": 4, "stored": {},
    });
    let task = json!({
        "task": "0_1", "sub_topology": 0, "partition": 1, "stateful": false, "owner": "b", "assigned": "b",
        "standbys": ["c"], "warm_ups": [], "kept_for": ["d"], "stands_in_for": null, "reason": "balance",
        "hosts": [{"instance": "b", "role": "active", "state": "running", "changelog_offset": 12}],
    });
    let cluster = json!({
        "application_id": "flights", "this_instance": "a", "member_of_generation": 4, "generation": 4, "version": 2,
        "leader": "b", "num_standby_replicas": 1, "max_warmup_replicas": 2, "instances": [instance], "tasks": [task],
    });
    let body = fake.get("/cluster").await;
    assert_eq!(body.json(), cluster);

    // It is all that a plan needs.
    let description: ClusterDescription = serde_json::from_slice(&body.body).expect("a description of a cluster");
    let input = description.plan_input().expect("nothing is there twice");
    assert_eq!(input.tasks, [PlanTask { task: TASK_OF_UA, stateful: false }]);
    assert_eq!((input.num_standby_replicas, input.max_warmup_replicas), (1, 2));
    let placement = TaskPlacement {
        active: Some("b".into()),
        standbys: vec!["c".into()],
        warm_ups: Vec::new(),
        kept_for: vec!["d".into()],
        stands_in_for: None,
        reason: Reason::Balance,
    };
    assert_eq!(input.expected, BTreeSet::from(["d".into()]));
    assert_eq!(input.previous, BTreeMap::from([(TASK_OF_UA, placement)]));
    let b = &input.members["b"];
    assert_eq!((b.acceptance, b.capacity, b.state.get(&TASK_OF_UA)), (Acceptance::Open, 1, Some(&12)));
    assert_eq!((&b.held, &b.caught_up), (&BTreeSet::from([TASK_OF_UA]), &BTreeSet::from([TASK_OF_UA])));
}

#[tokio::test]
async fn the_topology_is_json_unless_text_is_preferred() {
    let fake = Fake::new("a");
    let text = "Topology: flight-delays\n";
    let json = r#"{"name":"flight-delays"}"#;
    for (accept, body) in [
        ("*/*", json),
        ("text/plain", text),
        ("application/json, text/plain", json),
        ("application/json;q=0.5, text/plain;q=0.9, */*;q=0.1", text),
        ("text/plain;q=0", json),
        ("text/html", json),
    ] {
        let request = Request::get("/topology").header("accept", accept).body(Body::empty()).expect("a legal request");
        assert_eq!(fake.ask(request).await.text(), body, "{accept}");
    }
}

#[tokio::test]
async fn restores_tell_how_far_they_are_and_how_long_they_take_still() {
    let fake = Fake::new("a");
    assert_eq!(fake.get("/restores").await.json(), json!({ "restores": [] }));
    let restoring = RestoreStatus {
        task: TaskId::new(0, 1),
        role: Role::WarmUp,
        records: 3,
        bytes: 300,
        remaining: 6,
        records_per_s: 1.5,
        elapsed: Duration::from_secs(2),
        left: Some(Duration::from_secs(4)),
        held_back: None,
    };
    let held_back = RestoreStatus { left: None, held_back: Some("it waits".into()), ..restoring.clone() };
    fake.facts().restores = vec![restoring, held_back];
    let mut restore = json!({
        "task": "0_1", "role": "warm_up", "records": 3, "bytes": 300, "remaining": 6, "records_per_s": 2.0, "elapsed_ms": 2000,
        "left_ms": 4000,
    });
    let restoring = restore.clone();
    restore["left_ms"] = json!(null);
    restore["held_back"] = json!("it waits");
    assert_eq!(fake.get("/restores").await.json(), json!({ "restores": [restoring, restore] }));
}
