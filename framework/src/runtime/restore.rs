//! Bringing the stores of a task up to the end of their changelogs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::RestoreProgress;
use crate::{
    log::{Batch, LogError, ReadFrom, Reader, TopicId, TopicPartition},
    processor::ProcessError,
    state::{CommitPoint, StateError, StoreId, StoreSpec, TaskStores},
};

/// The restore of one task: which changelogs are still behind.
#[derive(Debug)]
pub(crate) struct Restore {
    pending: BTreeMap<TopicPartition, Changelog>,
    /// Stores that are whole though nothing was ever restored: where their empty changelogs begin.
    empty: BTreeMap<StoreId, i64>,
    progress: Arc<RestoreProgress>,
    /// What was told last to hold the restore back, and when.
    told: Option<(TopicPartition, i64, Duration)>,
}

/// Which topics there are now under the names of changelogs, as far as the log knows ids.
pub(crate) type ChangelogIds = BTreeMap<Arc<str>, TopicId>;

/// What a restore begins with.
#[derive(Debug)]
pub(crate) enum Begun {
    /// What is stored, brought up to date.
    Restore(Restore),
    /// Nothing: what is stored cannot be brought up to date.
    Rebuild {
        /// Why.
        reason: String,
        /// Whether a changelog lacks what is stored, which may be the last copy of it then.
        is_last_copy: bool,
    },
}

#[derive(Debug)]
struct Changelog {
    store: StoreId,
    next: i64,
    /// The high watermark when the restore began, not the last stable offset: a transaction is committed before its markers are
    /// written, so what the owner before committed last may lie behind the last stable offset for a while (KAFKA-10167). Reading
    /// goes on, committed records only, until the end is reached; open transactions of the owner before were fenced.
    end: i64,
    /// Since when the reader gives nothing more though this is not the end: a transaction is open there.
    held_since: Option<Duration>,
}

/// How long a restore waits for an open transaction before that is told, and told again.
const HELD_BACK: Duration = Duration::from_secs(30);

/// For how long a changelog says that a key was deleted: the least `delete.retention.ms` that is taken, less an hour. State that is
/// older may hold keys whose deletion it would never hear of.
const DELETIONS_KNOWN: Duration = Duration::from_secs(23 * 3600);

// === impl Restore ===

