//! The ring that orders members for a task.

use std::collections::BTreeMap;

use consistent_hash::{DefaultHash, Node, StaticHashRing};

use crate::state::TaskId;

/// Virtual nodes of the member with the smallest capacity. More of them spread better and cost more to build.
const VIRTUAL_NODES: usize = 64;
/// No member gets more than this, however uneven the capacities are.
const MAX_VIRTUAL_NODES: usize = 2048;

/// Orders members for a task.
pub(super) struct Ring {
    ring: StaticHashRing<'static, String, usize, DefaultHash>,
}

// === impl Ring ===

impl Ring {
    /// A ring over members: their names, their numbers and their capacities.
    pub(super) fn new<'m>(members: impl Iterator<Item = (&'m str, usize, u32)>) -> Self {
        let capacities: BTreeMap<&str, (usize, u32)> =
            members.map(|(name, index, capacity)| (name, (index, capacity))).collect();
        let smallest = capacities.values().map(|(_, capacity)| *capacity).min().unwrap_or(1).max(1) as usize;
        let nodes = capacities.into_iter().map(|(name, (index, capacity))| {
            let quantity = (VIRTUAL_NODES * capacity as usize / smallest).min(MAX_VIRTUAL_NODES);
            Node::new(name.to_owned()).value(index).quantity(quantity)
        });
        Self { ring: StaticHashRing::new(DefaultHash, nodes) }
    }

    /// The numbers of all members, best first.
    pub(super) fn preference(&self, task: TaskId) -> Vec<usize> {
        self.ring.calc_candidates(&(task.sub_topology, task.partition)).map(|node| node.value).collect()
    }
}
