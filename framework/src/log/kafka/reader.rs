//! The reader: manually assigned partitions, fetched in the background by librdkafka, taken over in batches.

mod intake;
mod partition;

use std::{collections::HashMap, sync::Arc, time::Duration};

use rdkafka::{Offset, TopicPartitionList, error::RDKafkaErrorCode as Code};

use self::{
    intake::Intake,
    partition::{Partition, Standing},
};
use super::{
    context::Context,
    deadline::Deadline,
    error::{explain, log_error, topic_error},
    lifeline::Lifeline,
    options::Settings,
    raw::{Failure, RawConsumer},
    topic,
};
use crate::{
    log::{Fetched, Isolation, LogError, ReadFrom, Reader, ReaderEvent, TopicPartition},
    time::Clock,
};

/// For how long a topic that is not there may be one that was just created.
const NEW_TOPIC: Duration = Duration::from_secs(1);
/// How often it is told that brokers cannot be reached.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long after the last trouble with brokers the client is replaced. A partition that had no leader when librdkafka (2.12) heard of it
/// may stay without one in that client for good (its issues 5430 and 5280), while everything else goes on.
const RENEW_AFTER: Duration = Duration::from_secs(5);
/// How long a broker may take to answer when nothing arrives, before it counts as trouble.
const ANSWER: Duration = Duration::from_millis(500);
/// How soon something of a partition must arrive after its reading began, at first and at the most.
const SILENCE: Duration = Duration::from_secs(5);
const LAST_SILENCE: Duration = Duration::from_secs(300);
/// How long to wait before asking again a broker that is not the leader.
const LEADER_BACKOFF: Duration = Duration::from_millis(20);

/// [`Reader`] on Kafka.
#[derive(Debug)]
pub(super) struct KafkaReader {
    consumer: RawConsumer,
    settings: Arc<Settings>,
    isolation: Isolation,
    intake: Intake,
    /// Partition counts of the topics that were assigned.
    topics: HashMap<Arc<str>, i32>,
    /// From when on trouble is told again.
    next_trouble: Duration,
    /// When to replace the client, after trouble.
    renew_at: Option<Duration>,
    lifeline: Lifeline,
    /// When something of every partition must have arrived, records or that there are none, and how long that may take.
    heard_by: Duration,
    silence: Duration,
}

// === impl KafkaReader ===

impl KafkaReader {
    /// A reader without partitions.
    pub(super) fn open(settings: Arc<Settings>, isolation: Isolation) -> Result<Self, LogError> {
        let consumer = client(&settings, isolation)?;
        Ok(Self {
            consumer,
            settings,
            isolation,
            intake: Intake::default(),
            topics: HashMap::new(),
            next_trouble: Duration::ZERO,
            renew_at: None,
            lifeline: Lifeline::default(),
            heard_by: Duration::ZERO,
            silence: SILENCE,
        })
    }

    /// Replaces the client some time after it had trouble; reading goes on where it was.
    fn renew_if_due(&mut self) -> Result<(), LogError> {
        if self.renew_at.is_none_or(|at| self.settings.clock.monotonic() < at) {
            return Ok(());
        }
        self.renew_at = None;
        tracing::debug!("a new client for a reader that had trouble with brokers");
        self.consumer = client(&self.settings, self.isolation)?;
        self.intake.hear_anew();
        self.heard_by = self.settings.clock.monotonic() + self.silence;
        for partition in self.intake.partitions().filter(|partition| partition.standing != Standing::Parked) {
            self.start(&partition.source, partition.position())?;
        }
        Ok(())
    }

    fn had_trouble(&mut self) {
        self.renew_at = Some(self.settings.clock.monotonic() + RENEW_AFTER);
    }

    /// Nothing arrives: because there is nothing, or because nobody is asked, or nobody answers?
    fn look_after(&mut self) {
        let (now, client) = (self.settings.clock.monotonic(), self.consumer.client());
        if !self.lifeline.look(now, client, &self.settings.options.bootstrap, ANSWER) {
            self.had_trouble();
        }
        if now >= self.heard_by {
            let all_heard = self.intake.partitions().all(Partition::is_heard);
            // The next client may need longer: perhaps it is the network that is slow.
            self.silence = if all_heard { SILENCE } else { (self.silence * 2).min(LAST_SILENCE) };
            self.heard_by = now + self.silence;
            if !all_heard {
                tracing::debug!("nothing is heard of a partition since its reading began");
                self.had_trouble();
            }
        }
    }

