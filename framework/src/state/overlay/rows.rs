//! The rows at hand of one store.

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::{Entry, Intervals};
use crate::state::{
    range::{Direction, KeyRange},
    timed::Layout,
};

/// Slots that are looked at, at most, to make room for one row.
const STEPS: usize = 32;

/// Rows in slots, found by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct Rows {
    slots: Vec<Slot>,
    /// Numbers of slots, by the hash of their key.
    table: HashTable<u32>,
    /// Slots without a row.
    free: Vec<u32>,
    /// Slots written in the live interval.
    dirty: Vec<u32>,
    /// The keys of uncommitted rows in their order, from the first scan on.
    order: Option<BTreeMap<Box<[u8]>, u32>>,
    /// The slot that is the next to be looked at when there is need of room.
    hand: usize,
    /// Buffers of the slots and keys of `order`.
    buffer_bytes: usize,
    /// When rows belong to a time.
    recent: Option<Recent>,
}

/// What is known of the rows that are not at hand.
#[derive(Debug, Clone, Copy)]
struct Recent {
    layout: Layout,
    /// All rows of this time and later are at hand.
    from: i64,
}

/// A row. Key and value lie in one buffer, which is used again when the value, or the row, changes.
#[derive(Debug, Default)]
struct Slot {
    buffer: Vec<u8>,
    key_len: u32,
    timestamp_ms: i64,
    /// The interval of the last write; 0 when it was only read.
    written: u64,
    state: State,
    /// Whether it was asked for since it was last looked at for giving it up.
    asked_for: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Deleted,
    Present,
}

/// How many bytes a slot has in the vector and the table.
const SLOT_BYTES: usize = size_of::<Slot>() + 2 * size_of::<u32>();

// === impl Rows ===

impl Rows {
    /// Without any row.
    pub(super) fn new(layout: Option<Layout>) -> Self {
        Self { recent: layout.map(|layout| Recent { layout, from: i64::MAX }), ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.recent.map(|recent| recent.layout));
    }

    pub(super) fn has_all_since(&mut self, time: i64) {
        if let Some(recent) = &mut self.recent {
            recent.from = time;
        }
    }

    pub(super) fn has_all_of(&self, time: i64) -> bool {
        self.recent.is_some_and(|recent| recent.from <= time)
    }

