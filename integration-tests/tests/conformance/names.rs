//! Sub-topologies, what they read, keep and write, and internal topics: as Kafka Streams has them with the application id `app`
//! (`vectors/internal-topics.json`).
//!
//! Names that it counted are not ours (docs/adr/0002-names.md). What has such a name is compared by what else is said of it.

use std::collections::{BTreeMap, BTreeSet};

use integration_tests::{conformance::folder, topologies};
use millpond::topology::{InternalTopic, Resolved, SubTopology};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    topologies: BTreeMap<String, Vec<Part>>,
}

/// What is said of a sub-topology. Its number is left aside: there, global tables take numbers too.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Part {
    source_topics: Vec<String>,
    repartition_topics: Vec<Topic>,
    changelog_topics: Vec<Topic>,
    sink_topics: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Topic {
    name: String,
    config: BTreeMap<String, String>,
}

/// Topologies that are written with other operators, so that they are cut in another way, and why.
const WRITTEN_OTHERWISE: [(&str, &str); 1] =
    [("stream_table_join_rekeyed", "the repartition topic of a join cannot be named yet")];

/// Whether a topology is written with other operators. One that is the same nevertheless must leave the list.
pub(crate) fn is_written_otherwise(topology: &str, is_same: bool) -> bool {
    let listed = WRITTEN_OTHERWISE.iter().any(|(name, _)| *name == topology);
    assert!(!(listed && is_same), "{topology} is the same as in Kafka Streams: take it off the list of the others");
    listed
}

#[test]
fn topologies_are_cut_and_their_topics_named_as_by_kafka_streams() {
    let text = std::fs::read_to_string(folder::own().join("internal-topics.json")).expect("the internal topics");
    let all: File = serde_json::from_str(&text).expect("the internal topics");
    let mut compared = 0;
    for (name, mut expected) in all.topologies {
        let Some(case) = topologies::all().find(|case| case.name == name) else { continue };
        let resolved = case.topology().unwrap_or_else(|error| panic!("{name}: {error}")).resolve("app");
        let mut found: Vec<_> = resolved.sub_topologies.iter().map(|part| Part::of(&resolved, part)).collect();
        let known: BTreeSet<_> = expected.iter().flat_map(Part::names).filter(|name| !is_counted(name)).collect();
        // Those that are only known by what is said of them.
        let (ours, theirs) = (Labels::of(&found, &known), Labels::of(&expected, &known));
        found.iter_mut().for_each(|part| part.relabel(&ours));
        expected.iter_mut().for_each(|part| part.relabel(&theirs));
        // They are numbered by the names of what they read, which Kafka Streams has made up in part.
        found.sort();
        expected.sort();
        if !is_written_otherwise(&name, found == expected) {
            assert_eq!(found, expected, "{name}");
        }
        compared += 1;
    }
    assert!(compared >= 24, "only {compared} topologies were compared");
}

/// Whether Kafka Streams made up this name: it has the number of a node.
pub(crate) fn is_counted(name: &str) -> bool {
    name.split('-').any(|part| part.len() == 10 && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What names that are not given by users are called while topologies are compared.
struct Labels(BTreeMap<String, String>);

// === impl Labels ===

impl Labels {
    /// Labels the names that are not among `known`: by which parts write and read them, and which keep them with which settings.
    fn of(parts: &[Part], known: &BTreeSet<String>) -> Self {
        let unknown: BTreeSet<_> = parts.iter().flat_map(Part::names).filter(|name| !known.contains(name)).collect();
        let label = |name: &String| {
            let with = |topics: fn(&Part) -> Vec<&String>| -> Vec<usize> {
                let parts = parts.iter().enumerate().filter(|(_, part)| topics(part).contains(&name));
                parts.map(|(index, _)| index).collect()
            };
            let written = with(|part| part.sink_topics.iter().collect());
            let read = with(|part| part.source_topics.iter().collect());
            let kept = with(|part| part.changelog_topics.iter().map(|topic| &topic.name).collect());
            format!("written by {written:?}, read by {read:?}, changelog of {kept:?}")
        };
        Self(unknown.iter().map(|name| (name.clone(), label(name))).collect())
    }

    fn relabel(&self, name: &mut String) {
        if let Some(label) = self.0.get(name) {
            name.clone_from(label);
        }
    }
}

// === impl Part ===

impl Part {
    fn of(resolved: &Resolved, part: &SubTopology) -> Self {
        let counts = resolved.external_topics().iter().map(|topic| (topic.to_string(), 1)).collect();
        let partitions = resolved.partitions(&counts).expect("one partition each");
        let names = |topics: &[std::sync::Arc<str>]| topics.iter().map(ToString::to_string).collect::<Vec<_>>();
        let topics = |wanted: Vec<String>| {
            let all = partitions.internal_topics().iter().filter(|topic| wanted.contains(&topic.name.to_string()));
            all.map(Topic::of).collect()
        };
        Self {
            source_topics: names(&part.sources),
            repartition_topics: topics(names(&part.repartition_topics)),
            changelog_topics: topics(
                part.stores.iter().filter_map(|store| Some(store.changelog.as_ref()?.to_string())).collect(),
            ),
            sink_topics: names(&part.sinks),
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let internal = self.repartition_topics.iter().chain(&self.changelog_topics).map(|topic| &topic.name);
        internal.chain(&self.source_topics).chain(&self.sink_topics).cloned()
    }

    /// Replaces names by labels; the order of topics says nothing.
    fn relabel(&mut self, labels: &Labels) {
        for topics in [&mut self.source_topics, &mut self.sink_topics] {
            topics.iter_mut().for_each(|name| labels.relabel(name));
            topics.sort();
        }
        for topics in [&mut self.repartition_topics, &mut self.changelog_topics] {
            topics.iter_mut().for_each(|topic| labels.relabel(&mut topic.name));
            topics.sort();
        }
    }
}

// === impl Topic ===

impl Topic {
    fn of(topic: &InternalTopic) -> Self {
        Self { name: topic.name.to_string(), config: topic.config.clone() }
    }
}
