//! `transform_values`.

#[cfg(test)]
mod tests;

use std::{cell::RefCell, marker::PhantomData, rc::Rc, sync::Arc};

use super::{Lookup, Rows, Table};
use crate::{
    dsl::stores::{Stores, TaskStoresOf, Used},
    processor::{
        Change, Children, Context, Node, ProcessError, ProcessorResult, Punctuated, PunctuationKind, Record, Schedules,
        TimestampedStore, TransformContext, ValueTransformer, user_error,
    },
    serde::{Data, is_null},
    topology::{
        Factory, Instantiation,
        graph::{GraphNode, NodeId, TableDef, TableKind},
    },
};

/// A user's transformer. The task has it in hand, too, for punctuations.
struct Transformer<K, V, T>(Rc<RefCell<Custom<K, V, T>>>);

/// What a user wrote, and when it is called apart from rows.
struct Custom<K, V, T> {
    transformer: T,
    schedules: Schedules,
    /// The name of the node, which errors tell.
    name: Arc<str>,
    rows: PhantomData<fn(K, V)>,
}

/// Gives each row the value that the transformer says.
struct TransformValues<K, V, T: ValueTransformer<K, V>> {
    transformer: Transformer<K, V, T>,
    store: Option<TimestampedStore<K, T::Value>>,
    sends_old: bool,
    children: Children<K, Change<T::Value>>,
}

/// The rows of another table with their new values.
struct TransformedRows<K, V, T> {
    rows: Box<dyn Lookup<K, V>>,
    transformer: Transformer<K, V, T>,
}

impl<'t, K: Data, V: Data> Table<'t, K, V> {
    /// A new value for each row by a transformer, which may use stores (`transformValues` of Kafka Streams). `supplier` makes one for each
    /// task, from the stores that it uses, and another one for each place where rows of a table without a store of its own are looked up.
    ///
    /// ```
    /// use std::error::Error;
    ///
    /// use millpond::{
    ///     Serdes, Topology,
    ///     dsl::StoreBuilder,
    ///     processor::{PlainKeyValueStore, TransformContext, ValueTransformer},
    /// };
    ///
    /// /// How often each row was changed.
    /// struct Changes(PlainKeyValueStore<String, i64>);
    ///
    /// impl ValueTransformer<String, String> for Changes {
    ///     type Value = i64;
    ///
    ///     fn transform(
    ///         &mut self,
    ///         ctx: &mut TransformContext<'_>,
    ///         key: &String,
    ///         value: Option<&String>,
    ///     ) -> Result<Option<i64>, Box<dyn Error + Send + Sync>> {
    ///         let changes = self.0.get(ctx, key)?.unwrap_or(0) + 1;
    ///         self.0.put(ctx, key, &changes)?;
    ///         Ok(value.map(|_| changes))
    ///     }
    /// }
    ///
    /// let topology = Topology::builder("addresses");
    /// let changes = topology.add_store(StoreBuilder::plain_key_value("changes", Serdes::default()));
    /// let addresses = topology.table("addresses", Serdes::<String, String>::default());
    /// addresses.transform_values(changes, Changes).materialized("changes-by-person").queryable();
    /// # topology.build().unwrap();
    /// ```
    #[must_use]
    pub fn transform_values<S, T>(
        &self,
        stores: S,
        supplier: impl Fn(S::Open) -> T + Send + Sync + 'static,
    ) -> Table<'t, K, T::Value>
    where
        S: Stores,
        T: ValueTransformer<K, V>,
        T::Value: Data,
    {
        let mut used = Used::default();
        stores.list(&mut used);
        let supplier = Arc::new(supplier);
        let (stores_of_rows, supplier_of_rows) = (stores.clone(), Arc::clone(&supplier));
        let factory = Factory::node::<K, Change<V>, _>(move |task, id| {
            let transformer = supplier(stores.open(&mut TaskStoresOf(task)));
            TransformValues {
                transformer: Transformer::new(task, id, transformer),
                store: task.store(id),
                sends_old: task.sends_old(id),
                children: task.changes(id),
            }
        });
        let serdes = self.serdes.values();
        let table = TableDef::new(TableKind::Derived, vec![self.node], serdes.clone());
        let node = GraphNode::operator("transform-values", vec![self.node], factory).table(table);
        let node = node.uses(used.stores).reads_globals(used.globals);
        let node = self.graph.borrow_mut().add(node);
        let rows = Arc::clone(&self.rows);
        let rows: Rows<K, T::Value> = Arc::new(move |task| {
            let transformer = supplier_of_rows(stores_of_rows.open(&mut TaskStoresOf(task)));
            let transformer = Transformer::new(task, node, transformer);
            Box::new(TransformedRows { rows: rows(task), transformer })
        });
        Table::derived(self.graph, node, serdes, rows)
    }
}

// === impl Transformer ===

