use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::serde::Serdes;

type Text = Serdes<Option<String>, String>;

fn counts(topics: &[(&str, i32)]) -> BTreeMap<String, i32> {
    topics.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
}

/// Two streams and a table, joined and counted.
fn orders() -> Topology {
    let topology = Topology::builder("orders");
    let customers = topology.table("customers", Serdes::<String, String>::default());
    let orders = topology.stream("orders", Text::default());
    let rekeyed = orders.filter(|_, order| !order.is_empty()).select_key(|_, order| Some(order.clone()));
    rekeyed.left_join(&customers, |_, _, customer| customer.is_some()).to("known");
    rekeyed.group_by_key().count().materialized("count").queryable();
    topology.build().expect("a correct topology")
}

#[test]
fn a_topology_is_described_as_text() {
    let expected = "\
Topology: orders
   Sub-topology: 0
    Source: customers/table (topics: [customers], stores: [customers-table])
      --> none
    Source: orders-filter-select-key-left-join-repartition-source (topics: [orders-filter-select-key-left-join-repartition])
      --> orders/filter/select-key/left-join
    Processor: orders/filter/select-key/left-join (stores: [customers-table])
      --> orders/filter/select-key/left-join/to
      <-- orders-filter-select-key-left-join-repartition-source
    Sink: orders/filter/select-key/left-join/to (topic: known)
      <-- orders/filter/select-key/left-join
   Sub-topology: 1
    Source: orders (topics: [orders])
      --> orders/filter
    Processor: orders/filter (stores: [])
      --> orders/filter/select-key
      <-- orders
    Processor: orders/filter/select-key (stores: [])
      --> orders-filter-select-key-left-join-repartition-sink, count-repartition-sink
      <-- orders/filter
    Sink: orders-filter-select-key-left-join-repartition-sink (topic: orders-filter-select-key-left-join-repartition)
      <-- orders/filter/select-key
    Sink: count-repartition-sink (topic: count-repartition)
      <-- orders/filter/select-key
   Sub-topology: 2
    Source: count-repartition-source (topics: [count-repartition])
      --> count
    Processor: count (stores: [count])
      --> none
      <-- count-repartition-source
";
    assert_eq!(orders().describe().to_string(), expected);
}

#[test]
fn a_topology_is_described_as_json() {
    let json = serde_json::to_value(orders().describe()).expect("plain data");
    let count = &json["sub_topologies"][2]["nodes"][1];
    let expected = serde_json::json!({
        "name": "count", "kind": "processor", "stores": ["count"], "parents": ["count-repartition-source"], "children": [],
    });
    assert_eq!(count, &expected);
    assert_eq!(json["sub_topologies"][1]["nodes"][0]["kind"], "source");
    assert_eq!(json["globals"], serde_json::json!([]));
}

#[test]
fn a_topology_is_drawn() {
    let topology = Topology::builder("drawn");
    let planes = topology.global_table("planes", Serdes::<String, String>::default()).materialized("planes");
    let flights = topology.stream("flights", Text::default());
    flights
        .join_global(&planes, |_, flight| Some(flight.clone()), |_, _, plane| plane.clone())
        .group_by(|_, plane| plane.clone())
        .count()
        .materialized("counts")
        .to_stream()
        .to("out");
    let expected = include_str!("testdata/drawn.mmd");
    assert_eq!(topology.build().expect("a correct topology").describe().mermaid(), expected);
}

#[test]
fn names_do_not_change_when_something_is_added_elsewhere() {
    let write = |more: bool| {
        let topology = Topology::builder("names");
        if more {
            topology.stream("other", Text::default()).filter(|_, _| true).group_by(|_, value| value.clone()).count();
            topology.table("before", Serdes::<String, String>::default()).filter(|_, _| true).to_stream().to("out");
        }
        let stream = topology.stream("in", Text::default());
        let mapped = stream.map_values(|_, value| value.len() as i64);
        if more {
            mapped.filter(|_, _| true).to("out");
            stream.group_by_key().count();
        }
        mapped.group_by(|_, length| *length).count();
        let table = topology.table("table", Serdes::<String, String>::default());
        if more {
            table.map_values(|_, value| value.clone()).to_stream().to("out");
        }
        let _joined = table.filter(|_, _| true).left_join(&table, |_, value, _| value.clone());
        topology.build().expect("a correct topology").resolve("app")
    };
    let topics = |resolved: &Resolved| {
        let counts = resolved.external_topics().iter().map(|topic| (topic.to_string(), 1)).collect();
        let partitions = resolved.partitions(&counts).expect("one partition each");
        partitions.internal_topics().iter().map(|topic| topic.name.to_string()).collect::<BTreeSet<_>>()
    };
    let (few, many) = (topics(&write(false)), topics(&write(true)));
    let expected = [
        "app-in-map-values-group-by-count-changelog",
        "app-in-map-values-group-by-count-repartition",
        "app-table-table-changelog",
    ];
    assert_eq!(few, expected.map(str::to_owned).into());
    assert!(few.is_subset(&many), "{many:?}");
    assert_ne!(write(false).fingerprint(), write(true).fingerprint());
    assert_eq!(write(true).fingerprint(), write(true).fingerprint());
}

