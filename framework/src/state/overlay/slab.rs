//! The memory of the rows at hand of a task.
//!
//! Small rows lie in blocks of 16, 32, ... 1024 bytes, cut from a few large chunks: a row costs its bytes and [`HEADER`], not an
//! allocation. Larger ones have an allocation of their own. A freed block is used again for a row of its size, or cut for a smaller
//! one; [`Slab::is_scattered`] says when it is time to lay all rows together anew.

use super::Entry;

/// The place of a row. It changes when the row's size does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowId(u32);

/// Rows in memory.
#[derive(Debug)]
pub(super) struct Slab {
    chunks: Vec<Box<[u8]>>,
    /// Units of the last chunk that were never used.
    fresh: Fresh,
    /// Freed blocks, by their number of units less one.
    free: Box<[Vec<u32>]>,
    free_units: usize,
    large: Vec<Large>,
    free_large: Vec<u32>,
    chunk_bytes: usize,
    large_bytes: usize,
}

/// A run of units.
#[derive(Debug, Default, Clone, Copy)]
struct Fresh {
    first: u32,
    units: u32,
}

/// A row that is too large for a block.
#[derive(Debug, Default)]
struct Large {
    key_and_value: Vec<u8>,
    key_len: usize,
    is_present: bool,
    header: [u8; HEADER],
}

/// Blocks are multiples of this.
const UNIT: usize = 16;
/// Sizes of blocks; the largest is 1 KiB.
const CLASSES: usize = 64;
/// The numbers of units in a chunk, used or not: a row's number is its chunk's times this and its place there.
const CHUNK_UNITS: usize = 1 << 14;
/// The first chunk's bytes. Each is twice as large as the one before, up to [`CHUNK_UNITS`]: most stores of most tasks hold little.
const FIRST_CHUNK: usize = 4 << 10;
/// Marks the number of a large row.
const LARGE: u32 = 1 << 31;

/// Timestamp (8 bytes), interval of the last write (6), place among the writes of the interval (4), length of the key (2, its
/// highest bit: whether the row was asked for lately), length of the value (2); all little-endian. Large rows do not use the lengths.
const HEADER: usize = 22;
const ASKED_FOR: u16 = 1 << 15;
const DELETED: u16 = u16::MAX;

// === impl Slab ===

impl Default for Slab {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            fresh: Fresh::default(),
            free: vec![Vec::new(); CLASSES].into(),
            free_units: 0,
            large: Vec::new(),
            free_large: Vec::new(),
            chunk_bytes: 0,
            large_bytes: 0,
        }
    }
}