impl<K: Data, V: Data, T: ValueTransformer<K, V>> Transformer<K, V, T>
where
    T::Value: Data,
{
    fn new(task: &mut Instantiation<'_>, node: NodeId, transformer: T) -> Self {
        let (name, schedules) = (task.name(node), Schedules::default());
        let custom = Rc::new(RefCell::new(Custom { transformer, schedules, name, rows: PhantomData }));
        let punctuated: Rc<RefCell<dyn Punctuated>> = custom.clone();
        task.add_punctuated(punctuated);
        Self(custom)
    }

    fn transform(
        &mut self,
        ctx: &mut Context,
        key: &K,
        value: Option<&V>,
        timestamp_ms: i64,
    ) -> Result<Option<T::Value>, ProcessError> {
        // Never borrowed twice: a transformer passes nothing on, and punctuations come from outside of the tree.
        let Custom { transformer, schedules, name, .. } = &mut *self.0.borrow_mut();
        let transformed = transformer.transform(&mut TransformContext::new(ctx, schedules, timestamp_ms), key, value);
        let transformed = transformed.map_err(|error| user_error(name, error))?;
        Ok(transformed.filter(|value| !is_null(value)))
    }
}

// === impl Custom ===

impl<K, V, T: ValueTransformer<K, V>> Custom<K, V, T> {
    fn call(
        &mut self,
        ctx: &mut Context,
        timestamp_ms: i64,
        f: impl FnOnce(&mut T, &mut TransformContext<'_>) -> ProcessorResult,
    ) -> Result<(), ProcessError> {
        let mut context = TransformContext::new(ctx, &mut self.schedules, timestamp_ms);
        f(&mut self.transformer, &mut context).map_err(|source| user_error(&self.name, source))
    }
}

impl<K, V, T: ValueTransformer<K, V>> Punctuated for Custom<K, V, T> {
    fn init(&mut self, ctx: &mut Context) -> Result<(), ProcessError> {
        let timestamp_ms = ctx.stream_time_ms().max(0);
        self.call(ctx, timestamp_ms, |transformer, context| transformer.init(context))
    }

    fn next_due_ms(&self, kind: PunctuationKind) -> i64 {
        self.schedules.next_due_ms(kind)
    }

    fn punctuate(&mut self, ctx: &mut Context, kind: PunctuationKind, now_ms: i64) -> Result<(), ProcessError> {
        match self.schedules.take_due(kind, now_ms) {
            Some(id) => self.call(ctx, now_ms, |transformer, context| transformer.punctuate(context, id, now_ms)),
            None => Ok(()),
        }
    }
}

// === impl TransformValues ===

impl<K: Data, V: Data, T: ValueTransformer<K, V>> Node<K, Change<V>> for TransformValues<K, V, T>
where
    T::Value: Data,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let Record { key, value: change, timestamp_ms, headers } = record;
        let new = self.transformer.transform(ctx, &key, change.new.as_ref(), timestamp_ms)?;
        let mut is_latest = change.is_latest;
        let old = match &mut self.store {
            Some(store) => {
                let mut row = store.entry(&key)?;
                let old = if self.sends_old { row.read(ctx)?.map(|(old, _)| old) } else { None };
                let written = row.write(ctx, new.as_ref(), timestamp_ms)?;
                let Some(latest) = written.is_latest_or_drop(ctx) else { return Ok(()) };
                is_latest = latest;
                old
            }
            None if self.sends_old => self.transformer.transform(ctx, &key, change.old.as_ref(), timestamp_ms)?,
            None => None,
        };
        self.children.forward(ctx, Record { key, value: Change { new, old, is_latest }, timestamp_ms, headers })
    }
}

// === impl TransformedRows ===

impl<K: Data, V: Data, T: ValueTransformer<K, V>> Lookup<K, T::Value> for TransformedRows<K, V, T>
where
    T::Value: Data,
{
    fn get(&mut self, ctx: &mut Context, key: &K) -> Result<Option<(T::Value, i64)>, ProcessError> {
        let row = self.rows.get(ctx, key)?;
        self.transformed(ctx, key, row)
    }

    fn get_as_of(
        &mut self,
        ctx: &mut Context,
        key: &K,
        as_of_ms: i64,
    ) -> Result<Option<(T::Value, i64)>, ProcessError> {
        let row = self.rows.get_as_of(ctx, key, as_of_ms)?;
        self.transformed(ctx, key, row)
    }
}

impl<K: Data, V: Data, T: ValueTransformer<K, V>> TransformedRows<K, V, T>
where
    T::Value: Data,
{
    fn transformed(
        &mut self,
        ctx: &mut Context,
        key: &K,
        row: Option<(V, i64)>,
    ) -> Result<Option<(T::Value, i64)>, ProcessError> {
        let (value, timestamp_ms) = row.map_or((None, Context::NO_STREAM_TIME), |(value, at)| (Some(value), at));
        // As in Kafka Streams, a row that is not there is transformed too.
        let transformed = self.transformer.transform(ctx, key, value.as_ref(), timestamp_ms)?;
        Ok(transformed.map(|transformed| (transformed, timestamp_ms)))
    }
}
