//! `join_with_grace`, `left_join_with_grace`: with a table that keeps versions, when its updates have had time to come.

use std::{sync::Arc, time::Duration};

use super::{JoinedStream, Stream};
use crate::{
    dsl::{KeyOf, OTHER_TOPOLOGY, Table, table::Lookup, windows::ms},
    processor::{Children, Context, DropReason, GraceBuffer, Node, ProcessError, Record},
    serde::{Data, is_null},
    state::StoreKind,
    topology::{Factory, graph::GraphNode},
};

/// Lets records wait, and looks up their rows then.
struct JoinWithGrace<K, V, L, T, W, F> {
    buffer: GraceBuffer<K, V>,
    rows: Box<dyn Lookup<L, T>>,
    /// Gives no result where there is none.
    joiner: Arc<F>,
    left: bool,
    grace_ms: i64,
    children: Children<K, W>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Joins each record with the row of its key that the table had at the record's time, when updates of the table have had `grace` to
    /// come. Until then records wait, in the order of their time: a record is joined when the latest timestamp of any that waits or
    /// waited is later by `grace`, which takes a record of any key; the records that wait at the end stay. One that comes later than
    /// that is joined at once. Records without a row give nothing; records without key or value are left out (dropped).
    ///
    /// This is `join` with `Joined#withGracePeriod` of Kafka Streams (KIP-923). The table must keep versions ([`Table::versioned`]), for as
    /// long as `grace` at the least; otherwise the topology does not build:
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::{Serdes, Topology};
    ///
    /// let grace = Duration::from_secs(60);
    /// let topology = Topology::builder("orders");
    /// let prices = topology.table("prices", Serdes::<String, i64>::default());
    /// let orders = topology.stream("orders", Serdes::<String, i64>::default());
    /// orders.join_with_grace(&prices, grace, |_, count, price| count * price).to("amounts");
    /// let error = topology.build().unwrap_err();
    /// assert!(error.to_string().contains("`prices/table` does not keep versions"));
    /// ```
    ///
    /// # Panics
    ///
    /// When the table is of another topology.
    pub fn join_with_grace<L, T, W, F>(
        &self,
        table: &Table<'t, L, T>,
        grace: Duration,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        K: KeyOf<L>,
        L: Data,
        T: Data,
        W: Data,
        F: Fn(&K, &V, &T) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, value: &V, row: Option<&T>| row.map(|row| joiner(key, value, row));
        self.joined_with_grace("join-with-grace", table, grace, false, joiner)
    }

    /// As [`Stream::join_with_grace`]; records without a row are joined with `None`. Those without a key never have one: they do not wait.
    ///
    /// # Panics
    ///
    /// When the table is of another topology.
    pub fn left_join_with_grace<L, T, W, F>(
        &self,
        table: &Table<'t, L, T>,
        grace: Duration,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        K: KeyOf<L>,
        L: Data,
        T: Data,
        W: Data,
        F: Fn(&K, &V, Option<&T>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, value: &V, row: Option<&T>| Some(joiner(key, value, row));
        self.joined_with_grace("left-join-with-grace", table, grace, true, joiner)
    }

    fn joined_with_grace<L, T, W, F>(
        &self,
        operator: &'static str,
        table: &Table<'t, L, T>,
        grace: Duration,
        left: bool,
        joiner: F,
    ) -> JoinedStream<'t, K, W>
    where
        K: KeyOf<L>,
        L: Data,
        T: Data,
        W: Data,
        F: Fn(&K, &V, Option<&T>) -> Option<W> + Send + Sync + 'static,
    {
        assert!(std::ptr::eq(self.graph, table.graph()), "{OTHER_TOPOLOGY}");
        let placed = self.placed(None);
        let (joiner, rows, grace_ms) = (Arc::new(joiner), table.readable(), ms(grace));
        let serdes = placed.stream.serdes.clone();
        let formats = serdes.formats();
        let factory = Factory::node::<K, V, _>(move |task, id| {
            let (store, name) = task.used_store(id, 0);
            JoinWithGrace {
                buffer: GraceBuffer::new(store, name, serdes.clone()),
                rows: rows(task),
                joiner: Arc::clone(&joiner),
                left,
                grace_ms,
                children: task.children(id),
            }
        });
        let node = GraphNode::operator(operator, vec![placed.stream.node], factory);
        let mut graph = self.graph.borrow_mut();
        let node = graph.add(node.reads(table.node()).takes_null_keys(left));
        let buffer = graph.add_store_of(node, "-buffer", StoreKind::TimeOrderedBuffer, formats);
        graph.uses(node, vec![buffer]);
        graph.join(placed.stream.node, table.node());
        graph.reads_history(node, table.node(), grace_ms);
        drop(graph);
        placed.made_for(node);
        let stream = Stream::new(self.graph, node, placed.stream.serdes.values());
        JoinedStream::new(stream, vec![(node, "")], vec![(buffer, "-Buffer")])
    }
}

// === impl JoinWithGrace ===

impl<K, V, L, T, W, F> JoinWithGrace<K, V, L, T, W, F>
where
    K: Data + KeyOf<L>,
    V: Data,
    L: Data,
    W: Data,
    F: Fn(&K, &V, Option<&T>) -> Option<W>,
{
    fn join(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let row = match record.key.key().filter(|key| !is_null(*key)) {
            Some(key) => self.rows.get_as_of(ctx, key, record.timestamp_ms)?.map(|(row, _)| row),
            None => None,
        };
        match (self.joiner)(&record.key, &record.value, row.as_ref()) {
            Some(value) => self.children.forward(ctx, record.with_value(value)),
            None => Ok(()),
        }
    }
}

impl<K, V, L, T, W, F> Node<K, V> for JoinWithGrace<K, V, L, T, W, F>
where
    K: Data + KeyOf<L>,
    V: Data,
    L: Data,
    W: Data,
    F: Fn(&K, &V, Option<&T>) -> Option<W>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        if is_null(&record.value) {
            ctx.drop_record(DropReason::NullValue);
            return Ok(());
        }
        if record.key.key().is_none_or(is_null) {
            if self.left {
                return self.join(ctx, record);
            }
            ctx.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let (time_ms, timestamp_ms) = (self.buffer.time_ms(ctx)?, record.timestamp_ms);
        // What waited by then has been joined.
        let joined_ms = time_ms.saturating_sub(self.grace_ms);
        if timestamp_ms < joined_ms {
            return self.join(ctx, record);
        }
        let due_ms = timestamp_ms.max(time_ms).saturating_sub(self.grace_ms);
        self.buffer.put(ctx, &record)?;
        if due_ms == joined_ms && timestamp_ms > due_ms {
            return Ok(());
        }
        while let Some(due) = self.buffer.take(ctx, joined_ms, due_ms)? {
            due.into_iter().try_for_each(|record| self.join(ctx, record))?;
        }
        Ok(())
    }
}
