//! One round: instances, transfers, faults, and the reckoning.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use millpond::{
    config::MemoryShares,
    log::{
        Log,
        kafka::{KafkaLog, KafkaOptions},
    },
    testing::{Failpoint, Step},
    time::{Clock as _, SystemClock},
};
use tokio::task::block_in_place;

use super::{
    Fault, Plan, Rng,
    fleet::{Fleet, Kind, Restored},
    plan::name,
};
use crate::{
    broker::{Broker, unique},
    ledger::{
        Topics,
        audit::Checked,
        books::Books,
        feeder::Feeder,
        observer::{Asking, Observer, ask_for_everything, check},
    },
};

/// Transfers per second.
const RATE: u64 = 600;
/// How long transfers go on after the last fault.
const AFTERWARDS: Duration = Duration::from_millis(1_500);

/// What a round came to, when nothing was wrong.
#[derive(Debug)]
pub struct Report {
    /// Inputs.
    pub transfers: usize,
    /// Answers that were checked.
    pub answers: u64,
    /// Questions without an answer, by the code of the refusal.
    pub refused: BTreeMap<String, u64>,
    /// Where instances died, of the failpoints.
    pub died_at: Vec<Failpoint>,
    /// Faults that did not come about, and what else is worth knowing.
    pub notes: Vec<String>,
    /// Rows on the disks of all instances that were compared with the changelogs.
    pub rows: usize,
    /// How often damaged state was found.
    pub damages_found: usize,
    /// How long it took.
    pub elapsed: Duration,
    restored: Vec<Restored>,
}

/// Plays a round on this broker; logs and state go below `folder`.
///
/// # Errors
/// Says which invariant does not hold, or what took too long.
pub async fn round(broker: &mut Broker, plan: &Plan, folder: &Path) -> anyhow::Result<Report> {
    let clock = SystemClock::new();
    let application = unique("ledger");
    let topics = Topics::of(&application);
    let log = connect(broker.bootstrap())?;
    block_in_place(|| topics.create(&*log))?;
    let kind = Kind {
        instances: plan.instances,
        guarantee: plan.guarantee,
        standbys: plan.standbys,
        // The least, so that there are tables on disk.
        memory: Some(MemoryShares::least(1)),
        settings: Vec::new(),
    };
    let mut fleet = Fleet::new(&kind, &topics, broker.bootstrap(), Arc::clone(&log), folder, clock)?;
    let mut feeder = block_in_place(|| Feeder::new(&*log, &topics, plan.seed))?;
    block_in_place(|| feeder.visit())?;
    for number in 0..plan.instances {
        fleet.start(number, None)?;
    }
    fleet.all_ready().await?;
    let asking = if plan.standbys == 0 { Asking::FOR_THE_LATEST } else { Asking::FOR_ALL };
    let observer = Observer::start(&fleet.urls(), plan.seed, clock, asking)?;
    let feeding = feeder.run(RATE);

    let mut rng = Rng::new(plan.seed.rotate_left(32));
    let (mut notes, mut died_at) = (Vec::new(), Vec::new());
    for (after, fault) in &plan.faults {
        fleet.pass(*after).await?;
        let note = happen(*fault, &mut fleet, broker, &mut rng).await.with_context(|| fault.to_string())?;
        died_at.extend(fault.failpoint().filter(|_| note.is_none()));
        notes.extend(note);
    }
    fleet.pass(AFTERWARDS).await?;
    block_in_place(|| feeding.stop())?;
    fleet.all_ready().await?;

    let mut books = block_in_place(|| Books::open(&*log, &topics, plan.guarantee, clock))?;
    let settled = fleet
        .until("all transfers are through", async || {
            block_in_place(|| books.read())?;
            Ok(books.are_settled())
        })
        .await;
    books.check_outputs()?;
    settled.with_context(|| books.missing())?;
    books.check()?;
    let urls = fleet.urls();
    fleet
        .until("all answers are right", async || {
            block_in_place(|| books.read())?;
            ask_for_everything(&urls, books.page()).await.map(|()| true)
        })
        .await?;
    let answers = observer.stop().await?;
    for number in 0..plan.instances {
        fleet.look_at_restored(number).await?;
    }
    let damages_found = fleet.damages_found()?;

    // What comes after all was done would have been done twice.
    for number in 0..plan.instances {
        fleet.stop(number).await?;
    }
    block_in_place(|| books.read())?;
    books.check()?;
    let Checked { answers, refused, .. } = check(answers, books.page(), plan.guarantee)?;
    let rows = block_in_place(|| fleet.check_rows(plan.guarantee))?;
    if !fleet.ended.is_empty() && !plan.faults.iter().any(|(_, fault)| fault.may_end_instances()) {
        bail!("instances ended by themselves: {}", fleet.ended.join("; "));
    }
    notes.append(&mut fleet.ended);
    notes.append(&mut fleet.not_started);
    let elapsed = clock.monotonic();
    Ok(Report {
        transfers: books.page().transfers.len(),
        answers,
        refused,
        died_at,
        notes,
        rows,
        damages_found,
        elapsed,
        restored: fleet.restored,
    })
}

