//! Records without a match: when they are passed on.
//!
//! The rules are those of Kafka Streams to the record, also where one would have chosen others: see [`Progress::earliest_ms`].

use std::{cell::Cell, rc::Rc, sync::Arc};

use super::side::SideSerdes;
use crate::{
    dsl::windows::JoinWindows,
    processor::{Context, JoinSide, ProcessError, TakeFrom, UnmatchedEntry, UnmatchedStore, UnmatchedValues, Visit},
    serde::{Data, Serde},
    topology::{Instantiation, graph::NodeId},
};

/// The records of both sides of a join that have no match yet, as one of the sides sees them.
pub(super) struct Unmatched<K, V, T> {
    store: UnmatchedStore<V, T>,
    side: JoinSide,
    /// As this side sees them.
    windows: JoinWindows,
    key_serde: Arc<dyn Serde<K>>,
    progress: Rc<Shared>,
    /// Entries to be passed on; reused.
    taken: Vec<UnmatchedEntry>,
}

/// How far a join has come: what its sides share.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// The latest timestamp of any record of both sides.
    stream_time_ms: i64,
    /// Closed windows are looked for when the window of a record of this time has closed; `None`: nothing is known to wait.
    ///
    /// It is the time of the last record that was looked at, not of the first that was left, as in Kafka Streams: a record whose
    /// window is longer than those of records behind it may wait until theirs have closed, too.
    earliest_ms: Option<i64>,
    /// The wall clock before which it is not looked again, in ms.
    next_look_ms: i64,
    /// No record waits that is earlier: looking begins here, behind what was removed.
    first_ms: i64,
    /// No record waits that is later: one that is has no entry to be added to.
    last_ms: i64,
    /// As of how many discards of the state this is.
    discards: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Shared(Cell<Progress>);

// === impl Progress ===

impl Default for Progress {
    fn default() -> Self {
        Self {
            stream_time_ms: Context::NO_STREAM_TIME,
            earliest_ms: None,
            next_look_ms: i64::MIN,
            first_ms: i64::MIN,
            last_ms: i64::MAX,
            discards: None,
        }
    }
}

// === impl Shared ===

impl Shared {
    fn get(&self) -> Progress {
        self.0.get()
    }

    fn update(&self, f: impl FnOnce(&mut Progress)) {
        let mut progress = self.0.get();
        f(&mut progress);
        self.0.set(progress);
    }
}

// === impl Unmatched ===

impl<K: Data, V: Data, T: Data> Unmatched<K, V, T> {
    pub(super) fn new(
        task: &mut Instantiation<'_>,
        id: NodeId,
        side: JoinSide,
        windows: JoinWindows,
        (key_serde, (own, others)): SideSerdes<'_, K, V, T>,
    ) -> Self {
        let (store, name) = task.used_store(id, 2);
        Self {
            store: UnmatchedStore::new((store, name), side, own, others),
            side,
            windows,
            key_serde: Arc::clone(key_serde),
            progress: task.common(store),
            taken: Vec::new(),
        }
    }

    /// A record has come. `kept_ms` is the latest time of any that was kept: after a restart the least that the stream time had come to.
    pub(super) fn observe(&mut self, ctx: &mut Context, time: i64, kept_ms: i64) -> Result<(), ProcessError> {
        let discards = Some(ctx.stores().discards());
        if self.progress.get().discards != discards {
            let (earliest_ms, last_ms) = self.store.bounds_ms(ctx)?.unzip();
            let (first_ms, last_ms) = (earliest_ms.unwrap_or(i64::MAX), last_ms.unwrap_or(i64::MIN));
            self.progress.update(|progress| {
                *progress = Progress { discards, earliest_ms, first_ms, last_ms, ..*progress };
            });
        }
        self.progress.update(|progress| progress.stream_time_ms = progress.stream_time_ms.max(time).max(kept_ms));
        Ok(())
    }

    /// Whether a record that has no match may have one yet.
    pub(super) fn may_have_match(&self, time: i64) -> bool {
        *self.windows.around(time).end() >= self.progress.get().stream_time_ms
    }

    /// Lets a record of this side wait.
    pub(super) fn add(&mut self, ctx: &mut Context, key: &[u8], value: &V, time: i64) -> Result<(), ProcessError> {
        let is_last = time > self.progress.get().last_ms;
        self.progress.update(|progress| {
            progress.earliest_ms = Some(progress.earliest_ms.map_or(time, |earliest| earliest.min(time)));
            progress.first_ms = progress.first_ms.min(time);
            progress.last_ms = progress.last_ms.max(time);
        });
        self.store.add(ctx, key, value, time, is_last)
    }

