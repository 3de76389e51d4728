//! `join_within`, `left_join_within`, `outer_join_within`, `self_join_within`: streams joined with streams.

mod joined;
mod self_join;
mod side;
mod unmatched;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::joined::JoinedStream;
use self::{self_join::SelfJoin, side::Side};
use super::Stream;
use crate::{
    dsl::{OTHER_TOPOLOGY, windows::JoinWindows},
    processor::{Children, Context, JoinSide, Node, ProcessError, Record},
    serde::{Data, Format},
    state::StoreKind,
    topology::{
        Factory, TopologyError,
        graph::{Graph, GraphNode},
    },
};

/// Which records without a match a join passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None.
    Inner,
    /// Those of the left stream.
    Left,
    /// All.
    Outer,
}

/// How the parts of a join are called: the join, its sides, its stores when it is given a name.
#[derive(Debug, Clone, Copy)]
struct Names {
    join: &'static str,
    left: &'static str,
    right: &'static str,
    left_store: &'static str,
    right_store: &'static str,
    unmatched_store: &'static str,
}

/// Passes on what both sides give.
struct Merge<K, W>(Children<K, W>);

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Joins each record with those of the other stream that have its key and are within the windows: one result for each pair, as soon as
    /// its later record has come. Results have the later timestamp of the two. Records without key or value are left out
    /// (dropped). `join(KStream)` of Kafka Streams.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::{Serdes, Topology, dsl::JoinWindows};
    ///
    /// let topology = Topology::builder("payments");
    /// let orders = topology.stream("orders", Serdes::<String, i64>::default());
    /// let payments = topology.stream("payments", Serdes::<String, i64>::default());
    /// let windows = JoinWindows::of(Duration::ZERO).after(Duration::from_secs(3600)).grace(Duration::from_secs(60));
    /// orders.join_within(&payments, windows, |_, order, payment| order - payment).named("paid").to("open-amounts");
    /// # topology.build().unwrap();
    /// ```
    ///
    /// Keys must be of the same type:
    ///
    /// ```compile_fail,E0308
    /// use std::time::Duration;
    /// use millpond::{Serdes, Topology, dsl::JoinWindows};
    ///
    /// let topology = Topology::builder("payments");
    /// let orders = topology.stream("orders", Serdes::<String, i64>::default());
    /// let payments = topology.stream("payments", Serdes::<i64, i64>::default());
    /// orders.join_within(&payments, JoinWindows::of(Duration::ZERO), |_, order, payment| order - payment);
    /// ```
    ///
    /// # Panics
    ///
    /// When the other stream is of another topology.
    #[must_use]
    pub fn join_within<T, W, F>(
        &self,
        other: &Stream<'t, K, T>,
        windows: JoinWindows,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, &V, &T) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| Some(joiner(key, left?, right?));
        self.join_stream(Kind::Inner, other, windows, joiner)
    }

    /// As [`Stream::join_within`]; and records of this stream that have had no match when their window has closed are joined with `None`, at
    /// their own timestamp. A window closes when the stream time, of both streams together, is past its end and grace; for
    /// that it is looked once a second of the wall clock, when a record comes. A record that comes when its window, without grace, is
    /// over already does not wait; nor does one without a key, which cannot have a match. `leftJoin(KStream)` of Kafka
    /// Streams.
    ///
    /// # Panics
    ///
    /// When the other stream is of another topology.
    #[must_use]
    pub fn left_join_within<T, W, F>(
        &self,
        other: &Stream<'t, K, T>,
        windows: JoinWindows,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, &V, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| Some(joiner(key, left?, right));
        self.join_stream(Kind::Left, other, windows, joiner)
    }

    /// As [`Stream::left_join_within`], where records of the other stream without a match are joined with `None`, too: one of the joiner's
    /// values at the least is there. `outerJoin(KStream)` of Kafka Streams.
    ///
    /// # Panics
    ///
    /// When the other stream is of another topology.
    #[must_use]
    pub fn outer_join_within<T, W, F>(
        &self,
        other: &Stream<'t, K, T>,
        windows: JoinWindows,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, Option<&V>, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: Option<&V>, right: Option<&T>| Some(joiner(key, left, right));
        self.join_stream(Kind::Outer, other, windows, joiner)
    }

    /// Joins the stream with itself, as `stream.join_within(&stream, ..)` does, with one store instead of two: the optimisation
    /// `single.store.self.join` of Kafka Streams. Each record is a match of itself, if the windows say so.
    #[must_use]
    pub fn self_join_within<W, F>(&self, windows: JoinWindows, joiner: F) -> JoinedStream<'t, K, W>
    where
        W: Data,
        F: Fn(&K, &V, &V) -> W + Send + Sync + 'static,
    {
        let placed = self.placed(None);
        let (stream, joiner) = (&placed.stream, Arc::new(joiner));
        let serdes = stream.serdes.clone();
        let factory = Factory::node::<K, V, _>(move |task, id| SelfJoin::new(task, id, &serdes, windows, &joiner));
        let mut graph = self.graph.borrow_mut();
        check(&mut graph, windows);
        let node = graph.add(GraphNode::operator("self-join-within", vec![stream.node], factory));
        let kind = StoreKind::DuplicateWindow(windows.retention());
        let store = graph.add_store_of(node, "", kind, stream.serdes.formats());
        graph.uses(node, vec![store]);
        drop(graph);
        placed.made_for(node);
        let joined = Stream::new(self.graph, node, stream.serdes.values());
        JoinedStream::new(joined, vec![(node, "")], vec![(store, "-this-join-store")])
    }

    /// Two sides, each of which joins its records with those that the other has kept, and the stream of what both give.
    fn join_stream<T, W, F>(
        &self,
        kind: Kind,
        other: &Stream<'t, K, T>,
        windows: JoinWindows,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        T: Data,
        W: Data,
        F: Fn(&K, Option<&V>, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, other.graph), "{OTHER_TOPOLOGY}");
        let (left, right) = (self.placed(None), other.placed(None));
        // Both sides write keys the same way: they look for each other's.
        let key_serde = Arc::clone(left.stream.serdes.key());
        let values = (Arc::clone(left.stream.serdes.value()), Arc::clone(right.stream.serdes.value()));
        let swapped_values = (Arc::clone(&values.1), Arc::clone(&values.0));
        let joiner = Arc::new(joiner);
        let swapped = Arc::new({
            let joiner = Arc::clone(&joiner);
            move |key: &K, right: Option<&T>, left: Option<&V>| joiner(key, left, right)
        });
        let left_factory = Side::factory(kind, JoinSide::Left, windows, (&key_serde, values), joiner);
        let right_factory =
            Side::factory(kind, JoinSide::Right, windows.mirrored(), (&key_serde, swapped_values), swapped);

        let names = kind.names();
        // A record without a key gives a result, or moves the stream time at the least.
        let takes_null_keys = kind != Kind::Inner;
        let side = |operator, parent, factory| {
            GraphNode::operator(operator, vec![parent], factory).takes_null_keys(takes_null_keys)
        };
        let mut graph = self.graph.borrow_mut();
        check(&mut graph, windows);
        let left_node = graph.add(side(names.left, left.stream.node, left_factory));
        let right_node = graph.add(side(names.right, right.stream.node, right_factory));
        let factory = Factory::node::<K, W, _>(|task, id| Merge(task.children(id)));
        let node = GraphNode::operator(names.join, vec![left_node, right_node], factory).named_after(left.stream.node);
        let node = graph.add(node);
        graph.join(left.stream.node, right.stream.node);

        let windowed = StoreKind::DuplicateWindow(windows.retention());
        let left_store = graph.add_store_of(left_node, "", windowed, left.stream.serdes.formats());
        let right_store = graph.add_store_of(right_node, "", windowed, right.stream.serdes.formats());
        let mut stores = vec![(left_store, names.left_store), (right_store, names.right_store)];
        if kind != Kind::Inner {
            let formats = (Format::Bytes, Format::Bytes);
            stores.push((graph.add_store_of(node, "-unmatched", StoreKind::List, formats), names.unmatched_store));
        }
        let unmatched = stores.get(2).map(|(store, _)| *store);
        graph.uses(left_node, [left_store, right_store].into_iter().chain(unmatched).collect());
        graph.uses(right_node, [right_store, left_store].into_iter().chain(unmatched).collect());
        drop(graph);
        left.made_for(left_node);
        right.made_for(right_node);
        let joined = Stream::new(self.graph, node, left.stream.serdes.values());
        JoinedStream::new(joined, vec![(left_node, "-left"), (right_node, "-right"), (node, "")], stores)
    }
}

