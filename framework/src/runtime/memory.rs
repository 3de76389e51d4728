//! The memory that a thread holds, as the metrics show it.

use std::collections::BTreeMap;

use crate::metrics::Metrics;

/// What one thread holds of each part of the memory. The gauge of a part is the sum over all threads; dropped, this one's is taken off it.
#[derive(Debug)]
pub(crate) struct MemoryShown {
    metrics: Metrics,
    /// By part, in bytes.
    shown: BTreeMap<&'static str, i64>,
}

// === impl MemoryShown ===

impl MemoryShown {
    /// Nothing yet.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), shown: BTreeMap::new() }
    }

    /// Brings the parts up to date, in bytes; those that are not named stay as they are.
    pub(crate) fn show<const N: usize>(&mut self, parts: [(&'static str, usize); N]) {
        for (part, bytes) in parts {
            let now = i64::try_from(bytes).unwrap_or(i64::MAX);
            let before = self.shown.insert(part, now).unwrap_or(0);
            self.metrics.memory.with_label_values(&[part]).add(now - before);
        }
    }
}

impl Drop for MemoryShown {
    fn drop(&mut self) {
        for (part, bytes) in &self.shown {
            self.metrics.memory.with_label_values(&[part]).sub(*bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_summed_over_threads_and_end_with_them() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let rows = || metrics.memory.with_label_values(&["rows"]).get();
        let (mut one, mut other) = (MemoryShown::new(&metrics), MemoryShown::new(&metrics));
        one.show([("rows", 100), ("fetched", 1)]);
        other.show([("rows", 30)]);
        assert_eq!(rows(), 130);
        one.show([("rows", 20)]);
        assert_eq!(rows(), 50);
        drop(one);
        assert_eq!((rows(), metrics.memory.with_label_values(&["fetched"]).get()), (30, 0));
        Ok(())
    }
}