/// Lets a fault happen. All instances run afterwards, though they may not be ready.
async fn happen(fault: Fault, fleet: &mut Fleet, broker: &mut Broker, rng: &mut Rng) -> anyhow::Result<Option<String>> {
    let not_reached = |came_there: bool| (!came_there).then(|| format!("it did not come there: {fault}"));
    let mut note = None;
    match fault {
        Fault::Kill { victim, down } => {
            fleet.kill(victim).await?;
            fleet.pass(down).await?;
            fleet.start(victim, None)?;
        }
        Fault::KillAt { victim, at, down } => {
            fleet.look_at_restored(victim).await?;
            fleet.instances[victim].arm(at)?;
            note = not_reached(fleet.dies(victim).await?);
            fleet.pass(down).await?;
            fleet.start(victim, None)?;
        }
        Fault::KillAtStart { victim, at } => {
            if at.step == Step::ReadChangelog {
                fleet.commits(victim).await?;
            }
            fleet.kill(victim).await?;
            fleet.start(victim, Some(at))?;
            note = not_reached(fleet.dies(victim).await?);
            fleet.start(victim, None)?;
        }
        Fault::Stop { victim, down } => {
            fleet.stop(victim).await?;
            fleet.pass(down).await?;
            fleet.start(victim, None)?;
        }
        Fault::KillAtStop { victim, at } => {
            fleet.look_at_restored(victim).await?;
            let instance = &mut fleet.instances[victim];
            instance.arm(at)?;
            instance.terminate()?;
            note = not_reached(fleet.dies(victim).await?);
            fleet.start(victim, None)?;
        }
        Fault::Freeze { victim, time } => {
            fleet.instances[victim].pause()?;
            fleet.pass(time).await?;
            fleet.instances[victim].resume()?;
        }
        Fault::KillBroker { down } => {
            block_in_place(|| broker.kill())?;
            fleet.pass(down).await?;
            start(broker)?;
        }
        Fault::LoseTask { victim, running: true } => fleet.lose_task(victim, rng)?,
        Fault::LoseTask { victim, running: false } => {
            fleet.kill(victim).await?;
            fleet.lose_task(victim, rng)?;
            fleet.start(victim, None)?;
        }
        Fault::KillAtRestore { victim, at } => {
            fleet.visitors_are_counted().await?;
            match fleet.first_with_tables(victim)? {
                Some(victim) => {
                    fleet.kill(victim).await?;
                    fleet.lose_tables(victim, rng)?;
                    fleet.start(victim, Some(at))?;
                    note = not_reached(fleet.dies(victim).await?);
                    fleet.start(victim, None)?;
                }
                None => note = Some("nobody has tables that nobody else has".into()),
            }
        }
        Fault::Corrupt { victim, running } => {
            if !running {
                fleet.stop(victim).await?;
            }
            let tables = fleet.corrupt(victim, rng)?;
            note = (tables == 0).then(|| format!("{} had no tables", name(victim)));
            if !running {
                fleet.start(victim, None)?;
            }
        }
    }
    Ok(note)
}

/// Starts the broker again. On a machine that is busy it may not be up in time: then once more.
pub(super) fn start(broker: &mut Broker) -> anyhow::Result<()> {
    block_in_place(|| broker.start().or_else(|_| broker.start()).or_else(|_| broker.start()))
}

pub(crate) fn connect(bootstrap: &str) -> anyhow::Result<Arc<dyn Log>> {
    let options =
        KafkaOptions { bootstrap: bootstrap.into(), client_id: "reckoning".into(), ..KafkaOptions::default() };
    Ok(Arc::new(block_in_place(|| KafkaLog::connect(options))?))
}

// === impl Report ===

impl Report {
    /// Changelog records that instances restored after crashes, of tasks that they had on their disks.
    #[must_use]
    pub fn restored(&self) -> u64 {
        self.restored.iter().map(|restored| restored.records).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transfers, answers, refused, notes, rows, damages_found, elapsed, restored, .. } = self;
        write!(
            f,
            "{transfers} transfers, {answers} answers and {rows} rows right, refused {refused:?}; restored after crashes: "
        )?;
        let restored: Vec<String> = restored
            .iter()
            .map(|Restored { instance, records, most, whole }| {
                format!("{instance} {records} (of {most} behind, {whole} in all)")
            })
            .collect();
        f.write_str(if restored.is_empty() { "nothing" } else { "" })?;
        f.write_str(&restored.join(", "))?;
        if *damages_found > 0 {
            write!(f, "; damage found {damages_found} times")?;
        }
        for note in notes {
            write!(f, "; {note}")?;
        }
        write!(f, "; {:.1} s", elapsed.as_secs_f64())
    }
}