    /// Records of the other side have a match now.
    pub(super) fn has_match(
        &mut self,
        ctx: &mut Context,
        key: &[u8],
        time: i64,
        now_ms: i64,
    ) -> Result<(), ProcessError> {
        let Progress { first_ms, last_ms, .. } = self.progress.get();
        if !(first_ms..=last_ms).contains(&time) {
            return Ok(());
        }
        self.store.remove_other(ctx, key, time, now_ms)
    }

    /// Passes on the records whose windows have closed, if it is time to look for them: the key, the value by its side, and the
    /// timestamp.
    pub(super) fn pass_on_closed(
        &mut self,
        ctx: &mut Context,
        time: i64,
        mut pass_on: impl FnMut(&mut Context, &K, Option<&V>, Option<&T>, i64) -> Result<(), ProcessError>,
    ) -> Result<(), ProcessError> {
        if !self.is_time_to_look(ctx, time) {
            return Ok(());
        }
        let Progress { stream_time_ms, first_ms, .. } = self.progress.get();
        if first_ms == i64::MAX {
            self.progress.update(|progress| progress.earliest_ms = None);
            return Ok(());
        }
        let JoinWindows { before_ms, after_ms, grace_ms } = self.windows;
        // The last time that was looked at, the first that was left; whether records of this side and of the other were left.
        let (mut last, mut left_from, mut own_left, mut other_left) = (None, None, false, false);
        let mut from = TakeFrom::time(first_ms);
        loop {
            let mut taken = std::mem::take(&mut self.taken);
            taken.clear();
            let more = self.store.take(ctx, &from, &mut taken, |time, side, has_several| {
                last = Some(time);
                let stays = if own_left && other_left {
                    Visit::Stop
                } else {
                    let is_own = side == self.side;
                    let closes_after = if is_own { after_ms } else { before_ms };
                    if time.saturating_add(closes_after).saturating_add(grace_ms) < stream_time_ms {
                        return Visit::Take;
                    }
                    *(if is_own { &mut own_left } else { &mut other_left }) = true;
                    // Kafka Streams looks at each value, and so ends before the second one of this entry.
                    if own_left && other_left && has_several { Visit::Stop } else { Visit::Leave }
                };
                left_from.get_or_insert(time);
                stays
            })?;
            for entry in &taken {
                self.pass_on_entry(ctx, entry, &mut pass_on)?;
                self.store.remove(ctx, entry, time);
            }
            if let Some(last) = taken.last().filter(|_| more) {
                from = TakeFrom::behind(last);
            }
            self.taken = taken;
            if !more {
                break;
            }
        }
        self.progress.update(|progress| {
            progress.earliest_ms = last;
            progress.first_ms = left_from.unwrap_or(i64::MAX);
        });
        Ok(())
    }

    fn is_time_to_look(&self, ctx: &Context, time: i64) -> bool {
        let Progress { stream_time_ms, earliest_ms, next_look_ms, .. } = self.progress.get();
        let closes_after = self.windows.after_ms.saturating_add(self.windows.grace_ms);
        // Where nothing waits it is looked for nothing, as in Kafka Streams: not again then, until the interval is over.
        let due =
            earliest_ms.map_or(closes_after > 0, |earliest| earliest.saturating_add(closes_after) < stream_time_ms);
        let now_ms = ctx.wall_clock_ms();
        if time != stream_time_ms || !due || now_ms < next_look_ms {
            return false;
        }
        let next_look_ms = now_ms.saturating_add(ctx.emit_interval_ms());
        self.progress.update(|progress| progress.next_look_ms = next_look_ms);
        true
    }

    fn pass_on_entry(
        &self,
        ctx: &mut Context,
        entry: &UnmatchedEntry,
        pass_on: &mut impl FnMut(&mut Context, &K, Option<&V>, Option<&T>, i64) -> Result<(), ProcessError>,
    ) -> Result<(), ProcessError> {
        let key = self.store.key(entry, &self.key_serde)?;
        let time = entry.timestamp_ms();
        match self.store.values(ctx, entry)? {
            UnmatchedValues::Own(values) => {
                values.iter().try_for_each(|value| pass_on(ctx, &key, Some(value), None, time))
            }
            UnmatchedValues::Other(values) => {
                values.iter().try_for_each(|value| pass_on(ctx, &key, None, Some(value), time))
            }
        }
    }
}
