//! What operators without state cost: `cargo bench -p integration-tests --bench chain`.
//!
//! Records go through the nodes of a task, from their bytes to an output that takes them and keeps nothing: once from the source to
//! the sink, and once with five operators between. The difference is what five operators cost; it must stay below [`BAR_NS`], or the exit
//! status is 1.

use std::{cell::RefCell, hint::black_box, process::ExitCode, rc::Rc, sync::Arc};

use millpond::{
    Serdes, Topology,
    dsl::Stream,
    log::{Headers, RecordRef},
    processor::{Context, Globals, Output, ProcessError},
    serde::{Data, Serde, default_serde},
    state::{StateSettings, TaskId, TaskStores},
    time::{Clock, SystemClock},
    topology::Processors,
};

/// ns of CPU per record for five operators.
const BAR_NS: f64 = 150.0;
const RECORDS: i64 = 200_000;
/// The two are measured in turn, and the best round of each counts: the others met something else on the processor.
const ROUNDS: usize = 15;

/// Takes records and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl Output for Nowhere {
    fn send(
        &mut self,
        _: &Arc<str>,
        key: Option<&[u8]>,
        _: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        _: &Headers,
    ) -> Result<(), ProcessError> {
        black_box((key, value, timestamp_ms));
        Ok(())
    }

    fn send_to(
        &mut self,
        _: &Arc<str>,
        _: i32,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        _: i64,
        _: &Headers,
    ) -> Result<(), ProcessError> {
        Ok(())
    }
}

/// The nodes of a task.
struct Task {
    processors: Processors,
    ctx: Context,
}

// === impl Task ===

impl Task {
    fn of<V: Data>(write: impl FnOnce(Stream<'_, String, V>)) -> Self {
        let topology = Topology::builder("chain");
        write(topology.stream("in", Serdes::<String, V>::default()));
        let resolved = topology.build().expect("a correct topology").resolve("bench");
        let settings = StateSettings::default();
        let stores = TaskStores::open(&settings, TaskId::new(0, 0), [].into()).expect("no stores");
        let globals = TaskStores::open_global(&settings, [].into()).expect("no stores");
        let output = Rc::new(RefCell::new(Nowhere));
        let ctx = Context::new(TaskId::new(0, 0), stores, Arc::new(Globals::new(globals.view())), output);
        Self { processors: resolved.instantiate(0).expect("the only sub-topology"), ctx }
    }

    /// ns per record.
    fn measure(&mut self, keys: &[Vec<u8>], value: &[u8]) -> f64 {
        let (clock, headers) = (SystemClock::new(), Headers::default());
        let start = clock.monotonic();
        for (offset, key) in (0..RECORDS).zip(keys.iter().cycle()) {
            let record = RecordRef {
                offset,
                timestamp_ms: offset,
                key: Some(key),
                value: Some(value),
                headers: headers.as_ref(),
            };
            self.processors.process(&mut self.ctx, 0, record, headers.clone()).expect("nothing fails");
        }
        (clock.monotonic() - start).as_nanos() as f64 / RECORDS as f64
    }
}

/// Prints what five operators cost beyond source and sink; says whether that is below the bar.
fn compare<V: Data>(values: &str, value: &V, chain: impl Fn(Stream<'_, String, V>) -> Stream<'_, String, V>) -> bool {
    let mut alone = Task::of::<V>(|stream| stream.to("out"));
    let mut five = Task::of::<V>(|stream| chain(stream).to("out"));
    let keys: Vec<_> = (0..1000).map(|number| format!("key-{number:06}").into_bytes()).collect();
    let mut bytes = Vec::new();
    default_serde::<V>().serialize(value, &mut bytes).expect("a value");
    let (mut without, mut with) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        without = without.min(alone.measure(&keys, &bytes));
        with = with.min(five.measure(&keys, &bytes));
    }
    let beyond = with - without;
    println!(
        "{values}: source to sink {without:.0} ns per record, with five operators {with:.0} ns: {beyond:.0} ns beyond, \
         {BAR_NS:.0} allowed"
    );
    beyond < BAR_NS
}

fn main() -> ExitCode {
    let numbers = compare("numbers", &7_i64, |stream| {
        stream
            .filter(|_, value| *value >= 0)
            .map_values(|_, value| value + 1)
            .map(|key, value| (key.clone(), value * 2))
            .filter_not(|key, _| key.is_empty())
            .peek(|key, value| {
                black_box((key, value));
            })
    });
    let texts = compare("texts of 100 bytes", &"x".repeat(100), |stream| {
        stream
            .filter(|_, value| !value.is_empty())
            .map_values(|_, value| value.clone())
            .map(|key, value| (key.clone(), value.clone()))
            .filter_not(|key, _| key.is_empty())
            .peek(|key, value| {
                black_box((key, value));
            })
    });
    if numbers && texts { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
