//! A log that goes wrong on purpose: at the n-th time that an instance comes to a named step.
//!
//! Everything that an instance does with the world goes through the log port, so every step of a commit, a restore or a hand-over has
//! its failpoint at a call of the port, and the product itself has none, but for the steps in which restored rows become tables on disk, of
//! which a [`TableWatch`] is told:
//!
//! | between | is |
//! |---|---|
//! | the last record and its commit | `before append-changelog` (or `append-output`) |
//! | changelogs and flush | `before flush` |
//! | flush and offsets | `before send-offsets` |
//! | offsets and the commit | `before commit` |
//! | Kafka's commit and the write to local state | `after commit` |
//! | the write to local state and the next transaction | `before begin` |
//! | a member that is gone and its fencing; the start of a worker | `init` |
//! | being told to give a task away and saying so | `join`, `publish` |
//! | a table of restored rows and its being part of the store | `before add-table` |
//! | that and the offset behind it on disk | `after add-table`; `before flush-tables`, when more tables were added |
//! | a table and the next one; the last table and the start of the task | `before write-table`; `after flush-tables` |

mod clients;
mod group;
mod log;

use std::{
    fmt, io,
    str::FromStr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::log::FaultyLog;
use crate::{
    log::LogError,
    state::{TableStep, TableWatch},
};

/// A step of an instance's work, as the log sees it, or its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Step {
    /// A transactional producer is initialised: a worker's own, or to fence that of a member that is gone.
    Init,
    /// A transaction begins.
    Begin,
    /// A record is appended to a changelog.
    AppendChangelog,
    /// A record is appended to an output or repartition topic.
    AppendOutput,
    /// Records are flushed.
    Flush,
    /// The group is asked for the metadata of an epoch: twice for each commit, by the worker and by the thread that commits.
    GroupMetadata,
    /// Positions are added to the transaction.
    SendOffsets,
    /// The transaction is committed.
    Commit,
    /// Positions are committed without a transaction (at least once).
    CommitOffsets,
    /// The transaction is aborted.
    Abort,
    /// Committed positions are asked for: a task is restored and about to run.
    Committed,
    /// Records of a changelog were read: a restore. There is no moment before it.
    ReadChangelog,
    /// Records of an input were read. There is no moment before it.
    Read,
    /// A record is published on the metadata topic: host metadata (a task started, was released, ...) or an assignment.
    Publish,
    /// The instance learnt of a new generation of its group. There is no moment before it.
    Join,
    /// A table of restored rows is written.
    WriteTable,
    /// It becomes part of a store.
    AddTable,
    /// The offsets of tables come to disk.
    FlushTables,
}

/// Before or after the call of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// The log does not hear of the call, the disk has nothing of it.
    Before,
    /// The log, or the disk, has done what it was asked for.
    After,
}

/// Where a fault happens, as text `<step>:<moment>:<n>`: `send-offsets:after:3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Failpoint {
    /// The step.
    pub step: Step,
    /// Before or after it.
    pub moment: Moment,
    /// At which time since it was armed, from 1.
    pub nth: u64,
}

/// A text that is no [`Failpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no failpoint: it has the form <step>:<before|after>:<n>, as in `commit:after:3`")]
pub struct FailpointError(String);

/// What happens at a [`Failpoint`], once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The call says that it failed.
    Fail(LogError),
    /// The call takes so much longer.
    Stall(Duration),
    /// The call takes so much longer, and then says that it failed.
    StallAndFail(Duration, LogError),
    /// The instance dies there. With [`FaultyLog::new`], every call of every one of its threads stands still until [`Faults::bury`],
    /// and fails afterwards; with [`FaultyLog::aborting`] the process ends.
    Crash,
}

/// Says what goes wrong on a [`FaultyLog`], and on a disk that it [watches](crate::App::with_tables_watched). Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Taken by every call of the log for a moment, and by the test.
    state: Mutex<State>,
    /// Signalled when a fault happens, and when the dead are buried.
    changed: Condvar,
    aborts: bool,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    fired: u64,
    life: Life,
}

