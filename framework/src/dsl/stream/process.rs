//! `process`, `process_with_outputs`, `process_values`.

use std::{cell::RefCell, marker::PhantomData, rc::Rc, sync::Arc};

use super::{Stream, split::add_output};
use crate::{
    dsl::stores::{Stores, TaskStoresOf, Used},
    processor::{
        Children, Context, FixedKey, FixedKeyProcessor, Node, OutputId, ProcessError, Processor, ProcessorContext,
        ProcessorResult, Punctuated, PunctuationKind, Record, Schedules, user_error,
    },
    serde::{Data, Serdes},
    topology::{
        Factory,
        graph::{GraphNode, NodeId},
    },
};

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
        let node = self.add_processor("process", stores, supplier);
        Stream { graph: self.graph, node, serdes: Serdes::default(), rekeyed: true }
    }

    /// [`Stream::process`] with several outputs, which have these names: the processor chooses for each record whether it goes to one of them
    /// ([`ProcessorContext::forward_to`]) or to all of them, in this order ([`ProcessorContext::forward`]). `supplier` is given the
    /// outputs, so that there is no wrong one to name.
    ///
    /// ```
    /// use millpond::{
    ///     Serdes, Topology,
    ///     processor::{OutputId, Processor, ProcessorContext, ProcessorResult, Record},
    /// };
    ///
    /// struct ByParity {
    ///     even: OutputId,
    ///     odd: OutputId,
    /// }
    ///
    /// impl Processor<String, i64> for ByParity {
    ///     type Key = String;
    ///     type Value = i64;
    ///
    ///     fn process(&mut self, ctx: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> ProcessorResult {
    ///         let output = if record.value % 2 == 0 { self.even } else { self.odd };
    ///         Ok(ctx.forward_to(output, record)?)
    ///     }
    /// }
    ///
    /// let topology = Topology::builder("parity");
    /// let numbers = topology.stream("numbers", Serdes::<String, i64>::default());
    /// let [even, odd] = numbers.process_with_outputs(["even", "odd"], (), |(), [even, odd]| ByParity { even, odd });
    /// even.to("even-numbers");
    /// odd.to("odd-numbers");
    /// # topology.build().unwrap();
    /// ```
    #[must_use]
    pub fn process_with_outputs<const N: usize, S, P>(
        &self,
        names: [&str; N],
        stores: S,
        supplier: impl Fn(S::Open, [OutputId; N]) -> P + Send + Sync + 'static,
    ) -> [Stream<'t, P::Key, P::Value>; N]
    where
        S: Stores,
        P: Processor<K, V>,
        P::Key: Data,
        P::Value: Data,
    {
        let outputs = std::array::from_fn(OutputId);
        let processor = self.add_processor("process", stores, move |open| supplier(open, outputs));
        // The places of the outputs among the node's children: no other node is ever attached to it.
        names.map(|name| {
            let node = add_output::<P::Key, P::Value>(self.graph, processor, name);
            Stream { graph: self.graph, node, serdes: Serdes::default(), rekeyed: true }
        })
    }

    /// Processes records with a processor of your own that cannot change their keys (`processValues` of Kafka Streams): records stay where
    /// their keys belong, nothing behind it has to be repartitioned. Otherwise as [`Stream::process`].
    ///
    /// ```
    /// use millpond::{
    ///     Serdes, Topology,
    ///     dsl::StoreBuilder,
    ///     processor::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, PlainKeyValueStore, ProcessorResult},
    /// };
    ///
    /// /// By how much each value differs from the one before.
    /// struct Differences(PlainKeyValueStore<String, i64>);
    ///
    /// impl FixedKeyProcessor<String, i64> for Differences {
    ///     type Value = i64;
    ///
    ///     fn process(
    ///         &mut self,
    ///         ctx: &mut FixedKeyContext<'_, String, i64>,
    ///         record: FixedKeyRecord<String, i64>,
    ///     ) -> ProcessorResult {
    ///         let before = self.0.get(ctx, record.key())?.unwrap_or(0);
    ///         self.0.put(ctx, record.key(), &record.value)?;
    ///         let difference = record.value - before;
    ///         Ok(ctx.forward(record.with_value(difference))?)
    ///     }
    /// }
    ///
    /// let topology = Topology::builder("differences");
    /// let last = topology.add_store(StoreBuilder::plain_key_value("last", Serdes::default()));
    /// topology.stream("in", Serdes::<String, i64>::default()).process_values(last, Differences).group_by_key().count();
    /// assert!(topology.build()?.resolve("app").sub_topologies[0].repartition_topics.is_empty());
    /// # Ok::<(), millpond::TopologyError>(())
    /// ```
    #[must_use]
    pub fn process_values<S, P>(
        &self,
        stores: S,
        supplier: impl Fn(S::Open) -> P + Send + Sync + 'static,
    ) -> Stream<'t, K, P::Value>
    where
        S: Stores,
        P: FixedKeyProcessor<K, V>,
        P::Value: Data,
    {
        let node = self.add_processor::<S, FixedKey<P>>("process-values", stores, move |open| FixedKey(supplier(open)));
        Stream { graph: self.graph, node, serdes: self.serdes.values(), rekeyed: self.rekeyed }
    }

    fn add_processor<S, P>(
        &self,
        operator: &'static str,
        stores: S,
        supplier: impl Fn(S::Open) -> P + Send + Sync + 'static,
    ) -> NodeId
    where
        S: Stores,
        P: Processor<K, V>,
    {
        let mut used = Used::default();
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
        let node = GraphNode::operator(operator, vec![self.node], factory);
        self.graph.borrow_mut().add(node.uses(used.stores).reads_globals(used.globals))
    }
}

// === impl Custom ===

impl<K, V, P: Processor<K, V>> Custom<K, V, P> {
    fn call(
        &mut self,
        ctx: &mut Context,
        timestamp_ms: i64,
        f: impl FnOnce(&mut P, &mut ProcessorContext<'_, P::Key, P::Value>) -> ProcessorResult,
    ) -> Result<(), ProcessError> {
        let mut context = ProcessorContext::new(ctx, &mut self.children, &mut self.schedules, timestamp_ms);
        f(&mut self.processor, &mut context).map_err(|source| user_error(&self.name, source))
    }
}

impl<K, V, P: Processor<K, V>> Punctuated for Custom<K, V, P> {
    fn init(&mut self, ctx: &mut Context) -> Result<(), ProcessError> {
        let timestamp_ms = ctx.stream_time_ms().max(0);
        self.call(ctx, timestamp_ms, |processor, context| processor.init(context))
    }

    fn next_due_ms(&self, kind: PunctuationKind) -> i64 {
        self.schedules.next_due_ms(kind)
    }

    fn punctuate(&mut self, ctx: &mut Context, kind: PunctuationKind, now_ms: i64) -> Result<(), ProcessError> {
        match self.schedules.take_due(kind, now_ms) {
            Some(id) => self.call(ctx, now_ms, |processor, context| processor.punctuate(context, id, now_ms)),
            None => Ok(()),
        }
    }
}

// === impl Placed ===

impl<K, V, P: Processor<K, V>> Node<K, V> for Placed<K, V, P> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        // Never borrowed twice: records and punctuations come from outside of the tree, one after the other.
        let timestamp_ms = record.timestamp_ms;
        self.0.borrow_mut().call(ctx, timestamp_ms, |processor, context| processor.process(context, record))
    }
}
