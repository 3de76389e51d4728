//! The rows at hand of one store.

use std::collections::{BTreeMap, btree_map::Range};

use hashbrown::HashTable;

use super::{
    Entry, Intervals,
    slab::{RowId, Slab},
};
use crate::state::{
    range::{Direction, KeyRange},
    timed::Layout,
};

/// Places of the table that are looked at, at most, to make room for one row.
const STEPS: usize = 64;

/// Rows of a slab, found by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct Rows {
    table: HashTable<RowId>,
    /// Rows written in the live interval.
    dirty: Vec<RowId>,
    /// The keys of uncommitted rows in their order, from the first scan on; or of all rows, from the beginning.
    order: Option<BTreeMap<Box<[u8]>, RowId>>,
    /// Whether all rows are in the order: where they are read by scans only.
    orders_all: bool,
    /// The place of the table that is the next to be looked at when there is need of room.
    hand: usize,
    /// Bytes of the keys in `order`.
    order_bytes: usize,
    /// When rows belong to a time.
    recent: Option<Recent>,
}

/// A key and its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashed<'k> {
    pub(super) hash: u64,
    pub(super) key: &'k [u8],
}

/// Rows of a range, in order.
#[derive(Debug)]
pub(in crate::state) struct InOrder<'a> {
    slab: &'a Slab,
    rows: Range<'a, Box<[u8]>, RowId>,
    direction: Direction,
}

/// What is known of the rows that are not at hand.
#[derive(Debug, Clone, Copy)]
struct Recent {
    layout: Layout,
    /// All rows of this time and later are at hand.
    from: i64,
}

/// What a row of the order costs beside its key.
const ORDER_BYTES: usize = size_of::<Box<[u8]>>() + size_of::<RowId>();

// === impl Rows ===

impl Rows {
    /// Without any row.
    pub(super) fn new(layout: Option<Layout>) -> Self {
        let orders_all = layout.is_some_and(Layout::has_rows_for_scans_only);
        Self {
            recent: layout.map(|layout| Recent { layout, from: i64::MAX }),
            order: orders_all.then(BTreeMap::new),
            orders_all,
            ..Self::default()
        }
    }

    /// Forgets the rows that are not committed. Of their times nothing is known then, until it is said.
    pub(super) fn discard(&mut self, slab: &mut Slab, clock: Intervals) {
        self.keep_only(slab, |slab, id| slab.written(id) <= clock.committed);
        self.dirty.clear();
        if !self.orders_all {
            (self.order, self.order_bytes) = (None, 0);
        }
        self.recent = self.recent.map(|recent| Recent { from: i64::MAX, ..recent });
    }

    pub(super) fn has_all_since(&mut self, time: i64) {
        if let Some(recent) = &mut self.recent {
            recent.from = time;
        }
    }

    pub(super) fn has_all_of(&self, time: i64) -> bool {
        self.recent.is_some_and(|recent| recent.from <= time)
    }

