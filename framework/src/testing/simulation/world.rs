//! The world: a log, instances on it, records that are fed, and what befalls them all.

mod checks;
mod faults;
mod gaps;
mod told;
mod turn;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use self::{
    checks::{Changelogs, is_active},
    gaps::Gaps,
    told::Told,
};
use super::{
    SimulationError,
    instance::{Instance, Living, Making},
    life::{EPOCH_MS, Life, LogClock},
    rng::Rng,
    scheduler::Scheduler,
    witness::Witness,
    workload::{APPLICATION, Workload, topology},
};
use crate::{
    config::{Config, Guarantee},
    log::{Group, Log, Membership, MembershipOptions, Reader, embedded::EmbeddedLog},
    state::{MemoryBudget, TaskId},
};

/// Everything there is.
pub(super) struct World {
    scheduler: Rc<Scheduler>,
    making: Making,
    workload: RefCell<Workload>,
    instances: RefCell<Vec<Instance>>,
    changelogs: RefCell<Changelogs>,
    lives: Cell<u64>,
    /// Whether things go wrong.
    is_rough: Cell<bool>,
    /// How many records are fed in a second.
    fed_per_second: Cell<u64>,
    last_turn: Cell<Duration>,
    /// The log is away until then.
    away_until: Cell<Duration>,
    checked_commits: Cell<u64>,
    told: RefCell<Told>,
    gaps: RefCell<Option<Gaps>>,
    /// Which life has which task as active, and can commit for it.
    owned: RefCell<BTreeMap<TaskId, u64>>,
    /// The group as the log knows it.
    group: RefCell<Option<Outside>>,
    ends: RefCell<Box<dyn Reader>>,
}

/// A membership that never joins, and its group.
type Outside = (Box<dyn Membership>, Arc<dyn Group>);

/// Who may be there.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

// === impl World ===

impl World {
    pub(super) fn new(scheduler: &Rc<Scheduler>) -> Result<Rc<Self>, SimulationError> {
        let log = EmbeddedLog::builder().simulated(Arc::new(LogClock(scheduler.time.clone()))).build()?;
        let topology = Arc::new(topology()?);
        let chance = |of: &dyn Fn(&mut Rng) -> u64| scheduler.chance(|rng| of(rng));
        let guarantee =
            if chance(&|rng| rng.between(1, 10)) == 1 { Guarantee::AtLeastOnce } else { Guarantee::ExactlyOnce };
        let partitions = chance(&|rng| rng.between(1, 3)) as i32;
        let config = Config {
            application_id: Some(APPLICATION.into()),
            advertised_url: Some("http://nowhere".into()),
            threads: chance(&|rng| rng.between(1, 2)) as usize,
            guarantee,
            commit_interval: Duration::from_millis(chance(&|rng| rng.between(20, 500))),
            max_poll_interval: Duration::from_secs(chance(&|rng| rng.between(8, 30))),
            num_standby_replicas: chance(&|rng| rng.between(0, 2)) as usize,
            acceptable_recovery_lag: chance(&|rng| rng.between(0, 20)),
            standby_replacement_delay: Duration::from_secs(chance(&|rng| rng.between(0, 5))),
            suspicion_timeout: Duration::from_millis([0, 600, 1500][chance(&|rng| rng.between(0, 2)) as usize]),
            memory_bytes: 64 << 20,
            ..Config::default()
        };
        scheduler.note(format_args!(
            "{guarantee:?}, {partitions} partitions, {} threads, {} standbys, commits every {:?}",
            config.threads, config.num_standby_replicas, config.commit_interval
        ));
        let workload = Workload::new(&log, partitions, guarantee)?;
        let changelogs = Changelogs::new(&log, &topology)?;
        let ends = log.reader(crate::log::Isolation::ReadCommitted)?;
        let memory = MemoryBudget::new(16 << 20);
        let told = RefCell::new(Told::new(&log)?);
        let witness = Arc::new(Witness::new(&topology));
        let making = Making { topology, config, log, witness, memory };
        let world = Rc::new(Self {
            scheduler: Rc::clone(scheduler),
            making,
            workload: RefCell::new(workload),
            instances: RefCell::new(NAMES.into_iter().map(Instance::new).collect()),
            changelogs: RefCell::new(changelogs),
            lives: Cell::new(0),
            is_rough: Cell::new(true),
            fed_per_second: Cell::new(chance(&|rng| rng.between(2, 25))),
            last_turn: Cell::new(Duration::ZERO),
            away_until: Cell::new(Duration::ZERO),
            checked_commits: Cell::new(0),
            told,
            gaps: RefCell::default(),
            owned: RefCell::default(),
            group: RefCell::new(None),
            ends: RefCell::new(ends),
        });
        let count = chance(&|rng| rng.between(1, 3)) as usize;
        for instance in world.instances.borrow_mut().iter_mut().take(count) {
            instance.starts_at = Some(Duration::from_millis(chance(&|rng| rng.between(0, 2_000))));
        }
        Ok(world)
    }

    fn now(&self) -> Duration {
        self.scheduler.now()
    }

    fn is_away(&self) -> bool {
        self.away_until.get() > Duration::ZERO
    }