/// Says what is wrong with windows, if something is: the topology will not build.
fn check(graph: &mut Graph, windows: JoinWindows) {
    if let Some(reason) = windows.problem() {
        graph.refuse(TopologyError::Windows { windows: "JoinWindows".to_owned(), reason });
    }
}

// === impl Kind ===

impl Kind {
    /// Whether records of a side without a match are passed on.
    fn is_outer(self, side: JoinSide) -> bool {
        match self {
            Self::Inner => false,
            Self::Left => side == JoinSide::Left,
            Self::Outer => true,
        }
    }

    /// Stores are called as Kafka Streams calls those of a `StreamJoined` with a name.
    fn names(self) -> Names {
        match self {
            Self::Inner => Names {
                join: "join-within",
                left: "join-within-left",
                right: "join-within-right",
                left_store: "-this-join-store",
                right_store: "-other-join-store",
                unmatched_store: "",
            },
            Self::Left => Names {
                join: "left-join-within",
                left: "left-join-within-left",
                right: "left-join-within-right",
                left_store: "-this-join-store",
                right_store: "-outer-other-join-store",
                unmatched_store: "-left-shared-join-store",
            },
            Self::Outer => Names {
                join: "outer-join-within",
                left: "outer-join-within-left",
                right: "outer-join-within-right",
                left_store: "-outer-this-join-store",
                right_store: "-outer-other-join-store",
                unmatched_store: "-outer-shared-join-store",
            },
        }
    }
}

// === impl Merge ===

impl<K: Data, W: Data> Node<K, W> for Merge<K, W> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, W>) -> Result<(), ProcessError> {
        self.0.forward(ctx, record)
    }
}
