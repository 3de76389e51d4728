//! One of three is killed, or stands still: when are its keys answered again, and when its tasks processed?

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use millpond::{query::Consistency, state::TaskId};
use tokio::{task::block_in_place, time::sleep};

use super::{
    Bars, Options,
    bed::{Bed, Scale},
    gaps,
    placement::{Placement, owners},
    readers::{Key, Readers, Seen, keys},
    restored::Restored,
    service::Service,
};
use crate::{
    faults::{fleet::PATIENCE, plan::name},
    ledger::{PARTITIONS, observer::Asking},
};

/// Questions per second that a standby may answer, and that only the owner may.
const READS: (u32, u32) = (1_000, 250);
/// Transfers per second.
const RATE: u64 = 400;
/// How long it goes on before it happens, and after all is well again.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(1);
/// A task that brought something within this time is at work.
const AT_WORK: Duration = Duration::from_millis(500);
/// How long one that is frozen stands still at least: until the group's session is over, too.
const FROZEN: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(50);

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// SIGKILL.
    Kill,
    /// SIGKILL, and nobody asks whether it is alive: the group's session timeout decides.
    KillUntilSessionEnds,
    /// SIGSTOP, and SIGCONT when others have its tasks.
    Freeze,
}

/// What one time took.
#[derive(Debug)]
struct Took {
    any: Duration,
    any_of_others: Duration,
    active: Duration,
    processing: Duration,
    processing_of_others: Duration,
}

/// What is asked, and of whom.
struct Questions {
    keys: Vec<Key>,
    service: Service,
}

/// Measures it, several times, each time with another instance.
///
/// # Errors
/// When something was lost, done twice or answered wrongly, or took much too long.
pub async fn kill(options: &Options, how: How, bars: &mut Bars) -> anyhow::Result<()> {
    let mut options = options.clone();
    if how == How::KillUntilSessionEnds {
        options.settings.push(("MILLPOND_SUSPICION_TIMEOUT_MS".into(), "0".into()));
    }
    let asking = Asking { pause: Duration::from_millis(8), ..Asking::FOR_ALL };
    let scale = Scale { instances: 3, at_first: 3, partitions: PARTITIONS, rate: RATE, asking };
    let mut bed = Bed::start(scale, &options).await?;
    let questions = Questions { keys: keys(&bed.topics), service: Service::of(&bed.fleet.urls()) };
    let mut all = Vec::new();
    for time in 0..options.times {
        let victim = time % bed.fleet.instances.len();
        let took = once(&mut bed, &questions, victim, how, bars).await;
        all.push(took.with_context(|| format!("time {time}: {}", name(victim)))?);
    }
    let (checked, transfers) = bed.finish().await?;
    let bar = |seconds: f64| options.timed.then(|| Duration::from_secs_f64(seconds));
    let (reads, processing) = match how {
        How::Kill | How::Freeze => (bar(0.5), bar(3.0)),
        How::KillUntilSessionEnds => (None, bar(10.0)),
    };
    let all = |time: fn(&Took) -> Duration| -> Vec<Duration> { all.iter().map(time).collect() };
    bars.times("its keys, a standby may answer: longest gap", &all(|took| took.any), reads);
    bars.times("other keys, a standby may answer: longest gap", &all(|took| took.any_of_others), None);
    bars.times("its keys, only the owner may answer: longest gap", &all(|took| took.active), None);
    bars.times("its tasks: longest time without outputs", &all(|took| took.processing), processing);
    bars.times("other tasks: longest time without outputs", &all(|took| took.processing_of_others), None);
    bars.note(&format!(
        "{transfers} transfers, nothing lost, nothing twice; {} answers right, {} of them by standbys, refused {:?}",
        checked.answers, checked.of_standbys, checked.refused
    ));
    Ok(())
}