#[test]
fn a_second_operator_of_a_kind_gets_a_number() {
    let topology = Topology::builder("numbers");
    let stream = topology.stream("in", Text::default());
    for _ in 0..2 {
        stream.filter(|_, _| true).group_by_key().count();
    }
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let stores: Vec<_> = resolved.sub_topologies[0].stores.iter().map(|store| store.name.to_string()).collect();
    assert_eq!(stores, ["in-filter-count", "in-filter-2-count"]);
}

#[test]
fn internal_topics_have_as_many_partitions_as_what_they_belong_to() {
    let resolved = orders().resolve("app");
    let topics = counts(&[("customers", 4), ("orders", 3), ("known", 7)]);
    let partitions = resolved.partitions(&topics).expect("co-partitioned by the repartition topic");
    let found: Vec<_> =
        partitions.internal_topics().iter().map(|topic| (topic.name.to_string(), topic.partitions)).collect();
    let expected = [
        // Joined with a table of 4 partitions.
        ("app-orders-filter-select-key-left-join-repartition", 4),
        // As many as the topic behind it.
        ("app-count-repartition", 3),
        ("app-customers-table-changelog", 4),
        ("app-count-changelog", 3),
    ];
    assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!([0, 1, 2, 3].map(|id| partitions.tasks_of(id)), [4, 3, 3, 0]);
    assert_eq!(partitions.tasks().len(), 10);
    assert_eq!(partitions.count("known"), Some(7));
    assert_eq!(partitions.count("app-count-repartition"), Some(3));
}

#[test]
fn repartition_topics_that_are_joined_take_the_larger_number() {
    let topology = Topology::builder("both");
    let [left, right] = ["left", "right"].map(|topic| topology.stream(topic, Text::default()));
    let table = right.group_by(|_, value| value.clone()).count();
    left.select_key(|_, value| value.clone()).join(&table, |_, _, count| *count).to("out");
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let partitions = resolved.partitions(&counts(&[("left", 2), ("right", 5), ("out", 1)])).expect("no external pair");
    assert_eq!(partitions.count("app-left-select-key-join-repartition"), Some(5));
    assert_eq!(partitions.count("app-right-group-by-count-repartition"), Some(5));
}

#[test]
fn topics_that_are_missing_or_not_co_partitioned_are_named() {
    let topology = Topology::builder("joined");
    let table = topology.table("customers", Serdes::<String, String>::default());
    let stream = topology.stream("orders", Text::default());
    stream.filter(|_, _| true).join(&table, |_, order, _| order.clone()).to("out");
    let resolved = topology.build().expect("a correct topology").resolve("app");

    let missing = resolved.partitions(&counts(&[("orders", 3)])).expect_err("two are missing");
    assert_eq!(missing.to_string(), "topics do not exist: customers, out; create them");
    let unequal = resolved.partitions(&counts(&[("orders", 3), ("customers", 4), ("out", 1)])).expect_err("3 and 4");
    assert_eq!(
        unequal.to_string(),
        "topics that are joined must have the same number of partitions: `customers` has 4, `orders` has 3; repartition \
         one of the streams or create the topic anew"
    );
    assert!(resolved.partitions(&counts(&[("orders", 3), ("customers", 3), ("out", 1)])).is_ok());
}

#[test]
fn sub_topologies_are_numbered_by_their_external_topics_then_by_their_repartition_topics() {
    let topology = Topology::builder("order");
    let first = topology.stream("zebra", Text::default());
    let second = topology.stream("ant", Text::default());
    second.group_by(|_, value| value.clone()).count().materialized("y");
    first.group_by(|_, value| value.clone()).count().materialized("x");
    let resolved = topology.build().expect("a correct topology").resolve("app");
    let sources: Vec<_> = resolved.sub_topologies.iter().map(|it| it.sources[0].to_string()).collect();
    assert_eq!(sources, ["zebra", "ant", "app-x-repartition", "app-y-repartition"]);
}

