//! Processors that use stores, alone and together, and those that choose where records go.

use std::error::Error;

use millpond::{
    Serdes,
    dsl::{StoreBuilder, TopologyBuilder},
    processor::{
        FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, GlobalRows, OutputId, PlainKeyValueStore, PlainWindowStore,
        Processor, ProcessorContext, ProcessorResult, Record, TransformContext, ValueTransformer,
    },
};

use super::{
    Cases, ms, nullable, plain,
    text::{length, or_null},
};

pub(super) const ALL: Cases = &[
    ("dedup_processor", without_duplicates),
    ("global_store_processor", global_store),
    ("process_values_fixed_key", changes),
    ("processor_forward_to_children", by_length),
    ("processor_shared_store", shared),
    ("processor_then_group", characters),
    ("table_transform_values", numbered),
];

type Text = Option<String>;

/// Passes on the first of equal values within 100 ms.
struct WithoutDuplicates(PlainWindowStore<String, String>);

/// Passes on what a global store has under the value.
struct Named(GlobalRows<String, String>);

/// Passes on how values change.
struct Changes(PlainKeyValueStore<String, String>);

/// Sends values of even and odd length to different outputs.
struct ByLength {
    even: OutputId,
    odd: OutputId,
}

/// Writes records to a store.
struct Writer(PlainKeyValueStore<String, String>);

/// Passes on what a store has under the value.
struct Reader(PlainKeyValueStore<String, String>);

/// Passes on the characters of values.
struct Characters;

/// Numbers the changes of each row.
struct Numbered(PlainKeyValueStore<String, i64>);

fn without_duplicates(topology: &TopologyBuilder) {
    let seen = topology.add_store(StoreBuilder::plain_window("seen", plain(), ms(100)).retention(ms(1000)));
    topology.stream("in", nullable()).process(seen, WithoutDuplicates).to("out");
}

fn global_store(topology: &TopologyBuilder) {
    let names = StoreBuilder::plain_key_value("names-store", plain());
    let names = topology.global_store(names, "names", nullable(), |names, ctx, Record { key, value, .. }| {
        let key = key.ok_or("a name without a key")?;
        match value {
            Some(value) => names.put(ctx, &key, &value.to_uppercase())?,
            None => names.delete(ctx, &key)?,
        }
        Ok(())
    });
    topology.stream("in", nullable()).process(names, Named).to("out");
}

fn changes(topology: &TopologyBuilder) {
    let last = topology.add_store(StoreBuilder::plain_key_value("last", plain()));
    let changes = topology.stream("in", nullable()).process_values(last, Changes);
    changes.to("out");
    changes.group_by_key().count().materialized("c").to_stream().to("counts");
}

fn by_length(topology: &TopologyBuilder) {
    let stream = topology.stream("in", nullable());
    let [even, odd] = stream.process_with_outputs(["even", "odd"], (), |(), [even, odd]| ByLength { even, odd });
    even.to("even");
    odd.to("odd");
}

fn shared(topology: &TopologyBuilder) {
    let shared = topology.add_store(StoreBuilder::plain_key_value("shared", plain()));
    let _ = topology.stream("write", nullable()).process(shared, Writer);
    topology.stream("read", nullable()).process(shared, Reader).to("out");
}

fn characters(topology: &TopologyBuilder) {
    let characters = topology.stream("in", nullable()).process((), |()| Characters);
    characters.group_by_key().count().materialized("c").to_stream().to("out");
}

fn numbered(topology: &TopologyBuilder) {
    let seen = topology.add_store(StoreBuilder::plain_key_value("seen", Serdes::default()));
    let table = topology.table("in", plain()).materialized("t");
    table.transform_values(seen, Numbered).to_stream().to("out");
}

// === impl WithoutDuplicates ===

impl Processor<Text, Text> for WithoutDuplicates {
    type Key = Text;
    type Value = Text;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, record: Record<Text, Text>) -> ProcessorResult {
        let Some(value) = &record.value else { return Ok(()) };
        let at = record.timestamp_ms;
        let is_duplicate = !self.0.fetch(ctx, value, at - 100..=at + 100, 1)?.is_empty();
        self.0.put(ctx, value, at, &or_null(record.key.as_ref()))?;
        if !is_duplicate {
            ctx.forward(record)?;
        }
        Ok(())
    }
}