impl Slab {
    /// Memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.chunk_bytes - self.free_units * UNIT - self.fresh.units as usize * UNIT + self.large_bytes
    }

    /// Whether much of the memory taken lies between rows.
    pub(super) fn is_scattered(&self) -> bool {
        self.free_units * UNIT > self.chunk_bytes / 2 && self.chunk_bytes > 16 * FIRST_CHUNK
    }

    /// Memory taken for blocks, used or not, in bytes.
    #[cfg(test)]
    pub(super) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Adds a row that was never written.
    pub(super) fn insert(&mut self, key: &[u8], entry: Entry<'_>) -> RowId {
        let id = self.place(key, entry.value());
        self.header_mut(id)[..HEADER - 4].fill(0);
        self.set_timestamp(id, entry.timestamp_ms());
        id
    }

    /// Sets the value and timestamp of a row; says where it is from now on.
    pub(super) fn set(&mut self, id: RowId, entry: Entry<'_>) -> RowId {
        let (units, key_len) = (self.units(id), self.key(id).len());
        let new_units = units_of(key_len, entry.value().map_or(0, <[u8]>::len));
        let id = if units == new_units && units.is_some() {
            self.fill_value(id, key_len, entry.value());
            id
        } else {
            let key = self.key(id).to_vec();
            let header = *self.header(id).first_chunk::<{ HEADER - 4 }>().expect("a header is as long");
            let asked = self.take_asked(id);
            self.remove(id);
            let id = self.place(&key, entry.value());
            self.header_mut(id)[..HEADER - 4].copy_from_slice(&header);
            if asked {
                self.ask(id);
            }
            id
        };
        self.set_timestamp(id, entry.timestamp_ms());
        id
    }

    /// Gives the memory of a row back.
    pub(super) fn remove(&mut self, id: RowId) {
        match self.units(id) {
            Some(units) => self.free_block(id.0, units),
            None => {
                let number = id.0 & !LARGE;
                let large = std::mem::take(&mut self.large[number as usize]);
                self.large_bytes -= large.bytes();
                self.free_large.push(number);
            }
        }
    }

    #[inline]
    pub(super) fn key(&self, id: RowId) -> &[u8] {
        match self.block(id) {
            Ok(block) => &block[HEADER..HEADER + key_len(block)],
            Err(large) => &large.key_and_value[..large.key_len],
        }
    }

    #[inline]
    pub(super) fn entry(&self, id: RowId) -> Entry<'_> {
        let (header, value) = match self.block(id) {
            Ok(block) => {
                let start = HEADER + key_len(block);
                let value = value_len(block).map(|len| &block[start..start + len]);
                (block, value)
            }
            Err(large) => (large.header.as_slice(), large.is_present.then(|| &large.key_and_value[large.key_len..])),
        };
        let timestamp_ms = i64::from_le_bytes(*header.first_chunk().expect("a header is as long"));
        Entry { value, timestamp_ms }
    }

    /// The interval of the last write; 0 when the row was only read.
    pub(super) fn written(&self, id: RowId) -> u64 {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.header(id)[8..14]);
        u64::from_le_bytes(bytes)
    }

    /// Notes the interval of a write (below 2^48: thousands of years), and its place among those.
    pub(super) fn set_written(&mut self, id: RowId, interval: u64, place: u32) {
        let header = self.header_mut(id);
        header[8..14].copy_from_slice(&interval.to_le_bytes()[..6]);
        header[14..18].copy_from_slice(&place.to_le_bytes());
    }

    /// The place among the writes of its interval.
    pub(super) fn place_among_writes(&self, id: RowId) -> u32 {
        let bytes = self.header(id)[14..18].try_into().expect("it has four bytes");
        u32::from_le_bytes(bytes)
    }

    /// Notes that a row was asked for.
    pub(super) fn ask(&mut self, id: RowId) {
        self.header_mut(id)[19] |= (ASKED_FOR >> 8) as u8;
    }

    /// Whether a row was asked for since this was last asked.
    pub(super) fn take_asked(&mut self, id: RowId) -> bool {
        let byte = &mut self.header_mut(id)[19];
        let asked = *byte & (ASKED_FOR >> 8) as u8 != 0;
        *byte &= !((ASKED_FOR >> 8) as u8);
        asked
    }

    fn set_timestamp(&mut self, id: RowId, timestamp_ms: i64) {
        self.header_mut(id)[..8].copy_from_slice(&timestamp_ms.to_le_bytes());
    }

    /// The block of a small row and what is behind it, or the large row.
    #[inline]
    fn block(&self, id: RowId) -> Result<&[u8], &Large> {
        if id.0 & LARGE == 0 {
            let (chunk, start) = locate(id.0);
            Ok(&self.chunks[chunk][start..])
        } else {
            Err(&self.large[(id.0 & !LARGE) as usize])
        }
    }

    fn header(&self, id: RowId) -> &[u8] {
        match self.block(id) {
            Ok(block) => &block[..HEADER],
            Err(large) => &large.header,
        }
    }

    fn header_mut(&mut self, id: RowId) -> &mut [u8] {
        if id.0 & LARGE == 0 {
            let (chunk, start) = locate(id.0);
            &mut self.chunks[chunk][start..start + HEADER]
        } else {
            &mut self.large[(id.0 & !LARGE) as usize].header
        }
    }

    /// How many units a small row takes; `None` for a large one.
    fn units(&self, id: RowId) -> Option<usize> {
        let block = self.block(id).ok()?;
        units_of(key_len(block), value_len(block).unwrap_or(0))
    }

    /// Writes key and value to where there is room.
    fn place(&mut self, key: &[u8], value: Option<&[u8]>) -> RowId {
        let value_len = value.map_or(0, <[u8]>::len);
        let Some(units) = units_of(key.len(), value_len) else {
            let key_and_value = [key, value.unwrap_or_default()].concat();
            let large = Large { key_and_value, key_len: key.len(), is_present: value.is_some(), header: [0; HEADER] };
            self.large_bytes += large.bytes();
            let number = self.free_large.pop().unwrap_or_else(|| {
                self.large.push(Large::default());
                u32::try_from(self.large.len() - 1).expect("large rows are fewer than 2^31: memory ends before")
            });
            self.large[number as usize] = large;
            return RowId(number | LARGE);
        };
        let id = RowId(self.take_block(units));
        let (chunk, start) = locate(id.0);
        let block = &mut self.chunks[chunk][start..];
        block[18..20].copy_from_slice(&(key.len() as u16).to_le_bytes());
        block[HEADER..HEADER + key.len()].copy_from_slice(key);
        self.fill_value(id, key.len(), value);
        id
    }

    /// Writes the value of a small row whose block has room for it.
    fn fill_value(&mut self, id: RowId, key_len: usize, value: Option<&[u8]>) {
        let (chunk, start) = locate(id.0);
        let block = &mut self.chunks[chunk][start..];
        let len = value.map_or(DELETED, |value| value.len() as u16);
        block[20..22].copy_from_slice(&len.to_le_bytes());
        if let Some(value) = value {
            block[HEADER + key_len..][..value.len()].copy_from_slice(value);
        }
    }

    fn take_block(&mut self, units: usize) -> u32 {
        if let Some(first) = self.free[units - 1].pop() {
            self.free_units -= units;
            return first;
        }
        if (self.fresh.units as usize) < units {
            // A larger block that is free is cut before memory is taken.
            if let Some(larger) = (units..CLASSES).find(|class| !self.free[*class].is_empty())
                && let Some(first) = self.free[larger].pop()
            {
                self.free_units -= larger + 1;
                self.free_block(first + units as u32, larger + 1 - units);
                return first;
            }
            self.add_chunk();
        }
        let first = self.fresh.first;
        self.fresh = Fresh { first: first + units as u32, units: self.fresh.units - units as u32 };
        first
    }

    fn free_block(&mut self, first: u32, units: usize) {
        self.free[units - 1].push(first);
        self.free_units += units;
    }

    fn add_chunk(&mut self) {
        let Fresh { first, units } = self.fresh;
        if units > 0 {
            self.free_block(first, units as usize);
        }
        let number = self.chunks.len();
        let bytes = (FIRST_CHUNK << number.min(16)).min(CHUNK_UNITS * UNIT);
        let first = number * CHUNK_UNITS;
        assert!(first < LARGE as usize, "rows at hand of one task take less than 32 GiB");
        self.chunks.push(vec![0; bytes].into_boxed_slice());
        self.chunk_bytes += bytes;
        self.fresh = Fresh { first: first as u32, units: (bytes / UNIT) as u32 };
    }
}

