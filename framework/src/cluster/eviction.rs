//! Evictions: who was put out of the cluster because nobody hears him, before the group's session timeout would.
//!
//! The topic decides: all instances read the same evictions in the same order, each up to where it has read. An eviction
//! counts if nobody evicted the one who evicts before, and only the first of a membership counts. Whoever evicts the leader of a
//! generation leads the rest of it, so at every place of the topic every generation has one leader.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::metadata::InstanceId;

/// A membership that is over, because others say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// Who is put out.
    pub instance_id: InstanceId,
    /// The membership that ends.
    pub member_id: Arc<str>,
    /// The generation in which it ends.
    pub generation: i32,
    /// Who says so.
    pub by: InstanceId,
    /// His membership.
    pub by_member_id: Arc<str>,
}

/// The evictions that count: the last of each instance.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    of: BTreeMap<InstanceId, Arc<Eviction>>,
}

// === impl Evictions ===

impl Evictions {
    /// Takes an eviction in; whether it counts.
    pub(super) fn apply(&mut self, eviction: &Arc<Eviction>) -> bool {
        let is_late = self
            .of
            .get(&eviction.instance_id)
            .is_some_and(|known| known.member_id == eviction.member_id || known.generation > eviction.generation);
        if is_late || self.is_evicted(&eviction.by, &eviction.by_member_id) {
            return false;
        }
        self.of.insert(eviction.instance_id.clone(), eviction.clone());
        true
    }

    pub(super) fn forget(&mut self, instance_id: &str) {
        self.of.remove(instance_id);
    }

    pub(super) fn is_evicted(&self, instance_id: &str, member_id: &str) -> bool {
        self.of.get(instance_id).is_some_and(|eviction| *eviction.member_id == *member_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Eviction>> {
        self.of.values()
    }

    /// Who leads a generation now that began with this leader: whoever has put him out, and so on.
    pub(super) fn leader(&self, generation: i32, first: (InstanceId, Arc<str>)) -> (InstanceId, Arc<str>) {
        let mut leader = first;
        // Nobody can evict who is evicted, so the chain has no circles.
        while let Some(eviction) = self.of.get(&leader.0)
            && eviction.member_id == leader.1
            && eviction.generation == generation
        {
            leader = (eviction.by.clone(), eviction.by_member_id.clone());
        }
        leader
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eviction(of: &str, generation: i32, by: &str) -> Arc<Eviction> {
        let (instance_id, by_instance) = (&of[..1], &by[..1]);
        Arc::new(Eviction {
            instance_id: instance_id.into(),
            member_id: of.into(),
            generation,
            by: by_instance.into(),
            by_member_id: by.into(),
        })
    }

    #[test]
    fn the_first_counts_and_nobody_who_is_out_puts_others_out() {
        let mut evictions = Evictions::default();
        assert!(evictions.apply(&eviction("a-1", 3, "b-1")));
        assert!(!evictions.apply(&eviction("a-1", 3, "c-1")), "the first counts");
        assert!(!evictions.apply(&eviction("c-1", 3, "a-1")), "it is out itself");
        assert!(evictions.apply(&eviction("b-1", 3, "c-1")));
        let leader = |generation, first: &str| evictions.leader(generation, (first[..1].into(), first.into())).1;
        assert_eq!(&*leader(3, "a-1"), "c-1", "who has put out who has put out the first");
        assert_eq!(&*leader(4, "a-1"), "a-1", "another generation");
        assert_eq!(&*leader(3, "a-2"), "a-2", "another membership");
    }

    #[test]
    fn an_instance_that_came_back_can_be_put_out_again_and_late_news_is_none() {
        let mut evictions = Evictions::default();
        assert!(evictions.apply(&eviction("a-1", 3, "b-1")));
        assert!(!evictions.is_evicted("a", "a-2"));
        assert!(evictions.apply(&eviction("a-2", 5, "b-1")));
        assert!(!evictions.apply(&eviction("a-1", 3, "c-1")));
        assert!(evictions.is_evicted("a", "a-2"));
        evictions.forget("a");
        assert!(!evictions.is_evicted("a", "a-2"));
    }
}