#[test]
fn stores_are_found_by_name() {
    let topology = Topology::builder("stores");
    topology.global_table("planes", Serdes::<String, String>::default()).materialized("planes").queryable();
    topology.stream("in", Serdes::<String, i64>::default()).group_by_key().count().materialized("counts").queryable();
    let resolved = topology.build().expect("a correct topology").resolve("app");
    match resolved.store("counts") {
        Some(StoreLocation::Tasks { sub_topology: 0, spec, .. }) => {
            assert!(spec.queryable);
            assert_eq!(spec.changelog.as_deref(), Some("app-counts-changelog"));
            assert_eq!((spec.key_format.to_string(), spec.value_format.to_string()), ("string".into(), "i64".into()));
        }
        other => panic!("{other:?}"),
    }
    match resolved.store("planes") {
        Some(StoreLocation::Global { spec, .. }) => assert!(spec.queryable && spec.changelog.is_none()),
        other => panic!("{other:?}"),
    }
    assert!(resolved.store("in").is_none());
    assert!(matches!(resolved.instantiate(1), Err(TopologyError::UnknownSubTopology { id: 1, highest: 0 })));
}

#[test]
fn mistakes_are_found_when_a_topology_is_built() {
    let error = |write: fn(&crate::dsl::TopologyBuilder)| {
        let topology = Topology::builder("wrong");
        write(&topology);
        topology.build().expect_err("a mistake").to_string()
    };
    assert_eq!(
        error(|topology| {
            let grouped = topology.stream("in", Text::default()).group_by_key();
            grouped.count().materialized("a");
            grouped.count().materialized("a");
        }),
        "two stores are named `a`: give one of them another name with `materialized`"
    );
    assert_eq!(
        error(|topology| {
            let stream = topology.stream("in", Text::default()).select_key(|_, value| value.clone());
            stream.group_by_key().named("a").count();
            stream.group_by_key().named("a").count();
        }),
        "two repartition topics are named `a`: give one of the groupings another name with `named`"
    );
    assert_eq!(
        error(|topology| {
            topology.stream("in", Text::default()).to("out");
            topology.table("in", Serdes::<String, i64>::default()).to_stream().to("out");
        }),
        "topic `in` is read twice with different serdes: (string, string) and (string, i64) (keys, values); read it once and \
         use the stream several times"
    );
    assert_eq!(error(|_| {}), "topology `wrong` reads no topic: add a `stream`, `table` or `global_table`");
    let name = error(|topology| topology.stream("in", Text::default()).to("a topic"));
    assert!(name.starts_with("`a topic` cannot name a topic: use up to 249 letters"), "{name}");
}

#[test]
fn a_name_that_is_too_long_with_the_application_id_is_refused() {
    let topology = Topology::builder("long");
    topology.stream("in", Text::default()).group_by_key().count().materialized(&"s".repeat(240));
    let resolved = topology.build().expect("240 is possible").resolve("app");
    let error = resolved.partitions(&counts(&[("in", 1)])).expect_err("with application id and ending it is longer");
    assert!(matches!(error, TopologyError::Name { what: "an internal topic", .. }), "{error}");
}

#[test]
fn settings_of_a_changelog_are_those_of_its_topic_and_what_restores_need_stays() {
    let build = |settings: &[(&str, &str)]| {
        let topology = Topology::builder("settings");
        let stream = topology.stream("in", Text::default()).group_by_key();
        stream.count().materialized("counts").changelog_config(settings.iter().copied());
        let windows = crate::dsl::TimeWindows::tumbling(std::time::Duration::from_secs(10));
        stream.windowed_by(windows).count().materialized("by-window").changelog_config(settings.iter().copied());
        topology.changelog_config(topology.store("own", Text::default()), settings.iter().copied());
        topology.build()
    };
    let settings = [("min.cleanable.dirty.ratio", "0.1"), ("retention.ms", "-1")];
    let partitions = build(&settings).expect("allowed").resolve("app").partitions(&counts(&[("in", 1)]));
    let partitions = partitions.expect("the topic exists");
    for topic in partitions.internal_topics() {
        let config = topic.config_with_additional_retention(1);
        assert!(settings.iter().all(|(setting, value)| config[*setting] == *value), "{}: {config:?}", topic.name);
    }
    for (setting, value, store) in [
        ("cleanup.policy", "delete", "counts"),
        ("message.timestamp.type", "LogAppendTime", "counts"),
        ("delete.retention.ms", "60000", "counts"),
        ("retention.ms", "1000", "by-window"),
        ("retention.bytes", "1000", "by-window"),
    ] {
        let error = build(&[(setting, value)]).expect_err("refused").to_string();
        let says = format!("the changelog of store `{store}` cannot have {setting}={value}: ");
        assert!(error.starts_with(&says), "{error}");
    }
}
