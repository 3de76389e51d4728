//! What can be wrong with a topology, and what to do about it.

use crate::serde::Format;

/// An error of a topology. Each names the topic, store or node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// There is nothing to process.
    #[error("topology `{topology}` reads no topic: add a `stream`, `table` or `global_table`")]
    Empty {
        /// The topology.
        topology: String,
    },
    /// Two stores have the same name.
    #[error("two stores are named `{store}`: give one of them another name with `materialized`")]
    StoreNameTwice {
        /// The name.
        store: String,
    },
    /// Two groupings have the same name.
    #[error("two repartition topics are named `{name}`: give one of the groupings another name with `named`")]
    RepartitionNameTwice {
        /// The name.
        name: String,
    },
    /// A repartition topic is to have a number of partitions that no topic can have.
    #[error("a repartition topic cannot have {partitions} partitions: say 1 or more, or nothing")]
    RepartitionCount {
        /// The number.
        partitions: u32,
    },
    /// A name that a topic cannot have.
    #[error(
        "`{name}` cannot name {what}: use up to {limit} letters, digits, `.`, `_` and `-` (a name that was generated is \
         replaced by an own one with `materialized` or `named`)", limit = Self::NAME_LIMIT
    )]
    Name {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Windows that cannot be.
    #[error("{windows}: {reason}")]
    Windows {
        /// What was asked for.
        windows: String,
        /// Why it cannot be, and what can.
        reason: &'static str,
    },
    /// Versions of rows that are not kept, or cannot be.
    #[error("{place}: {reason}")]
    Versions {
        /// The node or store.
        place: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A store of processors that cannot be.
    #[error("store `{store}`: {reason}")]
    Store {
        /// The store.
        store: String,
        /// Why it cannot be, and what can.
        reason: &'static str,
    },
    /// Two branches of one split, or two outputs of one processor, have the same name.
    #[error("two branches or outputs of one node are named `{name}`: give one of them another name")]
    BranchTwice {
        /// The name.
        name: String,
    },
    /// Two global tables or stores are read from one topic.
    #[error("two global tables or stores are read from topic `{topic}`: use one of them several times")]
    GlobalTopicTwice {
        /// The topic.
        topic: String,
    },
    /// A topic is read in two ways that do not agree about its bytes.
    #[error(
        "topic `{topic}` is read twice with different serdes: {first} and {second} (keys, values); read it once and use \
         the stream several times"
    )]
    TopicTwice {
        /// The topic.
        topic: String,
        /// Formats of the first source.
        first: Formats,
        /// Formats of the second source.
        second: Formats,
    },
    /// A topic is read twice, and one of the sources says how.
    #[error(
        "topic `{topic}` is read twice, and one of the sources has options of its own (timestamps, offset reset or errors), which are those \
         of the topic: read it once and use the stream several times"
    )]
    OptionsTwice {
        /// The topic.
        topic: String,
    },
    /// The changelog of a store is to have a setting with which the store could not be restored.
    #[error("the changelog of store `{store}` cannot have {setting}: {reason}")]
    ChangelogConfig {
        /// The store.
        store: String,
        /// The setting and its value.
        setting: String,
        /// Why it cannot.
        reason: String,
    },
    /// Topics that the topology reads or writes do not exist.
    #[error("topics do not exist: {}; create them", .topics.join(", "))]
    MissingTopics {
        /// Their names.
        topics: Vec<String>,
    },
    /// Topics that are joined have different numbers of partitions.
    #[error(
        "topics that are joined must have the same number of partitions: {}; repartition one of the streams or create \
         the topic anew", counted(.topics)
    )]
    NotCoPartitioned {
        /// The topics and their numbers of partitions.
        topics: Vec<(String, i32)>,
    },
    /// There is no such sub-topology.
    #[error("there is no sub-topology {id}, the highest is {highest}")]
    UnknownSubTopology {
        /// What was asked for.
        id: u32,
        /// The highest that exists.
        highest: u32,
    },
}

/// Formats of keys and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats(pub Format, pub Format);

// === impl TopologyError ===

impl TopologyError {
    /// How long a topic's name may be in Kafka.
    pub(crate) const NAME_LIMIT: usize = 249;
}

impl std::fmt::Display for Formats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})", self.0, self.1)
    }
}

fn counted(topics: &[(String, i32)]) -> String {
    topics.iter().map(|(topic, partitions)| format!("`{topic}` has {partitions}")).collect::<Vec<_>>().join(", ")
}
