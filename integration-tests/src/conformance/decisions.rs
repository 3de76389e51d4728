//! The topologies in which millpond differs from Kafka Streams on purpose.

use std::collections::BTreeMap;

/// The list, one a line: the topology, a colon, the reason. Lines that begin with `#` are comments.
const LIST: &str = include_str!("decisions.txt");

/// The reasons, by topology.
///
/// # Panics
///
/// When the list is malformed.
#[must_use]
pub fn all() -> BTreeMap<&'static str, &'static str> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(": ").expect("a line is a topology, a colon and a reason")).collect()
}
