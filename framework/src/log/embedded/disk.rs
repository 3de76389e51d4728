//! The log on disk: a directory that holds what was acknowledged.
//!
//! ```text
//! <dir>/lock                          held while the log is open
//! <dir>/journal                       topics, groups, decisions on transactions
//! <dir>/topics/<topic>/<partition>    chunks of records and markers
//! ```
//!
//! Every write is handed to the operating system before it is acknowledged, and not synced: what was acknowledged
//! outlives the process, not a loss of power.

mod frame;
mod journal;
mod partition_file;

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

pub(super) use self::journal::{Entry, Positions};
use self::{journal::Journal, partition_file::PartitionFile};
use super::{
    partition::{Partition, Stored},
    topic::Topic,
};
use crate::log::{LogError, TopicPartition};

/// The open directory.
#[derive(Debug)]
pub(super) struct Disk {
    topics: PathBuf,
    journal: Journal,
    partitions: BTreeMap<TopicPartition, PartitionFile>,
    /// Why nothing more is written: after a failed write the memory may be ahead of the files.
    broken: Option<String>,
    /// Held until the process lets go of the directory.
    _lock: File,
}

// === impl Disk ===

impl Disk {
    /// Takes hold of a directory, and hands the entries of its journal to `each`.
    pub(super) fn open(root: &Path, each: impl FnMut(Entry) -> io::Result<()>) -> io::Result<Self> {
        let topics = root.join("topics");
        fs::create_dir_all(&topics)?;
        let lock = File::create(root.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another log has it open: stop that one or choose another"),
            TryLockError::Error(error) => error,
        })?;
        let journal = Journal::open(root.join("journal"), each)?;
        Ok(Self { topics, journal, partitions: BTreeMap::new(), broken: None, _lock: lock })
    }

    /// Removes what is left of topics that are gone.
    pub(super) fn retain_topics(&mut self, exists: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.topics)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&exists) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Opens the files of a topic, and replays what they hold.
    pub(super) fn load_topic(&mut self, topic: &mut Topic) -> io::Result<()> {
        let directory = self.topics.join(&*topic.name);
        fs::create_dir_all(&directory)?;
        for (source, partition) in topic.sources().into_iter().zip(&mut topic.partitions) {
            let file = PartitionFile::open(directory.join(source.partition.to_string()), &source, partition)?;
            self.partitions.insert(source, file);
        }
        Ok(())
    }

    /// Creates the files of a new topic.
    pub(super) fn create_topic(&mut self, topic: &mut Topic) -> Result<(), LogError> {
        self.load_topic(topic).or_else(|error| self.fail("creating a topic", &error))
    }

    /// Closes and removes the files of a topic.
    pub(super) fn remove_topic(&mut self, topic: &str) -> Result<(), LogError> {
        self.partitions.retain(|source, _| &*source.topic != topic);
        match fs::remove_dir_all(self.topics.join(topic)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.fail("removing a topic", &error),
            _ => Ok(()),
        }
    }

    /// Appends to the journal. Nothing has happened when it fails.
    pub(super) fn journal(&mut self, entry: &Entry) -> Result<(), LogError> {
        self.check()?;
        self.journal.append(entry).or_else(|error| self.fail("writing the journal", &error))
    }

    /// Whether the journal has outgrown what it says.
    pub(super) fn wants_journal_rewrite(&self) -> bool {
        self.broken.is_none() && self.journal.wants_rewrite()
    }

    /// Writes the journal anew.
    pub(super) fn rewrite_journal(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.check()?;
        self.journal.rewrite(entries).or_else(|error| self.fail("writing the journal anew", &error))
    }

    /// Appends to a partition. Nothing has happened when it fails.
    pub(super) fn append(&mut self, source: &TopicPartition, stored: &Stored) -> Result<(), LogError> {
        self.write(source, |file| file.append(stored))
    }

    /// Notes that records were deleted at the start of a partition.
    pub(super) fn truncated(&mut self, source: &TopicPartition, partition: &Partition) -> Result<(), LogError> {
        self.write(source, |file| file.truncated(partition))
    }

    /// Writes the file of a partition anew.
    pub(super) fn rewrite(&mut self, source: &TopicPartition, partition: &Partition) -> Result<(), LogError> {
        self.write(source, |file| file.rewrite(partition))
    }

    fn write(
        &mut self,
        source: &TopicPartition,
        write: impl FnOnce(&mut PartitionFile) -> io::Result<()>,
    ) -> Result<(), LogError> {
        self.check()?;
        let file = self.partitions.get_mut(source).expect("a partition's file is opened with the partition");
        write(file).or_else(|error| self.fail(&format!("writing {source}"), &error))
    }

    fn check(&self) -> Result<(), LogError> {
        match &self.broken {
            Some(reason) => Err(LogError::Fatal { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn fail(&mut self, what: &str, error: &io::Error) -> Result<(), LogError> {
        let reason = format!(
            "{what} in {} failed: {error}; make room or repair it, and open the log again",
            self.topics.display()
        );
        tracing::error!(reason, "the embedded log accepts no more writes");
        self.broken = Some(reason.clone());
        Err(LogError::Fatal { reason })
    }
}
