//! A fault at every step of the commit, in one process on the embedded log: whatever fails where and however, nothing is lost, and with
//! exactly once nothing is done twice.
//!
//! One instance for each way to fail: the steps come one after the other, and all checks after each.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use integration_tests::{
    ledger::{Topics, books::Books, feeder::Feeder, observer::ask_for_everything, topology},
    service::until,
};
use millpond::{
    App, Config,
    app::Instance,
    config::{
        Guarantee::{self, AtLeastOnce, ExactlyOnce},
        MemoryShares,
    },
    log::{LogError, embedded::EmbeddedLog},
    testing::{
        Failpoint, Fault, Faults, FaultyLog,
        Moment::{self, After, Before},
        Step,
    },
};
use tokio::task::block_in_place;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Transfers while a fault is armed.
const TRANSFERS: u64 = 40;
/// How long the call takes that a fault happens at: some commit intervals, in which more transfers come.
const STALL: Duration = Duration::from_millis(150);
/// Lives that end in a crash, one after the other on the same disk.
const LIVES: usize = 2;
const PREFIX: &str = "ledger";

/// A ledger on an embedded log with one instance, whose lives share a state directory.
struct Bed {
    log: EmbeddedLog,
    folder: tempfile::TempDir,
    guarantee: Guarantee,
    feeder: Feeder,
    books: Books,
    running: Option<Running>,
    lives: usize,
}

struct Running {
    instance: Instance,
    faults: Faults,
    state_dir: std::path::PathBuf,
}

/// The ways to fail, but for crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Unavailable,
    Timeout,
    Abortable,
    Fenced,
    Fatal,
    /// Not a failure: the call takes long.
    Stall,
}

// === The steps ===

/// The steps of a commit, in its order.
fn steps(guarantee: Guarantee) -> Vec<Step> {
    match guarantee {
        ExactlyOnce => vec![
            Step::Begin,
            Step::AppendOutput,
            Step::AppendChangelog,
            Step::Flush,
            Step::SendOffsets,
            Step::Commit,
            Step::Read,
        ],
        AtLeastOnce => {
            vec![Step::AppendOutput, Step::AppendChangelog, Step::Flush, Step::CommitOffsets, Step::Read]
        }
    }
}

fn moments(step: Step) -> &'static [Moment] {
    if step == Step::Read { &[After] } else { &[Before, After] }
}

/// Steps that a commit has many of are failed at in their midst.
fn place(step: Step, moment: Moment) -> Failpoint {
    let nth = if matches!(step, Step::AppendOutput | Step::AppendChangelog) { 7 } else { 1 };
    Failpoint { step, moment, nth }
}

/// Whether the port's contract lets the call fail like this.
fn may_fail(guarantee: Guarantee, step: Step, moment: Moment, failure: Failure) -> bool {
    match failure {
        Failure::Stall => true,
        // Says that it was not committed.
        Failure::Abortable => {
            guarantee == ExactlyOnce
                && step != Step::Begin
                && (step, moment) != (Step::Commit, After)
                && step != Step::Read
        }
        // Between two transactions nothing waits for the log.
        Failure::Unavailable | Failure::Timeout => step != Step::Begin,
        Failure::Fenced => step != Step::Read && (guarantee == ExactlyOnce || step == Step::CommitOffsets),
        Failure::Fatal => true,
    }
}

// === impl Failure ===

impl Failure {
    fn fault(self) -> Fault {
        let (what, reason) = ("a call".to_owned(), "on purpose".to_owned());
        let error = match self {
            Self::Unavailable => LogError::Unavailable { what, reason },
            Self::Timeout => LogError::Timeout { what, after: STALL },
            Self::Abortable => LogError::Abortable { reason },
            Self::Fenced => LogError::Fenced { reason },
            Self::Fatal => LogError::Fatal { reason },
            Self::Stall => return Fault::Stall(STALL),
        };
        // Late, so that the worker is in the next interval when it hears of it.
        Fault::StallAndFail(STALL, error)
    }
}

