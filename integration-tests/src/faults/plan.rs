//! What goes wrong in a round, by seed.

use std::{fmt, time::Duration};

use millpond::{
    config::Guarantee,
    testing::{Failpoint, Moment, Step},
};

use super::Rng;

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the inputs follow from, and what else is left to chance.
    pub seed: u64,
    /// The guarantee of the instances.
    pub guarantee: Guarantee,
    /// How many instances.
    pub instances: usize,
    /// How many standbys each task has.
    pub standbys: usize,
    /// What happens, each so long after the end of the one before.
    pub faults: Vec<(Duration, Fault)>,
}

/// Something that goes wrong. Victims are numbers of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and so long until it is started again.
    Kill {
        /// The instance.
        victim: usize,
        /// How long it is down.
        down: Duration,
    },
    /// It dies at a step of its work.
    KillAt {
        /// The instance.
        victim: usize,
        /// The step, counted from when the fault begins.
        at: Failpoint,
        /// How long it is down.
        down: Duration,
    },
    /// It is killed, and dies again at a step of its next start.
    KillAtStart {
        /// The instance.
        victim: usize,
        /// The step, counted from the start.
        at: Failpoint,
    },
    /// SIGTERM, and so long until it is started again.
    Stop {
        /// The instance.
        victim: usize,
        /// How long it is down.
        down: Duration,
    },
    /// SIGTERM, and it dies at a step while it gives its tasks away.
    KillAtStop {
        /// The instance.
        victim: usize,
        /// The step, counted from the signal.
        at: Failpoint,
    },
    /// SIGSTOP, and after so long SIGCONT.
    Freeze {
        /// The instance.
        victim: usize,
        /// How long it stands still.
        time: Duration,
    },
    /// SIGKILL to the broker, and so long until it is started again.
    KillBroker {
        /// How long it is down.
        down: Duration,
    },
    /// The folder of one of its tasks is deleted: while it runs, or while it is down after SIGKILL.
    LoseTask {
        /// The instance.
        victim: usize,
        /// Whether it runs.
        running: bool,
    },
    /// It is killed, the folder of one of its tasks that become tables in a restore is deleted, and it dies again at a step of that restore.
    KillAtRestore {
        /// The instance, or the next one that has such a task which nobody else has state of.
        victim: usize,
        /// The step, counted from the start.
        at: Failpoint,
    },
    /// Bytes in the table files of its tasks are changed: while it runs, or while it is down after SIGTERM.
    Corrupt {
        /// The instance.
        victim: usize,
        /// Whether it runs.
        running: bool,
    },
}

// === impl Plan ===

impl Plan {
    /// The round of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let guarantee = if rng.below(6) == 0 { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce };
        let instances = 2 + rng.below(2) as usize;
        let count = 2 + rng.below(2);
        let fault = |rng: &mut Rng| {
            let before = Duration::from_millis(rng.within(300, 2_500));
            (before, Fault::any(rng, instances, guarantee))
        };
        let faults: Vec<_> = (0..count).map(|_| fault(&mut rng)).collect();
        // Where a task of which nobody else has state is to be restored, there are none.
        let alone = faults.iter().any(|(_, fault)| matches!(fault, Fault::KillAtRestore { .. }));
        Self { seed, guarantee, instances, standbys: usize::from(!alone && seed.is_multiple_of(2)), faults }
    }
}

// === impl Fault ===

impl Fault {
    fn any(rng: &mut Rng, instances: usize, guarantee: Guarantee) -> Self {
        let victim = rng.below(instances as u64) as usize;
        // Back before the group has noticed, or long after.
        let down =
            Duration::from_millis(if rng.below(2) == 0 { rng.within(0, 1_000) } else { rng.within(7_000, 9_000) });
        match rng.below(18) {
            0 | 1 => Self::Kill { victim, down },
            2..=5 => Self::KillAt { victim, at: commit_step(rng, guarantee), down },
            6 | 7 => Self::KillAtStart { victim, at: start_step(rng, guarantee) },
            8 => Self::Stop { victim, down },
            9 => Self::KillAtStop { victim, at: stop_step(rng, guarantee) },
            // At least once has nothing that fences: what one that stood still had on its way to a changelog arrives behind what the new
            // owner wrote (docs/failures.md).
            10 | 11 if guarantee == Guarantee::AtLeastOnce => Self::Kill { victim, down },
            10 | 11 => Self::Freeze { victim, time: Duration::from_millis(rng.within(8_000, 12_000)) },
            12 => Self::KillBroker { down: Duration::from_millis(rng.within(0, 4_000)) },
            13 => Self::LoseTask { victim, running: rng.below(2) == 0 },
            14..=16 => Self::KillAtRestore { victim, at: table_step(rng) },
            _ => Self::Corrupt { victim, running: rng.below(2) == 0 },
        }
    }

