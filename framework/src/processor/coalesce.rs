//! Updates of a table that wait for the commit: of each row only the last one is passed on, with the value that was passed on before it.
//!
//! It is what the record cache of Kafka Streams does. The rows themselves do not wait: they are in the table's store at once.

use std::{any::type_name, cell::RefCell, collections::HashMap, fmt, rc::Rc, sync::Arc};

use foldhash::fast::RandomState;

use super::{Change, Children, Context, Node, Position, ProcessError, Record, Target};
use crate::serde::{Presence, Serde, SerdeError};

/// The updates of a table that wait, by the bytes of their keys.
pub(crate) struct Waiting<K, V> {
    updates: HashMap<Box<[u8]>, Update<K, V>, RandomState>,
    /// Bytes of their keys.
    key_bytes: usize,
    /// How many updates have come.
    count: u64,
}

/// The update of a row: its last value, and the one that was passed on last.
struct Update<K, V> {
    record: Record<K, Change<V>>,
    /// Which of the updates that have come: they are passed on in this order.
    number: u64,
    /// The source record that it comes from.
    position: Position,
}

/// What is shared between the node where updates wait, and those who look up rows.
pub(crate) type SharedWaiting<K, V> = Rc<RefCell<Waiting<K, V>>>;

/// Lets the updates of a table wait until [`Coalescing::flush`].
pub(crate) struct Coalesce<K, V> {
    waiting: SharedWaiting<K, V>,
    key: KeyBytes<K>,
    /// Whether anyone downstream asks for old values.
    sends_old: bool,
    children: Children<K, Change<V>>,
}

/// The place of a [`Coalesce`] in the tree: the task has it in hand, too, to flush it.
pub(crate) struct Coalesced<K, V>(pub(crate) Rc<RefCell<Coalesce<K, V>>>);

/// A node in which updates wait.
pub(crate) trait Coalescing {
    /// Passes on what waits, in the order of the last updates. Rows that came and went meanwhile are left out.
    fn flush(&mut self, ctx: &mut Context) -> Result<(), ProcessError>;

    /// Forgets what waits.
    fn discard(&mut self);

    /// Memory of what waits, in bytes. Values count as much as they take here and not on the heap: there they are as large as the rows of
    /// the same keys that the store has not committed, which are counted.
    fn bytes(&self) -> usize;
}

/// The rows of a table as they were passed on last, where updates wait.
pub(crate) struct PassedOn<K, V> {
    waiting: SharedWaiting<K, V>,
    key: KeyBytes<K>,
}

/// The keys of a table as bytes.
struct KeyBytes<K> {
    serde: Arc<dyn Serde<K>>,
    bytes: Vec<u8>,
    /// The table, for errors.
    table: Arc<str>,
}

// === impl Waiting ===

impl<K, V> Default for Waiting<K, V> {
    fn default() -> Self {
        Self { updates: HashMap::default(), key_bytes: 0, count: 0 }
    }
}

// === impl Coalesce ===

impl<K: 'static, V> Coalesce<K, V> {
    pub(crate) fn new(
        waiting: SharedWaiting<K, V>,
        key_serde: Arc<dyn Serde<K>>,
        table: Arc<str>,
        sends_old: bool,
        children: Children<K, Change<V>>,
    ) -> Self {
        Self { waiting, key: KeyBytes::new(key_serde, table), sends_old, children }
    }

    fn wait(&mut self, ctx: &Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        let key = self.key.of(&record.key)?;
        let mut waiting = self.waiting.borrow_mut();
        let waiting = &mut *waiting;
        waiting.count += 1;
        let (number, position) = (waiting.count, ctx.position());
        match waiting.updates.get_mut(key) {
            Some(update) => {
                let Record { key, value: Change { new, .. }, timestamp_ms, headers } = record;
                let old = update.record.value.old.take();
                *update = Update {
                    record: Record { key, value: Change::latest(new, old), timestamp_ms, headers },
                    number,
                    position,
                };
            }
            None => {
                waiting.key_bytes += key.len();
                waiting.updates.insert(key.into(), Update { record, number, position });
            }
        }
        Ok(())
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Coalescing for Coalesce<K, V> {
    fn flush(&mut self, ctx: &mut Context) -> Result<(), ProcessError> {
        if self.waiting.borrow().updates.is_empty() {
            return Ok(());
        }
        let mut order: Vec<(u64, Box<[u8]>)> =
            self.waiting.borrow().updates.iter().map(|(key, update)| (update.number, key.clone())).collect();
        order.sort_unstable_by_key(|(number, _)| *number);
        for (_, key) in order {
            // One at a time: those behind it have not been passed on yet for those who ask.
            let update = {
                let mut waiting = self.waiting.borrow_mut();
                waiting.key_bytes -= key.len();
                waiting.updates.remove(&key)
            };
            let Some(Update { mut record, position, .. }) = update else { continue };
            if record.value.new.is_none() && record.value.old.is_none() {
                continue;
            }
            if !self.sends_old {
                record.value.old = None;
            }
            let before = ctx.go_to(position);
            // After an error the position stays, and says where it comes from.
            self.children.forward(ctx, record)?;
            ctx.go_to(before);
        }
        Ok(())
    }

    fn discard(&mut self) {
        *self.waiting.borrow_mut() = Waiting::default();
    }

    fn bytes(&self) -> usize {
        let waiting = self.waiting.borrow();
        waiting.key_bytes + waiting.updates.len() * size_of::<(Box<[u8]>, Update<K, V>)>()
    }
}

// === impl PassedOn ===

impl<K: 'static, V: Clone> PassedOn<K, V> {
    pub(crate) fn new(waiting: SharedWaiting<K, V>, key_serde: Arc<dyn Serde<K>>, table: Arc<str>) -> Self {
        Self { waiting, key: KeyBytes::new(key_serde, table) }
    }

    /// The value of a row that was passed on last, if there is one: `None` when no update waits, so that it is the row's own.
    ///
    /// # Errors
    ///
    /// When the key cannot be serialized.
    pub(crate) fn before(&mut self, key: &K) -> Result<Option<Option<V>>, ProcessError> {
        let key = self.key.of(key)?;
        Ok(self.waiting.borrow().updates.get(key).map(|update| update.record.value.old.clone()))
    }
}

// === impl KeyBytes ===

impl<K: 'static> KeyBytes<K> {
    fn new(serde: Arc<dyn Serde<K>>, table: Arc<str>) -> Self {
        Self { serde, bytes: Vec::new(), table }
    }

    fn of(&mut self, key: &K) -> Result<&[u8], ProcessError> {
        self.bytes.clear();
        let written = match self.serde.serialize(key, &mut self.bytes) {
            Ok(Presence::Value) => Ok(()),
            Ok(Presence::Null) => Err(SerdeError::Null { type_name: type_name::<K>() }),
            Err(error) => Err(error),
        };
        let failed = |source| ProcessError::Serialization { target: Target::Store(Arc::clone(&self.table)), source };
        written.map(|()| self.bytes.as_slice()).map_err(failed)
    }
}

// === impl Coalesced ===

impl<K: Clone + 'static, V: Clone + 'static> Node<K, Change<V>> for Coalesced<K, V> {
    fn push(&mut self, ctx: &mut Context, record: Record<K, Change<V>>) -> Result<(), ProcessError> {
        // Never borrowed twice: updates do not come while others are passed on, as the graph has no cycle.
        self.0.borrow_mut().wait(ctx, record)
    }
}

impl<K, V> fmt::Debug for Coalesced<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coalesced")
    }
}
