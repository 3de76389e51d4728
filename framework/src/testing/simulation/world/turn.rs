//! What the world does from turn to turn, beside what it lets befall.

use std::time::Duration;

use super::World;
use crate::{
    cluster::ProbeFailure,
    testing::simulation::{instance::Living, rng::Rng},
};

impl World {
    /// A turn of the world.
    pub(in crate::testing::simulation) fn go_on(&self) {
        let now = self.now();
        let elapsed = now.saturating_sub(self.last_turn.replace(now));
        self.tend();
        self.probe();
        if self.is_rough.get() {
            self.befall(elapsed);
        }
        self.feed(elapsed);
    }

    /// Starts who is to be started, buries who is dead, mends what is to be mended.
    fn tend(&self) {
        let now = self.now();
        if self.away_until.get() > Duration::ZERO && self.away_until.get() <= now {
            self.away_until.set(Duration::ZERO);
            self.making.log.set_available(true);
        }
        for instance in self.instances.borrow_mut().iter_mut() {
            if let Some(living) = &mut instance.living {
                living.mend(now);
                let (is_dead, ended) = (living.life.is_dead(), living.life.ended());
                match ended {
                    _ if is_dead => {
                        let wait = self.scheduler.chance(|rng| rng.between(0, 9_000));
                        self.kill(instance);
                        instance.starts_at = Some(now + Duration::from_millis(wait));
                    }
                    // One that left while the log was away, or slow, could not say so.
                    Some(Err(error)) if living.leaves && error.contains("leav") => self.kill(instance),
                    Some(Ok(())) => {
                        self.scheduler.note(format_args!("{} has ended", living.life));
                        self.kill(instance);
                    }
                    Some(Err(error)) => {
                        self.scheduler.violated(format_args!("{} ended by an error: {error}", living.life));
                    }
                    None => {}
                }
            }
            if instance.living.is_none() && instance.starts_at.is_some_and(|at| at <= now) {
                self.start(instance);
            }
        }
    }

    fn feed(&self, elapsed: Duration) {
        if self.is_away() {
            return;
        }
        let mut workload = self.workload.borrow_mut();
        let thousandths = self.fed_per_second.get() * elapsed.as_millis() as u64;
        let (some, more) = (thousandths / 1000, thousandths % 1000);
        let count = some + u64::from(self.scheduler.chance(|rng| rng.permille(more)));
        for _ in 0..count {
            let key = self.scheduler.chance(Rng::next);
            if let Err(error) = workload.feed(self.now(), key) {
                self.scheduler.violated(format_args!("nothing can be fed: {error}"));
            }
        }
    }

    /// Instances ask each other whether they are alive.
    fn probe(&self) {
        let now = self.now();
        let instances = self.instances.borrow();
        let can_talk = |living: &Living| {
            let life = &living.life;
            !life.is_dead() && life.ended().is_none() && !life.paused.is_after(now) && !life.alone.is_after(now)
        };
        for living in instances.iter().filter_map(|instance| instance.living.as_ref()) {
            let life = &living.life;
            if life.is_dead() || life.paused.is_after(now) {
                continue;
            }
            for other in living.seen.whom_to_ask() {
                let asked = instances.iter().find(|instance| *instance.name == *other);
                let answer = match asked.and_then(|instance| instance.living.as_ref()) {
                    None => Err(ProbeFailure::Refused),
                    Some(asked) if can_talk(living) && can_talk(asked) => {
                        asked.seen.answer(&living.seen).ok_or(ProbeFailure::Silent)
                    }
                    Some(_) => Err(ProbeFailure::Silent),
                };
                living.seen.told(&other, answer);
            }
        }
    }
}
