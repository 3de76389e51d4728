//! What makes the log last on disk: the journal of everything that is not a record, and how a directory is opened.

use std::{collections::BTreeSet, io, path::Path};

use super::{
    disk::{Disk, Entry, Positions},
    partition::TransactionNumber,
    state::State,
    topic::Topic,
};
use crate::log::{LogError, NewTopic, TopicPartition};

// === impl State ===

impl State {
    /// Opens the log that lies in a directory. Transactions nobody ended are ended: committed when the journal says so.
    pub(super) fn open(root: &Path, bytes_max: usize) -> io::Result<Self> {
        let mut state = Self::new(bytes_max);
        let mut committed = BTreeSet::new();
        let mut disk = Disk::open(root, |entry| state.replay(entry, &mut committed))?;
        disk.retain_topics(|name| state.topics.contains_key(name))?;
        for topic in state.topics.values_mut() {
            disk.load_topic(topic)?;
        }
        state.disk = Some(disk);
        state.finish_transactions(&committed).map_err(io::Error::other)?;
        state.bytes = state.topics.values().flat_map(|topic| &topic.partitions).map(|partition| partition.bytes).sum();
        Ok(state)
    }

    /// Writes to the journal, and writes it anew when it has grown.
    pub(super) fn journal(&mut self, entry: impl FnOnce(&Self) -> Entry) -> Result<(), LogError> {
        if self.disk.is_none() {
            return Ok(());
        }
        let entry = entry(self);
        let grown = self.disk.as_ref().is_some_and(Disk::wants_journal_rewrite);
        let snapshot = grown.then(|| self.snapshot());
        let Some(disk) = &mut self.disk else { return Ok(()) };
        if let Some(snapshot) = snapshot {
            disk.rewrite_journal(&snapshot)?;
        }
        disk.journal(&entry)
    }

    fn replay(&mut self, entry: Entry, committed: &mut BTreeSet<TransactionNumber>) -> io::Result<()> {
        match entry {
            Entry::Format { .. } => {}
            Entry::NextTransaction { number } => self.transactions.used(TransactionNumber(number)),
            Entry::TopicCreated { name, id, partitions, config } => {
                let topic = Topic::new(&NewTopic { name, partitions, replication_factor: None, config }, id);
                self.topic_was_created(topic.map_err(io::Error::other)?);
            }
            Entry::TopicDeleted { name } => self.forget_topic(&name),
            Entry::Generation { group, generation } => self.groups.entry(group).or_default().generation = generation,
            Entry::Offsets { group, offsets } => self.replay_offsets(group, offsets),
            Entry::Committed { transaction, offsets } => {
                self.transactions.used(TransactionNumber(transaction));
                committed.insert(TransactionNumber(transaction));
                for (group, offsets) in offsets {
                    self.replay_offsets(group, offsets);
                }
            }
        }
        Ok(())
    }

    fn replay_offsets(&mut self, group: String, offsets: Positions) {
        let offsets =
            offsets.into_iter().map(|(topic, partition, offset)| (TopicPartition { topic, partition }, offset));
        self.groups.entry(group).or_default().offsets.extend(offsets);
    }

    fn finish_transactions(&mut self, committed: &BTreeSet<TransactionNumber>) -> Result<(), LogError> {
        let sources: Vec<TopicPartition> = self.topics.values().flat_map(Topic::sources).collect();
        for source in sources {
            let partition = self.partition(&source)?;
            let open: Vec<TransactionNumber> = partition.open.keys().copied().collect();
            self.transactions.used(partition.last_transaction());
            for transaction in open {
                self.end_in_partition(&source, transaction, committed.contains(&transaction))?;
            }
        }
        Ok(())
    }

    /// What a journal with the same meaning as this one says.
    pub(super) fn snapshot(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::NextTransaction { number: self.transactions.last_number().0 }];
        entries.extend(self.topics.values().map(|topic| Entry::TopicCreated {
            name: topic.name.to_string(),
            id: topic.id,
            partitions: i32::try_from(topic.partitions.len()).expect("the number was an i32 at creation"),
            config: topic.config.clone(),
        }));
        for (id, group) in &self.groups {
            entries.push(Entry::Generation { group: id.clone(), generation: group.generation });
            entries.push(Entry::Offsets { group: id.clone(), offsets: positions(group.offsets.clone()) });
        }
        entries
    }
}

/// Positions as the journal has them.
pub(super) fn positions(offsets: impl IntoIterator<Item = (TopicPartition, i64)>) -> Positions {
    offsets.into_iter().map(|(source, offset)| (source.topic, source.partition, offset)).collect()
}