    /// Memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.slots.len() - self.free.len()) * SLOT_BYTES + self.buffer_bytes
    }

    pub(super) fn get(&mut self, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        let number = *self.table.find(hash, |number| self.slots[*number as usize].key() == key)?;
        let slot = &mut self.slots[number as usize];
        slot.asked_for = true;
        Some(slot.entry())
    }

    /// Sets a row; says how many bytes that makes more that are not committed.
    pub(super) fn write(
        &mut self,
        hash: u64,
        key: &[u8],
        entry: Entry<'_>,
        clock: Intervals,
        hasher: &impl Fn(&[u8]) -> u64,
    ) -> usize {
        let found = self.table.find(hash, |number| self.slots[*number as usize].key() == key).copied();
        let number = found.unwrap_or_else(|| self.take_slot(hash, key, hasher));
        let slot = &mut self.slots[number as usize];
        let before = slot.buffer.capacity();
        slot.set(entry);
        slot.asked_for = true;
        let grown = slot.buffer.capacity() - before;
        self.buffer_bytes += grown;
        let written = std::mem::replace(&mut slot.written, clock.live);
        if written == clock.live {
            return grown;
        }
        let bytes = SLOT_BYTES + slot.buffer.capacity();
        self.dirty.push(number);
        if written <= clock.committed {
            self.add_to_order(number);
        }
        bytes
    }

    /// Keeps a committed row, if it is within the limit or others can be given up for it.
    pub(super) fn keep(
        &mut self,
        hash: u64,
        key: &[u8],
        entry: Entry<'_>,
        clock: Intervals,
        limit_bytes: usize,
        hasher: &impl Fn(&[u8]) -> u64,
    ) {
        let needed = SLOT_BYTES + key.len() + entry.value().map_or(0, <[u8]>::len);
        let mut steps = STEPS;
        if self.bytes() + needed > limit_bytes {
            // The slot of the row that gives way is used again, with its buffer.
            let Some(number) = self.give_up_one(clock, &mut steps, hasher) else { return };
            self.free.push(number);
        }
        let number = self.take_slot(hash, key, hasher);
        let slot = &mut self.slots[number as usize];
        let before = slot.buffer.capacity();
        slot.set(entry);
        self.buffer_bytes += slot.buffer.capacity() - before;
        if self.bytes() > limit_bytes {
            self.free_one(clock, &mut steps, hasher);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Takes a row out, if it is committed.
    pub(super) fn forget(&mut self, hash: u64, key: &[u8], clock: Intervals) {
        let found = self.table.find_entry(hash, |number| self.slots[*number as usize].key() == key);
        if let Ok(entry) = found
            && self.slots[*entry.get() as usize].written <= clock.committed
        {
            let (number, _) = entry.remove();
            self.buffer_bytes -= self.slots[number as usize].buffer.capacity();
            self.slots[number as usize] = Slot::default();
            self.free.push(number);
        }
    }

    /// Hands out the writes of the interval that ends, in the order of keys.
    pub(super) fn freeze<E>(&mut self, mut each: impl FnMut(&[u8], Entry<'_>) -> Result<(), E>) -> Result<(), E> {
        let slots = &self.slots;
        self.dirty.sort_unstable_by(|a, b| slots[*a as usize].key().cmp(slots[*b as usize].key()));
        let result = self.dirty.iter().try_for_each(|number| {
            let slot = &slots[*number as usize];
            each(slot.key(), slot.entry())
        });
        self.dirty.clear();
        result
    }

    /// Everything up to `clock.committed` is committed.
    pub(super) fn committed(&mut self, clock: Intervals) {
        let (slots, bytes) = (&self.slots, &mut self.buffer_bytes);
        if let Some(order) = &mut self.order {
            order.retain(|key, number| {
                let stays = slots[*number as usize].written > clock.committed;
                *bytes -= if stays { 0 } else { key.len() };
                stays
            });
        }
    }

    /// Gives rows up until the others are within the limit, or none is left to be given up.
    pub(super) fn shrink(&mut self, clock: Intervals, limit_bytes: usize, hasher: &impl Fn(&[u8]) -> u64) {
        // Twice around: the first time for those that were asked for.
        let mut steps = 2 * self.slots.len();
        while self.bytes() > limit_bytes && self.free_one(clock, &mut steps, hasher) {}
    }

    /// The uncommitted rows of a range, in order.
    pub(super) fn uncommitted<'a>(
        &'a mut self,
        range: &KeyRange<'_>,
        direction: Direction,
        clock: Intervals,
    ) -> Box<dyn Iterator<Item = (&'a [u8], Entry<'a>)> + 'a> {
        if self.order.is_none() {
            self.order = Some(BTreeMap::new());
            for number in 0..self.slots.len() {
                let slot = &self.slots[number];
                if slot.state != State::Free && slot.written > clock.committed {
                    self.add_to_order(number as u32);
                }
            }
        }
        let (slots, order) = (&self.slots, self.order.as_ref().expect("it was made above"));
        let rows = order.range::<[u8], _>(range.bounds());
        let rows = rows.map(|(key, number)| (&**key, slots[*number as usize].entry()));
        match direction {
            Direction::Forward => Box::new(rows),
            Direction::Backward => Box::new(rows.rev()),
        }
    }

    fn add_to_order(&mut self, number: u32) {
        if let Some(order) = &mut self.order {
            let key = self.slots[number as usize].key();
            order.insert(key.into(), number);
            self.buffer_bytes += key.len();
        }
    }

    /// A slot for a key that has none.
    fn take_slot(&mut self, hash: u64, key: &[u8], hasher: &impl Fn(&[u8]) -> u64) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("4 billion rows are more than memory holds")
        });
        let slot = &mut self.slots[number as usize];
        let before = slot.buffer.capacity();
        slot.take(key);
        self.buffer_bytes += slot.buffer.capacity() - before;
        let slots = &self.slots;
        self.table.insert_unique(hash, number, |number| hasher(slots[*number as usize].key()));
        number
    }

    /// Gives a row up and frees its buffer; `false` when the steps are used up.
    fn free_one(&mut self, clock: Intervals, steps: &mut usize, hasher: &impl Fn(&[u8]) -> u64) -> bool {
        let Some(number) = self.give_up_one(clock, steps, hasher) else { return false };
        let slot = std::mem::take(&mut self.slots[number as usize]);
        self.buffer_bytes -= slot.buffer.capacity();
        self.free.push(number);
        true
    }

    /// Takes the next committed row that was not asked for lately out of the table; its slot still has its buffer.
    fn give_up_one(&mut self, clock: Intervals, steps: &mut usize, hasher: &impl Fn(&[u8]) -> u64) -> Option<u32> {
        while *steps > 0 && !self.slots.is_empty() {
            *steps -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            let stays = slot.state == State::Free || slot.written > clock.committed;
            if stays || std::mem::take(&mut slot.asked_for) {
                continue;
            }
            if let Some(recent) = &mut self.recent
                && slot.state == State::Present
            {
                recent.gives_up(slot.key());
            }
            let (hash, number) = (hasher(slot.key()), self.hand as u32);
            slot.state = State::Free;
            let entry = self.table.find_entry(hash, |other| *other == number);
            entry.expect("every row is in the table").remove();
            return Some(number);
        }
        None
    }
}

// === impl Recent ===

impl Recent {
    /// The row of this key is not at hand any more.
    fn gives_up(&mut self, key: &[u8]) {
        if let Some(time) = self.layout.time_of(Layout::logged(key)) {
            self.from = self.from.max(time.saturating_add(1));
        }
    }
}

// === impl Slot ===

impl Slot {
    fn key(&self) -> &[u8] {
        &self.buffer[..self.key_len as usize]
    }

    fn entry(&self) -> Entry<'_> {
        let value = (self.state == State::Present).then(|| &self.buffer[self.key_len as usize..]);
        Entry { value, timestamp_ms: self.timestamp_ms }
    }

    /// Becomes the slot of a key.
    fn take(&mut self, key: &[u8]) {
        self.buffer.clear();
        self.buffer.extend_from_slice(key);
        self.key_len = u32::try_from(key.len()).expect("Kafka's records are below 2 GiB");
        (self.state, self.asked_for, self.written) = (State::Deleted, false, 0);
    }

    fn set(&mut self, entry: Entry<'_>) {
        self.buffer.truncate(self.key_len as usize);
        self.buffer.extend_from_slice(entry.value().unwrap_or_default());
        self.state = if entry.value().is_some() { State::Present } else { State::Deleted };
        self.timestamp_ms = entry.timestamp_ms();
    }
}
