//! A ledger in this process on the embedded log, whose instance fails and dies at named steps.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use millpond::{
    App, Config,
    app::{AppError, Instance},
    config::{Guarantee, MemoryShares},
    log::embedded::EmbeddedLog,
    testing::{Failpoint, Fault, Faults, FaultyLog},
    time::SystemClock,
};
use tokio::task::{JoinHandle, block_in_place};

use super::{
    PARTITIONS, Topics, books::Books, feeder::Feeder, observer::ask_for_everything, rows::Changelogs, topology,
};
use crate::service::until;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Transfers while a fault is armed.
const TRANSFERS: u64 = 40;
const PREFIX: &str = "ledger";

/// A ledger on an embedded log with one instance, whose lives share a state directory.
pub struct Bed {
    log: EmbeddedLog,
    folder: tempfile::TempDir,
    guarantee: Guarantee,
    feeder: Feeder,
    /// Open once the changelogs exist.
    books: Option<Books>,
    running: Option<Running>,
    lives: usize,
}

struct Running {
    instance: Instance,
    faults: Faults,
}

/// What is left of an instance.
struct Dead {
    ended: JoinHandle<Result<(), AppError>>,
    state_dir: PathBuf,
}

// === impl Bed ===

impl Bed {
    /// A ledger with an instance that is ready.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn new(guarantee: Guarantee) -> anyhow::Result<Self> {
        let log = EmbeddedLog::new();
        let topics = Topics::of(PREFIX);
        topics.create(&log)?;
        let feeder = Feeder::new(&log, &topics, 1)?;
        let folder = tempfile::tempdir()?;
        let mut bed = Self { log, folder, guarantee, feeder, books: None, running: None, lives: 0 };
        bed.start(None).await?;
        bed.books = Some(Books::open(&bed.log, &topics, guarantee, SystemClock::new())?);
        Ok(bed)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("an instance runs between two faults")
    }

    /// Where its instance is asked.
    #[must_use]
    pub fn url(&self) -> &str {
        self.running().instance.url()
    }

    /// Feeds, lets a fault happen, and checks when all is done.
    ///
    /// # Errors
    /// Says what is wrong.
    pub async fn fault(&mut self, at: Failpoint, fault: Fault) -> anyhow::Result<()> {
        let faults = self.running().faults.clone();
        let before = faults.fired();
        faults.arm(at, fault.clone());
        self.feed()?;
        ensure!(block_in_place(|| faults.wait_fired(before + 1, PATIENCE)), "the instance never came there");
        if fault == Fault::Crash {
            let dead = self.bury()?;
            self.start(None).await?;
            dead.ends().await?;
        }
        self.feed()?;
        self.settled().await
    }

    /// Lets the tellers' stores have as many rows as restores make tables of, and checks when all is done.
    ///
    /// # Errors
    /// Says what is wrong.
    pub async fn visit(&mut self) -> anyhow::Result<()> {
        block_in_place(|| self.feeder.visit())?;
        self.settled().await
    }

    /// Lets the instance die, the tellers' stores be lost, the next life die at a step of their restore, and checks when all is done behind that.
    ///
    /// # Errors
    /// Says what is wrong.
    pub async fn crash_in_restore(&mut self, at: Failpoint) -> anyhow::Result<()> {
        self.running().faults.crash();
        let dead = self.bury()?;
        for partition in 0..PARTITIONS {
            std::fs::remove_dir_all(self.state_dir().join(PREFIX).join("tasks").join(format!("0_{partition}")))?;
        }
        self.start(Some(at)).await?;
        dead.ends().await?;
        self.feed()?;
        let faults = &self.running().faults;
        ensure!(block_in_place(|| faults.wait_fired(1, PATIENCE)), "the instance never came there");
        let dead = self.bury()?;
        self.start(None).await?;
        dead.ends().await?;
        self.feed()?;
        self.settled().await
    }

    /// Stops the instance, and compares what it leaves on its disk with the changelogs.
    ///
    /// # Errors
    /// When it does not stop, or a row is wrong.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let state_dir = self.state_dir();
        self.running.take().context("it runs")?.instance.stop().await?;
        let topology = topology(PREFIX)?.resolve(PREFIX);
        let rows = block_in_place(|| {
            Changelogs::read(&self.log, &topology, PARTITIONS)?.check(&state_dir, &topology, self.guarantee)
        })?;
        ensure!(rows > 0, "nothing is on the disk");
        Ok(())
    }

    fn feed(&mut self) -> anyhow::Result<()> {
        block_in_place(|| self.feeder.feed(TRANSFERS))
    }

    /// The instance is dead: what is on its disk is for the next one, all that it does from now on comes to nothing.
    fn bury(&mut self) -> anyhow::Result<Dead> {
        let Running { instance, faults } = self.running.take().context("it ran")?;
        let state_dir = self.state_dir();
        self.lives += 1;
        block_in_place(|| copy_as_after_a_crash(&state_dir, &self.state_dir()))?;
        faults.bury();
        Ok(Dead { ended: tokio::spawn(instance.stop()), state_dir })
    }

    /// Starts the next life: until it is ready, or to die somewhere, which is counted from here.
    async fn start(&mut self, to_die: Option<Failpoint>) -> anyhow::Result<()> {
        let log = FaultyLog::new(Arc::new(self.log.connect()));
        let faults = log.faults();
        if let Some(at) = to_die {
            faults.arm(at, Fault::Crash);
        }
        let config = Config {
            instance_id: "a".into(),
            http: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            state_dir: self.state_dir(),
            threads: 1,
            guarantee: self.guarantee,
            commit_interval: Duration::from_millis(20),
            session_timeout: Duration::from_millis(300),
            memory_bytes: MemoryShares::least(1),
            ..Config::default()
        };
        let app = App::new(topology(PREFIX)?, config).with_log(Arc::new(log));
        let instance = app.with_tables_watched(Arc::new(faults.clone())).start().await?;
        let url = instance.url().to_owned();
        self.running = Some(Running { instance, faults });
        if to_die.is_some() {
            return Ok(());
        }
        until("the instance is ready", PATIENCE, async || {
            Ok(reqwest::get(format!("{url}/readyz")).await?.status().is_success())
        })
        .await
    }

    /// Where its present life has its state.
    fn state_dir(&self) -> PathBuf {
        self.folder.path().join(self.lives.to_string())
    }

    /// Waits until all is done, and checks that it was done right.
    async fn settled(&mut self) -> anyhow::Result<()> {
        let url = self.url().to_owned();
        let books = self.books.as_mut().context("it was ready")?;
        let settled = until("all transfers are through", PATIENCE, async || {
            block_in_place(|| books.read())?;
            books.check_outputs()?;
            Ok(books.are_settled())
        });
        let settled = settled.await;
        settled.with_context(|| books.missing())?;
        books.check()?;
        until("all answers are right", PATIENCE, async || {
            block_in_place(|| books.read())?;
            ask_for_everything(std::slice::from_ref(&url), books.page()).await.map(|()| true)
        })
        .await
    }
}

impl fmt::Debug for Bed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bed").field("folder", &self.folder).field("lives", &self.lives).finish_non_exhaustive()
    }
}

// === impl Dead ===

impl Dead {
    /// It ends with an error, as it should.
    async fn ends(self) -> anyhow::Result<()> {
        ensure!(self.ended.await?.is_err(), "a dead instance stopped as if nothing had been");
        Ok(std::fs::remove_dir_all(self.state_dir)?)
    }
}

/// Copies a state directory file by file: RocksDB writes a file whole before another one names it, so those that name others come first.
fn copy_as_after_a_crash(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    let mut entries = std::fs::read_dir(from)?.collect::<Result<Vec<_>, _>>()?;
    let names_others = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        (name != "CURRENT", !name.starts_with("MANIFEST"))
    };
    entries.sort_by_key(|entry| names_others(&entry.file_name()));
    for entry in entries {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_as_after_a_crash(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).map(drop).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
    }
    Ok(())
}