    /// Memory in use beside the slab, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.table.allocation_size() + self.dirty.capacity() * size_of::<RowId>() + self.order_bytes
    }

    #[inline]
    pub(super) fn get<'s>(&self, slab: &'s mut Slab, Hashed { hash, key }: Hashed<'_>) -> Option<Entry<'s>> {
        let id = *self.table.find(hash, |id| slab.key(*id) == key)?;
        slab.ask(id);
        Some(slab.entry(id))
    }

    /// Sets a row; says how many bytes that makes more that are not committed.
    pub(super) fn write(
        &mut self,
        slab: &mut Slab,
        Hashed { hash, key }: Hashed<'_>,
        entry: Entry<'_>,
        clock: Intervals,
        hasher: &impl Fn(&[u8]) -> u64,
    ) -> usize {
        let before = slab.bytes();
        let found = self.table.find_mut(hash, |id| slab.key(*id) == key);
        let (id, moved) = match found {
            Some(place) => {
                let id = slab.set(*place, entry);
                (id, std::mem::replace(place, id) != id)
            }
            None => {
                let id = slab.insert(key, entry);
                self.table.insert_unique(hash, id, |id| hasher(slab.key(*id)));
                (id, true)
            }
        };
        slab.ask(id);
        let written = slab.written(id);
        let is_new = written <= clock.committed;
        if self.order.is_some() && (is_new || moved) {
            self.add_to_order(key, id);
        }
        if written == clock.live {
            self.dirty[slab.place_among_writes(id) as usize] = id;
            return slab.bytes().saturating_sub(before);
        }
        let place = u32::try_from(self.dirty.len()).expect("an interval has fewer than 2^32 rows");
        slab.set_written(id, clock.live, place);
        self.dirty.push(id);
        row_bytes(key, entry)
    }

    /// Keeps a committed row, if it is within the limit or others can be given up for it. `others` is memory that counts, too.
    pub(super) fn keep(
        &mut self,
        slab: &mut Slab,
        Hashed { hash, key }: Hashed<'_>,
        entry: Entry<'_>,
        clock: Intervals,
        (others, limit_bytes): (usize, usize),
        hasher: &impl Fn(&[u8]) -> u64,
    ) {
        let (mut needed, mut steps) = (self.needed(key, entry), STEPS);
        while slab.bytes() + self.bytes() + others + needed > limit_bytes {
            if !self.give_up_one(slab, clock, &mut steps, hasher) {
                return;
            }
            needed = row_bytes(key, entry);
        }
        self.add(slab, Hashed { hash, key }, entry, hasher);
    }

    /// Adds a committed row that is not there.
    pub(super) fn add(
        &mut self,
        slab: &mut Slab,
        Hashed { hash, key }: Hashed<'_>,
        entry: Entry<'_>,
        hasher: &impl Fn(&[u8]) -> u64,
    ) {
        let id = slab.insert(key, entry);
        self.table.insert_unique(hash, id, |id| hasher(slab.key(*id)));
        if self.orders_all {
            self.add_to_order(key, id);
        }
    }

    /// About how many bytes a new row takes; more when it makes the table double.
    pub(super) fn needed(&self, key: &[u8], entry: Entry<'_>) -> usize {
        let is_full = self.table.len() == self.table.capacity();
        row_bytes(key, entry) + if is_full { self.table.allocation_size() } else { 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Takes a row out, if it is committed.
    pub(super) fn forget(&mut self, slab: &mut Slab, Hashed { hash, key }: Hashed<'_>, clock: Intervals) {
        if let Ok(entry) = self.table.find_entry(hash, |id| slab.key(*id) == key)
            && slab.written(*entry.get()) <= clock.committed
        {
            let (id, _) = entry.remove();
            if let Some(recent) = &mut self.recent {
                recent.gives_up(key);
            }
            if self.orders_all {
                take_out(&mut self.order, &mut self.order_bytes, key);
            }
            slab.remove(id);
        }
    }

    /// Takes the committed rows out whose keys are smaller.
    pub(super) fn forget_below(&mut self, slab: &mut Slab, key: &[u8], clock: Intervals) {
        self.keep_only(slab, |slab, id| slab.key(id) >= key || slab.written(id) > clock.committed);
    }

    /// Takes the other rows out.
    fn keep_only(&mut self, slab: &mut Slab, stays: impl Fn(&Slab, RowId) -> bool) {
        let (order, order_bytes) = (&mut self.order, &mut self.order_bytes);
        self.table.retain(|id| {
            let stays = stays(slab, *id);
            if !stays {
                if self.orders_all {
                    take_out(order, order_bytes, slab.key(*id));
                }
                slab.remove(*id);
            }
            stays
        });
    }

    /// Hands out the writes of the interval that ends, in the order of keys.
    pub(super) fn freeze<E>(
        &mut self,
        slab: &Slab,
        mut each: impl FnMut(&[u8], Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.dirty.sort_unstable_by(|a, b| slab.key(*a).cmp(slab.key(*b)));
        let result = self.dirty.iter().try_for_each(|id| each(slab.key(*id), slab.entry(*id)));
        self.dirty.clear();
        result
    }

    /// Everything up to `clock.committed` is committed.
    pub(super) fn committed(&mut self, slab: &Slab, clock: Intervals) {
        let bytes = &mut self.order_bytes;
        if let Some(order) = self.order.as_mut().filter(|_| !self.orders_all) {
            order.retain(|key, id| {
                let stays = slab.written(*id) > clock.committed;
                *bytes -= if stays { 0 } else { key.len() + ORDER_BYTES };
                stays
            });
        }
    }

    /// Gives rows up until slab, `others` and what is here are within the limit, or none is left to be given up.
    pub(super) fn shrink(
        &mut self,
        slab: &mut Slab,
        clock: Intervals,
        (others, limit_bytes): (usize, usize),
        hasher: &impl Fn(&[u8]) -> u64,
    ) {
        // Twice around: the first time for those that were asked for.
        let mut steps = 2 * self.table.num_buckets();
        while slab.bytes() + self.bytes() + others > limit_bytes && self.give_up_one(slab, clock, &mut steps, hasher) {}
        if self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to(2 * self.table.len(), |id| hasher(slab.key(*id)));
        }
    }

    /// The uncommitted rows of a range, in order, and maybe some of the committed ones.
    pub(super) fn uncommitted<'a>(
        &'a mut self,
        slab: &'a Slab,
        range: &KeyRange<'_>,
        direction: Direction,
        clock: Intervals,
    ) -> InOrder<'a> {
        if self.order.is_none() {
            self.order = Some(BTreeMap::new());
            let uncommitted: Vec<_> =
                self.table.iter().filter(|id| slab.written(**id) > clock.committed).copied().collect();
            uncommitted.into_iter().for_each(|id| self.add_to_order(slab.key(id), id));
        }
        let order = self.order.as_ref().expect("it was made above");
        InOrder { slab, rows: order.range::<[u8], _>(range.bounds()), direction }
    }

    /// Whether a scan of rows of this time and later needs no others than those at hand.
    pub(super) fn scans_all_of(&self, time: i64) -> bool {
        self.orders_all && self.has_all_of(time)
    }

    /// Lays the rows together in another slab.
    pub(super) fn move_to(&mut self, from: &Slab, to: &mut Slab, clock: Intervals) {
        for id in &mut self.table {
            let entry = from.entry(*id);
            let (written, place) = (from.written(*id), from.place_among_writes(*id));
            let moved = to.insert(from.key(*id), entry);
            to.set_written(moved, written, place);
            if written == clock.live {
                self.dirty[place as usize] = moved;
            }
            if let Some(place) = self.order.as_mut().and_then(|order| order.get_mut(from.key(*id))) {
                *place = moved;
            }
            *id = moved;
        }
    }

    fn add_to_order(&mut self, key: &[u8], id: RowId) {
        if let Some(order) = &mut self.order
            && order.insert(key.into(), id).is_none()
        {
            self.order_bytes += key.len() + ORDER_BYTES;
        }
    }

    /// Gives up the next committed row that was not asked for lately; `false` when the steps are used up.
    fn give_up_one(
        &mut self,
        slab: &mut Slab,
        clock: Intervals,
        steps: &mut usize,
        hasher: &impl Fn(&[u8]) -> u64,
    ) -> bool {
        while *steps > 0 && !self.table.is_empty() {
            *steps -= 1;
            self.hand = (self.hand + 1) % self.table.num_buckets();
            let Some(id) = self.table.get_bucket(self.hand).copied() else { continue };
            if slab.written(id) > clock.committed || slab.take_asked(id) {
                continue;
            }
            if let Some(recent) = &mut self.recent
                && slab.entry(id).value().is_some()
            {
                recent.gives_up(slab.key(id));
            }
            if self.orders_all {
                take_out(&mut self.order, &mut self.order_bytes, slab.key(id));
            }
            let entry = self.table.find_entry(hasher(slab.key(id)), |other| *other == id);
            entry.expect("every row is in the table").remove();
            slab.remove(id);
            return true;
        }
        false
    }
}

// === impl InOrder ===

impl<'a> Iterator for InOrder<'a> {
    type Item = (&'a [u8], Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, id) = match self.direction {
            Direction::Forward => self.rows.next(),
            Direction::Backward => self.rows.next_back(),
        }?;
        Some((key, self.slab.entry(*id)))
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

/// Takes a key out of the order.
fn take_out(order: &mut Option<BTreeMap<Box<[u8]>, RowId>>, order_bytes: &mut usize, key: &[u8]) {
    if order.as_mut().is_some_and(|order| order.remove(key).is_some()) {
        *order_bytes -= key.len() + ORDER_BYTES;
    }
}

/// About what a row takes, table and all.
fn row_bytes(key: &[u8], entry: Entry<'_>) -> usize {
    key.len() + entry.value().map_or(0, <[u8]>::len) + ROW_BYTES
}

/// What a row takes beside its key and value: header, rounding, its place in the table.
const ROW_BYTES: usize = 40;
