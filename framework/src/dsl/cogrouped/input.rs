//! One of the streams that are aggregated together.

use std::{convert::Infallible, sync::Arc};

use crate::{
    dsl::{
        Grouped, SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows, grouped,
        windowed::{Fold, Foldable, session_nodes},
    },
    serde::{Data, Serde},
    topology::{Factory, graph::NodeId},
};

/// What all streams begin with.
pub(super) type Initializer<A> = Arc<dyn Fn() -> A + Send + Sync>;

/// Makes one aggregate of two.
pub(super) type Merger<K, A> = Arc<dyn Fn(&K, A, A) -> A + Send + Sync>;

/// A stream of whatever values, with its aggregator.
pub(super) trait Input<K, A> {
    /// The node that gives its records where their keys belong.
    fn node(&self) -> NodeId;

    /// Says which node needed them there.
    fn made_for(&self, node: NodeId);

    /// The nodes of an aggregation without windows.
    fn nodes(&self, initializer: Initializer<A>) -> Factory;

    /// The nodes of one within time windows.
    fn time(&self, windows: TimeWindows, initializer: Initializer<A>, key_serde: Arc<dyn Serde<K>>) -> Factory;

    /// The nodes of one within unlimited windows.
    fn unlimited(
        &self,
        windows: UnlimitedWindows,
        initializer: Initializer<A>,
        key_serde: Arc<dyn Serde<K>>,
    ) -> Factory;

    /// The nodes of one within sliding windows.
    fn sliding(&self, windows: SlidingWindows, initializer: Initializer<A>, key_serde: Arc<dyn Serde<K>>) -> Factory;

    /// The nodes of one within sessions.
    fn sessions(
        &self,
        windows: SessionWindows,
        initializer: Initializer<A>,
        merger: Merger<K, A>,
        key_serde: Arc<dyn Serde<K>>,
    ) -> Factory;
}

type Aggregator<K, V, A> = Arc<dyn Fn(&K, &V, A) -> Option<A> + Send + Sync>;

/// A stream of these values.
pub(super) struct Of<'t, K, V, A> {
    grouped: Grouped<'t, K, V>,
    aggregator: Aggregator<K, V, A>,
}

// === impl Of ===

impl<'t, K: Data, V: Data, A: Data> Of<'t, K, V, A> {
    pub(super) fn new<R: Into<Option<A>>>(
        grouped: Grouped<'t, K, V>,
        aggregator: impl Fn(&K, &V, A) -> R + Send + Sync + 'static,
    ) -> Self {
        Self { grouped, aggregator: Arc::new(move |key, value, so_far| aggregator(key, value, so_far).into()) }
    }

    /// How windows fold its records.
    #[expect(clippy::type_complexity, reason = "both functions are only passed on")]
    fn fold(
        &self,
        initializer: Initializer<A>,
    ) -> Fold<
        impl Fn() -> Option<A> + Send + Sync + use<K, V, A>,
        impl Fn(&K, &V, Option<A>) -> Option<A> + Send + Sync + use<K, V, A>,
    > {
        let (aggregator, none) = (Arc::clone(&self.aggregator), Arc::clone(&initializer));
        let add = move |key: &K, value: &V, so_far: Option<A>| aggregator(key, value, so_far.unwrap_or_else(|| none()));
        Fold::new(move || Some(initializer()), add)
    }
}

impl<K: Data, V: Data, A: Data> Input<K, A> for Of<'_, K, V, A> {
    fn node(&self) -> NodeId {
        self.grouped.placed().stream.node()
    }

    fn made_for(&self, node: NodeId) {
        self.grouped.placed().made_for(node);
    }

    fn nodes(&self, initializer: Initializer<A>) -> Factory {
        let aggregator = Arc::clone(&self.aggregator);
        grouped::nodes::<K, V, A, _, _, _, _>(
            move || initializer(),
            move |key, value, so_far| Ok::<_, Infallible>(aggregator(key, value, so_far)),
        )
    }

    fn time(&self, windows: TimeWindows, initializer: Initializer<A>, key_serde: Arc<dyn Serde<K>>) -> Factory {
        windows.nodes::<K, V, A, _, _>(self.fold(initializer), key_serde, false).0
    }

    fn unlimited(
        &self,
        windows: UnlimitedWindows,
        initializer: Initializer<A>,
        key_serde: Arc<dyn Serde<K>>,
    ) -> Factory {
        windows.nodes::<K, V, A, _, _>(self.fold(initializer), key_serde, false).0
    }

    fn sliding(&self, windows: SlidingWindows, initializer: Initializer<A>, key_serde: Arc<dyn Serde<K>>) -> Factory {
        windows.nodes::<K, V, A, _, _>(self.fold(initializer), key_serde, false).0
    }

    fn sessions(
        &self,
        windows: SessionWindows,
        initializer: Initializer<A>,
        merger: Merger<K, A>,
        key_serde: Arc<dyn Serde<K>>,
    ) -> Factory {
        let none = Arc::clone(&initializer);
        let merger = move |key: &K, a: Option<A>, b: A| Some(merger(key, a.unwrap_or_else(|| none()), b));
        session_nodes::<K, V, A, _, _, _>(windows, self.fold(initializer), merger, key_serde, false)
    }
}
