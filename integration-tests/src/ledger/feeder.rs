//! Writes transfers to a ledger.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use millpond::{
    log::{Append, Headers, Log, LogError, Partitioner, Producer},
    time::{Clock as _, SystemClock},
};

use super::{ACCOUNTS, DEPOSIT, Topics, Transfer, VISITORS, account, teller, visitor};
use crate::faults::Rng;

/// How long one try to flush may take.
const FLUSH: Duration = Duration::from_secs(5);
/// How long the log may be away.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two small batches.
const BEAT: Duration = Duration::from_millis(20);

/// Makes transfers, and writes them. What lies in the topic is the truth: it may miss some that were given up while the log was
/// away.
#[derive(Debug)]
pub struct Feeder {
    producer: Box<dyn Producer>,
    topic: Arc<str>,
    partitions: i32,
    tellers: u32,
    rng: Rng,
    next: u64,
    clock: SystemClock,
}

/// A feeder on a thread of its own.
#[derive(Debug)]
pub struct Feeding {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Feeder>>,
}

// === impl Feeder ===

impl Feeder {
    /// A feeder of the transfers that follow from `seed`; pays into every account.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn new(log: &dyn Log, topics: &Topics, seed: u64) -> anyhow::Result<Self> {
        let topic = topics.transfers.as_str().into();
        let (clock, producer, rng) = (SystemClock::new(), log.producer()?, Rng::new(seed));
        let (partitions, tellers) = (topics.partitions, topics.tellers());
        let mut feeder = Self { producer, topic, partitions, tellers, rng, next: 0, clock };
        for number in 0..ACCOUNTS {
            feeder.write(None, account(number), DEPOSIT)?;
        }
        feeder.flush()?;
        Ok(feeder)
    }

    /// Writes so many transfers, and waits until the log has them.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn feed(&mut self, count: u64) -> anyhow::Result<()> {
        for _ in 0..count {
            self.transfer()?;
        }
        self.flush()
    }

    /// Goes on at so many a second until it is told to stop.
    #[must_use]
    pub fn run(mut self, per_second: u64) -> Feeding {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let per_beat = (per_second * BEAT.as_millis() as u64 / 1_000).max(1);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..per_beat {
                    match self.transfer() {
                        Err(error) if is_away(&error) => break,
                        result => result?,
                    }
                }
                self.producer.serve();
                thread::sleep(BEAT);
            }
            self.flush()?;
            Ok(self)
        });
        Feeding { stop, thread }
    }

    /// Writes a transfer of each visitor, in which nothing moves, and waits until the log has them.
    ///
    /// # Errors
    /// When the log refuses.
    pub fn visit(&mut self) -> anyhow::Result<()> {
        for number in 0..VISITORS {
            let account = account(number % ACCOUNTS);
            self.write_by(&visitor(number), Some(account.clone()), account, 1)?;
        }
        self.flush()
    }

    fn transfer(&mut self) -> anyhow::Result<()> {
        let from = self.rng.below(u64::from(ACCOUNTS)) as u32;
        let to = (from + 1 + self.rng.below(u64::from(ACCOUNTS) - 1) as u32) % ACCOUNTS;
        let amount = 1 + self.rng.below(100) as i64;
        self.write(Some(account(from)), account(to), amount)
    }

    fn write(&mut self, from: Option<String>, to: String, amount: i64) -> anyhow::Result<()> {
        let teller = teller(self.rng.below(u64::from(self.tellers)) as u32);
        self.write_by(&teller, from, to, amount)
    }

    fn write_by(&mut self, key: &str, from: Option<String>, to: String, amount: i64) -> anyhow::Result<()> {
        let transfer = Transfer { id: self.next, from, to, amount };
        self.next += 1;
        let value = serde_json::to_vec(&transfer)?;
        self.producer.append(Append {
            topic: &self.topic,
            partition: Partitioner::for_key(key.as_bytes(), self.partitions),
            key: Some(key.as_bytes()),
            value: Some(&value),
            timestamp_ms: millpond::time::Clock::now_ms(&self.clock),
            headers: &Headers::default(),
        })?;
        Ok(())
    }

    /// Waits until the log has everything, also when it is away for a while.
    fn flush(&mut self) -> anyhow::Result<()> {
        let deadline = self.clock.monotonic() + PATIENCE;
        loop {
            match self.producer.flush(FLUSH) {
                Err(error) if error.is_retriable() && self.clock.monotonic() < deadline => {}
                result => return Ok(result?),
            }
        }
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LogError>().is_some_and(LogError::is_retriable)
}

// === impl Feeding ===

impl Feeding {
    /// Stops, when the log has everything.
    ///
    /// # Errors
    /// When the log refuses, or is away for too long.
    pub fn stop(self) -> anyhow::Result<Feeder> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the feeder panicked")?.context("feeding transfers")
    }
}
