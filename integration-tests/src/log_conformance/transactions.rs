//! Transactions: isolation (rule 6), all or nothing (10), fencing (10, 12).

use std::time::Duration;

use anyhow::ensure;
use millpond::log::{Isolation, LogError};

use super::{
    Bed,
    tools::{
        DEADLINE, Joining, Patience, Reading, SESSION, append, ensure_error, member, numbered, partition, read, settle,
        topic, transactional, write,
    },
};

/// Rule 10: records in several partitions and topics appear with the commit, not before.
pub fn a_committed_transaction_is_visible_in_all_partitions(bed: &dyn Bed) -> anyhow::Result<()> {
    let (first, second) = (topic(bed, 2, &[])?, topic(bed, 1, &[])?);
    let partitions = [partition(&first, 0), partition(&first, 1), partition(&second, 0)];
    let mut producer = transactional(bed, &bed.unique("id"))?;
    for round in 1..=2 {
        producer.begin()?;
        for to in &partitions {
            append(&mut *producer, to, b"k", None)?;
        }
        producer.flush(DEADLINE)?;
        for from in &partitions {
            let seen = read(bed, Isolation::ReadCommitted, from)?.len();
            ensure!(seen == round - 1, "{seen} records of {from} before commit {round}");
        }
        producer.commit(DEADLINE)?;
        for from in &partitions {
            let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(from))?;
            reading.until("the committed record", |reading| reading.seen.len() >= round)?;
            ensure!(reading.seen.len() == round, "{} records of {from} after commit {round}", reading.seen.len());
        }
    }
    Ok(())
}

/// Rules 6 and 10: what was aborted stays hidden, though a read-uncommitted reader saw it; the producer goes on.
pub fn an_aborted_transaction_is_never_visible(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let to = partition(&topic, 0);
    let mut producer = transactional(bed, &bed.unique("id"))?;
    producer.begin()?;
    append(&mut *producer, &to, b"aborted", None)?;
    producer.flush(DEADLINE)?;
    producer.abort(DEADLINE)?;
    producer.begin()?;
    append(&mut *producer, &to, b"committed", None)?;
    producer.commit(DEADLINE)?;
    write(bed, &to, numbered("plain", 1))?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&to))?;
    reading.until("the last record", |reading| reading.keys(0).contains(&"plain0".to_owned()))?;
    ensure!(reading.keys(0) == ["committed", "plain0"], "{:?}", reading.keys(0));
    let all = read(bed, Isolation::ReadUncommitted, &to)?;
    ensure!(all == ["aborted", "committed", "plain0"], "{all:?}");
    Ok(())
}

/// Rule 6: the last stable offset holds back everything behind it, also records outside of transactions.
pub fn nothing_behind_an_open_transaction_is_visible(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let to = partition(&topic, 0);
    write(bed, &to, numbered("before", 2))?;
    let (mut first, mut second) = (transactional(bed, &bed.unique("id"))?, transactional(bed, &bed.unique("id"))?);
    first.begin()?;
    append(&mut *first, &to, b"open", None)?;
    first.flush(DEADLINE)?;
    second.begin()?;
    append(&mut *second, &to, b"inner", None)?;
    second.commit(DEADLINE)?;
    write(bed, &to, numbered("behind", 1))?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&to))?;
    ensure!(reading.until_end(1)? == 2, "the end is the last stable offset");
    ensure!(reading.keys(0) == ["before0", "before1"], "{:?}", reading.keys(0));
    ensure!(reading.reader.end_offset(&to)? == 2, "asked from the log too");
    let uncommitted_end = bed.log().reader(Isolation::ReadUncommitted)?.end_offset(&to)?;
    ensure!(uncommitted_end >= 5, "a read-uncommitted end of {uncommitted_end}");

    first.commit(DEADLINE)?;
    reading.until("all records", |reading| reading.seen.len() >= 5)?;
    ensure!(reading.keys(0) == ["before0", "before1", "open", "inner", "behind0"], "{:?}", reading.keys(0));
    Ok(())
}

/// Rule 10: positions become visible with a commit and never with an abort.
pub fn offsets_are_committed_with_the_transaction(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let inputs = [partition(&topic, 0), partition(&topic, 1)];
    let member = member(bed)?;
    let group = member.membership.group();
    let mut producer = transactional(bed, &bed.unique("id"))?;

    producer.begin()?;
    producer.send_offsets(&[(inputs[0].clone(), 5)], &group.metadata(&member.epoch()?)?)?;
    producer.abort(DEADLINE)?;
    let committed = group.committed(&inputs, DEADLINE)?;
    ensure!(committed == [None, None], "{committed:?} after an abort");

    producer.begin()?;
    append(&mut *producer, &inputs[1], b"k", None)?;
    producer.send_offsets(&[(inputs[0].clone(), 6)], &group.metadata(&member.epoch()?)?)?;
    producer.send_offsets(&[(inputs[0].clone(), 7)], &group.metadata(&member.epoch()?)?)?;
    producer.commit(DEADLINE)?;
    let committed = group.committed(&inputs, DEADLINE)?;
    ensure!(committed == [Some(7), None], "{committed:?} after a commit");
    Ok(())
}

