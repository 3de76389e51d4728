//! Processors written by users, and their punctuations.

use std::time::Duration;

use millpond::{
    Serdes,
    dsl::{StoreBuilder, TopologyBuilder},
    log::Headers,
    processor::{
        PlainKeyValueStore, Processor, ProcessorContext, ProcessorResult, PunctuationId,
        PunctuationKind::{self, StreamTime, WallClock},
        Record,
    },
};

use super::{Cases, Nullable, nullable};

pub(super) const ALL: Cases = &[
    ("processor_stream_time_punctuator", |topology| sums(topology, Beat::every(StreamTime, 100))),
    ("processor_wall_clock_punctuator", |topology| sums(topology, Beat::every(WallClock, 500))),
    ("processor_anchored_punctuators", |topology| {
        sums(topology, Beat { anchor_ms: Some(130), ..Beat::every(WallClock, 200) });
    }),
    ("processor_punctuator_cancel_and_two_types", cancel_and_two_types),
];

type Text = Option<String>;

/// When a punctuation is called.
#[derive(Debug, Clone, Copy)]
struct Beat {
    kind: PunctuationKind,
    interval: Duration,
    anchor_ms: Option<i64>,
}

/// Sums up by key, and passes all sums on with each punctuation.
struct Sums {
    sums: PlainKeyValueStore<String, i64>,
    beat: Beat,
}

/// Two punctuations, one of which ends with every third call.
#[derive(Debug, Default)]
struct TwoTypes {
    a: Option<PunctuationId>,
    b: Option<PunctuationId>,
    calls_of_a: u64,
}

fn sums(topology: &TopologyBuilder, beat: Beat) {
    let store = topology.add_store(StoreBuilder::plain_key_value("sums", Serdes::default()));
    topology.stream("in", Nullable::<String, i64>::default()).process(store, move |sums| Sums { sums, beat }).to("out");
}

fn cancel_and_two_types(topology: &TopologyBuilder) {
    topology.stream("in", nullable()).process((), |()| TwoTypes::default()).to("out");
}

fn record<V>(key: impl Into<String>, value: V, timestamp_ms: i64) -> Record<Text, Option<V>> {
    Record { key: Some(key.into()), value: Some(value), timestamp_ms, headers: Headers::default() }
}

// === impl Beat ===

impl Beat {
    fn every(kind: PunctuationKind, interval_ms: u64) -> Self {
        Self { kind, interval: Duration::from_millis(interval_ms), anchor_ms: None }
    }
}

// === impl Sums ===

impl Processor<Text, Option<i64>> for Sums {
    type Key = Text;
    type Value = Option<i64>;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, Text, Option<i64>>) -> ProcessorResult {
        let Beat { kind, interval, anchor_ms } = self.beat;
        match anchor_ms {
            Some(anchor_ms) => ctx.schedule_anchored(kind, anchor_ms, interval),
            None => ctx.schedule(kind, interval),
        };
        Ok(())
    }

    fn process(
        &mut self,
        ctx: &mut ProcessorContext<'_, Text, Option<i64>>,
        record: Record<Text, Option<i64>>,
    ) -> ProcessorResult {
        let Some(key) = &record.key else { return Ok(()) };
        match record.value {
            Some(value) => {
                let sum = self.sums.get(ctx, key)?.unwrap_or(0) + value;
                self.sums.put(ctx, key, &sum)?;
            }
            None => {
                self.sums.delete(ctx, key)?;
                ctx.forward(record)?;
            }
        }
        Ok(())
    }

    fn punctuate(
        &mut self,
        ctx: &mut ProcessorContext<'_, Text, Option<i64>>,
        _: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        ctx.forward(record("at", now_ms, now_ms))?;
        for (key, sum) in self.sums.all(ctx, usize::MAX)? {
            self.sums.delete(ctx, &key)?;
            ctx.forward(record(key, sum, now_ms))?;
        }
        Ok(())
    }
}

// === impl TwoTypes ===

impl Processor<Text, Text> for TwoTypes {
    type Key = Text;
    type Value = Text;

    fn init(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessorResult {
        self.a = Some(ctx.schedule(StreamTime, Duration::from_millis(50)));
        self.b = Some(ctx.schedule(WallClock, Duration::from_millis(100)));
        Ok(())
    }

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, record: Record<Text, Text>) -> ProcessorResult {
        match record.value.as_deref() {
            Some("restart") => {
                self.a.into_iter().for_each(|a| ctx.cancel(a));
                self.a = Some(ctx.schedule(StreamTime, Duration::from_millis(50)));
            }
            Some("stop-B") => self.b.into_iter().for_each(|b| ctx.cancel(b)),
            _ => ctx.forward(record)?,
        }
        Ok(())
    }

    fn punctuate(
        &mut self,
        ctx: &mut ProcessorContext<'_, Text, Text>,
        punctuation: PunctuationId,
        now_ms: i64,
    ) -> ProcessorResult {
        if Some(punctuation) != self.a {
            return Ok(ctx.forward(record("B", now_ms.to_string(), now_ms))?);
        }
        self.calls_of_a += 1;
        if self.calls_of_a.is_multiple_of(3) {
            ctx.cancel(punctuation);
        }
        Ok(ctx.forward(record("A", self.calls_of_a.to_string(), now_ms))?)
    }
}
