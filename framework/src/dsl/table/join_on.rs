//! `join_on`, `left_join_on`: joins of two tables by a foreign key.
//!
//! The rows of the left table refer to rows of the right one, which may be in another partition of another number. So a row of the left
//! table *subscribes* to the one it refers to, through a topic; there the subscription is kept, and answered whenever
//! the row changes, through another topic, to the partition that it came from. What is told to a row that has changed
//! meanwhile is stale and left out: it is known by the hash of the value that it was made for.

mod answer;
mod murmur3;
mod references;
mod resolve;
mod subscribe;
mod subscriptions;
mod unanswered;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::{
    answer::{Answer, AnswerSink, Update},
    references::References,
    resolve::Resolve,
    subscribe::{Kind, Subscribe},
    subscriptions::{Register, Subscriptions},
    unanswered::Unanswered,
    wire::{Response, ResponseSerde, Subscription, SubscriptionSerde},
};
use super::Table;
use crate::{
    dsl::{
        OTHER_TOPOLOGY,
        stream::{Sink, source_factory, table_factory},
    },
    processor::Change,
    serde::{Data, Format, Nullable, Serdes, is_null},
    topology::{
        Factory,
        graph::{DataType, GraphNode, Purpose, TableDef, TableKind},
    },
};

/// What the nodes of a join are called.
struct Operators {
    subscribe: &'static str,
    register: &'static str,
    answer: &'static str,
    update: &'static str,
    resolve: &'static str,
    results: &'static str,
}

const INNER: Operators = Operators {
    subscribe: "join-on-subscribe",
    register: "join-on-register",
    answer: "join-on-answer",
    update: "join-on-update",
    resolve: "join-on-resolve",
    results: "join-on",
};