#[derive(Debug)]
struct Armed {
    at: Failpoint,
    fault: Fault,
    seen: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Life {
    #[default]
    Alive,
    /// Crashed: nothing it does reaches the log any more, and nothing comes back.
    Frozen,
    /// What is left of it is told to end.
    Buried,
}

// === impl Faults ===

impl Faults {
    fn new(aborts: bool) -> Self {
        Self(Arc::new(Inner { aborts, ..Inner::default() }))
    }

    /// From now on counts the times at which the instance comes to this failpoint, and lets the fault happen at its n-th. What was armed
    /// before is not any more.
    pub fn arm(&self, at: Failpoint, fault: Fault) {
        self.state().armed = Some(Armed { at, fault, seen: 0 });
    }

    /// How many faults have happened.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.state().fired
    }

    /// Waits until `count` faults have happened; `false` if they have not `within`.
    #[must_use]
    pub fn wait_fired(&self, count: u64, within: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(state, within, |state| state.fired < count)
            .unwrap_or_else(PoisonError::into_inner);
        state.fired >= count
    }

    /// Takes the instance away from the log for good, as a crash between two steps would.
    pub fn crash(&self) {
        self.freeze(&mut self.state());
    }

    /// Lets the calls of a crashed instance fail, so that its threads can end. Copy its state directory before: what they do at their end
    /// a killed process does not.
    pub fn bury(&self) {
        self.state().life = Life::Buried;
        self.0.changed.notify_all();
    }

    /// Makes a call, with what goes wrong at it.
    fn at<T>(&self, step: Step, call: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
        self.pass(step, Moment::Before)?;
        let result = call()?;
        self.pass(step, Moment::After)?;
        Ok(result)
    }

    /// Makes a call that has no failpoint: only one that is alive makes it.
    fn alive<T>(&self, call: impl FnOnce() -> Result<T, LogError>) -> Result<T, LogError> {
        self.breathe()?;
        let result = call()?;
        self.breathe()?;
        Ok(result)
    }

    /// Fails when the instance is dead, after it was buried.
    fn breathe(&self) -> Result<(), LogError> {
        self.wait_while_frozen(self.state())
    }

    /// Comes to a moment of a step.
    fn pass(&self, step: Step, moment: Moment) -> Result<(), LogError> {
        let mut state = self.state();
        let fault = state.take_due(step, moment);
        if let Some(fault) = &fault {
            tracing::warn!(%step, ?moment, ?fault, "a fault was injected");
            if *fault == Fault::Crash {
                self.freeze(&mut state);
            }
            state.fired += 1;
            self.0.changed.notify_all();
        }
        self.wait_while_frozen(state)?;
        let (stall, result) = match fault {
            Some(Fault::Fail(error)) => (None, Err(error)),
            Some(Fault::Stall(time)) => (Some(time), Ok(())),
            Some(Fault::StallAndFail(time, error)) => (Some(time), Err(error)),
            Some(Fault::Crash) | None => (None, Ok(())),
        };
        if let Some(time) = stall {
            std::thread::sleep(time);
            self.breathe()?;
        }
        result
    }

    fn freeze(&self, state: &mut State) {
        if self.0.aborts {
            std::process::abort();
        }
        if state.life == Life::Alive {
            state.life = Life::Frozen;
        }
    }

