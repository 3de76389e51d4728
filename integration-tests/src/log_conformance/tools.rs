//! What cases are written with.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use millpond::{
    log::{
        Append, Epoch, Headers, Isolation, LogError, Membership, MembershipEvent, MembershipOptions, NewTopic,
        Producer, ReadFrom, Reader, ReaderEvent, TopicPartition, TransactionalProducer,
    },
    time::{Clock, SystemClock},
};

use super::Bed;

/// How long a case waits for what must happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
/// How long one wait of a loop is.
pub(super) const TURN: Duration = Duration::from_millis(20);
/// The shortest session timeout that a broker allows by default.
pub(super) const SESSION: Duration = Duration::from_secs(6);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A reader and what it has brought so far.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) reader: Box<dyn Reader>,
    pub(super) seen: Vec<Seen>,
    pub(super) events: Vec<ReaderEvent>,
    quiet: Duration,
}

/// A member of a group and what it was told last.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) membership: Box<dyn Membership>,
    pub(super) told: Option<(Epoch, bool)>,
    pub(super) lost: usize,
}

/// Waits for something with a deadline.
#[derive(Debug)]
pub(super) struct Patience {
    clock: SystemClock,
    what: String,
}

// === Topics and records ===

/// Creates a topic with a name of its own.
pub(super) fn topic(bed: &dyn Bed, partitions: i32, config: &[(&str, &str)]) -> anyhow::Result<Arc<str>> {
    let name = bed.unique("topic");
    let config: BTreeMap<_, _> = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let new = NewTopic { name: name.clone(), partitions, replication_factor: None, config };
    bed.log().admin()?.create_topics(&[new])?;
    Ok(name.into())
}

pub(super) fn partition(topic: &Arc<str>, partition: i32) -> TopicPartition {
    TopicPartition::new(Arc::clone(topic), partition)
}

/// Appends a record without headers.
pub(super) fn append(
    producer: &mut (impl Producer + ?Sized),
    to: &TopicPartition,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), LogError> {
    append_at(producer, to, key, value, 1_700_000_000_000)
}

/// Appends a record of this time, in ms since the epoch, without headers.
pub(super) fn append_at(
    producer: &mut (impl Producer + ?Sized),
    to: &TopicPartition,
    key: &[u8],
    value: Option<&[u8]>,
    timestamp_ms: i64,
) -> Result<(), LogError> {
    producer.append(Append {
        topic: &to.topic,
        partition: to.partition,
        key: Some(key),
        value,
        timestamp_ms,
        headers: &Headers::default(),
    })
}

/// Appends records whose values are their keys, and flushes.
pub(super) fn write(bed: &dyn Bed, to: &TopicPartition, keys: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let mut producer = bed.log().producer()?;
    for key in keys {
        append(&mut *producer, to, key.as_bytes(), Some(key.as_bytes()))?;
    }
    Ok(producer.flush(DEADLINE)?)
}

/// Keys `<prefix>0`, `<prefix>1` and so on.
pub(super) fn numbered(prefix: &str, count: usize) -> impl Iterator<Item = String> + use<'_> {
    (0..count).map(move |number| format!("{prefix}{number}"))
}

/// An initialised transactional producer.
pub(super) fn transactional(bed: &dyn Bed, id: &str) -> anyhow::Result<Box<dyn TransactionalProducer>> {
    let mut producer = bed.log().transactional_producer(id, DEADLINE)?;
    producer.init(DEADLINE)?;
    Ok(producer)
}

// === impl Reading ===

impl Reading {
    /// Reads these partitions from their beginning.
    pub(super) fn all(bed: &dyn Bed, isolation: Isolation, partitions: &[TopicPartition]) -> anyhow::Result<Self> {
        let reader = bed.log().reader(isolation)?;
        let mut reading = Self { reader, seen: Vec::new(), events: Vec::new(), quiet: bed.quiet() };
        for partition in partitions {
            reading.reader.assign(partition, ReadFrom::Beginning)?;
        }
        Ok(reading)
    }

    /// One poll. Checks what must hold of every poll.
    pub(super) fn poll(&mut self, max_records: usize, timeout: Duration) -> anyhow::Result<usize> {
        let fetched = self.reader.poll(max_records, timeout)?;
        let before = self.seen.len();
        for batch in &fetched.batches {
            ensure!(!batch.is_empty(), "an empty batch of {}", batch.source());
            for record in batch.iter() {
                self.seen.push(Seen {
                    partition: batch.source().partition,
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record
                        .headers
                        .iter()
                        .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                        .collect(),
                });
            }
        }
        self.events.extend(fetched.events);
        Ok(self.seen.len() - before)
    }

