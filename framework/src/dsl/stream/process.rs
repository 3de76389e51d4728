//! `process`.

use std::{cell::RefCell, fmt, marker::PhantomData, rc::Rc, sync::Arc};

use super::Stream;
use crate::{
    processor::{
        Children, Context, KeyValueStore, Node, ProcessError, Processor, ProcessorContext, ProcessorResult, Punctuated,
        PunctuationKind, Record, Schedules, user_error,
    },
    serde::{Data, Serdes},
    topology::{
        Factory, Instantiation,
        graph::{Graph, GraphNode, StoreIndex},
    },
};

/// A key-value store for processors, made by [`TopologyBuilder::store`](crate::dsl::TopologyBuilder::store).
pub struct Store<K, V> {
    index: StoreIndex,
    rows: PhantomData<fn() -> (K, V)>,
}

/// Stores that a processor uses: none (`()`), one, or a tuple of several.
pub trait Stores: Clone + Send + Sync + 'static {
    /// What the processor gets.
    type Open;
    /// Which they are.
    #[doc(hidden)]
    fn list(&self, into: &mut Vec<StoreIndexOf>);
    /// Opens them for a task.
    #[doc(hidden)]
    fn open(&self, task: &mut TaskStoresOf<'_, '_>) -> Self::Open;
}

/// A store by its place in the graph; opaque.
#[derive(Debug, Clone, Copy)]
pub struct StoreIndexOf(pub(super) StoreIndex);

/// The stores of a task; opaque.
pub struct TaskStoresOf<'i, 'r>(pub(super) &'i mut Instantiation<'r>);

/// A user's processor among the nodes.
struct Custom<K, V, P: Processor<K, V>> {
    processor: P,
    schedules: Schedules,
    children: Children<P::Key, P::Value>,
    name: Arc<str>,
    records: PhantomData<fn(K, V)>,
}

/// The place of a processor in the tree: the task has it in hand, too, for punctuations.
struct Placed<K, V, P: Processor<K, V>>(Rc<RefCell<Custom<K, V, P>>>);

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Processes records with a processor of your own: `Processor` API of Kafka Streams. `supplier` makes one for each task, from
    /// the stores that it uses.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::{
    ///     Serdes, Topology,
    ///     processor::{KeyValueStore, Processor, ProcessorContext, ProcessorResult, PunctuationId, PunctuationKind, Record},
    /// };
    ///
    /// /// Sums up, and passes the sums on once a minute of stream time.
    /// struct Sums(KeyValueStore<String, i64>);
    ///
    /// impl Processor<String, i64> for Sums {
    ///     type Key = String;
    ///     type Value = i64;
    ///
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, String, i64>) -> ProcessorResult {
    ///         ctx.schedule(PunctuationKind::StreamTime, Duration::from_secs(60));
    ///         Ok(())
    ///     }
    ///
    ///     fn process(&mut self, ctx: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> ProcessorResult {
    ///         let sum = self.0.get(ctx, &record.key)?.unwrap_or(0) + record.value;
    ///         Ok(self.0.put(ctx, &record.key, &sum, record.timestamp_ms)?)
    ///     }
    ///
    ///     fn punctuate(&mut self, ctx: &mut ProcessorContext<'_, String, i64>, _: PunctuationId, now_ms: i64) -> ProcessorResult {
    ///         for (key, value, _) in self.0.all(ctx, 1000)? {
    ///             ctx.forward(Record { key, value, timestamp_ms: now_ms, headers: Default::default() })?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let topology = Topology::builder("sums");
    /// let sums = topology.store("sums", Serdes::<String, i64>::default());
    /// topology.stream("in", Serdes::<String, i64>::default()).process(sums, Sums).to("out");
    /// # topology.build().unwrap();
    /// ```
    #[must_use]
    pub fn process<S, P>(
        &self,
        stores: S,
        supplier: impl Fn(S::Open) -> P + Send + Sync + 'static,
    ) -> Stream<'t, P::Key, P::Value>
    where
        S: Stores,
        P: Processor<K, V>,
        P::Key: Data,
        P::Value: Data,
    {
        let mut used = Vec::new();
        stores.list(&mut used);
        let factory = Factory::node::<K, V, _>(move |task, id| {
            let open = stores.open(&mut TaskStoresOf(task));
            let custom = Rc::new(RefCell::new(Custom {
                processor: supplier(open),
                schedules: Schedules::default(),
                children: task.children(id),
                name: task.name(id),
                records: PhantomData,
            }));
            let punctuated: Rc<RefCell<dyn Punctuated>> = custom.clone();
            task.add_punctuated(punctuated);
            Placed(custom)
        });
        let used = used.into_iter().map(|StoreIndexOf(index)| index).collect();
        let node = GraphNode::operator("process", vec![self.node], factory).uses(used);
        let node = self.graph.borrow_mut().add(node);
        let serdes: Serdes<P::Key, P::Value> = Serdes::default();
        Stream { graph: self.graph, node, serdes, rekeyed: true }
    }
}