/// `committed` waits for what an open transaction will do, within its timeout.
pub fn offsets_of_an_open_transaction_are_waited_for(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let (pending, other) = (partition(&topic, 0), partition(&topic, 1));
    let member = member(bed)?;
    let group = member.membership.group();
    let mut producer = transactional(bed, &bed.unique("id"))?;
    producer.begin()?;
    producer.send_offsets(&[(pending.clone(), 5)], &group.metadata(&member.epoch()?)?)?;
    let unknown = group.committed(std::slice::from_ref(&pending), Duration::from_millis(500));
    ensure!(unknown.as_ref().is_err_and(LogError::is_retriable), "not decided yet, so not {unknown:?}");
    ensure!(group.committed(&[other], DEADLINE)? == [None], "nothing is pending there");
    producer.commit(DEADLINE)?;
    ensure!(group.committed(&[pending], DEADLINE)? == [Some(5)]);
    Ok(())
}

/// Rule 12: with a stale epoch only the transaction is lost; the producer goes on with the epoch of now.
pub fn offsets_of_a_stale_epoch_abort_the_transaction(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let (input, group_id) = (partition(&topic, 0), super::tools::topic(bed, 1, &[])?);
    let mut first = Joining::new(bed, &group_id, "first", DEADLINE)?;
    let before = settle(0, &mut [&mut first])?;
    let group = first.membership.group();
    let stale = group.metadata(&first.epoch()?)?;
    let mut second = Joining::new(bed, &group_id, "second", DEADLINE)?;
    settle(before, &mut [&mut first, &mut second])?;

    let mut producer = transactional(bed, &bed.unique("id"))?;
    producer.begin()?;
    append(&mut *producer, &input, b"stale", None)?;
    ensure_error!(producer.send_offsets(&[(input.clone(), 5)], &stale), LogError::Abortable { .. });
    ensure_error!(producer.commit(DEADLINE), LogError::Abortable { .. });
    producer.abort(DEADLINE)?;

    producer.begin()?;
    append(&mut *producer, &input, b"current", None)?;
    producer.send_offsets(&[(input.clone(), 6)], &group.metadata(&first.epoch()?)?)?;
    producer.commit(DEADLINE)?;
    ensure!(group.committed(std::slice::from_ref(&input), DEADLINE)? == [Some(6)]);
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[input])?;
    reading.until("the current record", |reading| !reading.seen.is_empty())?;
    ensure!(reading.keys(0) == ["current"], "{:?}", reading.keys(0));
    Ok(())
}

/// Rule 10: a second producer of the same id takes it over; whatever the first does then fails with `Fenced`.
pub fn a_second_producer_fences_the_first(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let to = partition(&topic, 0);
    let id = bed.unique("id");
    let mut first = transactional(bed, &id)?;
    first.begin()?;
    append(&mut *first, &to, b"zombie", None)?;
    first.flush(DEADLINE)?;

    let mut second = transactional(bed, &id)?;
    second.begin()?;
    append(&mut *second, &to, b"heir", None)?;
    second.commit(DEADLINE)?;

    let rest = append(&mut *first, &to, b"zombie", None).and_then(|()| first.commit(DEADLINE));
    ensure_error!(rest, LogError::Fenced { .. });
    ensure_error!(first.begin(), LogError::Fenced { .. });
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, &[to])?;
    reading.until("the record of the second", |reading| !reading.seen.is_empty())?;
    reading.linger()?;
    ensure!(reading.keys(0) == ["heir"], "{:?}", reading.keys(0));
    Ok(())
}

/// Rule 10: `init` ends what a dead producer of the id left open, with its positions, long before its timeout.
pub fn a_new_producer_aborts_what_a_dead_one_left_open(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let to = partition(&topic, 0);
    let member = member(bed)?;
    let group = member.membership.group();
    let id = bed.unique("id");
    let mut dead = transactional(bed, &id)?;
    dead.begin()?;
    append(&mut *dead, &to, b"lost", None)?;
    dead.send_offsets(&[(to.clone(), 5)], &group.metadata(&member.epoch()?)?)?;
    dead.flush(DEADLINE)?;
    drop(dead);
    write(bed, &to, numbered("behind", 1))?;
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&to))?;
    ensure!(reading.until_end(1)? == 0, "the open transaction holds everything back");

    let patience = Patience::new("init");
    transactional(bed, &id)?;
    reading.until("the record behind", |reading| !reading.seen.is_empty())?;
    ensure!(reading.keys(0) == ["behind0"], "{:?}", reading.keys(0));
    ensure!(group.committed(&[to], DEADLINE)? == [None], "its positions are gone with it");
    ensure!(patience.waited() < SESSION, "not by a timeout");
    Ok(())
}