    /// From now on nothing goes wrong any more; what is down is started.
    pub(super) fn calm_down(&self) {
        self.scheduler.note("the faults end");
        self.is_rough.set(false);
        let now = self.now();
        self.away_until.set(Duration::ZERO);
        self.making.log.set_available(true);
        let mut instances = self.instances.borrow_mut();
        for instance in instances.iter_mut() {
            if let Some(living) = &mut instance.living {
                living.life.heal();
                living.cut(Duration::ZERO, now);
            }
            instance.starts_at = instance.starts_at.map(|_| now);
        }
        let stays = |instance: &Instance| {
            instance.starts_at.is_some() || instance.living.as_ref().is_some_and(|living| !living.leaves)
        };
        if !instances.iter().any(stays)
            && let Some(instance) = instances.iter_mut().find(|instance| instance.living.is_none())
        {
            instance.starts_at = Some(now);
        }
    }

    /// Starts one more instance, if there may be one.
    pub(super) fn join_one(&self) -> Option<&'static str> {
        let now = self.now();
        let mut instances = self.instances.borrow_mut();
        let free = instances.iter_mut().find(|instance| instance.living.is_none() && instance.starts_at.is_none())?;
        free.starts_at = Some(now);
        Some(free.name)
    }

    /// Asks one instance to leave, if another one stays.
    pub(super) fn drain_one(&self) -> Option<&'static str> {
        let mut instances = self.instances.borrow_mut();
        let staying = |instance: &Instance| instance.living.as_ref().is_some_and(|living| !living.leaves);
        let candidates: Vec<usize> = (0..instances.len()).filter(|index| staying(&instances[*index])).collect();
        if candidates.len() < 2 {
            return None;
        }
        let chosen = self.scheduler.chance(|rng| rng.pick(&candidates))?;
        self.ask_to_leave(&mut instances[chosen]);
        Some(instances[chosen].name)
    }

    /// Ends one instance at once and for good, if another one stays.
    pub(super) fn crash_one(&self) -> Option<&'static str> {
        let mut instances = self.instances.borrow_mut();
        let living: Vec<usize> = (0..instances.len()).filter(|index| instances[*index].living.is_some()).collect();
        let chosen = self.scheduler.chance(|rng| rng.pick(&living)).filter(|_| living.len() > 1)?;
        let instance = &mut instances[chosen];
        self.scheduler.note(format_args!("{} crashes for good", instance.name));
        self.kill(instance);
        Some(instance.name)
    }

    /// How soon the tasks of an instance that crashed have to be processed again.
    pub(super) fn takes_over_within(&self) -> Duration {
        let config = &self.making.config;
        let silence = config.effective_suspicion_timeout().map_or(config.session_timeout, |timeout| timeout);
        silence + Duration::from_secs(6)
    }

    fn ask_to_leave(&self, instance: &mut Instance) {
        if let Some(living) = &mut instance.living {
            self.scheduler.note(format_args!("{} is asked to leave", living.life));
            living.leaves = true;
            living.seen.request_stop();
        }
    }

    /// One start of an instance.
    fn start(&self, instance: &mut Instance) {
        let number = self.lives.get() + 1;
        self.lives.set(number);
        let ahead_ms = self.scheduler.chance(|rng| rng.between(0, 4_000)) as i64 - 2_000;
        let life = Life::new(number, instance.name, self.scheduler.time.clone(), ahead_ms);
        if let Err(error) = instance.start(&self.making, &self.scheduler, life) {
            self.scheduler.violated(format_args!("{} does not start: {error}", instance.name));
        }
    }

    /// Takes a life away at once.
    fn kill(&self, instance: &mut Instance) {
        if let Some(living) = instance.living.take() {
            self.scheduler.kill(&living.life);
        }
    }

    /// How many records were fed.
    pub(super) fn fed(&self) -> u64 {
        self.workload.borrow().fed()
    }

    pub(super) fn set_fed_per_second(&self, records: u64) {
        self.fed_per_second.set(records);
    }

    pub(super) fn commits(&self) -> u64 {
        self.making.witness.commits()
    }

    /// Which tasks were assigned to others since this was asked last.
    pub(super) fn moved_tasks(&self) -> BTreeSet<TaskId> {
        self.told.borrow_mut().moved()
    }

    /// Which life has which task open, and the store of it: as long as that is the same, the task was not closed.
    pub(super) fn open_tasks(&self) -> BTreeMap<TaskId, (u64, usize)> {
        let mut open = BTreeMap::new();
        for living in self.instances.borrow().iter().filter_map(|instance| instance.living.as_ref()) {
            for (task, hosted) in living.seen.hosted().into_iter().filter(|(_, hosted)| is_active(hosted)) {
                open.insert(task, (living.life.number, Arc::as_ptr(&hosted.view) as usize));
            }
        }
        open
    }
}

/// Some time since the epoch of the log's clock, for what is written at it.
pub(super) fn wall_ms(now: Duration) -> i64 {
    EPOCH_MS + now.as_millis() as i64
}

/// Who runs, and is not leaving.
fn staying(instances: &[Instance]) -> impl Iterator<Item = &Living> {
    instances.iter().filter_map(|instance| instance.living.as_ref()).filter(|living| !living.leaves)
}

/// A membership that is never polled, to ask the group by.
fn outside(log: &EmbeddedLog) -> Option<Outside> {
    let options = MembershipOptions {
        group_id: APPLICATION.into(),
        client_id: "nobody".into(),
        coordination_topic: format!("{APPLICATION}-coordination"),
        session_timeout: Duration::from_secs(6),
        max_poll_interval: Duration::from_secs(60),
    };
    let membership = log.join(options).ok()?;
    let group = membership.group();
    Some((membership, group))
}
