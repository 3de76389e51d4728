//! Lets things happen, and puts them right again.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use millpond::{log::LogError, time::Clock as _};
use tokio::{task::block_in_place, time::sleep};

use super::{
    super::{Rng, fleet::PATIENCE, plan::name, round::start},
    World,
    event::{Condition, Event},
};

/// How often to look whether something is due.
const LOOK: Duration = Duration::from_millis(20);
/// How long what a victim restored is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// How many things happen in a burst, and the time between two of them in ms.
const EVENTS: (u64, u64) = (3, 9);
const BETWEEN_MS: (u64, u64) = (100, 4_000);

/// What is out of order.
#[derive(Debug)]
pub(super) struct Disorder {
    rng: Rng,
    conditions: Vec<Condition>,
    /// What puts it right, by when and in what order it was begun.
    due: BTreeMap<(Duration, usize), Remedy>,
    remedies: usize,
    events: usize,
    burst: Vec<String>,
}

/// What puts something right.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Remedy {
    Start { number: usize, wiped: bool },
    Resume { number: usize },
    Mend { link: (usize, usize) },
    StartBroker,
}

// === impl Disorder ===

impl Disorder {
    pub(super) fn new(rng: Rng, instances: usize) -> Self {
        let conditions = vec![Condition::Down; instances];
        Self { rng, conditions, due: BTreeMap::new(), remedies: 0, events: 0, burst: Vec::new() }
    }

    /// How much has happened.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// What happened last.
    pub(super) fn last_burst(&self) -> String {
        self.burst.join("; ")
    }

    /// Lets some things happen.
    pub(super) async fn burst(&mut self, world: &mut World) -> anyhow::Result<()> {
        self.burst.clear();
        for _ in 0..self.rng.within(EVENTS.0, EVENTS.1) {
            let until = world.clock.monotonic() + Duration::from_millis(self.rng.within(BETWEEN_MS.0, BETWEEN_MS.1));
            while world.clock.monotonic() < until {
                self.tend(world)?;
                sleep(LOOK).await;
            }
            self.look(world);
            if let Some(event) = Event::any(&mut self.rng, &self.conditions) {
                println!("{:7.1} s: {event}", world.clock.monotonic().as_secs_f64());
                self.burst.push(event.to_string());
                self.events += 1;
                self.happen(event, world).await?;
            }
        }
        Ok(())
    }

