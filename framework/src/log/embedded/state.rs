//! Everything the log knows. Each method is one step: it happens whole, under the lock, at a given time.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use super::{
    connection::LinkId,
    disk::{Disk, Entry},
    group::GroupState,
    partition::{Chunk, Outcome, Partition, Stored, TransactionNumber, bytes_of},
    recovery::positions,
    topic::Topic,
    transactions::Transactions,
};
use crate::log::{Batch, Epoch, LogError, MembershipOptions, NewTopic, RecordRef, TopicId, TopicPartition};

/// The state of the log.
#[derive(Debug)]
pub(super) struct State {
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    pub(super) groups: BTreeMap<String, GroupState>,
    pub(super) transactions: Transactions,
    /// How many topics were ever created, as far as that is known.
    topics_created: u64,
    pub(super) disk: Option<Disk>,
    /// Memory of all partitions.
    pub(super) bytes: usize,
    bytes_max: usize,
    available: bool,
    cut_links: BTreeSet<LinkId>,
    last_link: LinkId,
    /// Nothing becomes due before this time; it may be earlier than what is due.
    next_due: Duration,
    /// Whether something happened that a waiting client may wait for.
    changed: bool,
}

// === impl State ===

impl State {
    /// An empty log in memory.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            transactions: Transactions::default(),
            topics_created: 0,
            disk: None,
            bytes: 0,
            bytes_max,
            available: true,
            cut_links: BTreeSet::new(),
            last_link: LinkId::FIRST,
            next_due: Duration::ZERO,
            changed: false,
        }
    }

    // === Faults ===

    /// A new link to the log.
    pub(super) fn new_link(&mut self) -> LinkId {
        self.last_link.0 += 1;
        self.last_link
    }

    /// Whether the log is there and the link to it is not cut.
    pub(super) fn reachable(&self, link: LinkId) -> bool {
        self.available && !self.cut_links.contains(&link)
    }

    /// The log goes away for everybody, or comes back.
    pub(super) fn set_available(&mut self, available: bool, now: Duration) {
        if available && !self.available {
            self.groups.values_mut().for_each(|group| group.restart_sessions(now));
        }
        self.available = available;
        self.touch();
    }

    /// A link is cut, or mended.
    pub(super) fn set_connected(&mut self, link: LinkId, connected: bool, now: Duration) {
        if connected {
            self.cut_links.remove(&link);
        } else {
            self.cut_links.insert(link);
        }
        self.groups.values_mut().for_each(|group| group.link_changed(link, connected, now));
        self.touch();
    }

    // === Time ===

    /// Does what has become due: votes out members, aborts transactions.
    pub(super) fn advance(&mut self, now: Duration) {
        if !self.available || now < self.next_due {
            return;
        }
        let voted_out: Vec<String> =
            self.groups.iter_mut().filter_map(|(id, group)| group.vote_out(now).then(|| id.clone())).collect();
        for group in voted_out {
            self.generation_changed(&group);
        }
        self.abort_timed_out(now);
        let members = self.groups.values().filter_map(GroupState::next_due);
        self.next_due = members.chain(self.transactions.next_due()).min().unwrap_or(Duration::MAX);
    }

    /// When something becomes due at the earliest, if anything does.
    pub(super) fn next_due(&self) -> Option<Duration> {
        (self.next_due < Duration::MAX).then_some(self.next_due)
    }

    /// Notes that clients that wait should look again.
    pub(super) fn wake(&mut self) {
        self.changed = true;
    }

    /// Notes that what is due has to be looked up again.
    pub(super) fn reschedule(&mut self) {
        self.next_due = Duration::ZERO;
    }

    /// Notes a change for those who wait and for what is due.
    pub(super) fn touch(&mut self) {
        self.reschedule();
        self.wake();
    }

    /// Whether something changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        mem::take(&mut self.changed)
    }

    // === Topics ===

    /// Creates a topic, unless it exists.
    pub(super) fn create_topic(&mut self, new: &NewTopic, now_ms: i64) -> Result<(), LogError> {
        if self.topics.contains_key(new.name.as_str()) {
            return Ok(());
        }
        let id = Some(self.new_topic_id(now_ms));
        let topic = Topic::new(new, id)?;
        self.journal(|_| Entry::TopicCreated {
            name: new.name.clone(),
            id,
            partitions: new.partitions,
            config: new.config.clone(),
        })?;
        let topic = self.topics.entry(Arc::clone(&topic.name)).or_insert(topic);
        let created = self.disk.as_mut().map_or(Ok(()), |disk| disk.create_topic(topic));
        self.wake();
        created
    }

    /// An id that no topic had before: the time tells it from those of other lives of this log, and of other logs, the number from the others
    /// of this life.
    fn new_topic_id(&mut self, now_ms: i64) -> TopicId {
        self.topics_created += 1;
        TopicId::new(now_ms.cast_unsigned(), self.topics_created)
    }

    /// Notes that a topic was created.
    pub(super) fn topic_was_created(&mut self, topic: Topic) {
        self.topics_created += 1;
        self.topics.insert(Arc::clone(&topic.name), topic);
    }

    /// Deletes a topic with all that hangs on it, if it exists.
    pub(super) fn delete_topic(&mut self, name: &str) -> Result<(), LogError> {
        if !self.topics.contains_key(name) {
            return Ok(());
        }
        self.journal(|_| Entry::TopicDeleted { name: name.to_owned() })?;
        self.forget_topic(name);
        self.touch();
        self.disk.as_mut().map_or(Ok(()), |disk| disk.remove_topic(name))
    }

    /// A topic by its name.
    pub(super) fn topic(&self, name: &str) -> Result<&Topic, LogError> {
        find_topic(&self.topics, name)
    }

    /// A partition by its name.
    pub(super) fn partition(&self, source: &TopicPartition) -> Result<&Partition, LogError> {
        find_partition(&self.topics, source)
    }

    pub(super) fn partition_mut(&mut self, source: &TopicPartition) -> Option<&mut Partition> {
        let topic = self.topics.get_mut(&source.topic)?;
        topic.partitions.get_mut(usize::try_from(source.partition).ok()?)
    }

    // === Records ===

    /// Appends records whose offsets count from 0; returns the offset of the last one.
    pub(super) fn append(
        &mut self,
        records: Batch,
        transaction: Option<TransactionNumber>,
        now: Duration,
    ) -> Result<i64, LogError> {
        let source = records.source().clone();
        self.check_append(&records)?;
        let base = self.partition(&source)?.end;
        let outcome = if transaction.is_some() { Outcome::Open } else { Outcome::Visible };
        let chunk = Chunk { base, records: Arc::new(records), transaction, outcome };
        let records = Arc::clone(&chunk.records);
        if let Some(disk) = &mut self.disk {
            disk.append(&source, &Stored::Records(chunk))?;
        }
        let last = self.change_partition(&source, |partition| partition.append(records, transaction));
        if let Some(transaction) = transaction {
            self.transactions.wrote(transaction, &source);
        }
        let topic = self.topic(&source.topic)?;
        if topic.settings.compacted && self.partition(&source)?.wants_compaction() {
            let tombstone_retention = topic.settings.tombstone_retention;
            self.compact(&source, now, tombstone_retention)?;
        }
        Ok(last)
    }

    /// One compaction pass over a partition.
    pub(super) fn compact(
        &mut self,
        source: &TopicPartition,
        now: Duration,
        tombstone_retention: Duration,
    ) -> Result<(), LogError> {
        self.change_partition(source, |partition| partition.compact(source, now, tombstone_retention));
        self.on_disk(source, Disk::rewrite)
    }

    /// Deletes the records below `offset`, or all when it is -1.
    pub(super) fn delete_records(&mut self, source: &TopicPartition, offset: i64) -> Result<(), LogError> {
        let partition = self.partition(source)?;
        let before = if offset == -1 { partition.end } else { offset };
        if !(0..=partition.end).contains(&before) {
            return Err(LogError::Refused {
                what: format!("deleting the records of {source} below {offset}"),
                reason: format!("the end of the partition is {}", partition.end),
            });
        }
        self.change_partition(source, |partition| partition.delete_before(before));
        self.on_disk(source, Disk::truncated)
    }

    /// Changes a partition that exists, and keeps account of its memory.
    pub(super) fn change_partition<T>(
        &mut self,
        source: &TopicPartition,
        change: impl FnOnce(&mut Partition) -> T,
    ) -> T {
        let partition = self.partition_mut(source).expect("the partition was looked up before");
        let before = partition.bytes;
        let result = change(partition);
        let after = partition.bytes;
        self.bytes = self.bytes - before + after;
        self.wake();
        result
    }

    fn check_append(&self, records: &Batch) -> Result<(), LogError> {
        let source = records.source();
        self.partition(source)?;
        let topic = self.topic(&source.topic)?;
        let refuse = |reason| Err(LogError::RecordRefused { topic: topic.name.to_string(), reason });
        for record in records.iter() {
            if record.timestamp_ms < 0 {
                return refuse("its timestamp is before 1970, which Kafka does not keep".to_owned());
            }
            if topic.settings.compacted && record.key.is_none() {
                return refuse("a record of a compacted topic needs a key".to_owned());
            }
            let bytes = record_bytes(&record);
            if bytes > topic.settings.max_record_bytes {
                return refuse(format!("{bytes} bytes, `max.message.bytes` is {}", topic.settings.max_record_bytes));
            }
        }
        if self.bytes + bytes_of(records) > self.bytes_max {
            return Err(LogError::Refused {
                what: format!("appending to {source}"),
                reason: format!(
                    "the embedded log holds {} of at most {} bytes: delete records or topics, or use Kafka",
                    self.bytes, self.bytes_max
                ),
            });
        }
        Ok(())
    }

    // === Groups ===

    /// Adds a member to a group.
    pub(super) fn join_group(&mut self, options: &MembershipOptions, link: LinkId, now: Duration) -> Epoch {
        let epoch = self.groups.entry(options.group_id.clone()).or_default().join(options, link, now);
        self.generation_changed(&options.group_id);
        epoch
    }

    /// Takes a member out of its group.
    pub(super) fn leave_group(&mut self, group: &str, member_id: &str) {
        if self.groups.get_mut(group).is_some_and(|state| state.leave(member_id)) {
            self.generation_changed(group);
        }
    }

    /// Commits positions of a group.
    pub(super) fn commit_offsets(&mut self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        for (source, _) in offsets {
            self.partition(source)?;
        }
        self.journal(|_| Entry::Offsets { group: group.to_owned(), offsets: positions(offsets.iter().cloned()) })?;
        self.groups.entry(group.to_owned()).or_default().offsets.extend(offsets.iter().cloned());
        Ok(())
    }

    fn generation_changed(&mut self, group: &str) {
        self.touch();
        let generation = self.groups.get(group).map_or(0, |state| state.generation);
        let entry = |_: &Self| Entry::Generation { group: group.to_owned(), generation };
        // The change of members is a fact, whether it can be written or not; the disk then refuses everything
        // else, so that nothing is ever acknowledged in this generation.
        if let Err(error) = self.journal(entry) {
            tracing::error!(group, generation, %error, "generation not written");
        }
    }

    fn on_disk(
        &mut self,
        source: &TopicPartition,
        write: impl FnOnce(&mut Disk, &TopicPartition, &Partition) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        write(disk, source, find_partition(&self.topics, source)?)
    }

    pub(super) fn forget_topic(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            self.bytes -= topic.partitions.iter().map(|partition| partition.bytes).sum::<usize>();
        }
        self.transactions.forget_topic(name);
        for group in self.groups.values_mut() {
            group.offsets.retain(|source, _| &*source.topic != name);
            group.pending.values_mut().for_each(|pending| pending.retain(|source| &*source.topic != name));
        }
    }
}

fn find_topic<'t>(topics: &'t BTreeMap<Arc<str>, Topic>, name: &str) -> Result<&'t Topic, LogError> {
    topics.get(name).ok_or_else(|| LogError::UnknownTopic { topic: name.to_owned() })
}

fn find_partition<'t>(
    topics: &'t BTreeMap<Arc<str>, Topic>,
    source: &TopicPartition,
) -> Result<&'t Partition, LogError> {
    let topic = find_topic(topics, &source.topic)?;
    let index = usize::try_from(source.partition).ok();
    index.and_then(|index| topic.partitions.get(index)).ok_or_else(|| LogError::Refused {
        what: format!("reaching {source}"),
        reason: format!("the topic has {} partitions", topic.partitions.len()),
    })
}

/// Bytes of key, value and headers.
fn record_bytes(record: &RecordRef<'_>) -> usize {
    let header_bytes = |(name, value): (&str, Option<&[u8]>)| name.len() + value.map_or(0, <[u8]>::len);
    let headers: usize = record.headers.iter().map(header_bytes).sum();
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers
}
