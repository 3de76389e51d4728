//! Sub-topologies and internal topics, as Kafka Streams has them with the application id `app`.

use std::collections::{BTreeMap, BTreeSet};

use integration_tests::topologies;
use millpond::topology::{InternalTopic, Resolved, SubTopology};
use serde::Deserialize;

/// What Kafka Streams says of a sub-topology. Its number is left aside: there, global tables take numbers too.
#[derive(Debug, PartialEq, Deserialize)]
struct Expected {
    source_topics: BTreeSet<String>,
    repartition_topics: Vec<ExpectedTopic>,
    changelog_topics: Vec<ExpectedTopic>,
    sink_topics: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct ExpectedTopic {
    name: String,
    config: BTreeMap<String, String>,
}

fn found(resolved: &Resolved, sub_topology: &SubTopology) -> Expected {
    let counts = resolved.external_topics().iter().map(|topic| (topic.to_string(), 1)).collect();
    let partitions = resolved.partitions(&counts).expect("one partition each");
    let names = |topics: &[_]| topics.iter().map(|topic: &std::sync::Arc<str>| topic.to_string()).collect();
    let settings_of = |wanted: BTreeSet<String>| {
        let of_it = partitions.internal_topics().iter().filter(|topic| wanted.contains(&*topic.name));
        let mut topics: Vec<_> = of_it.map(expected).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    };
    Expected {
        source_topics: names(&sub_topology.sources),
        repartition_topics: settings_of(names(&sub_topology.repartition_topics)),
        changelog_topics: settings_of(
            sub_topology.stores.iter().filter_map(|store| store.changelog.as_deref().map(str::to_owned)).collect(),
        ),
        sink_topics: names(&sub_topology.sinks),
    }
}

fn expected(topic: &InternalTopic) -> ExpectedTopic {
    ExpectedTopic { name: topic.name.to_string(), config: topic.config.clone() }
}

#[test]
fn topologies_are_cut_and_their_topics_named_as_by_kafka_streams() {
    let all: BTreeMap<String, Vec<Expected>> =
        serde_json::from_str(include_str!("internal-topics.json")).expect("the file of internal topics");
    for (name, expected) in &all {
        let case = topologies::all().find(|case| case.name == name).expect("a topology of this name");
        let resolved = case.topology().expect("it builds").resolve("app");
        let found: Vec<_> = resolved.sub_topologies.iter().map(|sub_topology| found(&resolved, sub_topology)).collect();
        assert_eq!(&found, expected, "{name}");
    }
}