    /// Puts everything right, and waits for what is stopping.
    pub(super) async fn end(&mut self, world: &mut World) -> anyhow::Result<()> {
        let soon: Vec<Remedy> = std::mem::take(&mut self.due).into_values().collect();
        for remedy in soon {
            self.due(world.clock.monotonic(), remedy);
        }
        let deadline = world.clock.monotonic() + PATIENCE;
        while !self.due.is_empty() {
            ensure!(world.clock.monotonic() < deadline, "an instance does not stop: {:?}", self.due.values());
            self.tend(world)?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Starts those that are down.
    pub(super) fn start_all(&mut self, world: &mut World) -> anyhow::Result<()> {
        self.look(world);
        for number in 0..self.conditions.len() {
            if self.conditions[number] == Condition::Down {
                world.fleet.start(number, None)?;
            }
        }
        Ok(())
    }

    fn is_broker_away(&self) -> bool {
        self.due.values().any(|remedy| *remedy == Remedy::StartBroker)
    }

    fn due(&mut self, at: Duration, remedy: Remedy) {
        self.remedies += 1;
        self.due.insert((at, self.remedies), remedy);
    }

    /// Notices who has ended.
    fn look(&mut self, world: &World) {
        for (condition, instance) in self.conditions.iter_mut().zip(&world.fleet.instances) {
            match (*condition, instance.is_running()) {
                (_, false) => *condition = Condition::Down,
                (Condition::Down, true) => *condition = Condition::Up,
                _ => {}
            }
        }
    }

    /// Puts right what is due, and looks after the instances.
    fn tend(&mut self, world: &mut World) -> anyhow::Result<()> {
        world.fleet.tend()?;
        self.look(world);
        let now = world.clock.monotonic();
        let mut later = BTreeMap::new();
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let (key, remedy) = entry.remove_entry();
            match remedy {
                // It is not down yet.
                Remedy::Start { number, .. } if self.conditions[number] == Condition::Stopping => {
                    later.insert(key, remedy);
                }
                Remedy::Start { number, wiped } if self.conditions[number] == Condition::Down => {
                    if wiped {
                        world.fleet.wipe(number)?;
                    }
                    world.fleet.start(number, None)?;
                    self.conditions[number] = Condition::Up;
                }
                Remedy::Resume { number } if self.conditions[number] == Condition::Frozen => {
                    world.fleet.instances[number].resume()?;
                    self.conditions[number] = Condition::Up;
                }
                // It was killed meanwhile, or came by itself.
                Remedy::Start { .. } | Remedy::Resume { .. } => {}
                Remedy::Mend { link } => world.wires.mend(link),
                Remedy::StartBroker => start(&mut world.broker)?,
            }
        }
        self.due.append(&mut later);
        world.wires.set_pids(world.fleet.pids());
        Ok(())
    }

    async fn happen(&mut self, event: Event, world: &mut World) -> anyhow::Result<()> {
        let now = world.clock.monotonic();
        match event {
            Event::Kill { victim, down, wiped } => {
                if self.conditions[victim] == Condition::Up && !self.is_broker_away() {
                    look_at_restored(world, victim).await?;
                }
                // What was to be done about it is of the life that ends here.
                let of_victim = |remedy: &Remedy| match remedy {
                    Remedy::Start { number, .. } | Remedy::Resume { number } => *number == victim,
                    Remedy::Mend { .. } | Remedy::StartBroker => false,
                };
                self.due.retain(|_, remedy| !of_victim(remedy));
                world.fleet.kill_now(victim)?;
                self.conditions[victim] = Condition::Down;
                self.due(now + down, Remedy::Start { number: victim, wiped });
            }
            Event::Stop { victim, down, wiped } => {
                if !self.is_broker_away() {
                    look_at_restored(world, victim).await?;
                }
                if world.fleet.instances[victim].has_ended()?.is_none() {
                    world.fleet.ask_to_stop(victim)?;
                    self.conditions[victim] = Condition::Stopping;
                }
                self.due(now + down, Remedy::Start { number: victim, wiped });
            }
            Event::Freeze { victim, time } => {
                world.fleet.instances[victim].pause()?;
                self.conditions[victim] = Condition::Frozen;
                self.due(now + time, Remedy::Resume { number: victim });
            }
            Event::Join { newcomer } => {
                self.due.retain(|_, remedy| !matches!(remedy, Remedy::Start { number, .. } if *number == newcomer));
                self.due(now, Remedy::Start { number: newcomer, wiped: false });
            }
            Event::Broker { down, kill } => {
                if !self.is_broker_away() {
                    block_in_place(|| if kill { world.broker.kill() } else { world.broker.stop() })?;
                    self.due(now + down, Remedy::StartBroker);
                }
            }
            Event::Cut { links, how, time } => {
                for link in links {
                    // A link that is cut already stays so until the later of both is over.
                    let later = |(key, remedy): (&(Duration, usize), &Remedy)| {
                        *remedy == Remedy::Mend { link } && key.0 >= now + time
                    };
                    world.wires.cut(link, how);
                    if !self.due.iter().any(later) {
                        self.due.retain(|_, remedy| *remedy != Remedy::Mend { link });
                        self.due(now + time, Remedy::Mend { link });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Checks what an instance has restored, if it says so soon and the log answers.
async fn look_at_restored(world: &mut World, number: usize) -> anyhow::Result<()> {
    match tokio::time::timeout(ANSWER, world.fleet.look_at_restored(number)).await {
        Ok(Err(error)) if error.downcast_ref::<LogError>().is_none() => {
            println!("what {} has restored is wrong", name(number));
            Err(error)
        }
        _ => Ok(()),
    }
}
