//! Tables whose rows are grouped by new keys, to be aggregated.

mod aggregate;
mod change_serde;
mod sink;

#[cfg(test)]
mod tests;

use std::{cell::OnceCell, cell::RefCell, fmt, sync::Arc};

use self::{change_serde::ChangeSerde, sink::ChangeSink};
use super::{Table, stream};
use crate::{
    serde::{Data, Serdes},
    topology::{
        Factory,
        graph::{DataType, Graph, GraphNode, NodeId, RepartitionIndex, TableDef, TableKind},
    },
};

/// Rows of a table, grouped by new keys: made by [`Table::group_by`]. Several aggregations of one grouping share its repartition topic.
///
/// Aggregates of tables can shrink: `adder` takes a row in, `subtractor` takes one out. A change of a row within a group subtracts the
/// old value and adds the new one, in this order and as one update. One that leads to another group is two updates: it is subtracted there
/// before it is added here, so that it is in no group for a moment, and never in two.
///
/// A value for all keys is made in several phases: the first counts each key where it is, in all partitions; the second brings these counts
/// together in one.
///
/// ```
/// use millpond::{Serdes, Topology, testing::{TestTopic, TopologyTestDriver}};
///
/// let topology = Topology::builder("flights");
/// let by_carrier = topology
///     .stream("flights", Serdes::<String, String>::default())
///     .group_by(|_, carrier| carrier.clone())
///     .count();
/// by_carrier
///     .group_by(|_, flights| ("all".to_owned(), *flights))
///     .named("all-flights")
///     .partitions(1)
///     .aggregate(|| 0, |_, flights, sum| sum + flights, |_, flights, sum| sum - flights)
///     .to_stream()
///     .to("flights-of-all-carriers");
/// let mut driver = TopologyTestDriver::new(&topology.build()?)?;
///
/// let flights = TestTopic::new("flights", Serdes::<String, String>::default());
/// for (number, carrier) in [("1", "AA"), ("2", "BA"), ("3", "AA")] {
///     driver.pipe(&flights, &number.to_owned(), &carrier.to_owned(), 0)?;
/// }
/// let all = TestTopic::new("flights-of-all-carriers", Serdes::<String, i64>::default());
/// let sums: Vec<i64> = driver.read(&all)?.into_iter().map(|record| record.value).collect();
/// assert_eq!(sums, [1, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GroupedTable<'t, K, V> {
    graph: &'t RefCell<Graph>,
    /// The node that gives the rows their new keys.
    grouping: NodeId,
    serdes: Serdes<K, V>,
    name: Option<Arc<str>>,
    partitions: Option<u32>,
    placed: OnceCell<(RepartitionIndex, NodeId)>,
}

// === impl GroupedTable ===

impl<'t, K: Data, V: Data> GroupedTable<'t, K, V> {
    pub(super) fn new(graph: &'t RefCell<Graph>, grouping: NodeId) -> Self {
        Self { graph, grouping, serdes: Serdes::default(), name: None, partitions: None, placed: OnceCell::new() }
    }

    /// Names the repartition topic: `<application id>-<name>-repartition`. Else it has the name of the first aggregation's store.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), placed: OnceCell::new(), ..self }
    }

    /// How many partitions the repartition topic has; else as many as the largest topic behind it. One brings all groups together.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions: Some(partitions), placed: OnceCell::new(), ..self }
    }

    /// Other serdes for the repartition topic, and for the keys of the aggregation's rows.
    #[must_use]
    pub fn with_serdes(self, serdes: Serdes<K, V>) -> Self {
        Self { serdes, placed: OnceCell::new(), ..self }
    }

    /// The changes where their new keys belong: the repartition topic, and the node that reads it.
    fn placed(&self) -> (RepartitionIndex, NodeId) {
        *self.placed.get_or_init(|| {
            let serdes = self.serdes.clone();
            let sink = Factory::node::<(), _, _>(move |task, id| ChangeSink::new(task.sink_topic(id), serdes.clone()));
            let changes =
                Serdes::of(Arc::clone(self.serdes.key()), Arc::new(ChangeSerde::new(Arc::clone(self.serdes.value()))));
            let (data, source) = (DataType::of(&changes), stream::source_factory(changes));
            let mut graph = self.graph.borrow_mut();
            graph.add_repartition(self.name.clone(), self.partitions, self.grouping, data, sink, source)
        })
    }

    /// The table of a new aggregation.
    fn aggregated<A: Data>(&self, operator: &'static str, serdes: Serdes<K, A>, factory: Factory) -> Table<'t, K, A> {
        let (repartition, source) = self.placed();
        let table = TableDef::new(TableKind::Aggregate, Vec::new(), serdes.clone());
        let mut graph = self.graph.borrow_mut();
        let node = graph.add(GraphNode::operator(operator, vec![source], factory).table(table));
        graph.keep(node);
        graph.repartition_made_for(repartition, node);
        drop(graph);
        Table::stored(self.graph, node, serdes)
    }
}

impl<K, V> fmt::Debug for GroupedTable<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupedTable")
            .field("grouping", &self.grouping)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
