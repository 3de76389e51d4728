//! `flat_map`, `try_flat_map`.

use std::{convert::Infallible, sync::Arc};

use super::Stream;
use crate::{
    dsl::fallible::{UserError, failed},
    processor::{Children, Context, Node, ProcessError, Record},
    serde::{Data, Serdes},
};

/// Makes any number of records of each record.
struct FlatMap<L, W, F> {
    name: Arc<str>,
    mapper: Arc<F>,
    children: Children<L, W>,
}

impl<'t, K: Data, V: Data> Stream<'t, K, V> {
    /// Any number of new keys and values for each record (`flatMap` of Kafka Streams). Keys count as changed; where they stay,
    /// [`Stream::flat_map_values`] saves a repartition topic.
    ///
    /// ```
    /// use millpond::{
    ///     Serdes, Topology,
    ///     testing::{TestTopic, TopologyTestDriver},
    /// };
    ///
    /// let topology = Topology::builder("orders");
    /// let orders = topology.stream("orders", Serdes::<String, String>::default());
    /// // ann: "nuts bolts" is nuts: ann, bolts: ann
    /// let bought = orders.flat_map(|customer, items| {
    ///     let (customer, items) = (customer.clone(), items.split(' ').map(str::to_owned));
    ///     items.map(|item| (item, customer.clone())).collect::<Vec<_>>()
    /// });
    /// bought.to("bought");
    ///
    /// let mut driver = TopologyTestDriver::new(&topology.build()?)?;
    /// let topic = |name| TestTopic::<String, String>::new(name, Serdes::default());
    /// driver.pipe(&topic("orders"), &"ann".to_owned(), &"nuts bolts".to_owned(), 7)?;
    /// let bought = driver.read(&topic("bought"))?;
    /// let bought: Vec<_> = bought.iter().map(|r| (r.key.as_str(), r.value.as_str(), r.timestamp_ms)).collect();
    /// assert_eq!(bought, [("nuts", "ann", 7), ("bolts", "ann", 7)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn flat_map<L, W, I, F>(&self, mapper: F) -> Stream<'t, L, W>
    where
        L: Data,
        W: Data,
        I: IntoIterator<Item = (L, W)>,
        F: Fn(&K, &V) -> I + Send + Sync + 'static,
    {
        self.try_flat_map(move |key, value| Ok::<_, Infallible>(mapper(key, value)))
    }

    /// [`Stream::flat_map`] with a function that may fail.
    #[must_use]
    pub fn try_flat_map<L, W, I, E, F>(&self, mapper: F) -> Stream<'t, L, W>
    where
        L: Data,
        W: Data,
        I: IntoIterator<Item = (L, W)>,
        E: UserError,
        F: Fn(&K, &V) -> Result<I, E> + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let make = move |name, children| FlatMap { name, mapper: Arc::clone(&mapper), children };
        self.attach_named("flat-map", Serdes::default(), make).rekeyed()
    }
}

// === impl FlatMap ===

impl<K, V, L, W, I, E, F> Node<K, V> for FlatMap<L, W, F>
where
    L: Data,
    W: Data,
    I: IntoIterator<Item = (L, W)>,
    E: UserError,
    F: Fn(&K, &V) -> Result<I, E>,
{
    fn push(&mut self, ctx: &mut Context, record: Record<K, V>) -> Result<(), ProcessError> {
        let made = (self.mapper)(&record.key, &record.value).map_err(|error| failed(&self.name, error))?;
        let Record { timestamp_ms, headers, .. } = record;
        for (key, value) in made {
            self.children.forward(ctx, Record { key, value, timestamp_ms, headers: headers.clone() })?;
        }
        Ok(())
    }
}
