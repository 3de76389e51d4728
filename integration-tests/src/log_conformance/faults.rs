//! The log goes away and comes back: idempotence (rule 9), faults (13). These cases have a bed of their own.

use std::time::Duration;

use anyhow::ensure;
use millpond::log::{Isolation, LogError, MembershipEvent, ReaderEvent};

use super::{
    Bed,
    tools::{
        DEADLINE, Patience, Reading, TURN, append, member, numbered, partition, read, topic, transactional, write,
    },
};

/// A call without a timeout of its own ends within this time.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The timeout of calls that cannot succeed.
const BRIEF: Duration = Duration::from_millis(100);

/// Rules 9 and 13: everybody says that the log is away and goes on where it was; nothing is lost or repeated.
pub fn clients_go_on_when_the_log_is_back(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 1, &[])?;
    let source = partition(&topic, 0);
    let log = bed.log();
    let mut producer = log.producer()?;
    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&source))?;
    let mut member = member(bed)?;
    let (group, epoch) = (member.membership.group(), member.epoch()?);
    let append_all = |producer: &mut dyn millpond::log::Producer, prefix: &str| -> anyhow::Result<()> {
        for key in numbered(prefix, 100) {
            append(producer, &source, key.as_bytes(), None)?;
        }
        Ok(())
    };
    append_all(&mut *producer, "before")?;
    producer.flush(DEADLINE)?;
    reading.until_end(1)?;

    bed.stop_broker()?;
    reading.until("the reader to say so", |reading| {
        reading.events.iter().any(|event| matches!(event, ReaderEvent::Unavailable { .. }))
    })?;
    let patience = Patience::new("the member to say so");
    while !matches!(member.poll(TURN)?, Some(MembershipEvent::Unavailable { .. })) {
        patience.check()?;
    }
    append_all(&mut *producer, "during")?;
    bounded("flush", || producer.flush(BRIEF))?;
    bounded("commit", || group.commit(&epoch, &[(source.clone(), 1)]))?;
    bounded("committed", || group.committed(std::slice::from_ref(&source), BRIEF))?;
    bounded("topics", || log.admin()?.topics(&[&topic]))?;
    bounded("end_offset", || reading.reader.end_offset(&source))?;
    bounded("init", || log.transactional_producer("id", DEADLINE)?.init(BRIEF))?;

    bed.start_broker()?;
    producer.flush(DEADLINE)?;
    append_all(&mut *producer, "after")?;
    producer.flush(DEADLINE)?;
    reading.until("all records", |reading| reading.seen.len() >= 300)?;
    reading.linger()?;
    let expected: Vec<String> =
        ["before", "during", "after"].into_iter().flat_map(|prefix| numbered(prefix, 100)).collect();
    ensure!(reading.keys(0) == expected, "lost, repeated or out of order: {:?}", reading.keys(0));

    // The member may have to join anew when the log was away for longer than its session, but then it says so first.
    let patience = Patience::new("a commit of the member");
    loop {
        patience.check()?;
        member.poll(TURN)?;
        if let Ok(epoch) = member.epoch()
            && group.commit(&epoch, &[(source.clone(), 300)]).is_ok()
        {
            break;
        }
    }
    let same = member.epoch()?.member_id == epoch.member_id;
    ensure!(same == (member.lost == 0), "an id changes with `Lost` and only then");
    ensure!(group.committed(&[source], DEADLINE)? == [Some(300)]);
    Ok(())
}

/// Rules 10 and 13: a transaction that was open when the log went away can be committed when it is back.
pub fn a_transaction_survives_an_outage(bed: &dyn Bed) -> anyhow::Result<()> {
    let topic = topic(bed, 2, &[])?;
    let (to, untouched) = (partition(&topic, 0), partition(&topic, 1));
    let mut producer = transactional(bed, &bed.unique("id"))?;
    producer.begin()?;
    append(&mut *producer, &to, b"before", None)?;
    producer.flush(DEADLINE)?;
    bed.stop_broker()?;
    append(&mut *producer, &to, b"during", None)?;
    bounded("commit", || producer.commit(BRIEF))?;
    bed.start_broker()?;
    producer.commit(DEADLINE)?;
    write(bed, &untouched, numbered("k", 1))?;

    let mut reading = Reading::all(bed, Isolation::ReadCommitted, std::slice::from_ref(&to))?;
    reading.until("both records", |reading| reading.seen.len() >= 2)?;
    reading.linger()?;
    ensure!(reading.keys(0) == ["before", "during"], "{:?}", reading.keys(0));
    ensure!(read(bed, Isolation::ReadCommitted, &untouched)? == ["k0"]);
    Ok(())
}

/// Checks that a call fails because the log is away, and not after too long.
fn bounded<T>(what: &str, call: impl FnOnce() -> Result<T, LogError>) -> anyhow::Result<()> {
    let patience = Patience::new(what);
    match call() {
        Err(error) if error.is_retriable() => {}
        Err(error) => anyhow::bail!("{what} failed with `{error}`, which is not for trying again"),
        Ok(_) => anyhow::bail!("{what} succeeded without a log"),
    }
    ensure!(patience.waited() < CALL_MAX, "{what} failed only after {:?}", patience.waited());
    Ok(())
}