    /// Takes messages off librdkafka's queue, up to `max_records`; waits for the first only.
    fn consume(&mut self, max_records: usize, timeout: Duration) {
        let Self { consumer, intake, .. } = self;
        let mut consume = |max_records, timeout| {
            intake.begin();
            consumer.consume(max_records, timeout, |message| intake.take(message))
        };
        if consume(max_records, Duration::ZERO) == 0 && consume(1, timeout) == 1 {
            consume(max_records - 1, Duration::ZERO);
        }
    }

    /// What went wrong with brokers, not too often.
    fn tell_trouble(&mut self, trouble: Option<String>, fetched: &mut Fetched) {
        let told = self.consumer.client().context().take_trouble().map(|trouble| trouble.reason);
        let Some(reason) = trouble.or(told) else { return };
        self.had_trouble();
        let now = self.settings.clock.monotonic();
        if now >= self.next_trouble {
            self.next_trouble = now + TROUBLE_INTERVAL;
            fetched.events.push(ReaderEvent::Unavailable { reason });
        }
    }

    /// Finds out now that a topic or partition does not exist, instead of waiting for records that never come.
    fn check_exists(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        let known = self.topics.get(&partition.topic).copied().unwrap_or(0);
        if (0..known).contains(&partition.partition) {
            return Ok(());
        }
        let deadline = Deadline::after(self.settings.clock, self.settings.options.request_timeout.min(NEW_TOPIC));
        let topic = &*partition.topic;
        let found = topic::wait_for(self.consumer.client(), topic, deadline, |found| found.is_some());
        let found = found.map_err(|error| {
            if error.is_retriable() {
                self.had_trouble();
            }
            self.explain(error)
        })?;
        let count = found.ok_or_else(|| LogError::UnknownTopic { topic: topic.into() })?.partitions;
        self.topics.insert(Arc::clone(&partition.topic), count);
        if (0..count).contains(&partition.partition) {
            return Ok(());
        }
        Err(LogError::Refused {
            what: format!("reading {partition}"),
            reason: format!("the topic has {count} partitions"),
        })
    }