    /// Polls until `done` says so.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> anyhow::Result<()> {
        let patience = Patience::new(what);
        while !done(self) {
            patience.check()?;
            self.poll(10_000, TURN)?;
        }
        Ok(())
    }

    /// Reads until so many ends were told since the last call; returns the last one.
    pub(super) fn until_end(&mut self, ends: usize) -> anyhow::Result<i64> {
        self.until(&format!("{ends} ends"), |reading| reading.ends().len() >= ends)?;
        let next = self.ends().last().copied().context("no end was asked for")?;
        self.events.retain(|event| !matches!(event, ReaderEvent::EndReached { .. }));
        Ok(next)
    }

    /// Polls until nothing has come for a while.
    pub(super) fn linger(&mut self) -> anyhow::Result<()> {
        let patience = Patience::new("nothing to come");
        while self.poll(10_000, self.quiet)? > 0 {
            patience.check()?;
        }
        Ok(())
    }

    /// The keys of what was read of a partition, as text.
    pub(super) fn keys(&self, partition: i32) -> Vec<String> {
        let of_partition = self.seen.iter().filter(|seen| seen.partition == partition);
        of_partition
            .map(|seen| String::from_utf8_lossy(seen.key.as_deref().unwrap_or(b"(null)")).into_owned())
            .collect()
    }

    fn ends(&self) -> Vec<i64> {
        let next = |event: &ReaderEvent| match event {
            ReaderEvent::EndReached { next_offset, .. } => Some(*next_offset),
            _ => None,
        };
        self.events.iter().filter_map(next).collect()
    }
}

/// The keys that a reader from the beginning sees in a partition.
pub(super) fn read(bed: &dyn Bed, isolation: Isolation, from: &TopicPartition) -> anyhow::Result<Vec<String>> {
    let mut reading = Reading::all(bed, isolation, std::slice::from_ref(from))?;
    reading.until_end(1)?;
    Ok(reading.keys(from.partition))
}

// === impl Joining ===

impl Joining {
    /// Joins a group whose coordination topic is called like the group.
    pub(super) fn new(bed: &dyn Bed, group: &Arc<str>, client: &str, max_poll: Duration) -> anyhow::Result<Self> {
        let membership = bed.log().join(MembershipOptions {
            group_id: group.to_string(),
            client_id: client.to_owned(),
            coordination_topic: group.to_string(),
            session_timeout: SESSION,
            max_poll_interval: max_poll,
        })?;
        Ok(Self { membership, told: None, lost: 0 })
    }

    /// One poll.
    pub(super) fn poll(&mut self, timeout: Duration) -> anyhow::Result<Option<MembershipEvent>> {
        let event = self.membership.poll(timeout)?;
        match &event {
            Some(MembershipEvent::Joined { epoch, leader }) => self.told = Some((epoch.clone(), *leader)),
            Some(MembershipEvent::Lost { .. }) => {
                self.told = None;
                self.lost += 1;
            }
            _ => {}
        }
        Ok(event)
    }

    /// The epoch it was told last.
    pub(super) fn epoch(&self) -> anyhow::Result<Epoch> {
        self.told.as_ref().map(|(epoch, _)| epoch.clone()).context("not a member")
    }

    pub(super) fn leads(&self) -> bool {
        self.told.as_ref().is_some_and(|(_, leader)| *leader)
    }
}

/// Joins a group of its own, alone.
pub(super) fn member(bed: &dyn Bed) -> anyhow::Result<Joining> {
    let group = topic(bed, 1, &[])?;
    let mut member = Joining::new(bed, &group, "only", DEADLINE)?;
    settle(0, &mut [&mut member])?;
    Ok(member)
}

/// Polls members until all of them are in one generation later than `after`, with one leader; returns its number.
pub(super) fn settle(after: i32, members: &mut [&mut Joining]) -> anyhow::Result<i32> {
    let patience = Patience::new("one generation of all members");
    loop {
        for member in members.iter_mut() {
            member.poll(TURN)?;
        }
        let generations: Vec<Option<i32>> =
            members.iter().map(|member| member.told.as_ref().map(|(epoch, _)| epoch.generation)).collect();
        let same = generations.iter().all(|generation| *generation == generations[0]);
        let leaders = members.iter().filter(|member| member.leads()).count();
        if let Some(generation) = generations[0].filter(|generation| same && leaders == 1 && *generation > after) {
            return Ok(generation);
        }
        ensure!(!same || leaders <= 1, "{leaders} leaders in one generation: {members:?}");
        patience.check()?;
    }
}

// === impl Patience ===

impl Patience {
    pub(super) fn new(what: &str) -> Self {
        Self { clock: SystemClock::new(), what: what.to_owned() }
    }

    /// How long it has waited.
    pub(super) fn waited(&self) -> Duration {
        self.clock.monotonic()
    }

    /// An error when it has waited for too long.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.waited() > DEADLINE {
            bail!("waited {} s for {}", DEADLINE.as_secs(), self.what);
        }
        Ok(())
    }
}

/// Checks the kind of an error.
macro_rules! ensure_error {
    ($result:expr, $pattern:pat) => {
        match $result {
            Err($pattern) => {}
            other => ::anyhow::bail!("{} expected, not {other:?}", stringify!($pattern)),
        }
    };
}
pub(super) use ensure_error;