// === impl Named ===

impl Processor<Text, Text> for Named {
    type Key = Text;
    type Value = String;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, String>, record: Record<Text, Text>) -> ProcessorResult {
        let name = match &record.value {
            Some(key) => or_null(self.0.get(ctx, key)?.as_ref()),
            None => "no-value".to_owned(),
        };
        Ok(ctx.forward(record.with_value(name))?)
    }
}

// === impl Changes ===

impl FixedKeyProcessor<Text, Text> for Changes {
    type Value = String;

    fn process(
        &mut self,
        ctx: &mut FixedKeyContext<'_, Text, String>,
        record: FixedKeyRecord<Text, Text>,
    ) -> ProcessorResult {
        let Some(key) = record.key().clone() else { return Ok(ctx.forward(record.with_value("no-key".to_owned()))?) };
        let Some(value) = record.value.clone() else { return Ok(()) };
        let before = self.0.get(ctx, &key)?;
        self.0.put(ctx, &key, &value)?;
        if before.as_ref() == Some(&value) {
            return Ok(());
        }
        let change = format!("{}>{value}", or_null(before.as_ref()));
        ctx.forward(record.clone().with_value(change))?;
        if before.is_none() {
            let at = record.timestamp_ms + 5;
            ctx.forward(record.with_value("first".to_owned()).at(at))?;
        }
        Ok(())
    }
}

// === impl ByLength ===

impl Processor<Text, Text> for ByLength {
    type Key = Text;
    type Value = Text;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, record: Record<Text, Text>) -> ProcessorResult {
        let at = record.timestamp_ms;
        match record.value.as_deref() {
            None => ctx.forward(record)?,
            Some(value) if length(value).is_multiple_of(2) => ctx.forward_to(self.even, record)?,
            Some(value) => {
                let upper = value.to_uppercase();
                ctx.forward_to(self.odd, record.clone().at(at + 1000))?;
                ctx.forward_to(self.odd, record.with_value(Some(upper)))?;
            }
        }
        Ok(())
    }
}

// === impl Writer ===

impl Processor<Text, Text> for Writer {
    type Key = Text;
    type Value = Text;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>, record: Record<Text, Text>) -> ProcessorResult {
        match (&record.key, &record.value) {
            (None, _) => {}
            (Some(key), Some(value)) => self.0.put(ctx, key, value)?,
            (Some(key), None) => self.0.delete(ctx, key)?,
        }
        Ok(())
    }
}

// === impl Reader ===

impl Processor<Text, Text> for Reader {
    type Key = Text;
    type Value = String;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, Text, String>, record: Record<Text, Text>) -> ProcessorResult {
        let Some(key) = &record.value else { return Ok(()) };
        let found = or_null(self.0.get(ctx, key)?.as_ref());
        Ok(ctx.forward(record.with_value(found))?)
    }
}

// === impl Characters ===

impl Processor<Text, Text> for Characters {
    type Key = String;
    type Value = Text;

    fn process(&mut self, ctx: &mut ProcessorContext<'_, String, Text>, record: Record<Text, Text>) -> ProcessorResult {
        let Record { key, value, timestamp_ms, headers } = record;
        for (at, character) in (timestamp_ms..).zip(value.unwrap_or_default().chars()) {
            let (key, value, headers) = (character.to_string(), key.clone(), headers.clone());
            ctx.forward(Record { key, value, timestamp_ms: at, headers })?;
        }
        Ok(())
    }
}

// === impl Numbered ===

impl ValueTransformer<String, String> for Numbered {
    type Value = String;

    fn transform(
        &mut self,
        ctx: &mut TransformContext<'_>,
        key: &String,
        value: Option<&String>,
    ) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
        let changes = self.0.get(ctx, key)?.unwrap_or(0) + 1;
        self.0.put(ctx, key, &changes)?;
        Ok(value.map(|value| format!("{value}#{changes}")))
    }
}
