//! An instance of the world: its disk, and the life it leads now.

use std::{sync::Arc, time::Duration};

use super::{
    disk::LifeDisk,
    life::{Life, LifeClock},
    log::LifeLog,
    routine,
    scheduler::{Kind, Scheduler},
    threads::LifeThreads,
    witness::Witness,
};
use crate::{
    app::{
        AppError,
        driven::{Driven, Parts, Seen},
    },
    config::Config,
    log::embedded::EmbeddedLog,
    runtime::Turns,
    state::{MemoryBudget, MemoryDisk, StateDir, StateSettings},
    topology::Resolved,
};

/// An instance.
pub(super) struct Instance {
    pub(super) name: &'static str,
    pub(super) disk: MemoryDisk,
    pub(super) living: Option<Living>,
    /// When it is started again.
    pub(super) starts_at: Option<Duration>,
}

/// An instance that runs.
pub(super) struct Living {
    pub(super) life: Arc<Life>,
    pub(super) seen: Seen,
    /// Its own way to the log.
    pub(super) link: EmbeddedLog,
    /// The way is cut until then.
    pub(super) cut_until: Duration,
    /// It was asked to leave.
    pub(super) leaves: bool,
}

/// What all instances are made of.
pub(super) struct Making {
    pub(super) topology: Arc<Resolved>,
    pub(super) config: Config,
    pub(super) log: EmbeddedLog,
    pub(super) witness: Arc<Witness>,
    pub(super) memory: MemoryBudget,
}

/// The control loop of a life.
struct Process {
    driven: Driven,
    life: Arc<Life>,
}

// === impl Instance ===

impl Instance {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, disk: MemoryDisk::default(), living: None, starts_at: None }
    }

    /// Starts it.
    pub(super) fn start(&mut self, making: &Making, scheduler: &Scheduler, life: Life) -> Result<(), AppError> {
        let life = Arc::new(life);
        let link = making.log.connect();
        let log = LifeLog { log: link.clone(), life: Arc::clone(&life), witness: Arc::clone(&making.witness) };
        let watch = Arc::new(LifeDisk(Arc::clone(&life)));
        let dir = Some(Arc::new(StateDir::in_memory(self.disk.clone(), watch)));
        let driven = Driven::new(Parts {
            topology: Arc::clone(&making.topology),
            config: Config { instance_id: self.name.into(), ..making.config.clone() },
            log: Arc::new(log),
            clock: Arc::new(LifeClock(Arc::clone(&life))),
            threads: Arc::new(LifeThreads(Arc::clone(&life))),
            state: StateSettings { dir, memory: making.memory.clone() },
        })?;
        let seen = driven.seen();
        let process = Process { driven, life: Arc::clone(&life) };
        scheduler.note(format_args!("{life} starts"));
        scheduler.add(&life, Kind::Control, routine::Making::Made(Box::new(process)));
        self.starts_at = None;
        self.living = Some(Living { life, seen, link, cut_until: Duration::ZERO, leaves: false });
        Ok(())
    }
}

// === impl Living ===

impl Living {
    /// Cuts its way to the log, or mends it.
    pub(super) fn cut(&mut self, until: Duration, now: Duration) {
        self.cut_until = until;
        self.link.set_connected(until <= now);
    }

    /// Mends what was cut, when it is time.
    pub(super) fn mend(&mut self, now: Duration) {
        if self.cut_until > Duration::ZERO && self.cut_until <= now {
            self.cut(Duration::ZERO, now);
        }
    }
}

// === impl Process ===

impl Turns for Process {
    fn turn(&mut self, patience: Duration) -> bool {
        let ended = match self.driven.turn(patience) {
            Ok(true) => return true,
            Ok(false) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        self.life.set_ended(ended);
        false
    }
}