// === impl Bed ===

impl Bed {
    async fn new(guarantee: Guarantee) -> anyhow::Result<Self> {
        let log = EmbeddedLog::new();
        let topics = Topics::of(PREFIX);
        topics.create(&log)?;
        let feeder = Feeder::new(&log, &topics, 1)?;
        let folder = tempfile::tempdir()?;
        let state_dir = folder.path().join("0");
        let running = start(&log, guarantee, state_dir).await?;
        // Its changelogs exist when it is ready.
        let books = Books::open(&log, PREFIX, guarantee)?;
        Ok(Self { log, folder, guarantee, feeder, books, running: Some(running), lives: 1 })
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("an instance runs between two faults")
    }

    /// Feeds, lets a fault happen, and checks when all is done.
    async fn fault(&mut self, at: Failpoint, fault: Fault) -> anyhow::Result<()> {
        let faults = self.running().faults.clone();
        let before = faults.fired();
        faults.arm(at, fault.clone());
        self.feed()?;
        ensure!(block_in_place(|| faults.wait_fired(before + 1, PATIENCE)), "the instance never came there");
        if fault == Fault::Crash {
            self.bury_and_start().await?;
        }
        self.feed()?;
        self.settled().await
    }

    fn feed(&mut self) -> anyhow::Result<()> {
        block_in_place(|| self.feeder.feed(TRANSFERS))
    }

    /// The instance is dead: what is on its disk is taken over, all that it does from now on comes to nothing.
    async fn bury_and_start(&mut self) -> anyhow::Result<()> {
        let Running { instance, faults, state_dir } = self.running.take().context("it ran")?;
        let next = self.folder.path().join(self.lives.to_string());
        self.lives += 1;
        block_in_place(|| copy_as_after_a_crash(&state_dir, &next))?;
        faults.bury();
        // It ends with an error, as it should.
        let ended = tokio::spawn(instance.stop());
        self.running = Some(start(&self.log, self.guarantee, next).await?);
        ensure!(ended.await?.is_err(), "a dead instance stopped as if nothing had been");
        std::fs::remove_dir_all(state_dir)?;
        Ok(())
    }

    /// Waits until all is done, and checks that it was done right.
    async fn settled(&mut self) -> anyhow::Result<()> {
        let books = &mut self.books;
        let settled = until("all transfers are through", PATIENCE, async || {
            block_in_place(|| books.read())?;
            books.check_outputs()?;
            Ok(books.are_settled())
        });
        let settled = settled.await;
        settled.with_context(|| self.books.missing())?;
        self.books.check()?;
        let url = self.running().instance.url().to_owned();
        let page = self.books.page();
        until("all answers are right", PATIENCE, async || {
            ask_for_everything(std::slice::from_ref(&url), page).await.map(|()| true)
        })
        .await
    }
}