const LEFT: Operators = Operators {
    subscribe: "left-join-on-subscribe",
    register: "left-join-on-register",
    answer: "left-join-on-answer",
    update: "left-join-on-update",
    resolve: "left-join-on-resolve",
    results: "left-join-on",
};

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// The rows of this table that refer to a row of the other one, with what `joiner` makes of key and both rows:
    /// `join` of a `KTable` with a foreign key extractor in Kafka Streams. Rows for which `foreign_key` gives none are left out (dropped).
    ///
    /// The keys are those of this table. The tables need not have the same number of partitions. A change of either table gives
    /// what has changed by it: a row of the other table gives a result for each row that refers to it. The time of a result is the
    /// later one of both rows' after a change of this table, and that of the change after one of the other table.
    ///
    /// ```
    /// use millpond::{Serdes, Topology};
    ///
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// # struct Order { customer: u64, item: String }
    /// let topology = Topology::builder("orders");
    /// let orders = topology.table("orders", Serdes::<String, Order>::json());
    /// let names = topology.table("customers", Serdes::<u64, String>::default());
    /// orders
    ///     .join_on(&names, |_, order| Some(order.customer), |_, order, name| format!("{} for {name}", order.item))
    ///     .materialized("named-orders")
    ///     .queryable();
    /// # topology.build().unwrap();
    /// ```
    ///
    /// A foreign key is a key of the other table:
    ///
    /// ```compile_fail,E0271
    /// use millpond::{Serdes, Topology};
    ///
    /// let topology = Topology::builder("orders");
    /// let orders = topology.table("orders", Serdes::<String, String>::default());
    /// let names = topology.table("customers", Serdes::<u64, String>::default());
    /// let _ = orders.join_on(&names, |_, order| Some(order.clone()), |_, order, name| format!("{order} for {name}"));
    /// ```
    ///
    /// It needs two topics and a store of its own, named after the store of the result, or else after the place of the join:
    /// `<application id>-named-orders-subscription-registration-topic`, `<application id>-named-orders-subscription-response-topic` and
    /// `named-orders-subscription-store`. Their bytes are those of Kafka Streams, with two consequences:
    ///
    /// * The serde of this table's values must write the same bytes for the same value, also after it was read again. One that does not, as
    ///   JSON of a `HashMap`, loses results (they are counted as dropped for a `stale_response`).
    /// * A row of the other table whose value has no bytes, as an empty text, counts as none.
    ///
    /// # Panics
    ///
    /// When the other table is of another topology.
    #[must_use]
    pub fn join_on<L, T, W, E, F>(&self, other: &Table<'t, L, T>, foreign_key: E, joiner: F) -> Table<'t, K, W>
    where
        L: Data,
        T: Data,
        W: Data,
        E: Fn(&K, &V) -> Option<L> + Send + Sync + 'static,
        F: Fn(&K, &V, &T) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: &V, right: Option<&T>| Some(joiner(key, left, right?));
        self.join_on_as(Kind::Inner, &INNER, other, foreign_key, joiner)
    }

    /// All rows of this table, with what `joiner` makes of them and of the row of the other table that they refer to, if there is one:
    /// `leftJoin` of a `KTable` with a foreign key extractor in Kafka Streams. Otherwise as [`Table::join_on`].
    ///
    /// # Panics
    ///
    /// When the other table is of another topology.
    #[must_use]
    pub fn left_join_on<L, T, W, E, F>(&self, other: &Table<'t, L, T>, foreign_key: E, joiner: F) -> Table<'t, K, W>
    where
        L: Data,
        T: Data,
        W: Data,
        E: Fn(&K, &V) -> Option<L> + Send + Sync + 'static,
        F: Fn(&K, &V, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, left: &V, right: Option<&T>| Some(joiner(key, left, right));
        self.join_on_as(Kind::Left, &LEFT, other, foreign_key, joiner)
    }

    fn join_on_as<L, T, W, E, F>(
        &self,
        kind: Kind,
        operators: &Operators,
        other: &Table<'t, L, T>,
        foreign_key: E,
        joiner: F,
    ) -> Table<'t, K, W>
    where
        L: Data,
        T: Data,
        W: Data,
        E: Fn(&K, &V) -> Option<L> + Send + Sync + 'static,
        F: Fn(&K, &V, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, other.graph), "{OTHER_TOPOLOGY}");
        // A null is no row, as everywhere in tables.
        let joiner =
            move |key: &K, left: &V, right: Option<&T>| joiner(key, left, right).filter(|joined| !is_null(joined));
        let (foreign_key, joiner) = (Arc::new(foreign_key), Arc::new(joiner));
        let (left, right) = (self.serdes.clone(), other.serdes.clone());
        let (left_rows, right_rows) = (self.readable(), other.readable());
        let mut graph = self.graph.borrow_mut();
        graph.send_old_values(other.node, true);
        graph.send_old_values(self.node, true);

        // From the left table: who refers to what.
        let (serdes, key_serde) = (left.clone(), Arc::clone(right.key()));
        let references =
            move |topic| References::new(Arc::clone(&foreign_key), serdes.clone(), Arc::clone(&key_serde), topic);
        let references_of_rows = references.clone();
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| {
            let unanswered = task.shared_state::<Unanswered>(id);
            task.add_coalescing(id, unanswered.clone());
            Subscribe::new(kind, references(task.topic_of_sink_behind(id)), unanswered, task.children(id))
        });
        let subscribe = graph.add(GraphNode::operator(operators.subscribe, vec![self.node], factory));
        let subscriptions: Serdes<Option<L>, Subscription> =
            Serdes::of(Arc::new(Nullable::new(Arc::clone(right.key()))), Arc::new(SubscriptionSerde));
        let (data, read) = (DataType::of(&subscriptions), source_factory(subscriptions.clone()));
        let serdes = subscriptions.clone();
        let sink =
            Factory::node::<Option<L>, Subscription, _>(move |task, id| Sink::new(task.sink_topic(id), serdes.clone()));
        let (registration, source) =
            graph.add_repartition_for(Purpose::Subscriptions, vec![subscribe], data, sink, read);
        graph.join(source, other.node);

        // Beside the right table: subscriptions are kept, and answered when they come and when a row changes.
        let formats = (Format::Custom("foreign-key-and-key".into()), Format::Custom("foreign-key-subscription".into()));
        let store = graph.add_operator_store("-subscription-store", formats);
        let key_serde = Arc::clone(right.key());
        let factory = Factory::node::<Option<L>, Subscription, _>(move |task, id| {
            Register::new(Subscriptions::new(task.place_of(store), Arc::clone(&key_serde)), task.children(id))
        });
        let register = GraphNode::operator(operators.register, vec![source], factory).named_after(self.node);
        let register = graph.add(register.uses(vec![store]));
        let row_serde = Arc::clone(right.value());
        let factory = Factory::node::<Option<L>, Subscription, _>(move |task, id| {
            let rows = task.as_passed_on(|task| right_rows(task));
            Answer::new(rows, Arc::clone(&row_serde), task.topic_of_sink_behind(id), task.children(id))
        });
        let answer = GraphNode::operator(operators.answer, vec![register], factory).named_after(self.node);
        let answer = graph.add(answer.reads(other.node));
        let right_serdes = right.clone();
        let factory = Factory::node::<L, Change<T>, _>(move |task, id| {
            let subscriptions = Subscriptions::new(task.place_of(store), Arc::clone(right_serdes.key()));
            let row_serde = Arc::clone(right_serdes.value());
            Update::new(subscriptions, row_serde, task.topic_of_sink_behind(id), task.children(id))
        });
        let update = GraphNode::operator(operators.update, vec![other.node], factory).named_after(self.node);
        let update = graph.add(update.uses(vec![store]));
        let responses: Serdes<K, Response<T>> =
            Serdes::of(Arc::clone(left.key()), Arc::new(ResponseSerde(Arc::clone(right.value()))));
        let sink = Factory::node::<Vec<u8>, answer::Message, _>(|task, id| AnswerSink::new(task.sink_topic(id)));
        let (data, read) = (DataType::of(&responses), source_factory(responses));
        let (response, source) = graph.add_repartition_for(Purpose::Responses, vec![answer, update], data, sink, read);
        graph.join(self.node, source);

        // Beside the left table again: answers become results.
        let factory = Factory::node::<K, Response<T>, _>(move |task, id| {
            let topic = task.topic_of_sink_behind(subscribe);
            Resolve {
                kind,
                rows: task.as_passed_on(|task| left_rows(task)),
                references: references_of_rows(Arc::clone(&topic)),
                unanswered: task.shared_state(subscribe),
                sink: Sink::new(topic, subscriptions.clone()),
                joiner: Arc::clone(&joiner),
                children: task.children(id),
            }
        });
        let resolve = GraphNode::operator(operators.resolve, vec![source], factory).named_after(self.node);
        let resolve = graph.add(resolve.reads(self.node));
        let serdes = self.serdes.values();
        // Its rows cannot be made of others: it is kept like a table that is read from a topic, where someone needs it.
        let table = TableDef::new(TableKind::Source, Vec::new(), serdes.clone());
        let results =
            GraphNode::operator(operators.results, vec![resolve], table_factory::<K, W>()).named_after(self.node);
        let results = graph.add(results.table(table));
        graph.repartition_made_for(registration, results);
        graph.repartition_made_for(response, results);
        graph.store_made_for(store, results);
        drop(graph);
        Table::stored(self.graph, results, serdes)
    }
}
