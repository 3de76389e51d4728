//! What befalls the instances and the log while things go wrong.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use super::{World, wall_ms};
use crate::{
    log::{Append, Headers, Log},
    state::MemoryDisk,
    testing::simulation::{instance::Instance, rng::Rng, workload::APPLICATION},
};

/// What may befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    CrashAtCall,
    CrashAndLoseDisk,
    Pause,
    StuckWorker,
    SlowDisk,
    CutOff,
    LogAway,
    LateMetadata,
    Flaky,
    ClockJump,
    Join,
    Leave,
    Compaction,
    Garbage,
}

/// How likely each is, relative to the others.
const FAULTS: [(Fault, u64); 15] = [
    (Fault::Crash, 8),
    (Fault::CrashAtCall, 16),
    (Fault::CrashAndLoseDisk, 3),
    (Fault::Pause, 12),
    (Fault::StuckWorker, 4),
    (Fault::SlowDisk, 6),
    (Fault::CutOff, 10),
    (Fault::LogAway, 4),
    (Fault::LateMetadata, 10),
    (Fault::Flaky, 14),
    (Fault::ClockJump, 3),
    (Fault::Join, 8),
    (Fault::Leave, 7),
    (Fault::Compaction, 4),
    (Fault::Garbage, 2),
];
/// How many faults there are in a minute.
const PER_MINUTE: u64 = 50;

// === impl World ===

impl World {
    /// Something may befall.
    pub(super) fn befall(&self, elapsed: Duration) {
        let permille = PER_MINUTE * elapsed.as_millis() as u64 / 60;
        if !self.scheduler.chance(|rng| rng.permille(permille)) {
            return;
        }
        let fault = self.scheduler.chance(any_fault);
        let now = self.now();
        let time = |least, most| self.scheduler.chance(|rng| Duration::from_millis(rng.between(least, most)));
        let mut instances = self.instances.borrow_mut();
        let alive: Vec<usize> = (0..instances.len()).filter(|index| instances[*index].living.is_some()).collect();
        match fault {
            Fault::Join => {
                let free: Vec<usize> = (0..instances.len()).filter(|index| is_free(&instances[*index])).collect();
                if alive.len() < 4
                    && let Some(free) = self.scheduler.chance(|rng| rng.pick(&free))
                {
                    instances[free].starts_at = Some(now);
                }
                return;
            }
            Fault::LogAway => {
                let until = self.away_until.get().max(now + time(300, 7_000));
                self.scheduler.note(format_args!("the log is away until {:.3}", until.as_secs_f64()));
                self.away_until.set(until);
                return self.making.log.set_available(false);
            }
            Fault::Compaction => {
                drop(instances);
                return self.compact();
            }
            Fault::Garbage => return self.publish_garbage(),
            _ => {}
        }
        let Some(chosen) = self.scheduler.chance(|rng| rng.pick(&alive)) else { return };
        let instance = &mut instances[chosen];
        let Some(living) = &mut instance.living else { return };
        let life = std::sync::Arc::clone(&living.life);
        match fault {
            Fault::Crash | Fault::CrashAndLoseDisk => {
                let loses_disk = fault == Fault::CrashAndLoseDisk;
                self.scheduler.note(format_args!("{life} crashes{}", if loses_disk { ", its disk too" } else { "" }));
                self.kill(instance);
                if loses_disk {
                    instance.disk = MemoryDisk::default();
                }
                instance.starts_at = Some(now + time(0, 9_000));
            }
            Fault::CrashAtCall => {
                let calls = self.scheduler.chance(|rng| rng.between(1, 60));
                life.crash_in.store(calls, Ordering::Relaxed);
            }
            Fault::Pause => {
                let until = now + self.some_time();
                self.scheduler.note(format_args!("{life} stands still until {:.3}", until.as_secs_f64()));
                life.paused.set(until);
                // A process that stands still is not heard.
                living.cut(until, now);
            }
            Fault::StuckWorker => {
                let until = now + time(1_000, 40_000);
                self.scheduler.note(format_args!("the workers of {life} are stuck until {:.3}", until.as_secs_f64()));
                life.stuck.set(until);
            }
            Fault::SlowDisk => {
                let (until, most) = (now + time(500, 8_000), self.scheduler.chance(|rng| rng.between(10, 1_500)));
                self.scheduler.note(format_args!("the disk of {life} is slow, {most} ms"));
                life.slow_disk_ms.store(most, Ordering::Relaxed);
                life.slow_disk.set(until);
            }
            Fault::CutOff => {
                let until = now + self.some_time();
                let (log, peers) = self.scheduler.chance(|rng| match rng.below(3) {
                    0 => (true, false),
                    1 => (false, true),
                    _ => (true, true),
                });
                let from = match (log, peers) {
                    (true, true) => "everything",
                    (true, false) => "the log",
                    _ => "the others",
                };
                self.scheduler.note(format_args!("{life} is cut off from {from} until {:.3}", until.as_secs_f64()));
                if log {
                    living.cut(until, now);
                }
                if peers {
                    life.alone.set(until);
                }
            }
            Fault::LateMetadata => {
                let until = now + time(200, 6_000);
                self.scheduler.note(format_args!("{life} hears nothing until {:.3}", until.as_secs_f64()));
                life.uninformed.set(until);
            }
            Fault::Flaky => {
                let permille = self.scheduler.chance(|rng| rng.between(20, 300));
                self.scheduler.note(format_args!("calls of {life} go wrong, {permille} of a thousand"));
                life.flaky_permille.store(permille, Ordering::Relaxed);
                life.flaky.set(now + time(500, 6_000));
            }
            Fault::ClockJump => {
                let jump = self.scheduler.chance(|rng| rng.between(0, 1_200_000)) as i64 - 600_000;
                self.scheduler.note(format_args!("the wall clock of {life} jumps by {jump} ms"));
                life.ahead_ms.fetch_add(jump, Ordering::Relaxed);
            }
            Fault::Leave => self.ask_to_leave(instance),
            Fault::Join | Fault::LogAway | Fault::Compaction | Fault::Garbage => {}
        }
    }