    /// First and last offset, asked from the log. librdkafka asks with the isolation of its client: for a read-committed
    /// reader the last is the last stable offset.
    fn offsets(&mut self, partition: &TopicPartition) -> Result<(i64, i64), LogError> {
        self.renew_if_due()?;
        let timeout = self.settings.options.request_timeout;
        let deadline = Deadline::after(self.settings.clock, timeout);
        let code = loop {
            let offsets =
                self.consumer.client().fetch_watermarks(&partition.topic, partition.partition, deadline.remaining());
            match offsets.map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown)) {
                Ok(offsets) => return Ok(offsets),
                // A new topic, or one whose leader has moved: soon the client's metadata know its leader.
                Err(Code::NotLeaderForPartition | Code::LeaderNotAvailable) if !deadline.passed() => {
                    std::thread::sleep(LEADER_BACKOFF);
                }
                Err(code) => break code,
            }
        };
        // What this call says of a topic that does not exist, too.
        if code == Code::UnknownPartition {
            self.topics.remove(&partition.topic);
            self.check_exists(partition)?;
        }
        let what = format!("asking for the offsets of {partition}");
        let error = topic_error(&what, &partition.topic, code, timeout);
        if error.is_retriable() {
            self.had_trouble();
        }
        Err(self.explain(error))
    }

    fn start(&self, partition: &TopicPartition, from: Offset) -> Result<(), LogError> {
        self.consumer.assign(&only(partition, from)?).map_err(|failure| lost(partition, &failure))
    }

    fn stop(&self, partition: &TopicPartition) -> Result<(), LogError> {
        self.consumer.unassign(&only(partition, Offset::Invalid)?).map_err(|failure| lost(partition, &failure))
    }

    fn explain(&self, error: LogError) -> LogError {
        explain(error, &self.settings.options.bootstrap, self.consumer.client().context().take_trouble())
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, partition: &TopicPartition, from: ReadFrom) -> Result<(), LogError> {
        self.renew_if_due()?;
        self.check_exists(partition)?;
        let from = match from {
            ReadFrom::Beginning => Offset::Beginning,
            // Asked here and now: librdkafka would ask later, behind records that are appended meanwhile.
            ReadFrom::End => Offset::Offset(self.offsets(partition)?.1),
            ReadFrom::Offset(offset) if offset >= 0 => Offset::Offset(offset),
            ReadFrom::Offset(offset) => {
                return Err(LogError::Refused {
                    what: format!("reading {partition} from offset {offset}"),
                    reason: "offsets are not negative".into(),
                });
            }
        };
        // Anew, and not by a seek, which is refused in some states (a partition that was out of range).
        self.unassign(partition)?;
        self.start(partition, from)?;
        self.heard_by = self.settings.clock.monotonic() + self.silence;
        self.intake.insert(Partition::new(partition.clone(), from));
        Ok(())
    }

    fn unassign(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        match self.intake.remove(partition) {
            Some(removed) if removed.standing != Standing::Parked => self.stop(partition),
            _ => Ok(()),
        }
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        self.intake.find_mut(partition).ok_or_else(|| not_assigned("pausing", partition))?.pause();
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        let resumed = self.intake.find_mut(partition).ok_or_else(|| not_assigned("resuming", partition))?;
        match resumed.resume() {
            Some(from) => self.start(partition, from),
            None => Ok(()),
        }
    }

    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Fetched, LogError> {
        if let Some(error) = self.intake.error_met() {
            return Err(error);
        }
        self.renew_if_due()?;
        let mut fetched = Fetched::default();
        self.intake.give_out(&mut fetched);
        let given: usize = fetched.batches.iter().map(crate::log::Batch::len).sum();
        if let Some(room) = max_records.checked_sub(given).filter(|room| *room > 0) {
            let idle = fetched.batches.is_empty() && fetched.events.is_empty();
            self.consume(room, if idle { timeout } else { Duration::ZERO });
        }
        if fetched.batches.is_empty() {
            self.look_after();
        }
        let trouble = self.intake.finish(&mut fetched);
        self.tell_trouble(trouble, &mut fetched);
        let Self { consumer, intake, settings, .. } = self;
        // librdkafka's queue has the other half.
        for partition in intake.park(settings.options.fetched_bytes / 2) {
            let parked = only(partition, Offset::Invalid)?;
            consumer.unassign(&parked).map_err(|failure| lost(partition, &failure))?;
        }
        // An error that was met waits for the next poll: what arrived before it is not lost with it.
        Ok(fetched)
    }

    fn known_end(&self, partition: &TopicPartition) -> Option<i64> {
        // Before the first fetch of this assignment librdkafka may still know the end from an assignment before.
        let known = self.intake.find(partition)?.fetched;
        known.then(|| self.consumer.high_watermark(&partition.topic, partition.partition)).flatten()
    }

    fn fetched_bytes(&self) -> usize {
        self.consumer.client().context().fetched_bytes()
    }

    fn beginning_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.offsets(partition)?.0)
    }

    fn end_offset(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.offsets(partition)?.1)
    }

    fn offset_for_time(&mut self, partition: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        self.renew_if_due()?;
        // It also says when the topic does not exist, which the question for a time answers with a timeout.
        self.check_exists(partition)?;
        let timeout = self.settings.options.request_timeout;
        let what = format!("asking for a time in {partition}");
        let mut list = only(partition, Offset::Offset(timestamp_ms))?;
        self.consumer.offsets_for_times(&mut list, timeout).map_err(|code| {
            let error = self.explain(topic_error(&what, &partition.topic, code, timeout));
            if error.is_retriable() {
                self.had_trouble();
            }
            error
        })?;
        match list.find_partition(&partition.topic, partition.partition).map(|found| (found.error(), found.offset())) {
            Some((Ok(()), Offset::Offset(offset))) => Ok(Some(offset)),
            Some((Ok(()), _)) => Ok(None),
            Some((Err(error), _)) => Err(log_error(&what, &error, timeout)),
            None => Err(LogError::Fatal { reason: format!("{what}: the answer does not name it") }),
        }
    }
}

fn client(settings: &Settings, isolation: Isolation) -> Result<RawConsumer, LogError> {
    let context = Context::new(settings);
    RawConsumer::new(&settings.reader(isolation), context)
        .map_err(|error| log_error("opening a reader", &error, settings.options.request_timeout))
}

/// A list of one partition.
fn only(partition: &TopicPartition, offset: Offset) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.partition).set_offset(offset).map_err(|error| {
        LogError::Refused { what: format!("reading {partition} from {offset:?}"), reason: error.to_string() }
    })?;
    Ok(list)
}

fn lost(partition: &TopicPartition, failure: &Failure) -> LogError {
    LogError::Fatal { reason: format!("librdkafka and the reader disagree about {partition}: {}", failure.reason) }
}

fn not_assigned(what: &str, partition: &TopicPartition) -> LogError {
    LogError::Refused { what: format!("{what} {partition}"), reason: "it is not assigned to this reader".into() }
}
