//! The acts of a simulation: a rough time, then calm ones.

use std::time::Duration;

use super::{scheduler::Scheduler, world::World};

/// How long the cluster may take, when nothing goes wrong any more, until all is well.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
/// It is well when it has been for so long, with the same assignment.
const IS_SETTLED: Duration = Duration::from_secs(4);
/// For how long nothing may change then.
const STAYS_SETTLED: Duration = Duration::from_secs(15);
/// How often to look whether all is well.
const LOOK: Duration = Duration::from_millis(500);
/// How long a task may be at nobody's when nothing goes wrong.
const LONGEST_GAP: Duration = Duration::from_millis(2500);

/// The acts of a simulation.
pub(super) struct Play<'a> {
    pub(super) scheduler: &'a Scheduler,
    pub(super) world: &'a World,
}

// === impl Play ===

impl Play<'_> {
    pub(super) fn play(&self) {
        self.rough();
        self.world.calm_down();
        self.settle("after the faults");
        for _ in 0..2 {
            match self.scheduler.chance(|rng| rng.below(4)) {
                0 => self.change("a join", World::join_one),
                1 => self.change("a drain", World::drain_one),
                2 => self.crash(),
                _ => {}
            }
        }
        self.stay();
    }

    /// Things go wrong.
    fn rough(&self) {
        let looks = self.scheduler.chance(|rng| rng.between(5, 25));
        for _ in 0..looks {
            self.pass(Duration::from_secs(1));
            if !self.scheduler.is_violated() {
                self.world.check_stores();
            }
        }
    }

    /// All becomes well, in time.
    fn settle(&self, when: &str) {
        self.world.set_fed_per_second(0);
        let until = self.scheduler.now() + SETTLES_WITHIN;
        let (mut well_since, mut order) = (None, None);
        while !self.scheduler.is_violated() {
            let now = self.scheduler.now();
            let why = match self.world.unsettled() {
                None if order == self.world.order() && well_since.is_some_and(|since| now >= since + IS_SETTLED) => {
                    break;
                }
                None if order == self.world.order() && well_since.is_some() => String::new(),
                why => {
                    (well_since, order) = (why.is_none().then_some(now), self.world.order());
                    why.unwrap_or_else(|| format!("assignment follows assignment, {order:?} is the last"))
                }
            };
            if self.scheduler.now() > until {
                let seconds = SETTLES_WITHIN.as_secs();
                return self.scheduler.violated(format_args!("{when}, not all is well within {seconds} s: {why}"));
            }
            self.pass(LOOK);
        }
        if !self.scheduler.is_violated() {
            self.scheduler.note(format_args!("all is well {when}"));
            self.world.check_stores();
        }
    }

    /// A change that nothing goes wrong with: tasks that do not move are not closed, and no task is away for long.
    fn change(&self, what: &str, change: impl FnOnce(&World) -> Option<&'static str>) {
        if self.scheduler.is_violated() {
            return;
        }
        self.world.set_fed_per_second(5);
        self.pass(LOOK);
        let before = self.world.open_tasks();
        self.world.moved_tasks();
        self.world.begin_gaps();
        let Some(who) = change(self.world) else { return };
        self.pass(Duration::from_secs(3));
        self.settle(&format!("after {what}"));
        let (after, moved) = (self.world.open_tasks(), self.world.moved_tasks());
        for (task, (life, store)) in before.into_iter().filter(|(task, _)| !moved.contains(task)) {
            if let Some((_, other)) = after.get(&task).filter(|(owner, other)| *owner == life && *other != store) {
                let what =
                    format_args!("{what} of {who} closed task {task}, which did not move ({store:x}, {other:x})");
                self.scheduler.violated(what);
            }
        }
        let gaps = self.world.end_gaps();
        self.scheduler.note(format_args!("{what} of {who}: {gaps}"));
        if gaps.longest() > LONGEST_GAP {
            self.scheduler.violated(format_args!("{what} of {who}: {gaps}"));
        }
    }

    /// An instance is gone, and does not come back: the others take over.
    fn crash(&self) {
        if self.scheduler.is_violated() {
            return;
        }
        self.world.set_fed_per_second(5);
        self.pass(LOOK);
        self.world.begin_gaps();
        let Some(who) = self.world.crash_one() else { return };
        self.pass(Duration::from_secs(14));
        self.settle("after a crash");
        let gaps = self.world.end_gaps();
        let bound = self.world.takes_over_within();
        self.scheduler.note(format_args!("a crash of {who}: {gaps}"));
        if gaps.longest() > bound {
            self.scheduler.violated(format_args!("a crash of {who}: {gaps}, more than {bound:?}"));
        }
    }

    /// Nothing changes any more.
    fn stay(&self) {
        if self.scheduler.is_violated() {
            return;
        }
        let order = self.world.order();
        self.scheduler.set_slowness(4);
        self.pass(STAYS_SETTLED);
        let then = self.world.order();
        if order != then && !self.scheduler.is_violated() {
            self.scheduler.violated(format_args!("a cluster that is well goes from assignment {order:?} to {then:?}"));
        }
    }

    fn pass(&self, time: Duration) {
        self.scheduler.run_until(self.scheduler.now() + time);
    }
}
