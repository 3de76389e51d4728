//! Reading: batches and bounds of a poll (rule 4), the end (5), positions that do not exist (7), assignments.

use std::time::Duration;

use anyhow::ensure;
use millpond::log::{Isolation, LogError, ReadFrom, ReaderEvent};

use super::{
    Bed,
    tools::{DEADLINE, Patience, Reading, append, append_at, numbered, partition, topic, transactional, write},
};

/// Rule 4: a poll returns about as many records as it may, and does not wait longer than it may.
pub fn a_poll_keeps_to_its_bounds(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    for index in 0..2 {
        write(bed, &partition(&topic, index), numbered("k", 2_000))?;
    }
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[partition(&topic, 0), partition(&topic, 1)])?;
    let patience = Patience::new("all records");
    while reading.seen.len() < 4_000 {
        patience.check()?;
        let brought = reading.poll(100, Duration::from_millis(200))?;
        ensure!(brought <= 200, "{brought} records when about 100 were asked for");
    }
    for index in 0..2 {
        ensure!(reading.keys(index) == numbered("k", 2_000).collect::<Vec<_>>(), "partition {index} is whole");
    }
    reading.until_end(2)?;

    let patience = Patience::new("nothing");
    reading.poll(100, Duration::from_millis(200))?;
    ensure!(patience.waited() < Duration::from_secs(2), "waited {:?} of 200 ms", patience.waited());
    Ok(())
}

/// A reader starts at the beginning, at the end as it is, or at an offset.
pub fn reading_begins_where_it_was_told(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 3, &[])?;
    let partitions: Vec<_> = (0..3).map(|index| partition(&topic, index)).collect();
    for source in &partitions {
        write(bed, source, numbered("before", 3))?;
    }
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[])?;
    reading.reader.assign(&partitions[0], ReadFrom::Beginning)?;
    reading.reader.assign(&partitions[1], ReadFrom::Offset(2))?;
    reading.reader.assign(&partitions[2], ReadFrom::End)?;
    ensure!(reading.reader.known_end(&partitions[0]).is_none(), "nothing was fetched yet");
    reading.until_end(3)?;
    for source in &partitions {
        write(bed, source, numbered("after", 1))?;
    }
    reading.until("the records of after", |reading| reading.seen.len() >= 7)?;
    ensure!(reading.keys(0) == ["before0", "before1", "before2", "after0"], "{:?}", reading.keys(0));
    ensure!(reading.keys(1) == ["before2", "after0"], "{:?}", reading.keys(1));
    ensure!(reading.keys(2) == ["after0"], "{:?}", reading.keys(2));

    reading.until("the known end", |reading| reading.reader.known_end(&partitions[0]) == Some(4))?;
    ensure!(reading.reader.beginning_offset(&partitions[0])? == 0);
    ensure!(reading.reader.end_offset(&partitions[0])? == 4);
    Ok(())
}

/// Rule 5: of an empty partition, of one that was read through, and again after more records.
pub fn the_end_is_told_whenever_it_is_reached(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let source = partition(&topic, 0);
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&source))?;
    ensure!(reading.until_end(1)? == 0, "the end of an empty partition");
    for expected in [3, 6] {
        write(bed, &source, numbered("k", 3))?;
        ensure!(reading.until_end(1)? == expected, "the end is {expected}");
        ensure!(i64::try_from(reading.seen.len())? == expected, "not told before all records were returned");
    }
    reading.linger()?;
    ensure!(reading.events.is_empty(), "told once: {:?}", reading.events);
    reading.reader.assign(&source, ReadFrom::End)?;
    ensure!(reading.until_end(1)? == 6, "told anew after an assignment");
    Ok(())
}

/// Rules 1 and 5: a marker occupies an offset; the end lies behind it, for both isolations.
pub fn the_end_lies_behind_transaction_markers(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let source = partition(&topic, 0);
    let mut producer = transactional(bed, &bed.unique("id"))?;
    for commit in [true, false] {
        producer.begin()?;
        append(&mut *producer, &source, b"k", None)?;
        producer.flush(DEADLINE)?;
        if commit { producer.commit(DEADLINE)? } else { producer.abort(DEADLINE)? }
    }
    for (isolation, offsets) in [(Isolation::ReadCommitted, vec![0]), (Isolation::ReadUncommitted, vec![0, 2])] {
        let mut reading = Reading::all(bed, isolation, std::slice::from_ref(&source))?;
        // On a broker the last marker may come a little later than the answer to the abort.
        let behind = |event: &ReaderEvent| matches!(event, ReaderEvent::EndReached { next_offset: 4, .. });
        reading.until("the end behind two records and two markers", |reading| reading.events.iter().any(behind))?;
        let seen: Vec<i64> = reading.seen.iter().map(|seen| seen.offset).collect();
        ensure!(seen == offsets, "{isolation:?} sees {seen:?}");
    }
    Ok(())
}