async fn once(bed: &mut Bed, questions: &Questions, victim: usize, how: How, bars: &mut Bars) -> anyhow::Result<Took> {
    let before = bed.settled().await?;
    let tasks = before.actives_of(name(victim));
    let Questions { keys, service } = questions;
    let any = Readers::start(service, keys, READS.0, Consistency::Any, bed.clock)?;
    let active = Readers::start(service, keys, READS.1, Consistency::Active, bed.clock)?;
    bed.pass(BEFORE).await?;
    bed.fleet.look_at_restored(victim).await?;
    let commits = failed_commits(bed, victim).await?;
    let mut restored = Restored::count(bed).await?;

    let url = bed.fleet.instances[victim].url();
    let lost = bed.now();
    match how {
        How::Freeze => bed.fleet.instances[victim].pause()?,
        How::Kill | How::KillUntilSessionEnds => bed.fleet.kill_now(victim)?,
    }
    // Whether it answers is not asked: no balancer sends anything to one that is dead.
    service.remove(&url);
    let survivor = bed.fleet.instances[(victim + 1) % bed.fleet.instances.len()].url();
    taken_over(bed, &survivor, &before, victim, lost).await?;
    sleep(AFTER).await;
    let end = bed.now();
    for survivor in (0..bed.fleet.instances.len()).filter(|number| *number != victim) {
        restored.look(bed, survivor).await?;
    }
    ensure!(restored.anew() == 0, "standbys were not used: {}", restored.show());
    let (any, active) = (any.stop().await?, active.stop().await?);
    let took = took(bed, keys, &tasks, lost..end, &any, &active);
    bars.note(&format!(
        "{}, which had {} tasks: any {:.2} s, active {:.2} s, processing {:.2} s (others {:.2} s); any: {}; active: {}",
        name(victim),
        tasks.len(),
        took.any.as_secs_f64(),
        took.active.as_secs_f64(),
        took.processing.as_secs_f64(),
        took.processing_of_others.as_secs_f64(),
        any.show(lost),
        active.show(lost),
    ));
    bars.note(&restored.show());

    if how == How::Freeze {
        bed.pass((lost + FROZEN).saturating_sub(bed.now())).await?;
        bed.fleet.instances[victim].resume()?;
    } else {
        bed.fleet.start(victim, None)?;
    }
    bed.fleet.instances[victim].ready(PATIENCE).await?;
    service.add(&url);
    bed.settled().await?;
    if how == How::Freeze {
        let lost = failed_commits(bed, victim).await? - commits;
        ensure!(lost <= 1.0, "{} lost {lost} transactions by standing still", name(victim));
    }
    ensure!(bed.fleet.ended.is_empty(), "instances ended by themselves: {:?}", bed.fleet.ended);
    Ok(took)
}

/// Waits until others have the tasks of an instance, and all tasks are at work.
async fn taken_over(
    bed: &mut Bed,
    survivor: &str,
    before: &Placement,
    victim: usize,
    lost: Duration,
) -> anyhow::Result<()> {
    let (deadline, victim) = (bed.now() + PATIENCE, name(victim));
    loop {
        let owners = owners(survivor).await.unwrap_or_default();
        let taken = |task: &TaskId| owners.get(task).is_some_and(|owner| owner.as_ref().is_some_and(|it| it != victim));
        let now = bed.now();
        let at_work = |task: &TaskId| {
            let last = arrivals(bed, *task).last().copied().unwrap_or_default();
            last > lost.max(now.saturating_sub(AT_WORK))
        };
        if before.actives.keys().all(taken) && block_in_place(|| before.actives.keys().all(at_work)) {
            return Ok(());
        }
        ensure!(now < deadline, "its tasks were not taken over: {owners:?}");
        sleep(LOOK).await;
    }
}

fn arrivals(bed: &Bed, task: TaskId) -> Vec<Duration> {
    bed.watch.look(|books| books.page().arrivals.get(&task).cloned().unwrap_or_default())
}

fn took(
    bed: &Bed,
    keys: &[Key],
    tasks: &BTreeSet<TaskId>,
    within: std::ops::Range<Duration>,
    any: &Seen,
    active: &Seen,
) -> Took {
    let of_keys = |seen: &Seen, its: bool| {
        let gap = |number: usize| {
            let times = seen.answered.get(&number).map_or(&[][..], Vec::as_slice);
            gaps::longest(times, within.clone())
        };
        let chosen = (0..keys.len()).filter(|number| tasks.contains(&keys[*number].task) == its);
        chosen.map(gap).max().unwrap_or_default()
    };
    let arrivals: BTreeMap<TaskId, Vec<Duration>> =
        block_in_place(|| bed.watch.look(|books| books.page().arrivals.clone()));
    let of_tasks = |its: bool| {
        let chosen = arrivals.iter().filter(|(task, _)| tasks.contains(*task) == its);
        chosen.map(|(_, times)| gaps::longest(times, within.clone())).max().unwrap_or_default()
    };
    Took {
        any: of_keys(any, true),
        any_of_others: of_keys(any, false),
        active: of_keys(active, true),
        processing: of_tasks(true),
        processing_of_others: of_tasks(false),
    }
}

/// How many commits of an instance have failed or were given up.
async fn failed_commits(bed: &Bed, number: usize) -> anyhow::Result<f64> {
    let commits = bed.fleet.instances[number].metric("millpond_commits_total").await?;
    Ok(commits.iter().filter(|(outcome, _)| !outcome.contains("\"ok\"")).map(|(_, count)| count).sum())
}