async fn start(log: &EmbeddedLog, guarantee: Guarantee, state_dir: std::path::PathBuf) -> anyhow::Result<Running> {
    let log = FaultyLog::new(Arc::new(log.connect()));
    let faults = log.faults();
    let config = Config {
        instance_id: "a".into(),
        http: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?,
        state_dir: state_dir.clone(),
        threads: 1,
        guarantee,
        commit_interval: Duration::from_millis(20),
        session_timeout: Duration::from_millis(300),
        memory_bytes: MemoryShares::least(1),
        ..Config::default()
    };
    let instance = App::new(topology(PREFIX)?, config).with_log(Arc::new(log)).start().await?;
    let url = instance.url().to_owned();
    until("the instance is ready", PATIENCE, async || {
        Ok(reqwest::get(format!("{url}/readyz")).await?.status().is_success())
    })
    .await?;
    Ok(Running { instance, faults, state_dir })
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

// === The tests ===

/// Lets the failure happen at every step that may fail so.
async fn fail_everywhere(guarantee: Guarantee, failure: Failure) -> anyhow::Result<()> {
    let mut bed = Bed::new(guarantee).await?;
    for step in steps(guarantee) {
        for &moment in moments(step) {
            if may_fail(guarantee, step, moment, failure) {
                let at = place(step, moment);
                bed.fault(at, failure.fault()).await.with_context(|| format!("{guarantee:?}: {failure:?} at {at}"))?;
            }
        }
    }
    let running = bed.running.take().context("it runs")?;
    Ok(running.instance.stop().await?)
}

/// Lets the instance die at every step. A new life takes some seconds, so several beds have a part of the steps each.
async fn crash_everywhere(guarantee: Guarantee) -> anyhow::Result<()> {
    let steps = steps(guarantee).into_iter();
    let places: Vec<(Step, Moment)> =
        steps.flat_map(|step| moments(step).iter().map(move |moment| (step, *moment))).collect();
    let mut beds = tokio::task::JoinSet::new();
    for places in places.chunks(LIVES).map(<[_]>::to_vec) {
        let play = async move || {
            let mut bed = Bed::new(guarantee).await?;
            for (step, moment) in places {
                let at = place(step, moment);
                bed.fault(at, Fault::Crash).await.with_context(|| format!("{guarantee:?}: a crash at {at}"))?;
            }
            let running = bed.running.take().context("it runs")?;
            anyhow::Ok(running.instance.stop().await?)
        };
        let runtime = tokio::runtime::Handle::current();
        beds.spawn_blocking(move || runtime.block_on(play()));
    }
    while let Some(bed) = beds.join_next().await {
        bed??;
    }
    Ok(())
}

/// While the group has a newer generation that the cluster has not confirmed, commits wait: nothing is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_the_group() -> anyhow::Result<()> {
    let mut bed = Bed::new(ExactlyOnce).await?;
    let at = Failpoint { step: Step::GroupMetadata, moment: Before, nth: 1 };
    for _ in 0..3 {
        bed.fault(at, Fault::Fail(LogError::Fenced { reason: "a newer generation".into() })).await?;
    }
    let running = bed.running.take().context("it runs")?;
    let metrics = reqwest::get(format!("{}/metrics", running.instance.url())).await?.text().await?;
    let given_up = |line: &&str| line.starts_with("millpond_commits_total") && !line.contains("outcome=\"ok\"");
    let given_up: Vec<&str> = metrics.lines().filter(given_up).collect();
    ensure!(metrics.contains("millpond_commits_total"), "no commits are counted");
    ensure!(given_up.is_empty(), "{given_up:?}");
    Ok(running.instance.stop().await?)
}

macro_rules! at_every_step {
    ($($name:ident: $run:expr;)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> anyhow::Result<()> {
            $run.await
        }
    )* };
}

at_every_step! {
    a_crash_exactly_once: crash_everywhere(ExactlyOnce);
    a_crash_at_least_once: crash_everywhere(AtLeastOnce);
    the_log_is_away_exactly_once: fail_everywhere(ExactlyOnce, Failure::Unavailable);
    the_log_is_away_at_least_once: fail_everywhere(AtLeastOnce, Failure::Unavailable);
    a_timeout_exactly_once: fail_everywhere(ExactlyOnce, Failure::Timeout);
    a_timeout_at_least_once: fail_everywhere(AtLeastOnce, Failure::Timeout);
    an_abort_exactly_once: fail_everywhere(ExactlyOnce, Failure::Abortable);
    fenced_exactly_once: fail_everywhere(ExactlyOnce, Failure::Fenced);
    fenced_at_least_once: fail_everywhere(AtLeastOnce, Failure::Fenced);
    a_client_that_failed_for_good_exactly_once: fail_everywhere(ExactlyOnce, Failure::Fatal);
    a_client_that_failed_for_good_at_least_once: fail_everywhere(AtLeastOnce, Failure::Fatal);
    a_call_that_takes_long_exactly_once: fail_everywhere(ExactlyOnce, Failure::Stall);
    a_call_that_takes_long_at_least_once: fail_everywhere(AtLeastOnce, Failure::Stall);
}