    /// Short more often than long, and at times longer than every timeout.
    fn some_time(&self) -> Duration {
        self.scheduler.chance(|rng| {
            let most = match rng.below(10) {
                0..=4 => 2_500,
                5..=8 => 9_000,
                _ => 25_000,
            };
            Duration::from_millis(rng.between(100, most))
        })
    }

    fn compact(&self) {
        if self.is_away() {
            return;
        }
        self.scheduler.note("the log is compacted");
        let topology = &self.making.topology;
        let stores = topology.sub_topologies.iter().flat_map(|sub_topology| sub_topology.stores.iter());
        let changelogs = stores.filter_map(|store| store.changelog.as_deref());
        self.follow_changelogs();
        for topic in changelogs {
            // Those that are not there yet have nothing to be compacted.
            let _ = self.making.log.compact(topic);
        }
    }

    /// Records that nobody of this version writes.
    fn publish_garbage(&self) {
        self.scheduler.note("somebody writes garbage to the metadata topic");
        let topic = format!("{APPLICATION}-metadata").into();
        let garbage: BTreeMap<&str, Option<&str>> = [
            ("host/a", Some("{")),
            ("host/zombie", Some(r#"{"format":1}"#)),
            ("assignment", Some(r#"{"format":99,"generation":1}"#)),
            ("weather", Some("rain")),
            ("", Some("")),
            ("host/nobody", None),
        ]
        .into();
        let Ok(mut producer) = self.making.log.producer() else { return };
        for (key, value) in garbage {
            let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
            let timestamp_ms = wall_ms(self.now());
            let headers = &Headers::default();
            // Before the first instance there is no such topic.
            let _ = producer.append(Append { topic: &topic, partition: 0, key, value, timestamp_ms, headers });
        }
        let _ = producer.flush(Duration::ZERO);
    }
}

fn any_fault(rng: &mut Rng) -> Fault {
    let total = FAULTS.iter().map(|(_, weight)| weight).sum::<u64>();
    let mut left = rng.next() % total;
    for (fault, weight) in FAULTS {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return fault,
        }
    }
    Fault::Flaky
}

fn is_free(instance: &Instance) -> bool {
    instance.living.is_none() && instance.starts_at.is_none()
}
