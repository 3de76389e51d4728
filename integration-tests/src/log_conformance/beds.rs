//! The beds that cases run on.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use millpond::{
    log::{
        Log, LogError,
        embedded::EmbeddedLog,
        kafka::{KafkaLog, KafkaOptions},
    },
    time::{Clock, SystemClock},
};

use super::Bed;
use crate::broker::{self, Broker};

/// The embedded log, in memory or in a directory that goes with the bed.
#[derive(Debug)]
pub struct EmbeddedBed {
    log: EmbeddedLog,
    clock: Skipping,
    names: AtomicU64,
    _directory: Option<tempfile::TempDir>,
}

/// A Kafka broker.
#[derive(Debug)]
pub struct KafkaBed {
    log: KafkaLog,
    /// `None`: the broker is shared, and stays.
    own: Option<Mutex<Broker>>,
}

/// The system's clock, which can also skip ahead. Clones show the same time.
#[derive(Debug, Clone)]
struct Skipping {
    clock: SystemClock,
    skipped: Arc<Mutex<Duration>>,
}

// === impl EmbeddedBed ===

impl EmbeddedBed {
    /// A log in memory.
    ///
    /// # Errors
    /// None.
    pub fn in_memory() -> anyhow::Result<Self> {
        Self::new(None)
    }

    /// A log in a temporary directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn on_disk() -> anyhow::Result<Self> {
        Self::new(Some(tempfile::tempdir()?))
    }

    fn new(directory: Option<tempfile::TempDir>) -> anyhow::Result<Self> {
        let clock = Skipping { clock: SystemClock::new(), skipped: Arc::default() };
        let log = open(&clock, directory.as_ref().map(tempfile::TempDir::path))?;
        Ok(Self { log, clock, names: AtomicU64::new(0), _directory: directory })
    }
}

fn open(clock: &Skipping, directory: Option<&Path>) -> Result<EmbeddedLog, LogError> {
    let builder = EmbeddedLog::builder().clock(Arc::new(clock.clone()));
    match directory {
        Some(directory) => builder.directory(directory).build(),
        None => builder.build(),
    }
}

impl Bed for EmbeddedBed {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    fn unique(&self, base: &str) -> String {
        format!("{base}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(10)
    }

    fn pass(&self, time: Duration) {
        *self.clock.skipped.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }

    fn compact(&self, topic: &str) -> anyhow::Result<()> {
        Ok(self.log.compact(topic)?)
    }

    fn stop_broker(&self) -> anyhow::Result<()> {
        self.log.set_available(false);
        Ok(())
    }

    fn start_broker(&self) -> anyhow::Result<()> {
        self.log.set_available(true);
        Ok(())
    }
}

// === impl KafkaBed ===

impl KafkaBed {
    /// The broker that all tests share.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn shared() -> anyhow::Result<Self> {
        Ok(Self { log: connect(broker::broker()?)?, own: None })
    }

    /// A broker that may be stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn own() -> anyhow::Result<Self> {
        let broker = Broker::private()?;
        Ok(Self { log: connect(&broker)?, own: Some(Mutex::new(broker)) })
    }

    fn with_broker(&self, act: impl FnOnce(&mut Broker) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let broker = self.own.as_ref().context("the shared broker is not to be stopped")?;
        act(&mut broker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn connect(broker: &Broker) -> Result<KafkaLog, LogError> {
    KafkaLog::connect(KafkaOptions { bootstrap: broker.bootstrap().to_owned(), ..KafkaOptions::default() })
}

impl Bed for KafkaBed {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    fn unique(&self, base: &str) -> String {
        broker::unique(base)
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn pass(&self, time: Duration) {
        thread::sleep(time);
    }

    /// A broker compacts when it likes.
    fn compact(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    fn stop_broker(&self) -> anyhow::Result<()> {
        self.with_broker(Broker::kill)
    }

    fn start_broker(&self) -> anyhow::Result<()> {
        self.with_broker(Broker::start)
    }
}

// === impl Skipping ===

impl Clock for Skipping {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic() + *self.skipped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