/// A store for processors.
pub(in crate::dsl) fn store<K: Data, V: Data>(graph: &RefCell<Graph>, name: &str, serdes: Serdes<K, V>) -> Store<K, V> {
    Store { index: graph.borrow_mut().add_store(name.into(), serdes), rows: PhantomData }
}

/// Sets settings of a store's changelog.
pub(in crate::dsl) fn configure_changelog<'s, K, V>(
    graph: &RefCell<Graph>,
    store: Store<K, V>,
    settings: impl IntoIterator<Item = (&'s str, &'s str)>,
) {
    graph.borrow_mut().store_mut(store.index).configure_changelog(settings);
}

/// Lets the REST interface read a store.
pub(in crate::dsl) fn make_queryable<K, V>(graph: &RefCell<Graph>, store: Store<K, V>) {
    graph.borrow_mut().store_mut(store.index).queryable();
}

// === impl Custom ===

impl<K, V, P: Processor<K, V>> Custom<K, V, P> {
    fn call(
        &mut self,
        ctx: &mut Context,
        f: impl FnOnce(&mut P, &mut ProcessorContext<'_, P::Key, P::Value>) -> ProcessorResult,
    ) -> Result<(), ProcessError> {
        let mut context = ProcessorContext::new(ctx, &mut self.children, &mut self.schedules);
        f(&mut self.processor, &mut context).map_err(|source| user_error(&self.name, source))
    }
}

impl<K, V, P: Processor<K, V>> Punctuated for Custom<K, V, P> {
    fn init(&mut self, ctx: &mut Context) -> Result<(), ProcessError> {
        self.call(ctx, |processor, context| processor.init(context))
    }

    fn next_due_ms(&self, kind: PunctuationKind) -> i64 {
        self.schedules.next_due_ms(kind)
    }

    fn punctuate(&mut self, ctx: &mut Context, kind: PunctuationKind, now_ms: i64) -> Result<(), ProcessError> {
        match self.schedules.take_due(kind, now_ms) {
            Some(id) => self.call(ctx, |processor, context| processor.punctuate(context, id, now_ms)),
            None => Ok(()),
        }
    }
}

// === impl Placed ===

impl<K, V, P: Processor<K, V>> Node<K, V> for Placed<K, V, P> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        // Never borrowed twice: records and punctuations come from outside of the tree, one after the other.
        self.0.borrow_mut().call(ctx, |processor, context| processor.process(context, record))
    }
}

// === impl Store ===

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Store<K, V> {}

impl<K, V> fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.index).finish()
    }
}

impl fmt::Debug for TaskStoresOf<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskStoresOf")
    }
}

// === impl Stores ===

impl Stores for () {
    type Open = ();

    fn list(&self, _: &mut Vec<StoreIndexOf>) {}

    fn open(&self, _: &mut TaskStoresOf<'_, '_>) {}
}

impl<K: Data, V: Data> Stores for Store<K, V> {
    type Open = KeyValueStore<K, V>;

    fn list(&self, into: &mut Vec<StoreIndexOf>) {
        into.push(StoreIndexOf(self.index));
    }

    fn open(&self, TaskStoresOf(task): &mut TaskStoresOf<'_, '_>) -> KeyValueStore<K, V> {
        task.key_value_store(self.index)
    }
}

macro_rules! several {
    ($($store:ident $place:tt),*) => {
        impl<$($store: Stores),*> Stores for ($($store,)*) {
            type Open = ($($store::Open,)*);

            fn list(&self, into: &mut Vec<StoreIndexOf>) {
                $(self.$place.list(into);)*
            }

            fn open(&self, task: &mut TaskStoresOf<'_, '_>) -> Self::Open {
                ($(self.$place.open(task),)*)
            }
        }
    };
}

several!(A 0, B 1);
several!(A 0, B 1, C 2);
several!(A 0, B 1, C 2, D 3);
