//! A fourth joins three: how many tasks move, and how long do they pause?

use std::time::Duration;

use super::{
    Bars, Options,
    bed::{Bed, NOW_AND_THEN, Scale},
    gaps,
};
use crate::{faults::fleet::PATIENCE, ledger::observer::Asking};

/// Partitions of each topic: 60 tasks.
const PARTITIONS: i32 = 30;
/// Transfers per second: each task has something to do all the time.
const RATE: u64 = 900;
/// How long its steadiness is looked at before.
const BEFORE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(3);
/// So many of 60 tasks may move: 15 are its share.
const MOVES: u64 = 16;
/// The longest pause.
const PAUSE: Duration = Duration::from_secs(1);

/// Measures it.
///
/// # Errors
/// When something was lost, done twice or answered wrongly, or took much too long.
pub async fn join(options: &Options, bars: &mut Bars) -> anyhow::Result<()> {
    let asking = Asking { pause: Duration::from_millis(50), ..NOW_AND_THEN };
    let scale = Scale { instances: 4, at_first: 3, partitions: PARTITIONS, rate: RATE, asking };
    let mut bed = Bed::start(scale, options).await?;
    // Behind the gap of the start.
    bed.pass(AFTER).await?;
    let began = bed.now();
    bed.pass(BEFORE).await?;
    let before = bed.settled().await?;
    let joined = bed.now();
    bed.fleet.start(3, None)?;
    bed.fleet.instances[3].ready(PATIENCE).await?;
    let after = bed.settled().await?;
    let settled = bed.now();
    bed.pass(AFTER).await?;
    let end = bed.now();
    let moved = before.moved_to(&after)?;
    bars.note(&format!("before {:?}, after {:?}", before.counts(), after.counts()));
    bars.note(&format!("settled {:.1} s after the fourth was started", (settled - joined).as_secs_f64()));
    let arrivals = bed.watch.look(|books| books.page().arrivals.clone());
    let pauses = |moves: bool, within: std::ops::Range<Duration>| -> Vec<Duration> {
        let chosen = arrivals.iter().filter(|(task, _)| moved.contains_key(task) == moves);
        chosen.map(|(_, times)| gaps::longest(times, within.clone())).collect()
    };
    let (checked, transfers) = bed.finish().await?;
    bars.count("actives that moved", moved.len() as u64, MOVES);
    let bar = options.timed.then_some(PAUSE);
    let quiet = [pauses(true, began..joined), pauses(false, began..joined)].concat();
    bars.times("before, all tasks: longest time without outputs", &quiet, None);
    bars.times("tasks that moved: longest time without outputs", &pauses(true, joined..end), bar);
    bars.times("tasks that stayed: longest time without outputs", &pauses(false, joined..end), bar);
    bars.note(&format!(
        "{transfers} transfers, nothing lost, nothing twice; {} answers right, {} of them by standbys",
        checked.answers, checked.of_standbys
    ));
    Ok(())
}
