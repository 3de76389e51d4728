//! What keeps an inner join right when its tables change faster than answers come.
//!
//! An answer that says that there is no row any more can be stale when it comes: its left row has changed meanwhile. That is no harm when
//! the row's next subscription is bound to be answered. One of [`PropagateOnlyIfFkValAvailable`] is not: if it finds no row, the
//! result of before, which the stale answer should have deleted, stays for good. So it does in Kafka Streams. Here, whoever
//! gets such an answer asks once more, unless it knows that another answer is on its way.
//!
//! [`PropagateOnlyIfFkValAvailable`]: super::wire::Instruction::PropagateOnlyIfFkValAvailable

use std::collections::HashSet;

use crate::processor::{Coalescing, Context, ProcessError};

/// The left rows whose last subscription is bound to be answered and is not yet, by their serialized keys. It is not kept over
/// restarts, and may forget: then some are asked for once more than needed.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    primary_keys: HashSet<Box<[u8]>>,
    /// Bytes of the keys.
    bytes: usize,
}

/// How many rows are remembered: far more than can be asked for between two commits without falling behind.
const MOST: usize = 10_000;

// === impl Unanswered ===

impl Unanswered {
    /// The last subscription of a row was sent; whether it is bound to be answered.
    pub(super) fn asked(&mut self, primary_key: &[u8], bound: bool) {
        if !bound {
            self.answered(primary_key);
        } else if !self.is_awaited(primary_key) {
            if self.primary_keys.len() >= MOST {
                self.discard();
            }
            self.bytes += primary_key.len();
            self.primary_keys.insert(primary_key.into());
        }
    }

    /// An answer to the last subscription of a row has come.
    pub(super) fn answered(&mut self, primary_key: &[u8]) {
        if self.primary_keys.remove(primary_key) {
            self.bytes -= primary_key.len();
        }
    }

    /// Whether an answer to the last subscription of a row is on its way.
    pub(super) fn is_awaited(&self, primary_key: &[u8]) -> bool {
        self.primary_keys.contains(primary_key)
    }
}

/// Nothing waits in it, but what was asked for in an interval that is taken back was not.
impl Coalescing for Unanswered {
    fn flush(&mut self, _: &mut Context) -> Result<(), ProcessError> {
        Ok(())
    }

    fn discard(&mut self) {
        *self = Self::default();
    }

    fn bytes(&self) -> usize {
        self.bytes + self.primary_keys.len() * size_of::<Box<[u8]>>()
    }
}
