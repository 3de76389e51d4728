//! `skip_null_keys`, `skip_null_values`.

use super::Stream;
use crate::{
    processor::{Children, Context, Node, ProcessError, Record},
    serde::Data,
};

/// Passes on the records that have a key.
struct SkipNullKeys<K, V>(Children<K, V>);

/// Passes on the records that have a value.
struct SkipNullValues<K, V>(Children<K, V>);

impl<'t, K: Data, V: Data> Stream<'t, Option<K>, V> {
    /// The records that have a key.
    #[must_use]
    pub fn skip_null_keys(&self) -> Stream<'t, K, V> {
        self.attach("skip-null-keys", self.serdes.present_keys(), SkipNullKeys)
    }
}

impl<'t, K: Data, V: Data> Stream<'t, K, Option<V>> {
    /// The records that have a value.
    #[must_use]
    pub fn skip_null_values(&self) -> Stream<'t, K, V> {
        self.attach("skip-null-values", self.serdes.present_values(), SkipNullValues)
    }
}

// === impl SkipNullKeys ===

impl<K: Data, V: Data> Node<Option<K>, V> for SkipNullKeys<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<Option<K>, V>) -> Result<(), ProcessError> {
        let Record { key: Some(key), value, timestamp_ms, headers } = record else { return Ok(()) };
        self.0.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}

// === impl SkipNullValues ===

impl<K: Data, V: Data> Node<K, Option<V>> for SkipNullValues<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Option<V>>) -> Result<(), ProcessError> {
        let Record { key, value: Some(value), timestamp_ms, headers } = record else { return Ok(()) };
        self.0.forward(ctx, Record { key, value, timestamp_ms, headers })
    }
}
