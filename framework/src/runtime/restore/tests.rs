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

fn changelogs<'a>(specs: &'a [StoreSpec], ids: &'a ChangelogIds) -> Changelogs<'a> {
    Changelogs { specs, partition: 0, ids, until: Until::End }
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
    let begun = Restore::begin(&mut stores, &changelogs(&specs, &ids), &mut *reader, &mut *watermarks, now)?;
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
    for part in ["at offset 0 of changelog-0", "up to 1", "abort --topic changelog --partition 0 --start-offset 0"] {
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
        let begun = Restore::begin(&mut stores, &changelogs(&specs, &ids), &mut *reader, &mut *watermarks, now)?;
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
    let begun = Restore::begin(&mut stores, &changelogs(&specs, &ids), &mut *reader, &mut *watermarks, now)?;
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
fn a_changelog_that_was_made_anew_is_found_out_whatever_its_offsets_are() -> Result<(), Box<dyn std::error::Error>> {
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
