//! Rows that came in the order of a changelog, to be written in the order of their keys.

use std::{cmp::Ordering, fmt, iter};

/// Rows of one store in the order of their arrival.
#[derive(Default)]
pub(super) struct Run {
    /// Per row: length of the key, and of the row or [`DELETED`], in 4 bytes each; the key; the row.
    rows: Vec<u8>,
    len: usize,
}

/// Where a row is, with as much of its key as tells it from most others: most comparisons need not look at the key itself.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Bytes of the key behind those that all keys share, big-endian, zeros behind the end.
    prefix: u64,
    start: u32,
}

/// A key and its row; `None` deletes it.
type KeyRow<'a> = (&'a [u8], Option<&'a [u8]>);

/// The length of a row that is deleted.
const DELETED: u32 = u32::MAX;

// === impl Run ===

impl Run {
    /// Adds a row; `None` deletes it. The last one of a key counts.
    ///
    /// # Panics
    /// When the rows take 4 GiB.
    pub(super) fn push(&mut self, key: &[u8], row: Option<&[u8]>) {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("keys and rows are below 2 GiB in Kafka's protocol");
        self.rows.extend_from_slice(&len(key).to_ne_bytes());
        self.rows.extend_from_slice(&row.map_or(DELETED, len).to_ne_bytes());
        self.rows.extend_from_slice(key);
        self.rows.extend_from_slice(row.unwrap_or_default());
        self.len += 1;
        assert!(u32::try_from(self.rows.len()).is_ok(), "runs are bounded far below 4 GiB");
    }

    /// Forgets all rows and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.len = 0;
    }

    /// How many rows were added.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What its rows take, with what sorting them will take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() + self.len * size_of::<Entry>()
    }

    /// Memory that it holds, rows or not, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.rows.capacity()
    }

    /// The keys of all rows in the order of their arrival.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.starts().map(|start| self.row(start).0)
    }

    /// Hands out the last row of each key, in the order of keys, until `f` fails.
    pub(super) fn each_sorted<E>(&self, mut f: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
        self.sorted().into_iter().try_for_each(|entry| {
            let (key, row) = self.row(entry.start);
            f(key, row)
        })
    }

    fn sorted(&self) -> Vec<Entry> {
        let shared = self.shared_prefix();
        let rest = |entry: &Entry| &self.row(entry.start).0[shared..];
        let by_key = |a: &Entry, b: &Entry| match a.prefix.cmp(&b.prefix) {
            Ordering::Equal => rest(a).cmp(rest(b)),
            order => order,
        };
        let mut entries = Vec::with_capacity(self.len);
        entries.extend(self.starts().map(|start| {
            let rest = &self.row(start).0[shared..];
            let mut prefix = [0; 8];
            let len = rest.len().min(prefix.len());
            prefix[..len].copy_from_slice(&rest[..len]);
            Entry { prefix: u64::from_be_bytes(prefix), start }
        }));
        entries.sort_unstable_by(|a, b| by_key(a, b).then(b.start.cmp(&a.start)));
        // The latest of a key comes first.
        entries.dedup_by(|earlier, latest| by_key(earlier, latest).is_eq());
        entries
    }

    /// How many bytes all keys begin with.
    fn shared_prefix(&self) -> usize {
        let mut keys = self.keys();
        let Some(mut shared) = keys.next() else { return 0 };
        for key in keys {
            if !key.starts_with(shared) {
                let len = iter::zip(key, shared).take_while(|(a, b)| a == b).count();
                shared = &shared[..len];
            }
        }
        shared.len()
    }

    fn starts(&self) -> impl Iterator<Item = u32> {
        let mut next = 0;
        iter::from_fn(move || {
            let start = next;
            ((start as usize) < self.rows.len()).then(|| {
                let (key, row) = self.row(start);
                next += (8 + key.len() + row.map_or(0, <[u8]>::len)) as u32;
                start
            })
        })
    }

    fn row(&self, start: u32) -> KeyRow<'_> {
        let (key_len, rest) = take_len(&self.rows[start as usize..]);
        let (row_len, rest) = take_len(rest);
        let (key, rest) = rest.split_at(key_len as usize);
        (key, (row_len != DELETED).then(|| &rest[..row_len as usize]))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("len", &self.len).field("bytes", &self.bytes()).finish()
    }
}

fn take_len(bytes: &[u8]) -> (u32, &[u8]) {
    let (len, rest) = bytes.split_first_chunk().expect("each row begins with its lengths");
    (u32::from_ne_bytes(*len), rest)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, convert::Infallible};

    use proptest::prelude::*;

    use super::*;

    /// Keys that differ early, late, in their length only, or not at all.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let byte = || prop::sample::select(vec![0, 1, 0xff]);
        prop_oneof![
            prop::collection::vec(byte(), 0..4),
            prop::collection::vec(byte(), 7..11),
            prop::collection::vec(byte(), 0..3).prop_map(|end| [&b"a long prefix of all"[..], &end].concat()),
        ]
    }

    fn rows() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..4))
    }

    proptest! {
        #[test]
        fn hands_out_the_last_row_of_each_key_in_order(
            prefix in prop::sample::select(vec![&b""[..], b"p", b"a prefix of them"]),
            rows in prop::collection::vec((keys(), rows()), 0..60),
        ) {
            let mut run = Run::default();
            // Another one's memory.
            run.push(b"k", Some(b"before"));
            run.clear();
            let mut expected = BTreeMap::new();
            for (key, row) in rows {
                let key = [prefix, &key].concat();
                run.push(&key, row.as_deref());
                expected.insert(key, row);
            }
            let mut found = Vec::new();
            let Ok(()) = run.each_sorted(|key, row| {
                found.push((key.to_vec(), row.map(<[u8]>::to_vec)));
                Ok::<_, Infallible>(())
            });
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