impl Restore {
    /// Assigns the changelogs that are behind to `reader`, from where the stores stand. `watermarks` reads uncommitted records.
    pub(crate) fn begin(
        stores: &mut TaskStores,
        specs: &[StoreSpec],
        partition: i32,
        ids: &ChangelogIds,
        reader: &mut dyn Reader,
        watermarks: &mut dyn Reader,
        (now, now_ms): (Duration, i64),
    ) -> Result<Begun, ProcessError> {
        stores.apply_gathered()?;
        let point = stores.committed();
        if let Some(reason) = too_old(point, now_ms) {
            return Ok(Begun::Rebuild { reason, is_last_copy: false });
        }
        let progress = Arc::new(RestoreProgress::new(now, 0));
        let mut restore = Self { pending: BTreeMap::new(), empty: BTreeMap::new(), progress, told: None };
        let mut changelog_ids = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            let Some(topic) = &spec.changelog else { continue };
            let store = StoreId::new(index);
            let changelog = TopicPartition::new(topic.clone(), partition);
            let id = ids.get(topic).copied();
            changelog_ids.extend(id.map(|id| (store, id)));
            let step = restore.begin_store(store, changelog, id, point, reader, watermarks);
            match step {
                Ok(None) => {}
                Ok(Some(reason)) => {
                    restore.cancel(reader)?;
                    return Ok(Begun::Rebuild { reason, is_last_copy: true });
                }
                Err(error) => {
                    restore.cancel(reader)?;
                    return Err(error.into());
                }
            }
        }
        // Half of a restore is as old as its beginning: deletions of what it holds already may be forgotten before it goes on.
        let current_ms = (point.current_ms.is_none() && !restore.is_done()).then_some(now_ms);
        stores.commit(&CommitPoint { current_ms, changelog_ids, ..CommitPoint::default() })?;
        restore.progress.set_remaining(restore.remaining());
        Ok(Begun::Restore(restore))
    }

    /// Assigns the changelog of a store, if it is behind; or says why what is stored does not belong to it.
    fn begin_store(
        &mut self,
        store: StoreId,
        changelog: TopicPartition,
        id: Option<TopicId>,
        point: &CommitPoint,
        reader: &mut dyn Reader,
        watermarks: &mut dyn Reader,
    ) -> Result<Option<String>, LogError> {
        let beginning = watermarks.beginning_offset(&changelog)?;
        let end = watermarks.end_offset(&changelog)?;
        let stored = point.changelog_offsets.get(&store).copied();
        let next = stored.unwrap_or(beginning);
        // The ids of the topic that the stored offset is of, and of this one, if they are two.
        let stored_id = point.changelog_ids.get(&store).copied().filter(|_| stored.is_some_and(|offset| offset > 0));
        let other = stored_id.zip(id).filter(|(stored, found)| stored != found);
        if beginning == end && (next > end || other.is_some()) {
            return Err(LogError::Refused {
                what: format!("restoring from {changelog}"),
                reason: format!(
                    "it is empty, and the state on this disk stands at its offset {next}: the topic was deleted or made anew, and this may be the \
                     last copy of the state; to begin without it, delete the state of this application here and the group's positions"
                ),
            });
        }
        if let Some((stored, found)) = other {
            return Ok(Some(format!(
                "it stands at offset {next} of {changelog} when the topic's id was {stored}; now it is {found}: the topic was deleted and made anew"
            )));
        }
        if !(beginning..=end).contains(&next) {
            return Ok(Some(format!(
                "it stands at offset {next} of {changelog}, which has {beginning} to {end}: that was truncated or made anew"
            )));
        }
        if next < end {
            let from = stored.map_or(ReadFrom::Beginning, ReadFrom::Offset);
            reader.assign(&changelog, from)?;
            self.pending.insert(changelog, Changelog { store, next, end, held_since: None });
        } else if stored.is_none() {
            self.empty.insert(store, next);
        }
        Ok(None)
    }

    /// Where the changelogs of stores begin that had nothing to restore and know no offset yet. Stored, it says that this host
    /// has all there is of them.
    pub(crate) fn empty(&self) -> &BTreeMap<StoreId, i64> {
        &self.empty
    }

    /// Whether the stores are whole.
    pub(crate) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> &Arc<RestoreProgress> {
        &self.progress
    }

    /// Offsets still to go; at most so many records.
    pub(crate) fn remaining(&self) -> u64 {
        self.pending.values().map(|changelog| (changelog.end - changelog.next).max(0).cast_unsigned()).sum()
    }

    /// Whether this restore waits for `partition`.
    pub(crate) fn wants(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition)
    }

    /// Applies records to their store, or lets them wait there for more.
    pub(crate) fn apply(&mut self, stores: &mut TaskStores, batch: &Batch) -> Result<(), StateError> {
        let Some(changelog) = self.pending.get_mut(batch.source()) else { return Ok(()) };
        let Some(last) = batch.len().checked_sub(1).and_then(|index| batch.get(index)) else { return Ok(()) };
        (changelog.next, changelog.held_since) = (last.offset + 1, None);
        self.progress.applied(batch.len(), batch.bytes());
        stores.gather(changelog.store, batch, changelog.next)
    }

    /// The reader has returned everything up to `next_offset`.
    pub(crate) fn reached_end(&mut self, partition: &TopicPartition, next_offset: i64, now: Duration) {
        if let Some(changelog) = self.pending.get_mut(partition) {
            if next_offset > changelog.next {
                (changelog.next, changelog.held_since) = (next_offset, None);
            }
            changelog.held_since.get_or_insert(now);
        }
        self.progress.set_remaining(self.remaining());
    }

    /// Why the restore does not go on, if that is so for long: once in a while, to be told. The progress says it all the time.
    pub(crate) fn held_back(&mut self, now: Duration) -> Option<Arc<str>> {
        let held = self.pending.iter().find_map(|(changelog, log)| {
            let held_for = now.saturating_sub(log.held_since?);
            (log.next < log.end && held_for >= HELD_BACK).then_some((changelog, log, held_for))
        });
        let Some((changelog, &Changelog { next, end, .. }, held_for)) = held else {
            if self.told.take().is_some() {
                self.progress.set_held_back(None);
            }
            return None;
        };
        if let Some((of, offset, at)) = &self.told
            && (of, *offset) == (changelog, next)
            && now.saturating_sub(*at) < HELD_BACK
        {
            return None;
        }
        self.told = Some((changelog.clone(), next, now));
        let TopicPartition { topic, partition } = changelog;
        let reason: Arc<str> = format!(
            "a transaction that is open at offset {next} of {changelog} hides what is behind it up to {end}, for more than {} s now; if its producer \
             is gone, the brokers have lost its end, and `kafka-transactions.sh abort --topic {topic} --partition {partition} --start-offset {next}` \
             ends it",
            held_for.as_secs()
        )
        .into();
        self.progress.set_held_back(Some(Arc::clone(&reason)));
        Some(reason)
    }

    /// Takes the changelogs that are done off the reader.
    pub(crate) fn settle(&mut self, reader: &mut dyn Reader) -> Result<(), LogError> {
        let done: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, log)| log.next >= log.end)
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in done {
            reader.unassign(&partition)?;
            self.pending.remove(&partition);
        }
        self.progress.set_remaining(self.remaining());
        Ok(())
    }

    /// Gives the restore up.
    pub(crate) fn cancel(self, reader: &mut dyn Reader) -> Result<(), LogError> {
        self.pending.keys().try_for_each(|partition| reader.unassign(partition))
    }
}

