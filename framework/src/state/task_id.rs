//! Names of tasks, and of whoever else owns state.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A task: one partition of a sub-topology. Written `<sub-topology>_<partition>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The sub-topology, from 0.
    pub sub_topology: u32,
    /// The partition of the sub-topology's sources, from 0.
    pub partition: i32,
}

/// A text that is not a task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a task id: write `<sub-topology>_<partition>`, for example `0_3`")]
pub struct TaskIdError {
    text: String,
}

/// Whose state it is: a task's, or that of the global tables of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A task.
    Task(TaskId),
    /// The global tables, one engine for all of them.
    Global,
}

// === impl TaskId ===

impl TaskId {
    /// The task of a partition of a sub-topology.
    #[must_use]
    pub const fn new(sub_topology: u32, partition: i32) -> Self {
        Self { sub_topology, partition }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sub_topology, self.partition)
    }
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    /// Accepts what [`TaskId`]'s `Display` writes and nothing else, so that two texts are never the same task.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('_').and_then(|(sub_topology, partition)| {
            let task = Self { sub_topology: sub_topology.parse().ok()?, partition: partition.parse().ok()? };
            (task.partition >= 0 && task.to_string() == text).then_some(task)
        });
        parsed.ok_or_else(|| TaskIdError { text: text.to_owned() })
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = TaskId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task id like `0_3`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TaskId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

// === impl Owner ===

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(f, "task {task}"),
            Self::Global => f.write_str("the global tables"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn is_written_and_read_as_sub_topology_and_partition() {
        let task = TaskId::new(1, 12);
        assert_eq!(task.to_string(), "1_12");
        assert_eq!("1_12".parse(), Ok(task));
        let by_task = BTreeMap::from([(task, true)]);
        let json = serde_json::to_string(&by_task).expect("a task id is a legal key of a JSON object");
        assert_eq!(json, r#"{"1_12":true}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<TaskId, bool>>(&json).expect("what was written"), by_task);
    }

    #[test]
    fn refuses_every_other_spelling() {
        for text in ["", "_", "1", "1_", "_1", "+1_1", "01_1", "1_01", "1_-1", "1_1_1", "1_2147483648", "a_b"] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }

    #[test]
    fn orders_by_sub_topology_then_partition() {
        assert!(TaskId::new(0, 9) < TaskId::new(0, 10) && TaskId::new(0, 10) < TaskId::new(1, 0));
    }
}