// === impl Large ===

impl Large {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.key_and_value.capacity()
    }
}

/// The chunk of a small row, and where in it.
#[inline]
fn locate(id: u32) -> (usize, usize) {
    let id = id as usize;
    (id / CHUNK_UNITS, id % CHUNK_UNITS * UNIT)
}

/// The units of a row; `None` when it is too large for a block.
#[inline]
fn units_of(key_len: usize, value_len: usize) -> Option<usize> {
    let units = (HEADER + key_len + value_len).div_ceil(UNIT);
    (units <= CLASSES).then_some(units)
}

#[inline]
fn key_len(block: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([block[18], block[19]]) & !ASKED_FOR)
}

#[inline]
fn value_len(block: &[u8]) -> Option<usize> {
    let len = u16::from_le_bytes([block[20], block[21]]);
    (len != DELETED).then_some(usize::from(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a row is, its key and value, and when it was written.
    type Kept = (RowId, Vec<u8>, Option<Vec<u8>>, u64);

    proptest! {
        #[test]
        fn rows_keep_what_they_were_given(
            steps in prop::collection::vec((0..12_usize, prop::option::of(0..1500_usize), any::<bool>()), 1..200),
        ) {
            let mut slab = Slab::default();
            let mut rows: Vec<Option<Kept>> = vec![None; 12];
            for (step, (row, len, remove)) in (1..).zip(steps) {
                let value = len.map(|len| vec![step as u8; len]);
                let entry = Entry { value: value.as_deref(), timestamp_ms: step };
                match rows[row].take() {
                    Some((id, ..)) if remove => slab.remove(id),
                    Some((id, key, ..)) => {
                        slab.ask(id);
                        let id = slab.set(id, entry);
                        prop_assert!(slab.take_asked(id) && !slab.take_asked(id));
                        slab.set_written(id, step as u64, row as u32);
                        rows[row] = Some((id, key, value, step as u64));
                    }
                    None => {
                        let key = vec![b'a' + row as u8; row * 100];
                        let id = slab.insert(&key, entry);
                        prop_assert!(!slab.take_asked(id));
                        slab.set_written(id, step as u64, row as u32);
                        rows[row] = Some((id, key, value, step as u64));
                    }
                }
                for (number, row) in rows.iter().enumerate() {
                    let Some((id, key, value, step)) = row else { continue };
                    prop_assert_eq!(slab.key(*id), key.as_slice());
                    prop_assert_eq!(slab.entry(*id).value(), value.as_deref());
                    prop_assert_eq!(slab.entry(*id).timestamp_ms(), *step as i64);
                    prop_assert_eq!((slab.written(*id), slab.place_among_writes(*id)), (*step, number as u32));
                }
            }
            rows.into_iter().flatten().for_each(|(id, ..)| slab.remove(id));
            prop_assert_eq!(slab.bytes(), 0);
        }
    }
}