/// Why state of this point cannot be brought up to date by its changelogs, if it cannot.
fn too_old(point: &CommitPoint, now_ms: i64) -> Option<String> {
    let age_ms = now_ms.saturating_sub(point.current_ms?);
    let limit_ms = i64::try_from(DELETIONS_KNOWN.as_millis()).unwrap_or(i64::MAX);
    let has_state = point.changelog_offsets.values().any(|offset| *offset > 0);
    (has_state && age_ms > limit_ms).then(|| {
        format!(
            "it is {} h old, and its changelogs forget deletions after {} h",
            age_ms / 3_600_000,
            limit_ms / 3_600_000
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::{Append, Headers, Isolation, Log, NewTopic, ReaderEvent, embedded::EmbeddedLog},
        serde::Format,
        state::{MemoryBudget, StateDir, StateSettings, StoreKind, TaskId},
    };

    #[test]
    fn state_older_than_the_memory_of_its_changelogs_is_not_brought_up_to_date() {
        let hours = |hours: i64| hours * 3_600_000;
        let point = |offset, current_ms| CommitPoint {
            changelog_offsets: [(StoreId::new(0), offset)].into(),
            current_ms,
            ..CommitPoint::default()
        };
        assert_eq!(too_old(&point(5, Some(hours(100))), hours(122)), None);
        assert!(too_old(&point(5, Some(hours(100))), hours(124)).is_some_and(|reason| reason.contains("24 h old")));
        assert_eq!(too_old(&point(0, Some(hours(100))), hours(200)), None, "there is none");
        assert_eq!(too_old(&point(5, None), hours(200)), None, "it has no age");
        assert_eq!(too_old(&point(5, Some(hours(100))), hours(90)), None, "a clock was set back");
    }

    fn specs(changelog: &Arc<str>) -> Arc<[StoreSpec]> {
        [StoreSpec {
            name: "a".into(),
            kind: StoreKind::TimestampedKeyValue,
            changelog: Some(Arc::clone(changelog)),
            key_format: Format::Bytes,
            value_format: Format::Bytes,
            queryable: false,
            persistent: true,
        }]
        .into()
    }

    fn new_topic(name: &str) -> NewTopic {
        NewTopic { name: name.into(), partitions: 1, replication_factor: None, config: BTreeMap::new() }
    }

    #[test]
    fn what_holds_a_restore_back_is_told_once_in_a_while() -> Result<(), Box<dyn std::error::Error>> {
        let (log, topic): (_, Arc<str>) = (EmbeddedLog::new(), "changelog".into());
        log.admin()?.create_topics(&[new_topic(&topic)])?;
        let patience = Duration::from_secs(10);
        let mut owner = log.transactional_producer("owner", Duration::from_secs(60))?;
        owner.init(patience)?;
        owner.begin()?;
        let headers = &Headers::default();
        owner.append(Append { topic: &topic, partition: 0, key: Some(b"k"), value: None, timestamp_ms: 1, headers })?;
        owner.flush(patience)?;

        let specs = specs(&topic);
        let settings = StateSettings { dir: None, memory: MemoryBudget::new(8 << 20) };
        let mut stores = TaskStores::open(&settings, TaskId::new(0, 0), Arc::clone(&specs))?;
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        let mut watermarks = log.reader(Isolation::ReadUncommitted)?;
        let (ids, now) = (ChangelogIds::new(), (Duration::ZERO, 1));
        let begun = Restore::begin(&mut stores, &specs, 0, &ids, &mut *reader, &mut *watermarks, now)?;
        let Begun::Restore(mut restore) = begun else { return Err("nothing is stored yet".into()) };
        let mut step = |second, restore: &mut Restore, reader: &mut dyn Reader| -> Result<_, ProcessError> {
            let (fetched, now) = (reader.poll(10, Duration::ZERO)?, Duration::from_secs(second));
            fetched.batches.iter().try_for_each(|batch| restore.apply(&mut stores, batch))?;
            for event in fetched.events {
                if let ReaderEvent::EndReached { partition, next_offset } = event {
                    restore.reached_end(&partition, next_offset, now);
                }
            }
            Ok(restore.held_back(now))
        };
        let shown = |restore: &Restore| restore.progress().read(Duration::ZERO).held_back;
        assert_eq!(step(10, &mut restore, &mut *reader)?, None);
        assert_eq!((step(39, &mut restore, &mut *reader)?, shown(&restore)), (None, None));
        let told = step(40, &mut restore, &mut *reader)?.ok_or("nothing is told")?;
        for part in ["at offset 0 of changelog-0", "up to 1", "abort --topic changelog --partition 0 --start-offset 0"]
        {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
        assert_eq!((step(69, &mut restore, &mut *reader)?, shown(&restore)), (None, Some(told)));
        let told = step(70, &mut restore, &mut *reader)?.ok_or("nothing is told again")?;
        assert!(told.contains("for more than 60 s"), "{told}");
        assert_eq!(shown(&restore), Some(told));
        owner.commit(patience)?;
        assert_eq!((step(100, &mut restore, &mut *reader)?, shown(&restore)), (None, None));
        restore.settle(&mut *reader)?;
        assert!(restore.is_done());
        Ok(())
    }

    #[test]
    fn half_of_a_restore_is_as_old_as_its_beginning() -> Result<(), Box<dyn std::error::Error>> {
        let (log, topic): (_, Arc<str>) = (EmbeddedLog::new(), "changelog".into());
        log.admin()?.create_topics(&[new_topic(&topic)])?;
        let mut producer = log.producer()?;
        let (key, value, headers) = (Some(&b"k"[..]), Some(&b"v"[..]), &Headers::default());
        for timestamp_ms in 1..3 {
            producer.append(Append { topic: &topic, partition: 0, key, value, timestamp_ms, headers })?;
        }
        producer.flush(Duration::from_secs(10))?;

        let state_dir = tempfile::tempdir()?;
        let dir = Some(Arc::new(StateDir::open(state_dir.path(), "app")?));
        let settings = StateSettings { dir, memory: MemoryBudget::new(8 << 20) };
        let specs = specs(&topic);
        let hour_ms = 3_600_000;
        let begin = |hour: i64| -> Result<_, Box<dyn std::error::Error>> {
            let mut stores = TaskStores::open(&settings, TaskId::new(0, 0), Arc::clone(&specs))?;
            let (mut reader, mut watermarks) =
                (log.reader(Isolation::ReadCommitted)?, log.reader(Isolation::ReadUncommitted)?);
            let now = (Duration::ZERO, hour * hour_ms);
            let ids = ChangelogIds::new();
            let begun = Restore::begin(&mut stores, &specs, 0, &ids, &mut *reader, &mut *watermarks, now)?;
            Ok((stores, reader, begun))
        };
        let (mut stores, mut reader, begun) = begin(100)?;
        let Begun::Restore(mut restore) = begun else { return Err("nothing is stored yet".into()) };
        let batches = reader.poll(1, Duration::from_secs(10))?.batches;
        restore.apply(&mut stores, &batches[0])?;
        assert!(!restore.is_done() || restore.remaining() > 0, "one of two");
        stores.close()?;

        let (stores, _, begun) = begin(122)?;
        assert!(matches!(begun, Begun::Restore(_)), "{begun:?}");
        stores.close()?;
        let (_stores, _, begun) = begin(124)?;
        assert!(matches!(begun, Begun::Rebuild { is_last_copy: false, .. }), "{begun:?}");
        Ok(())
    }

    /// How the restore of stored state begins on a changelog that has so many records: where the state stands, and the id of the topic that it
    /// was made of.
    fn begin_at(stored: (i64, Option<TopicId>), found: Option<TopicId>, records: i64) -> Result<Begun, ProcessError> {
        let (log, topic): (_, Arc<str>) = (EmbeddedLog::new(), "changelog".into());
        log.admin()?.create_topics(&[new_topic(&topic)])?;
        let mut producer = log.producer()?;
        for timestamp_ms in 0..records {
            let (key, value, headers) = (Some(&b"k"[..]), Some(&b"v"[..]), &Headers::default());
            producer.append(Append { topic: &topic, partition: 0, key, value, timestamp_ms, headers })?;
        }
        producer.flush(Duration::from_secs(10))?;
        let (specs, store) = (specs(&topic), StoreId::new(0));
        let settings = StateSettings { dir: None, memory: MemoryBudget::new(8 << 20) };
        let mut stores = TaskStores::open(&settings, TaskId::new(0, 0), Arc::clone(&specs))?;
        stores.commit(&CommitPoint {
            changelog_offsets: [(store, stored.0)].into(),
            changelog_ids: stored.1.map(|id| (store, id)).into_iter().collect(),
            current_ms: Some(1),
            ..CommitPoint::default()
        })?;
        let ids: ChangelogIds = found.map(|id| (topic, id)).into_iter().collect();
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        let mut watermarks = log.reader(Isolation::ReadUncommitted)?;
        let now = (Duration::ZERO, 2);
        let begun = Restore::begin(&mut stores, &specs, 0, &ids, &mut *reader, &mut *watermarks, now)?;
        if matches!(begun, Begun::Restore(_)) {
            assert_eq!(
                stores.committed().changelog_ids.get(&store).copied(),
                found.or(stored.1),
                "it is known from now on"
            );
        }
        Ok(begun)
    }

    #[test]
    fn a_changelog_that_was_made_anew_is_found_out_whatever_its_offsets_are() -> Result<(), Box<dyn std::error::Error>>
    {
        let (one, other) = (Some(TopicId::new(1, 1)), Some(TopicId::new(1, 2)));
        for records in [3, 5, 9] {
            let Begun::Rebuild { reason, is_last_copy: true } = begin_at((5, one), other, records)? else {
                return Err(format!("{records} records of another topic are taken for the same").into());
            };
            for part in ["offset 5 of changelog-0", "AAAAAAAAAAEAAAAAAAAAAQ", "AAAAAAAAAAEAAAAAAAAAAg"] {
                assert!(reason.contains(part), "{part} is not in: {reason}");
            }
        }
        for (stored, found) in [((5, one), one), ((5, None), one), ((5, one), None), ((0, one), other)] {
            assert!(matches!(begin_at(stored, found, 9)?, Begun::Restore(_)), "{stored:?}, {found:?}");
        }
        let error = begin_at((5, one), other, 0).expect_err("it is empty: the state may be the last copy");
        assert!(matches!(error, ProcessError::Log(LogError::Refused { .. })), "{error}");
        Ok(())
    }
}
