//! A task of a join, with its state in hand.

use std::{cell::RefCell, convert::Infallible, rc::Rc, sync::Arc};

use super::{Shape, write};
use crate::{
    Topology,
    log::{Headers, RecordRef},
    processor::{Context, Globals, Output, ProcessError},
    state::{CommitPoint, Dirty, StateSettings, StoreSpec, TaskId, TaskStores},
    topology::Processors,
};

/// The task.
pub(super) struct Task {
    processors: Processors,
    ctx: Context,
    sources: Vec<Arc<str>>,
    values: Rc<RefCell<Values>>,
}

/// The values that come out.
#[derive(Default)]
struct Values(Vec<String>);

// === impl Values ===

impl Output for Values {
    fn send(
        &mut self,
        _: &Arc<str>,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        value: Option<&[u8]>,
        _: i64,
        _: &Headers,
    ) -> Result<(), ProcessError> {
        self.0.push(String::from_utf8_lossy(value.unwrap_or_default()).into_owned());
        Ok(())
    }

    fn send_to(
        &mut self,
        topic: &Arc<str>,
        _: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: &Headers,
    ) -> Result<(), ProcessError> {
        self.send(topic, key, None, value, timestamp_ms, headers)
    }
}

// === impl Task ===

impl Task {
    /// The only task of a join, with what it has left in its directory.
    pub(super) fn open(shape: Shape, settings: &StateSettings) -> Self {
        let topology = Topology::builder("test");
        write(&topology, shape);
        let resolved = topology.build().expect("a correct topology").resolve("app");
        let (task, sub_topology) = (TaskId::new(0, 0), &resolved.sub_topologies[0]);
        let stores = TaskStores::open(settings, task, Arc::clone(&sub_topology.stores)).expect("stores of its own");
        let values = Rc::new(RefCell::new(Values::default()));
        let output = Rc::clone(&values) as Rc<RefCell<dyn Output>>;
        let mut ctx = Context::new(task, stores, Arc::new(Globals::none()), output);
        ctx.set_emit_interval_ms(0);
        let processors = resolved.instantiate(0).expect("the only sub-topology");
        Self { processors, ctx, sources: sub_topology.sources.clone(), values }
    }

    pub(super) fn stores(&self) -> &Arc<[StoreSpec]> {
        self.ctx.stores().specs()
    }

    /// Processes a record; gives the values that come out.
    pub(super) fn process(&mut self, topic: &str, key: Option<&str>, value: Option<&str>, at: i64) -> Vec<String> {
        let source = self.sources.iter().position(|source| &**source == topic).expect("a source");
        let headers = Headers::default();
        let record = RecordRef {
            offset: 0,
            timestamp_ms: at,
            key: key.map(str::as_bytes),
            value: value.map(str::as_bytes),
            headers: headers.as_ref(),
        };
        self.processors.process(&mut self.ctx, source, record, headers.clone()).expect("processed");
        std::mem::take(&mut self.values.borrow_mut().0)
    }

    /// Commits; hands out what goes to the changelogs.
    pub(super) fn commit(&mut self, mut log: impl FnMut(Dirty<'_>)) {
        let Ok(()) = self.ctx.stores_mut().freeze(|dirty| {
            log(dirty);
            Ok::<_, Infallible>(())
        });
        self.ctx.stores_mut().commit(&CommitPoint::default()).expect("a writable store");
    }

    pub(super) fn close(self) {
        self.ctx.into_stores().close().expect("a writable store");
    }
}