/// The first record at a time or later, whatever the order of times; none behind the last, and none of what was deleted.
pub fn a_time_is_found(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[("retention.ms", "-1")])?;
    let source = partition(&topic, 0);
    let mut producer = bed.log().producer()?;
    // One flush each, so that a broker has them in batches of their own.
    for timestamp_ms in [1_000, 3_000, 2_000, 4_000] {
        append_at(&mut *producer, &source, b"k", None, timestamp_ms)?;
        producer.flush(DEADLINE)?;
    }
    let mut reader = bed.log().reader(Isolation::ReadCommitted)?;
    for (timestamp_ms, expected) in [(0, Some(0)), (1_000, Some(0)), (1_001, Some(1)), (3_001, Some(3)), (4_001, None)]
    {
        let found = reader.offset_for_time(&source, timestamp_ms)?;
        ensure!(found == expected, "{timestamp_ms}: {found:?}, not {expected:?}");
    }
    bed.log().admin()?.delete_records(&[(source.clone(), 2)])?;
    ensure!(reader.offset_for_time(&source, 0)? == Some(2), "what was deleted is not found");
    let missing = reader.offset_for_time(&partition(&bed.unique("missing").into(), 0), 0);
    ensure!(matches!(missing, Err(LogError::UnknownTopic { .. })), "{missing:?}");
    Ok(())
}

/// Rule 7: below the first and above the last offset; the partition then stands still until it is assigned anew.
pub fn a_position_that_does_not_exist_is_told(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let source = partition(&topic, 0);
    write(bed, &source, numbered("k", 10))?;
    bed.log().admin()?.delete_records(&[(source.clone(), 4)])?;
    for missing in [3, 11] {
        let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[])?;
        reading.reader.assign(&source, ReadFrom::Offset(missing))?;
        reading.until("out of range", |reading| !reading.events.is_empty())?;
        reading.linger()?;
        let expected = ReaderEvent::OutOfRange { partition: source.clone(), offset: missing };
        ensure!(reading.events == [expected], "{missing}: {:?}", reading.events);
        ensure!(reading.seen.is_empty(), "nothing is skipped in silence: {:?}", reading.seen);

        reading.events.clear();
        reading.reader.assign(&source, ReadFrom::Offset(8))?;
        ensure!(reading.until_end(1)? == 10);
        ensure!(reading.keys(0) == ["k8", "k9"], "{:?}", reading.keys(0));
    }
    for existing in [4, 10] {
        let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[])?;
        reading.reader.assign(&source, ReadFrom::Offset(existing))?;
        ensure!(reading.until_end(1)? == 10, "{existing} exists");
    }
    Ok(())
}

/// A paused partition brings nothing, the others go on; resumed, it goes on where it was.
pub fn a_paused_partition_stands_still(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let (paused, other) = (partition(&topic, 0), partition(&topic, 1));
    write(bed, &paused, numbered("k", 1_000))?;
    write(bed, &other, numbered("k", 1_000))?;
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[paused.clone(), other])?;
    some_of_the_first(&mut reading)?;
    reading.reader.pause(&paused)?;
    let before = reading.keys(0).len();
    reading.until("the other partition", |reading| reading.keys(1).len() == 1_000)?;
    reading.linger()?;
    ensure!(reading.keys(0).len() == before, "{} records while paused", reading.keys(0).len() - before);
    reading.reader.resume(&paused)?;
    reading.until("the resumed partition", |reading| reading.keys(0).len() >= 1_000)?;
    ensure!(reading.keys(0) == numbered("k", 1_000).collect::<Vec<_>>(), "nothing is skipped or repeated");
    Ok(())
}

/// After `unassign` no record of the partition is returned, though some were on their way.
pub fn an_unassigned_partition_brings_nothing(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let (gone, other) = (partition(&topic, 0), partition(&topic, 1));
    write(bed, &gone, numbered("k", 5_000))?;
    write(bed, &other, numbered("k", 5_000))?;
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[gone.clone(), other])?;
    some_of_the_first(&mut reading)?;
    reading.reader.unassign(&gone)?;
    reading.events.clear();
    let before = reading.keys(0).len();
    reading.until("the other partition", |reading| reading.keys(1).len() == 5_000)?;
    reading.linger()?;
    ensure!(reading.keys(0).len() == before, "{} records after unassign", reading.keys(0).len() - before);
    ensure!(reading.reader.known_end(&gone).is_none(), "it is not assigned");
    let about_gone =
        |event: &&ReaderEvent| matches!(event, ReaderEvent::EndReached { partition, .. } if *partition == gone);
    ensure!(reading.events.iter().find(about_gone).is_none(), "{:?}", reading.events);
    Ok(())
}

/// An assigned partition that is assigned again is read from the new position, with nothing of the old one between.
pub fn an_assigned_partition_can_be_moved(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let source = partition(&topic, 0);
    write(bed, &source, numbered("k", 5_000))?;
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&source))?;
    for position in [4_000, 10, 4_990] {
        let patience = Patience::new("first records");
        while reading.poll(10, Duration::from_millis(100))? == 0 {
            patience.check()?;
        }
        reading.reader.assign(&source, ReadFrom::Offset(position))?;
        reading.seen.clear();
        reading.until("records from the new position", |reading| !reading.seen.is_empty())?;
        ensure!(reading.seen[0].offset == position, "{} after a move to {position}", reading.seen[0].offset);
        let grows = reading.seen.windows(2).all(|pair| pair[1].offset == pair[0].offset + 1);
        ensure!(grows, "records of the position before are mixed in");
        reading.reader.assign(&source, ReadFrom::Beginning)?;
        reading.seen.clear();
    }
    Ok(())
}

/// Reads until some records of partition 0 are there and others on their way.
fn some_of_the_first(reading: &mut Reading) -> anyhow::Result<()> {
    let patience = Patience::new("records of partition 0");
    while reading.keys(0).is_empty() {
        patience.check()?;
        reading.poll(10, Duration::from_millis(100))?;
    }
    ensure!(reading.keys(0).len() < 1_000, "{} records at once when about 10 were asked for", reading.keys(0).len());
    Ok(())
}
