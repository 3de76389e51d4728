//! `millpond plan` as its users start it.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};

/// A cluster of three instances that nobody has started yet: 60 tasks with state, and 3 without.
const THREE: &str = r#"{
    "instances": [{"instance": "a"}, {"instance": "b"}, {"instance": "c"}],
    "sub_topologies": [{"partitions": 40}, {"partitions": 20}, {"partitions": 3, "stateful": false}]
}"#;

fn millpond(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millpond")).arg("plan").args(args).output().expect("it runs")
}

/// What is said of a description.
fn plan(description: &str, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cluster.json");
    fs::write(&file, description).expect("written");
    millpond(&[&["--from", file.to_str().expect("a name")], args].concat())
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json_of(description: &str, args: &[&str]) -> Value {
    serde_json::from_str(&text(&plan(description, &[args, &["--json"]].concat()))).expect("JSON")
}

fn error(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn one_more_instance_takes_its_share_and_no_more() {
    let report = json_of(THREE, &["--add", "d"]);
    let of_d = report["instances"].as_array().expect("instances").last().expect("the new one");
    assert_eq!((&of_d["instance"], &of_d["presence"]), (&json!("d"), &json!("comes")));
    assert_eq!(of_d["standbys"], json!({"before": 0, "next": 0, "end": 15}));
    let actives = report["actives_moved"].as_u64().expect("a number");
    assert!((15..=17).contains(&actives), "{actives} of 63 move");
    let at_once =
        report["tasks"].as_array().expect("tasks").iter().filter(|task| task["next"]["active"] == "d").count();
    assert!(at_once <= 1, "only what has no state moves before anybody has caught up: {at_once}");
    let warming =
        report["tasks"].as_array().expect("tasks").iter().filter(|task| task["next"]["warm_ups"] == json!(["d"]));
    assert_eq!(warming.count(), 2);
    assert!(report["plans"].as_u64() > Some(10));
}

#[test]
fn standbys_take_over_from_one_that_left() {
    let report = json_of(THREE, &["--remove", "b"]);
    for task in report["tasks"].as_array().expect("tasks") {
        let (before, next) = (&task["before"], &task["next"]);
        if before["active"] == "b" && before["standbys"] != json!([]) {
            assert_eq!(next["active"], before["standbys"][0], "{task}");
            assert_eq!(task["reason"], "failover");
        }
        assert_ne!(next["active"], "b");
    }
}

#[test]
fn a_table_says_where_tasks_are_and_why() {
    let described = r#"{
        "num_standby_replicas": 1, "max_warmup_replicas": 1,
        "instances": [{"instance": "a", "zone": "x"}, {"instance": "b", "zone": "y"}],
        "tasks": [
            {"task": "0_0", "assigned": "a", "standbys": ["b"], "reason": "ring", "hosts": [
                {"instance": "a", "role": "active", "state": "running"},
                {"instance": "b", "role": "standby", "state": "running"}]},
            {"task": "0_1", "assigned": "a", "standbys": ["b"], "reason": "ring", "hosts": [
                {"instance": "a", "role": "active", "state": "running"},
                {"instance": "b", "role": "standby", "state": "restoring"}]}
        ]
    }"#;
    let expected = "\
INSTANCE  ZONE  CAPACITY  ACTIVES  STANDBYS
a         x     1         2 -> 1   0 -> 1
b         y     1         0 -> 1   2 -> 1

2 tasks; moves: 1 of actives, 0 of standbys, at once.

TASK  ACTIVE     STANDBYS  WARM-UPS  IN THE END
0_0   b (was a)  a
      b takes it from a, as it has caught up, to level the load
      a had it until now, and has all of its state, in another zone (x)
0_1   a          b
      a has it
      b follows it, in another zone (y)
";
    assert_eq!(text(&plan(described, &[])), expected);
    let moves = text(&plan(described, &["--moves"]));
    assert!(moves.contains("0_0") && !moves.contains("0_1"), "{moves}");
    let settled = text(&plan(THREE, &["--moves"]));
    assert!(settled.ends_with("63 tasks; nothing moves.\n"), "{settled}");
}

#[test]
fn a_draining_instance_is_emptied() {
    let report = json_of(THREE, &["--drain", "a"]);
    assert_eq!(report["instances"][0]["actives"]["end"], 0);
    assert_eq!(report["instances"][0]["actives"]["next"], 0, "all of its tasks have standbys");
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    for (description, args, expected) in [
        (THREE, &["--remove", "x"][..], "cannot remove `x`: there is no such instance; there are: a, b, c"),
        (THREE, &["--add", "a"], "cannot add `a`: there is an instance of this name"),
        (THREE, &["--remove", "a", "--remove", "b", "--remove", "c"], "there is no instance left to plan for"),
        (r#"{"instances": [{"instance": "a"}, {"instance": "a"}]}"#, &[], "there are two instances `a`"),
        (r#"{"instances": [], "tasks": [{"task": "0-1"}]}"#, &[], "is not a task id"),
        (
            r#"{"instances": [{"instance": "a"}], "tasks": [{"task": "0_0"}], "sub_topologies": [{"partitions": 1}]}"#,
            &[],
            "task 0_0 is there twice",
        ),
        (
            r#"{"instances": [], "tasks": [{"task": "0_0", "hosts": [{"instance": "z", "role": "active", "state": "running"}]}]}"#,
            &[],
            "task 0_0 has the host `z`, which is not among the instances",
        ),
        ("{", &[], "does not describe a cluster"),
    ] {
        let said = error(&plan(description, args));
        assert!(said.contains(expected), "{said}");
    }
    assert!(error(&millpond(&["--from", "no such file"])).contains("cannot read no such file"));
    let nobody = error(&millpond(&["http://127.0.0.1:1"]));
    assert!(nobody.contains("cannot read the cluster from http://127.0.0.1:1/cluster"), "{nobody}");
}

#[tokio::test]
async fn a_live_instance_is_asked() {
    let cluster = json!({
        "application_id": "flights", "this_instance": "a", "member_of_generation": 4, "generation": 4, "version": 2,
        "leader": "a", "num_standby_replicas": 0, "max_warmup_replicas": 2,
        "instances": [
            {"instance": "a", "url": "http://a", "live": true, "zone": null, "capacity": 1, "draining": false, "generation": 4, "stored": {}},
            {"instance": "b", "url": "http://b", "live": false, "zone": null, "capacity": 1, "draining": false, "generation": 3, "stored": {}},
        ],
        "tasks": [{
            "task": "0_1", "sub_topology": 0, "partition": 1, "stateful": true, "owner": "a", "assigned": "a", "standbys": [],
            "warm_ups": [], "reason": "ring",
            "hosts": [{"instance": "a", "role": "active", "state": "running", "changelog_offset": 12}],
        }],
    });
    let router = axum::Router::new().route("/cluster", axum::routing::get(|| async move { axum::Json(cluster) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let output = tokio::task::spawn_blocking(move || millpond(&[&url])).await.expect("it runs");
    assert!(text(&output).contains("1 tasks; nothing moves."), "{}", text(&output));
}
