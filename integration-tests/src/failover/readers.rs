//! Questions at a steady rate, whether or not those before are answered, and when the answers came.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use millpond::{
    log::Partitioner,
    query::Consistency,
    state::TaskId,
    time::{Clock as _, SystemClock},
};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::service::Service;
use crate::ledger::{ACCOUNTS, BALANCES, COUNTS, Topics, account, client::Client, teller};

/// Keys of each task that are asked for: few, so that each is asked for often.
const KEYS_PER_TASK: usize = 2;
/// How many questions may be under way.
const UNDER_WAY: usize = 8_192;

/// A key that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) task: TaskId,
    store: &'static str,
    name: String,
}

/// Questions at a steady rate.
#[derive(Debug)]
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<()>,
    under_way: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When answers came, by the key's place, in order.
    pub(super) answered: BTreeMap<usize, Vec<Duration>>,
    /// How long the longest took.
    pub(super) longest: Duration,
    /// How many there were.
    pub(super) asked: u64,
    /// How many were not answered, by the reason, and when the first of each kind was asked, and whom.
    pub(super) failed: BTreeMap<String, (u64, Duration, String)>,
}

/// The keys that are asked for: some of each task.
pub(super) fn keys(topics: &Topics) -> Vec<Key> {
    let of = |sub_topology, store, count: u32, name: fn(u32) -> String| {
        let mut left: BTreeMap<i32, usize> =
            (0..topics.partitions).map(|partition| (partition, KEYS_PER_TASK)).collect();
        let mut keys = Vec::new();
        for name in (0..count).map(name) {
            let partition = Partitioner::for_key(name.as_bytes(), topics.partitions);
            if let Some(left) = left.get_mut(&partition).filter(|left| **left > 0) {
                *left -= 1;
                keys.push(Key { task: TaskId::new(sub_topology, partition), store, name });
            }
        }
        keys
    };
    [of(0, COUNTS, topics.tellers(), teller), of(1, BALANCES, ACCOUNTS, account)].concat()
}

// === impl Readers ===

impl Readers {
    /// Begins to ask, so often per second, all keys in turn.
    pub(super) fn start(
        service: &Service,
        keys: &[Key],
        per_second: u32,
        consistency: Consistency,
        clock: SystemClock,
    ) -> anyhow::Result<Self> {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Seen>>::default());
        let (client, under_way) = (Client::new()?, Arc::new(Semaphore::new(UNDER_WAY)));
        let (service, keys) = (service.clone(), keys.to_vec());
        let (stopped, all, slots) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&under_way));
        let asking = tokio::spawn(async move {
            let mut beat = interval(Duration::from_secs(1) / per_second);
            beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for turn in 0_u64.. {
                beat.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let number = usize::try_from(turn).unwrap_or_default() % keys.len();
                let (Key { store, name, .. }, asked) = (keys[number].clone(), clock.monotonic());
                lock(&all).asked += 1;
                // Over the keys first, so that each key is asked for everywhere.
                let at = service.pick(turn + turn / keys.len() as u64);
                let (Some(at), Ok(slot)) = (at, Arc::clone(&slots).try_acquire_owned()) else {
                    lock(&all).fail("nobody to ask, or too many questions under way", asked, "");
                    continue;
                };
                let (client, seen) = (client.clone(), Arc::clone(&all));
                tokio::spawn(async move {
                    let told = client.ask(&at, store, &name, consistency).await;
                    let answered = clock.monotonic();
                    drop(slot);
                    let mut seen = lock(&seen);
                    match told {
                        Ok(_) => {
                            seen.answered.entry(number).or_default().push(answered);
                            seen.longest = seen.longest.max(answered - asked);
                        }
                        Err(refused) => seen.fail(&refused.to_string(), asked, &at),
                    }
                });
            }
        });
        Ok(Self { stop, asking, under_way, seen })
    }

    /// Stops asking, and waits for the answers.
    pub(super) async fn stop(self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.context("the readers panicked")?;
        let all = u32::try_from(UNDER_WAY)?;
        drop(self.under_way.acquire_many(all).await?);
        let mut seen = std::mem::take(&mut *lock(&self.seen));
        seen.answered.values_mut().for_each(|times| times.sort());
        Ok(seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Seen ===

impl Seen {
    fn fail(&mut self, why: &str, asked: Duration, at: &str) {
        self.failed.entry(why.to_owned()).or_insert_with(|| (0, asked, at.to_owned())).0 += 1;
    }

    /// How many were not answered.
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().map(|(count, ..)| count).sum()
    }

    /// For people, with times since `since`.
    pub(super) fn show(&self, since: Duration) -> String {
        let Self { asked, failed, longest, .. } = self;
        let why: Vec<_> = failed
            .iter()
            .map(|(why, (count, first, at))| {
                format!("{why} {count} times, first at {at} {:.2} s after", first.as_secs_f64() - since.as_secs_f64())
            })
            .collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        format!("{} of {asked} failed{why}, the longest took {:.2} s", self.failures(), longest.as_secs_f64())
    }
}
