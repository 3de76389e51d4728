//! Committed state, for threads other than the owner's.

mod versions;

pub use self::versions::OwnedVersion;

use std::{
    borrow::Cow,
    ops::{ControlFlow, RangeBounds, RangeInclusive},
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use super::{
    CommitPoint, Direction, Owner, Row, StateError, StoreId, StoreSpec,
    backend::Backend,
    range::KeyRange,
    rocks::{Rocks, WriteBuffers},
    stores::RowReader,
    timed::{Layout, Visible},
    versioned::{self, Versions},
};

/// Committed reads of a task's stores, from any thread. One answer is of one commit.
///
/// It may outlive the task: reads then answer [`StateError::Closed`].
#[derive(Debug)]
pub struct TaskView {
    owner: Owner,
    specs: Arc<[StoreSpec]>,
    /// Every read holds the lock shared from begin to end, so that closing, which takes it alone, waits for running reads
    /// and leaves no reference behind. No read calls foreign code while it holds it.
    backend: RwLock<Option<Arc<Backend>>>,
    /// The first damage that a read has met: the owner, who has its rows at hand, may never meet it.
    damage: OnceLock<String>,
}

/// A serialized value, and the timestamp of the record it came from in ms since the epoch.
pub type OwnedRow = (Vec<u8>, i64);

/// A row of a [`Page`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRow {
    /// The serialized key.
    pub key: Vec<u8>,
    /// The serialized value.
    pub value: Vec<u8>,
    /// The timestamp of the record it came from, in ms since the epoch.
    pub timestamp_ms: i64,
}

/// A part of a range, of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Rows in ascending order of their keys.
    pub rows: Vec<PageRow>,
    /// Whether the range goes on behind the last row: ask again from there, key excluded. The next page may be of a later
    /// commit.
    pub more: bool,
    /// The commit the rows are of.
    pub point: CommitPoint,
}

// === impl TaskView ===

impl TaskView {
    pub(super) fn new(owner: Owner, specs: Arc<[StoreSpec]>, backend: Arc<Backend>) -> Self {
        Self { owner, specs, backend: RwLock::new(Some(backend)), damage: OnceLock::new() }
    }

    /// Whose state this is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The stores, in the order of their [`StoreId`].
    #[must_use]
    pub fn specs(&self) -> &Arc<[StoreSpec]> {
        &self.specs
    }

    /// The value of a key and its timestamp in ms since the epoch; of several versions the latest. Rows of windows and sessions are looked
    /// up by their keys as the store's format of keys says.
    ///
    /// # Errors
    /// [`StateError::Closed`] after the task has gone; [`StateError::Database`], [`StateError::Format`].
    pub fn get(&self, store: StoreId, key: &[u8]) -> Result<Option<OwnedRow>, StateError> {
        self.read(|backend| match self.stored_key(backend, store, key) {
            Some(key) => backend.get(store, &key, |row| self.owned(store, row))?,
            None => Ok(None),
        })
    }

    /// The value of a key and its timestamp, and the point of the commit they are of. It has the positions, and the
    /// changelog offsets of the stores that lie where this one does: on disk or in memory.
    ///
    /// # Errors
    /// As [`TaskView::get`].
    pub fn get_with_position(&self, store: StoreId, key: &[u8]) -> Result<(Option<OwnedRow>, CommitPoint), StateError> {
        self.read(|backend| {
            let Some(key) = self.stored_key(backend, store, key) else { return Ok((None, backend.point())) };
            let (row, point) = backend.get_with_point(store, &key, |row| self.owned(store, row))?;
            Ok((row?, point))
        })
    }