    fn wait_while_frozen(&self, state: MutexGuard<'_, State>) -> Result<(), LogError> {
        let state = self
            .0
            .changed
            .wait_while(state, |state| state.life == Life::Frozen)
            .unwrap_or_else(PoisonError::into_inner);
        match state.life {
            Life::Alive => Ok(()),
            Life::Frozen | Life::Buried => Err(LogError::Fatal { reason: "the instance is dead".into() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableWatch for Faults {
    fn before(&self, step: TableStep) -> io::Result<()> {
        self.pass(step.into(), Moment::Before).map_err(io::Error::other)
    }

    fn after(&self, step: TableStep) -> io::Result<()> {
        self.pass(step.into(), Moment::After).map_err(io::Error::other)
    }
}

// === impl State ===

impl State {
    /// The fault that is due at this moment, if one is.
    fn take_due(&mut self, step: Step, moment: Moment) -> Option<Fault> {
        let armed = self.armed.as_mut().filter(|armed| (armed.at.step, armed.at.moment) == (step, moment))?;
        armed.seen += 1;
        if armed.seen < armed.at.nth {
            return None;
        }
        self.armed.take().map(|armed| armed.fault)
    }
}

// === impl Step ===

impl Step {
    /// All steps.
    pub const ALL: [Self; 18] = [
        Self::Init,
        Self::Begin,
        Self::AppendChangelog,
        Self::AppendOutput,
        Self::Flush,
        Self::GroupMetadata,
        Self::SendOffsets,
        Self::Commit,
        Self::CommitOffsets,
        Self::Abort,
        Self::Committed,
        Self::ReadChangelog,
        Self::Read,
        Self::Publish,
        Self::Join,
        Self::WriteTable,
        Self::AddTable,
        Self::FlushTables,
    ];

    /// Its name in a [`Failpoint`]'s text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Begin => "begin",
            Self::AppendChangelog => "append-changelog",
            Self::AppendOutput => "append-output",
            Self::Flush => "flush",
            Self::GroupMetadata => "group-metadata",
            Self::SendOffsets => "send-offsets",
            Self::Commit => "commit",
            Self::CommitOffsets => "commit-offsets",
            Self::Abort => "abort",
            Self::Committed => "committed",
            Self::ReadChangelog => "read-changelog",
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Join => "join",
            Self::WriteTable => "write-table",
            Self::AddTable => "add-table",
            Self::FlushTables => "flush-tables",
        }
    }
}

impl From<TableStep> for Step {
    fn from(step: TableStep) -> Self {
        match step {
            TableStep::Write => Self::WriteTable,
            TableStep::Add => Self::AddTable,
            TableStep::Flush => Self::FlushTables,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Moment ===

impl Moment {
    /// Its name in a [`Failpoint`]'s text.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

// === impl Failpoint ===

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.step, self.moment.name(), self.nth)
    }
}

impl FromStr for Failpoint {
    type Err = FailpointError;

    fn from_str(text: &str) -> Result<Self, FailpointError> {
        let parse = || {
            let mut parts = text.trim().split(':');
            let (step, moment, nth) = (parts.next()?, parts.next()?, parts.next()?);
            let step = Step::ALL.into_iter().find(|known| known.name() == step)?;
            let moment = [Moment::Before, Moment::After].into_iter().find(|known| known.name() == moment)?;
            let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
            parts.next().is_none().then_some(Self { step, moment, nth })
        };
        parse().ok_or_else(|| FailpointError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_read_as_it_is_shown() {
        for step in Step::ALL {
            for moment in [Moment::Before, Moment::After] {
                let point = Failpoint { step, moment, nth: 7 };
                assert_eq!(point.to_string().parse(), Ok(point));
            }
        }
        for wrong in
            ["", "commit", "commit:after", "commit:after:0", "commit:during:1", "comit:after:1", "commit:after:1:2"]
        {
            assert!(wrong.parse::<Failpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_happens_once_at_its_time() {
        let faults = Faults::new(false);
        faults.arm(
            "flush:after:2".parse().expect("a failpoint"),
            Fault::Fail(LogError::Fenced { reason: "test".into() }),
        );
        let mut calls = 0;
        let mut flush = || {
            faults.at(Step::Flush, || {
                calls += 1;
                Ok(())
            })
        };
        assert!(flush().is_ok());
        assert!(matches!(flush(), Err(LogError::Fenced { .. })), "after the call was made");
        assert!(flush().is_ok());
        assert_eq!((calls, faults.fired()), (3, 1));
    }

    #[test]
    fn a_crashed_instance_does_nothing_more() {
        let faults = Faults::new(false);
        faults.arm("commit:before:1".parse().expect("a failpoint"), Fault::Crash);
        let worker = std::thread::spawn({
            let faults = faults.clone();
            move || faults.at(Step::Commit, || -> Result<(), LogError> { panic!("the log heard of it") })
        });
        assert!(faults.wait_fired(1, Duration::from_secs(10)));
        assert!(!worker.is_finished());
        faults.bury();
        assert!(matches!(worker.join().expect("no panic"), Err(LogError::Fatal { .. })));
        assert!(faults.alive(|| Ok(())).is_err());
    }
}
