//! What keeps an inner join right when its tables change faster than answers come.
//!
//! An answer that says that there is no row any more can be stale when it comes: its left row has changed meanwhile. That is no harm when
//! the row's next subscription is bound to be answered. One of [`PropagateOnlyIfFkValAvailable`] is not: if it finds no row, the
//! result of before, which the stale answer should have deleted, stays for good. So it does in Kafka Streams. Here, whoever
//! gets such an answer asks once more, unless it knows that another answer is on its way.
//!
//! [`PropagateOnlyIfFkValAvailable`]: super::wire::Instruction::PropagateOnlyIfFkValAvailable

use std::collections::HashSet;

/// The left rows whose last subscription is bound to be answered and is not yet, by their serialized keys. It is not kept over
/// restarts, and may forget: then some are asked for once more than needed.
#[derive(Debug, Default)]
pub(super) struct Unanswered(HashSet<Vec<u8>>);

/// How many rows are remembered: far more than can be asked for between two commits without falling behind.
const MOST: usize = 10_000;

// === impl Unanswered ===

impl Unanswered {
    /// The last subscription of a row was sent; whether it is bound to be answered.
    pub(super) fn asked(&mut self, primary_key: &[u8], answered: bool) {
        if !answered {
            self.0.remove(primary_key);
        } else if !self.0.contains(primary_key) {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            self.0.insert(primary_key.to_vec());
        }
    }

    /// An answer to the last subscription of a row has come.
    pub(super) fn answered(&mut self, primary_key: &[u8]) {
        self.0.remove(primary_key);
    }

    /// Whether the last subscription of a row will be answered.
    pub(super) fn will_be_answered(&self, primary_key: &[u8]) -> bool {
        self.0.contains(primary_key)
    }
}