    /// The rows of a range of a key-value store in ascending order: at most `max_rows`, and no more once their keys and values are `max_bytes` or
    /// more. A page that has no row has no row behind it either.
    ///
    /// # Errors
    /// As [`TaskView::get`].
    pub fn scan<'k>(
        &self,
        store: StoreId,
        range: impl RangeBounds<&'k [u8]>,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Page, StateError> {
        let Some(range) = KeyRange::new(&range) else {
            return Ok(Page { rows: Vec::new(), more: false, point: self.position()? });
        };
        let reader = RowReader::new(self.owner, &self.specs, store);
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        // One row at the least, so that whoever pages gets on.
        let max_rows = max_rows.max(1);
        let point = self.read(|backend| {
            backend.scan_with_point(store, &range, Direction::Forward, |key, row| {
                if !rows.is_empty() && (rows.len() >= max_rows || bytes >= max_bytes) {
                    more = true;
                    return Ok(ControlFlow::Break(()));
                }
                let Row { value, timestamp_ms } = reader.read(row)?;
                bytes += key.len() + value.len();
                rows.push(PageRow { key: key.to_vec(), value: value.to_vec(), timestamp_ms });
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(Page { rows, more, point })
    }

    /// The rows of a window or session store, of all keys, whose times lie in a range, bucket by bucket: at most `max_rows`.
    /// Their keys are as the store's format of keys says.
    ///
    /// # Errors
    /// As [`TaskView::get`].
    pub fn scan_times(
        &self,
        store: StoreId,
        times: RangeInclusive<i64>,
        max_rows: usize,
    ) -> Result<Vec<PageRow>, StateError> {
        let reader = RowReader::new(self.owner, &self.specs, store);
        let mut rows = Vec::new();
        self.read(|backend| {
            let layout = Layout::of(self.specs[store.index()].kind);
            let visible = layout.and_then(|layout| Visible::new(layout, backend.stream_time(store), times));
            let Some(visible) = visible else { return Ok(()) };
            let (lower, upper) = visible.bounds();
            let Some(range) = KeyRange::new(&(&lower[..]..&upper[..])) else { return Ok(()) };
            backend.scan(store, &range, Direction::Forward, |stored, row| {
                if rows.len() >= max_rows {
                    return Ok(ControlFlow::Break(()));
                }
                if let Some(key) = visible.key(stored) {
                    let Row { value, timestamp_ms } = reader.read(row)?;
                    rows.push(PageRow { key: visible.formatted(key), value: value.to_vec(), timestamp_ms });
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(rows)
    }

    /// The point of the last commit.
    ///
    /// # Errors
    /// [`StateError::Closed`] after the task has gone.
    pub fn position(&self) -> Result<CommitPoint, StateError> {
        self.read(|backend| Ok(backend.point()))
    }

    /// Waits for running reads, and refuses later ones.
    pub(super) fn close(&self) {
        *self.backend.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn read<R>(&self, f: impl FnOnce(&Backend) -> Result<R, StateError>) -> Result<R, StateError> {
        let result = match &*self.backend.read().unwrap_or_else(PoisonError::into_inner) {
            Some(backend) => f(backend),
            None => Err(StateError::Closed { owner: self.owner }),
        };
        if let Err(error) = &result
            && error.is_damage()
        {
            self.damage.get_or_init(|| error.to_string());
        }
        result
    }

    /// The first damage that a read has met.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Does something with the database on behalf of the budget. What fails is the owner's to handle, when it writes next.
    fn rocks<R>(&self, f: impl FnOnce(&Rocks) -> Result<R, StateError>) -> Option<R> {
        let done = self.read(|backend| backend.rocks().map(f).transpose());
        done.unwrap_or_else(|error| {
            if !matches!(error, StateError::Closed { .. }) {
                tracing::warn!(owner = %self.owner, %error, "cannot free memory of this database");
            }
            None
        })
    }

    /// A key as the backend has it; `None` when its row is too old, or it cannot be one of this store.
    fn stored_key<'k>(&self, backend: &Backend, store: StoreId, key: &'k [u8]) -> Option<Cow<'k, [u8]>> {
        let kind = self.specs[store.index()].kind;
        let mut stored = Vec::new();
        if Versions::of(kind).is_some() {
            versioned::put_latest_key(&mut stored, key);
            return Some(Cow::Owned(stored));
        }
        let Some(layout) = Layout::of(kind) else { return Some(Cow::Borrowed(key)) };
        let time = layout.put_formatted(&mut stored, key)?;
        (time >= layout.retention().visible_from(backend.stream_time(store))).then_some(Cow::Owned(stored))
    }

    fn owned(&self, store: StoreId, row: Option<&[u8]>) -> Result<Option<OwnedRow>, StateError> {
        let Some(row) = row else { return Ok(None) };
        let Row { value, timestamp_ms } = RowReader::new(self.owner, &self.specs, store).read(row)?;
        Ok(Some((value.to_vec(), timestamp_ms)))
    }
}

// The budget asks through the view, since closing waits for views.
impl WriteBuffers for TaskView {
    fn bytes(&self) -> usize {
        self.rocks(Rocks::write_buffer_bytes).unwrap_or(0)
    }

    fn begin_flush(&self) {
        self.rocks(Rocks::begin_flush);
    }
}