    /// The step at which somebody dies of it.
    pub(super) fn failpoint(self) -> Option<Failpoint> {
        match self {
            Self::KillAt { at, .. }
            | Self::KillAtStart { at, .. }
            | Self::KillAtStop { at, .. }
            | Self::KillAtRestore { at, .. } => Some(at),
            _ => None,
        }
    }

    /// Whether instances may end by themselves in a round with it, to be started again.
    pub(super) fn may_end_instances(self) -> bool {
        matches!(
            self,
            Self::KillBroker { .. } | Self::LoseTask { running: true, .. } | Self::Corrupt { running: true, .. }
        )
    }
}

fn moment(rng: &mut Rng) -> Moment {
    *rng.pick(&[Moment::Before, Moment::After])
}

fn commit_step(rng: &mut Rng, guarantee: Guarantee) -> Failpoint {
    let steps: &[Step] = match guarantee {
        Guarantee::ExactlyOnce => &[
            Step::Begin,
            Step::AppendOutput,
            Step::AppendChangelog,
            Step::Flush,
            Step::SendOffsets,
            Step::Commit,
            Step::Commit,
            Step::Read,
        ],
        Guarantee::AtLeastOnce => {
            &[Step::AppendOutput, Step::AppendChangelog, Step::Flush, Step::CommitOffsets, Step::Read]
        }
    };
    let step = *rng.pick(steps);
    let most = if matches!(step, Step::AppendOutput | Step::AppendChangelog) { 300 } else { 10 };
    let moment = if step == Step::Read { Moment::After } else { moment(rng) };
    Failpoint { step, moment, nth: rng.within(1, most) }
}

/// Steps of a start: the producer, the group, the restore.
fn start_step(rng: &mut Rng, guarantee: Guarantee) -> Failpoint {
    let mut steps = vec![
        (Step::Join, Moment::After, 1),
        (Step::Committed, moment(rng), 1),
        (Step::ReadChangelog, Moment::After, 3),
        (Step::Publish, moment(rng), 6),
    ];
    if guarantee == Guarantee::ExactlyOnce {
        steps.push((Step::Init, moment(rng), 1));
    }
    let (step, moment, most) = *rng.pick(&steps);
    Failpoint { step, moment, nth: rng.within(1, most + 1) }
}

/// Steps in which restored rows become tables: there are two tables or more, and a flush before the first and behind the last.
fn table_step(rng: &mut Rng) -> Failpoint {
    let step = *rng.pick(&[Step::WriteTable, Step::AddTable, Step::AddTable, Step::FlushTables]);
    Failpoint { step, moment: moment(rng), nth: rng.within(1, 3) }
}

/// Steps of a hand-over: the last commit, and saying that a task is released.
fn stop_step(rng: &mut Rng, guarantee: Guarantee) -> Failpoint {
    let commit = if guarantee == Guarantee::ExactlyOnce { Step::Commit } else { Step::CommitOffsets };
    let step = *rng.pick(&[Step::Publish, Step::Publish, commit, Step::Flush]);
    Failpoint { step, moment: moment(rng), nth: rng.within(1, 3) }
}

/// Instances are named `a`, `b`, `c` and so on: there are five at the most.
pub(crate) fn name(instance: usize) -> &'static str {
    ["a", "b", "c", "d", "e"][instance]
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = |running: &bool| if *running { "running" } else { "down" };
        match self {
            Self::Kill { victim, down } => write!(f, "kill {} ({} ms down)", name(*victim), down.as_millis()),
            Self::KillAt { victim, at, down } => {
                write!(f, "kill {} at {at} ({} ms down)", name(*victim), down.as_millis())
            }
            Self::KillAtStart { victim, at } => write!(f, "kill {}, and again at its start at {at}", name(*victim)),
            Self::Stop { victim, down } => write!(f, "stop {} ({} ms down)", name(*victim), down.as_millis()),
            Self::KillAtStop { victim, at } => write!(f, "stop {}, and kill it at {at}", name(*victim)),
            Self::Freeze { victim, time } => write!(f, "freeze {} for {} ms", name(*victim), time.as_millis()),
            Self::KillBroker { down } => write!(f, "kill the broker ({} ms down)", down.as_millis()),
            Self::LoseTask { victim, running } => {
                write!(f, "delete a task's folder of {} ({})", name(*victim), when(running))
            }
            Self::KillAtRestore { victim, at } => {
                write!(
                    f,
                    "kill {} or the next, delete a task's folder, and kill it again at {at} of its restore",
                    name(*victim)
                )
            }
            Self::Corrupt { victim, running } => write!(f, "corrupt tables of {} ({})", name(*victim), when(running)),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guarantee = match self.guarantee {
            Guarantee::ExactlyOnce => "exactly once",
            Guarantee::AtLeastOnce => "at least once",
        };
        let Self { seed, instances, standbys, .. } = self;
        write!(f, "seed {seed}, {guarantee}, {instances} instances, {standbys} standbys: ")?;
        let faults: Vec<String> =
            self.faults.iter().map(|(after, fault)| format!("+{} ms {fault}", after.as_millis())).collect();
        f.write_str(&faults.join("; "))
    }
}
