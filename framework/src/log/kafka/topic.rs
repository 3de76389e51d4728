//! Whether a topic exists, asked from the brokers.
//!
//! What the controller has created or deleted reaches the other brokers some ms later, so that a client may hear "unknown" of
//! a topic that was just made. Whoever needs a certain answer waits for it here.

use std::{thread, time::Duration};

use rdkafka::{ClientContext, client::Client, error::RDKafkaErrorCode as Code};

use super::{
    deadline::Deadline,
    error::{is_unknown_topic, log_error, topic_error},
};
use crate::log::LogError;

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(20);
/// The last question is given this long, though the deadline comes before: without an answer it was of no use.
const ANSWER: Duration = Duration::from_secs(1);

/// A topic as the brokers know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) partitions: i32,
    /// Whether every partition has a leader: only then it can be read and written.
    pub(super) led: bool,
}

/// The topic; `None` when it does not exist.
pub(super) fn find<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<Found>, LogError> {
    let what = || format!("looking up topic `{topic}`");
    let metadata = client.fetch_metadata(Some(topic), timeout).map_err(|error| log_error(&what(), &error, timeout))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(Code::from) {
        None => Ok(Some(Found {
            partitions: i32::try_from(found.partitions().len()).unwrap_or(i32::MAX),
            led: found.partitions().iter().all(|partition| partition.leader() >= 0),
        })),
        Some(code) if is_unknown_topic(code) => Ok(None),
        Some(code) => Err(topic_error(&what(), topic, code, timeout)),
    }
}

/// Asks until the answer is `wanted` or the deadline passes; returns the last answer.
pub(super) fn wait_for<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    deadline: Deadline,
    wanted: impl Fn(Option<Found>) -> bool,
) -> Result<Option<Found>, LogError> {
    loop {
        let answer = find(client, topic, deadline.remaining().max(ANSWER))?;
        if wanted(answer) || deadline.remaining() <= INTERVAL {
            return Ok(answer);
        }
        thread::sleep(INTERVAL);
    }
}
